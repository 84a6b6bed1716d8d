"""Training steps of llm.c's CPU reference (train_gpt2.c of github.com/karpathy/llm.c) at a shape that is not GPT-2's.

Its main() has batch, context and number of steps written into it, and reads its model and tokens from files. So a copy of
it gets other numbers, and files of random weights and tokens, in a temporary folder; the checkout stays as it is.
"""
import array
import math
import os
import pathlib
import random
import re
import statistics
import subprocess
import tempfile
import time

SOURCE = "train_gpt2.c"
COMPILER = ["gcc", "-Ofast", "-march=native", "-fopenmp", "-DOMP", "-w"]  # as its Makefile; -w: without warnings
MODEL_MAGIC, MODEL_VERSION, TOKENS_MAGIC, TOKENS_VERSION = 20240326, 3, 20240520, 1
STEPS = 5  # of one start; the first is not counted, since it allocates
STEP = re.compile(r"^step \d+: train loss (\S+) \(took (\S+) ms\)", re.MULTILINE)


class InputError(Exception):
    """What the user gave cannot be used; its text is one line."""


def check_checkout(folder):
    if not (pathlib.Path(folder) / SOURCE).is_file():
        raise InputError(f"--llmc: found no {SOURCE} in {folder}, expected a checkout of llm.c")


def with_shape(source, file, batch, context):
    for number, line in (("int B = 4;", f"int B = {batch};"), ("int T = 64;", f"int T = {context};"),
                         ("step <= 40;", f"step < {STEPS};")):
        if source.count(number) != 1:
            raise InputError(f"--llmc: {file}: found {number!r} {source.count(number)} times, expected it once, "
                             "in main()")
        source = source.replace(number, line)
    return source


def write_words(path, header, *parts):
    """256 whole numbers, then arrays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        array.array("i", header + [0] * (256 - len(header))).tofile(file)
        for part in parts:
            part.tofile(file)


def write_model(path, shape):
    """Weights of GPT-2's spread, biases zero, norms one, in llm.c's order."""
    layers, heads, width, context, vocabulary, _ = shape
    padded = -(-vocabulary // 128) * 128
    normals = array.array("f", (random.gauss(0, 0.02) for _ in range(65521)))

    def normal(count):
        return (normals * (count // len(normals) + 1))[:count]

    def constant(value, count):
        return array.array("f", [value]) * count

    def norm(count):
        return [constant(1, count), constant(0, count)]

    def linear(inputs, outputs):
        return [normal(layers * inputs * outputs), constant(0, layers * outputs)]

    write_words(path, [MODEL_MAGIC, MODEL_VERSION, context, vocabulary, layers, heads, width, padded],
                normal(padded * width), normal(context * width), *norm(layers * width), *linear(width, 3 * width),
                *linear(width, width), *norm(layers * width), *linear(width, 4 * width), *linear(4 * width, width),
                *norm(width))


def write_tokens(path, vocabulary, count):
    tokens = array.array("H", random.choices(range(vocabulary), k=count))
    write_words(path, [TOKENS_MAGIC, TOKENS_VERSION, count], tokens)


class LlmcSteps:
    """A shape's program, compiled once."""

    def __init__(self, checkout, shape, threads):
        _, _, _, context, vocabulary, batch = shape
        self.checkout, self.tokens = pathlib.Path(checkout).resolve(), batch * context
        self.environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
        self.folder = tempfile.TemporaryDirectory()
        self.work = pathlib.Path(self.folder.name)
        random.seed(1)
        write_model(self.work / "gpt2_124M.bin", shape)
        for split in ("train", "val"):
            write_tokens(self.work / f"dev/data/tinyshakespeare/tiny_shakespeare_{split}.bin", vocabulary,
                         8 * self.tokens + 1)
        self.compile(batch, context)

    def compile(self, batch, context):
        file = self.checkout / SOURCE
        (self.work / SOURCE).write_text(with_shape(file.read_text(), file, batch, context))
        command = [*COMPILER, f"-I{self.checkout}", SOURCE, "-o", "train_gpt2", "-lm", "-lgomp"]
        try:
            done = subprocess.run(command, cwd=self.work, capture_output=True, text=True)
        except FileNotFoundError:
            raise InputError("--llmc: found no gcc, expected one to compile llm.c with") from None
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if "error" in line]
            raise InputError(f"--llmc: {file} does not compile: {(errors or ['gcc says nothing'])[0]}")

    def step_times(self):
        """Seconds of each step of one start."""
        done = subprocess.run([self.work / "train_gpt2"], cwd=self.work, env=self.environment, capture_output=True,
                              text=True, errors="replace")
        steps = STEP.findall(done.stdout)
        if done.returncode != 0 or len(steps) != STEPS:
            last = (done.stdout + done.stderr).strip().splitlines()
            raise InputError(f"--llmc: {self.checkout / SOURCE}: found status {done.returncode} and {len(steps)} steps "
                             f"(last line: {last[-1] if last else ''!r}), expected {STEPS} lines "
                             "'step N: train loss X (took Y ms)'")
        if not math.isfinite(float(steps[-1][0])):
            raise RuntimeError(f"llm.c's loss is {steps[-1][0]}")
        return [float(ms) / 1000 for _, ms in steps[1:]]

    def tokens_per_s(self, seconds):
        """Of the best step and of the median one."""
        times, begin = [], time.perf_counter()
        while not times or time.perf_counter() - begin < seconds:
            times += self.step_times()
        return self.tokens / min(times), self.tokens / statistics.median(times)
