#!/usr/bin/env python3
"""Times training steps of minichilla, of PyTorch and of llm.c at the same shapes on this machine's CPU, in turns.

usage: scripts/compare_pytorch.py [--shapes S,M,L] [--threads 1,2] [--precisions fp32,bf16|none] [--llmc DIR]
                                  [--rounds 5] [--seconds 1] [--program build/release/minichilla] [--json FILE]

PyTorch trains a plain GPT: eager, attention with its whole matrix of scores, AdamW with gradients clipped by their norm,
in fp32 and with bf16 autocast. minichilla (`minichilla bench --only steps`) trains in the same precisions, and each row is
compared with the same one of ours. bf16 pays only on a processor that multiplies it. Needs PyTorch, on Debian python3-torch; with libopenblas0-openmp too, whose OpenMP build is found by itself and is twice as fast as the other.
`--precisions none` leaves PyTorch out. `--llmc DIR`, a checkout of github.com/karpathy/llm.c, adds its CPU reference,
compiled with gcc and OpenMP: also AdamW, without clipping, in fp32.
Run it while nothing else runs. docs/benchmarks.md says what the columns mean.
"""
import argparse
import ctypes
import glob
import json
import math
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

from llmc_reference import InputError, LlmcSteps, check_checkout

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Layers, heads, d_model, context, vocabulary, sequences a step: those of `minichilla bench`.
SHAPES = {"S": (3, 4, 64, 128, 256, 16), "M": (4, 4, 128, 256, 1024, 8), "L": (6, 8, 256, 256, 4096, 8)}
PRECISIONS = ("fp32", "bf16")


def kernels_of_openblas(library):
    """The processor whose kernels an OpenBLAS takes by itself."""
    name = ctypes.CDLL(str(library)).openblas_get_corename
    name.restype = ctypes.c_char_p
    return name().decode()


