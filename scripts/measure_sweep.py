#!/usr/bin/env python3
"""Measures what a large sweep costs besides training: planning, status, a worker's start, files. Prints a table in Markdown.

usage: scripts/measure_sweep.py [RUNS]        (default 2000; MINICHILLA_BINARY: another program than build/release/minichilla)
"""

import datetime
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

PROGRAM = os.environ.get("MINICHILLA_BINARY", str(pathlib.Path(__file__).parent.parent / "build/release/minichilla"))
RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
CONFIG = """model: {{context_length: 16}}
data: {{corpus: {corpus}}}
train: {{batch_tokens: 64, micro_batch: 2, evaluate: {{tokens: 1024}}}}
sweep: {{kind: grid, sizes: [1x16], tokens: [128k], seeds: {seeds}}}
"""


def seconds(*words, **options):
    begin = time.monotonic()
    subprocess.run([PROGRAM, *map(str, words)], check=True, capture_output=True, **options)
    return time.monotonic() - begin


def best(repeats, *words):
    return min(seconds(*words) for _ in range(repeats))


def first_step_after(sweep):
    """Seconds from a worker's start to the end of its first step."""
    before = {path for path in sweep.glob("runs/*/attempts/*/log")}
    begin = time.time()
    worker = subprocess.Popen([PROGRAM, "sweep", "work", str(sweep), "--device", "cpu"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    rows = ""
    while not rows:
        time.sleep(0.05)
        for log in set(sweep.glob("runs/*/attempts/*/log")) - before:
            metrics = log.parent / "metrics.jsonl"
            rows = metrics.read_text() if metrics.exists() else ""
            began = log.read_text()[:23]
    worker.terminate()
    worker.wait()
    # The row's time counts from before the line of the log.
    return (datetime.datetime.fromisoformat(began).timestamp() - begin) + json.loads(rows.split("\n")[0])["wall_s"]


def state_bytes(run):
    return sum(path.stat().st_size for path in run.rglob("*") if path.is_file() and "checkpoints" not in path.parts)


def main():
    with tempfile.TemporaryDirectory(prefix="minichilla-measure-") as name:
        folder = pathlib.Path(name)
        words = random.Random(7).choices(["the", "small", "model", "reads", "a", "long", "book"], k=60000)
        (folder / "text.txt").write_text("".join(" ".join(words[i:i + 9]) + ".\n\n" for i in range(0, len(words), 9)))
        seconds("data", "prepare", folder / "text.txt", "--output", folder / "corpus")
        config = folder / "sweep.yaml"
        config.write_text(CONFIG.format(corpus=folder / "corpus", seeds=list(range(1, RUNS + 1))))
        sweep = folder / "sweep"
        plan = ["sweep", "plan", config, "--output", sweep, "--no-calibration"]
        rows = [(f"`sweep plan`, {RUNS} runs", seconds(*plan), "s"), ("the same again", best(3, *plan), "s"),
                ("`sweep status`, nothing begun", best(3, "sweep", "status", sweep), "s")]
        rows.append(("a worker's start to its first step", min(first_step_after(sweep) for _ in range(5)), "s"))
        worker = subprocess.Popen([PROGRAM, "sweep", "work", str(sweep), "--device", "cpu"], stdout=subprocess.DEVNULL)
        while not (results := list(sweep.glob("runs/*/result.json"))):
            time.sleep(0.1)
        worker.terminate()
        worker.wait()
        rows.append(("files of a run of 2000 steps, without checkpoints", state_bytes(results[0].parent) / 1e3, "kB"))
        rows.append(("`sweep status`, some begun", best(3, "sweep", "status", sweep), "s"))
        for what, value, unit in rows:
            print(f"| {what} | {value:.3g} {unit} |")


if __name__ == "__main__":
    main()
