#!/usr/bin/env python3
"""Measures what a large sweep costs besides training: planning, status, a worker's start, files; and how well small runs
share the cores. Prints a table in Markdown.

usage: scripts/measure_sweep.py [RUNS]        (default 2000; MINICHILLA_BINARY: another program than build/release/minichilla)
       scripts/measure_sweep.py --sharing     only the latter, four minutes
"""

import datetime
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

PROGRAM = os.environ.get("MINICHILLA_BINARY", str(pathlib.Path(__file__).parent.parent / "build/release/minichilla"))
SHARING_ALONE = sys.argv[1:] == ["--sharing"]
RUNS = int(sys.argv[1]) if len(sys.argv) > 1 and not SHARING_ALONE else 2000
CORES = len(os.sched_getaffinity(0))
CONFIG = """model: {{context_length: 16}}
data: {{corpus: {corpus}}}
train: {{batch_tokens: 64, micro_batch: 2, evaluate: {{tokens: 1024}}}}
sweep: {{kind: grid, sizes: [1x16], tokens: [128k], seeds: {seeds}}}
"""
SHARING_TOKENS, SHARING_ROUNDS, SHARING_TURNS = 1_024_000, 3, 5  # of a run, some five seconds; runs of a core; measurements
SHARING = """model: {{context_length: 64}}
data: {{corpus: {corpus}}}
train: {{batch_tokens: 512, evaluate: {{tokens: 8192}}}}
sweep: {{kind: grid, sizes: [2x32], tokens: [{tokens}], seeds: {seeds}}}
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


def show(rows):
    for what, value, unit in rows:
        print(f"| {what} | {value:.3g} {unit} |".replace("  |", " |"))


def state_bytes(run):
    return sum(path.stat().st_size for path in run.rglob("*") if path.is_file() and "checkpoints" not in path.parts)


def train_side_by_side(config, folder, count):
    """Tokens/s of `count` commands that train, started at once, and again when all have ended: as many runs of a core as in
    the sweep, since the machine's speed changes from second to second."""
    begin = time.monotonic()
    for turn in range(SHARING_ROUNDS):
        workers = [subprocess.Popen([PROGRAM, "train", config, "--output", f"{folder}-{turn}-{i}", "--device", "cpu",
                                     "--threads", "1", "--quiet"], stdout=subprocess.DEVNULL) for i in range(count)]
        if any([worker.wait() for worker in workers]):
            raise RuntimeError("a run failed")
    return SHARING_ROUNDS * count * SHARING_TOKENS / (time.monotonic() - begin)


def sharing(folder):
    """Tokens/s of one run alone, and of as many as cores side by side and of a sweep, over cores times that: medians of
    several turns, since the machine's speed changes from one to the next. All count the whole time of their commands:
    starts, evaluations, checkpoints, the last run's end."""
    config, alone, beside, swept = folder / "sharing.yaml", [], [], []
    runs = SHARING_ROUNDS * CORES
    config.write_text(SHARING.format(corpus=folder / "corpus", tokens=SHARING_TOKENS, seeds=list(range(1, runs + 1))))
    for turn in range(SHARING_TURNS):
        sweep = folder / f"sharing-{turn}"
        seconds("sweep", "plan", config, "--output", sweep, "--no-calibration", "--device", "cpu")
        run = next((sweep / "runs").iterdir()) / "config.yaml"
        alone.append(train_side_by_side(run, folder / f"alone-{turn}", 1))
        beside.append(train_side_by_side(run, folder / f"beside-{turn}", CORES))
        swept.append(runs * SHARING_TOKENS / seconds("sweep", "run", sweep, "--device", "cpu", "--workers", CORES))
    over_alone = [[a / (CORES * b) for a, b in zip(measured, alone)] for measured in (beside, swept)]
    return statistics.median(alone), *map(statistics.median, over_alone)


def sharing_rows(folder):
    alone, beside, swept = sharing(folder)
    return [("tokens/s of a small run (2x32) alone", alone / 1e3, "k"),
            (f"of {CORES} such runs side by side, over {CORES} times that", beside, ""),
            (f"of a sweep of such runs on {CORES} cores, over {CORES} times that", swept, "")]


def main():
    with tempfile.TemporaryDirectory(prefix="minichilla-measure-") as name:
        folder = pathlib.Path(name)
        words = random.Random(7).choices(["the", "small", "model", "reads", "a", "long", "book"], k=60000)
        (folder / "text.txt").write_text("".join(" ".join(words[i:i + 9]) + ".\n\n" for i in range(0, len(words), 9)))
        seconds("data", "prepare", folder / "text.txt", "--output", folder / "corpus")
        if SHARING_ALONE:
            show(sharing_rows(folder))
            return
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
        show(rows + sharing_rows(folder))


if __name__ == "__main__":
    main()