def fastest_kernels():
    """OpenBLAS' name of the newest kernels that this processor can run; None where its own choice is as good."""
    try:
        flags = set(re.search(r"^flags\s*:(.*)", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)[1].split())
    except (OSError, TypeError):
        return None
    if {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= flags:
        return "SkylakeX"
    return "Haswell" if {"avx2", "fma"} <= flags else None


def use_fast_blas():
    """Starts this script again with Debian's OpenMP build of OpenBLAS, where there is one and none was chosen. An OpenBLAS
    older than the processor takes kernels without AVX, at a fourth of the speed: then with those that it can run."""
    chosen = {}
    folders = glob.glob("/usr/lib/*/openblas-openmp")
    if folders and "LD_LIBRARY_PATH" not in os.environ:
        chosen["LD_LIBRARY_PATH"] = folders[0]
    folder = chosen.get("LD_LIBRARY_PATH", os.environ.get("LD_LIBRARY_PATH", ""))
    library = pathlib.Path(folder) / "libopenblas.so.0"
    if "OPENBLAS_CORETYPE" not in os.environ and library.is_file() and kernels_of_openblas(library) == "Prescott":
        newest = fastest_kernels()
        if newest:
            chosen["OPENBLAS_CORETYPE"] = newest
    if chosen:
        os.environ.update(chosen)
        os.execv(sys.executable, [sys.executable] + sys.argv)


def import_torch():
    try:
        import torch
    except ImportError as error:
        raise InputError(f"{sys.executable} found no PyTorch ({error}), expected Debian's python3-torch or another") from None
    return torch


def make_gpt(torch, shape):
    """A GPT-2 of the shape, with tied embeddings."""
    nn, functional = torch.nn, torch.nn.functional
    layers, heads, width, context, vocabulary, _ = shape

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.expand, self.contract = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
            unseen = torch.ones(context, context, dtype=torch.bool).triu(1)
            self.register_buffer("unseen", unseen, persistent=False)

        def attend(self, x):
            batch, tokens, _ = x.shape
            q, k, v = (part.view(batch, tokens, heads, width // heads).transpose(1, 2)
                       for part in self.qkv(x).split(width, dim=2))
            scores = (q @ k.transpose(-2, -1)) * (1 / math.sqrt(width // heads))
            weights = functional.softmax(scores.masked_fill(self.unseen, float("-inf")), dim=-1)
            return self.projection((weights @ v).transpose(1, 2).reshape(batch, tokens, width))

        def forward(self, x):
            x = x + self.attend(self.norm1(x))
            return x + self.contract(functional.gelu(self.expand(self.norm2(x)), approximate="tanh"))

    class Gpt(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
            self.blocks, self.norm = nn.Sequential(*(Block() for _ in range(layers))), nn.LayerNorm(width)
            for embedding in (self.tokens, self.positions):
                nn.init.normal_(embedding.weight, std=0.02)

        def forward(self, tokens, targets):
            x = self.norm(self.blocks(self.tokens(tokens) + self.positions.weight))
            logits = functional.linear(x, self.tokens.weight)
            return functional.cross_entropy(logits.view(-1, vocabulary), targets.view(-1))

    return Gpt()


class PyTorchSteps:
    """Training steps of one shape; the learning rate is 0, so that they can be repeated without end."""

    def __init__(self, torch, shape, precision, threads):
        torch.manual_seed(1)
        self.torch, self.precision, self.threads = torch, precision, threads
        self.model = make_gpt(torch, shape)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.0, betas=(0.9, 0.95), weight_decay=0.1)
        self.tokens, self.targets = (torch.randint(shape[4], (shape[5], shape[3])) for _ in range(2))

    def step(self):
        if self.precision == "bf16":
            with self.torch.autocast("cpu", dtype=self.torch.bfloat16):
                loss = self.model(self.tokens, self.targets)
        else:
            loss = self.model(self.tokens, self.targets)
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(loss)

    def tokens_per_s(self, seconds):
        """Of the best step and of the median one, at least three."""
        self.torch.set_num_threads(self.threads)
        self.step()
        times, begin = [], time.perf_counter()
        while len(times) < 3 or time.perf_counter() - begin < seconds:
            start = time.perf_counter()
            loss = self.step()
            times.append(time.perf_counter() - start)
        if not math.isfinite(loss):
            raise RuntimeError(f"PyTorch's loss is {loss}")
        return self.tokens.numel() / min(times), self.tokens.numel() / statistics.median(times)


def bench_steps(program, shape, precision, threads, seconds):
    """Tokens/s of minichilla's best step and of the median one."""
    command = [program, "bench", "--device", "cpu", "--precision", precision, "--only", "steps", "--shapes", shape,
               "--threads", str(threads), "--seconds", str(seconds), "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise InputError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    step = next(device for device in json.loads(done.stdout)["measured"] if device["lanes"] == threads)["steps"][0]
    return step["tokens_per_s"], step["median_tokens_per_s"]


def compare(torch, options, shape, threads):
    """One row a trainer: the best of all rounds, and the median of the rounds' medians."""
    trainers = {}
    for precision in options.precisions or ["fp32"]:
        trainers[f"minichilla {precision}"] = lambda precision=precision: bench_steps(
            options.program, shape, precision, threads, options.seconds)
    for precision in options.precisions:
        steps = PyTorchSteps(torch, SHAPES[shape], precision, threads)
        trainers[f"PyTorch {precision}"] = lambda steps=steps: steps.tokens_per_s(options.seconds)
    if options.llmc:
        reference = LlmcSteps(options.llmc, SHAPES[shape], threads)
        trainers["llm.c fp32"] = lambda: reference.tokens_per_s(options.seconds)
    rounds = {name: [] for name in trainers}
    for _ in range(options.rounds):
        for name, run in trainers.items():
            rounds[name].append(run())
    rows = []
    for name, figures in rounds.items():
        rows.append({"shape": shape, "threads": threads, "trainer": name,
                     "tokens_per_s": max(best for best, _ in figures),
                     "median_tokens_per_s": statistics.median(median for _, median in figures)})
    ours = {row["trainer"].split()[1]: row for row in rows if row["trainer"].startswith("minichilla ")}
    for row in rows:
        # llm.c has fp32 alone, which is then compared with the first precision that there is.
        name, precision = row["trainer"].split()
        if name == "minichilla":
            continue
        same = ours.get(precision, next(iter(ours.values())))
        row["ratio"] = same["tokens_per_s"] / row["tokens_per_s"]
        row["median_ratio"] = same["median_tokens_per_s"] / row["median_tokens_per_s"]
    return rows


def print_rows(rows):
    for row in rows:
        ratio = f"{row['ratio']:8.2f}x {row['median_ratio']:8.2f}x" if "ratio" in row else ""
        print(f"{row['shape']:6} {row['threads']:7}  {row['trainer']:16} {row['tokens_per_s']:13.0f} "
              f"{row['median_tokens_per_s']:10.0f} {ratio}".rstrip(), flush=True)


def chosen(names, known, option):
    for name in names:
        if name not in known:
            raise InputError(f"{option}: found {name!r}, expected some of {','.join(known)}")
    return names


def at_least(number, least, option):
    if number < least:
        raise InputError(f"{option}: found {number}, expected at least {least}")
    return number


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="S,M,L")
    parser.add_argument("--threads", default=",".join(sorted({"1", str(len(os.sched_getaffinity(0)))}, key=int)))
    parser.add_argument("--precisions", default="fp32,bf16", help="of PyTorch; none leaves it out")
    parser.add_argument("--llmc", metavar="DIR", help="a checkout of llm.c, to be measured too")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each trainer in each round")
    parser.add_argument("--program", default=str(ROOT / "build" / "release" / "minichilla"))
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args(arguments)
    options.shapes = chosen(options.shapes.split(","), SHAPES, "--shapes")
    options.precisions = ([] if options.precisions == "none" else
                          chosen(options.precisions.split(","), PRECISIONS, "--precisions"))
    try:
        options.threads = [at_least(int(n), 1, "--threads") for n in options.threads.split(",")]
    except ValueError:
        raise InputError(f"--threads: found {options.threads!r}, expected numbers such as 1,2") from None
    at_least(options.rounds, 1, "--rounds")
    if not options.seconds > 0:
        raise InputError(f"--seconds: found {options.seconds}, expected more than 0")
    if not os.access(options.program, os.X_OK):
        raise InputError(f"--program: found no program {options.program}, expected a built minichilla")
    if options.llmc:
        check_checkout(options.llmc)
    return options


def main(arguments):
    try:
        options = parse(arguments)
        torch = import_torch() if options.precisions else None
        version = torch.__version__ if torch else None
        blas = os.environ.get("OPENBLAS_CORETYPE")
        print(f"{'PyTorch ' + version if torch else 'without PyTorch'}, "
              f"{f'OpenBLAS told to take kernels for {blas}, ' if torch and blas else ''}{options.rounds} rounds\n\n"
              "shape  threads  trainer          tokens/s best     median     ours / it   medians")
        rows = []
        for shape in options.shapes:
            for threads in options.threads:
                measured = compare(torch, options, shape, threads)
                print_rows(measured)
                rows += measured
        if options.json:
            pathlib.Path(options.json).write_text(
                json.dumps({"format": "minichilla compare_pytorch 1", "torch": version,
                            "rounds": options.rounds, "seconds": options.seconds, "rows": rows}, indent=1) + "\n")
    except InputError as error:
        print(f"compare_pytorch.py: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"compare_pytorch.py: {error}", file=sys.stderr)
        return 74
    return 0


if __name__ == "__main__":
    use_fast_blas()
    sys.exit(main(sys.argv[1:]))
