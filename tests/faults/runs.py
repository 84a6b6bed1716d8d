"""A tiny run and a longer one, and what an undisturbed one looks like."""

import functools
import json
import shutil

import program
from program import KILLED, Fault, run

STEPS = 20
LONG_STEPS = 400
TIMES = {"wall_s", "tokens_per_s", "train_s", "attempt"}  # differ from run to run
CONFIG = """\
model: {{n_layers: 1, d_model: 8, n_heads: 1, context_length: 8, attention: {{pattern: [dense]}}}}
data: {{corpus: {corpus}}}
train:
  tokens: {tokens}
  batch_tokens: 32
  micro_batch: 2
  evaluate: {{every: {evaluate} steps, tokens: 64}}
  checkpoint: {{every: {checkpoint} steps}}
"""


class Material:
    """A corpus and two configs, made once by the program itself."""

    def __init__(self):
        self.folder = program.temporary_folder()
        text = self.folder / "text.txt"
        text.write_text("".join(f"Line {i % 7} of a text that repeats itself.\n" for i in range(60)))
        corpus = self.folder / "corpus"
        prepared = run(["data", "prepare", text, "--output", corpus, "--documents", "file", "--split", "position",
                        "--val", "0.1"])
        assert prepared.status == 0, prepared
        self.short = self.config(corpus, "short.yaml", STEPS, evaluate=10, checkpoint=8)
        self.long = self.config(corpus, "long.yaml", LONG_STEPS, evaluate=50, checkpoint=20)

    def config(self, corpus, name, steps, evaluate, checkpoint):
        file = self.folder / name
        file.write_text(CONFIG.format(corpus=corpus, tokens=32 * steps, evaluate=evaluate, checkpoint=checkpoint))
        return file

    def train(self, config, output):
        return ["train", config, "--output", output, "--quiet", "--threads", "1"]

    @functools.cached_property
    def undisturbed(self):
        return self.finished(self.short)

    @functools.cached_property
    def undisturbed_long(self):
        return self.finished(self.long)

    def finished(self, config):
        output = self.folder / f"undisturbed-{config.stem}"
        ended = run(self.train(config, output))
        assert ended.status == 0, ended
        finished = Finished(output)
        assert finished.numbers == list(range(1, finished.result["steps"] + 1)), finished.numbers
        return finished

    @functools.cached_property
    def calls(self):
        counted = self.folder / "counted"
        counted.mkdir()
        return program.calls_of(self.train(self.short, counted / "run"), self.folder)

    @functools.cached_property
    def long_calls(self):
        return program.calls_of(self.train(self.long, self.folder / "counted-long"), self.folder)

    @functools.cached_property
    def killed(self):
        """A run that was killed when it had two checkpoints and was about to write the third."""
        output = self.folder / "killed"
        third = next(call for call in self.calls if "/checkpoints/.tmp-20-" in call.path and call.kind != "look")
        ended = run(self.train(self.short, output), self.folder, Fault("kill_before", third.number, third.number))
        assert ended.status == KILLED, ended
        return output

    @functools.cached_property
    def calls_of_going_on(self):
        output = self.folder / "going-on"
        shutil.copytree(self.killed, output)
        return program.calls_of(self.train(self.short, output), self.folder)


class Finished:
    """All that a finished run must have in common with an undisturbed one."""

    def __init__(self, folder):
        self.result = without_times(program.read_json(folder / "result.json"))
        self.steps, self.evaluations = joined_metrics(folder)
        self.numbers = [row["step"] for row in self.steps]
        self.checkpoints = sorted(path.name for path in (folder / "checkpoints").iterdir())
        newest = folder / "checkpoints" / self.checkpoints[-1]
        self.files = {name: (newest / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors")}
        self.state = without_times(program.read_json(newest / "state.json"))

    def difference(self, other):
        for key in vars(self):
            mine, theirs = getattr(self, key), getattr(other, key)
            if mine != theirs:
                return f"{key} differs: {str(mine)[:300]}, undisturbed {str(theirs)[:300]}"
        return None


def without_times(values):
    return {key: value for key, value in values.items() if key not in TIMES}


def joined_metrics(folder):
    """The rows that led to the end as docs/training.md says: of each attempt those up to the step after which the next one
    began; half a line at the end of a file is skipped."""
    attempts = {int(path.name): path for path in (folder / "attempts").glob("[0-9]*")}
    number = max((n for n, path in attempts.items() if '"run_id"' in text_of(path / "outcome.json")), default=max(attempts))
    rows, last = [], float("inf")
    while number:
        own = [json.loads(line) for line in text_of(attempts[number] / "metrics.jsonl").split("\n")[:-1]]
        rows = [row for row in own if row["step"] <= last] + rows
        origin = json.loads(text_of(attempts[number] / "origin.json") or "{}")
        last = min(last, origin.get("step", last))
        number = origin.get("attempt", number - 1)
    rows = [without_times(row) for row in rows]
    return [row for row in rows if "split" not in row], [row for row in rows if "split" in row]


def text_of(file):
    return file.read_text() if file.exists() else ""
