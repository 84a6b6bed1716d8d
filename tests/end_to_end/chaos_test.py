"""A sweep to which everything happens at once ends as if nothing had: two runners on one folder, their clocks five minutes
apart (with faketime), a worker killed every second or more often, the disk full for a while (where a tmpfs can be mounted).

Needs MINICHILLA_BINARY. MINICHILLA_LONG_CHAOS=1: 100 runs, 8 workers, the disk full for 20 seconds.
"""

import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

PROGRAM = os.environ["MINICHILLA_BINARY"]
LONG = os.environ.get("MINICHILLA_LONG_CHAOS") == "1"
RUNS, WORKERS, BETWEEN_KILLS, FULL_FOR = (100, 4, 1, 20) if LONG else (16, 2, 0.2, 3)  # workers of each runner
STEPS = 2000
TIMES = {"wall_s", "tokens_per_s"}

CONFIG = """model: {{context_length: 16}}
data: {{corpus: {corpus}}}
train: {{batch_tokens: 64, micro_batch: 2, evaluate: {{tokens: 1024}}, checkpoint: {{every: 100 steps}}}}
sweep: {{kind: grid, sizes: [1x16], tokens: [128k], seeds: {seeds}}}
"""


def minichilla(*words):
    subprocess.run([PROGRAM, *map(str, words)], check=True, capture_output=True, text=True)


def children_of(pid):
    try:
        text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return []
    direct = [int(word) for word in text.split()]
    return direct + [deeper for child in direct for deeper in children_of(child)]


def is_trainer(pid):
    try:
        return b"\0train\0" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def joined_steps(run):
    """The steps of the log that led to the result (docs/training.md), and that result's attempt."""
    attempts = {int(path.name): path for path in (run / "attempts").glob("[0-9]*")}
    final = [n for n, path in attempts.items() if '"run_id"' in (path / "outcome.json").read_text()]
    steps, last, number = [], float("inf"), final[0]
    while number:
        lines = (attempts[number] / "metrics.jsonl").read_text().split("\n")[:-1]
        rows = [json.loads(line) for line in lines]
        steps = [row["step"] for row in rows if "split" not in row and row["step"] <= last] + steps
        origin = json.loads((attempts[number] / "origin.json").read_text())
        last, number = min(last, origin["step"]), origin["attempt"]
    return steps, final


def bits_of(run):
    result = {key: value for key, value in json.loads((run / "result.json").read_text()).items() if key not in TIMES}
    newest = max((run / "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name))
    sums = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in newest.glob("*.safetensors")}
    return result, newest.name, sums


class Chaos(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="minichilla-chaos-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        words = ["the", "small", "model", "reads", "a", "long", "book", "about", "ships"]
        source = random.Random(7)
        sentences = (" ".join(source.choices(words, k=9)) + ".\n\n" for _ in range(3000))
        (self.folder / "text.txt").write_text("".join(sentences))
        minichilla("data", "prepare", self.folder / "text.txt", "--output", self.folder / "corpus")
        (self.folder / "sweep.yaml").write_text(
            CONFIG.format(corpus=self.folder / "corpus", seeds=list(range(1, RUNS + 1))))
        self.disk = self.small_disk()

    def plan(self, name):
        minichilla("sweep", "plan", self.folder / "sweep.yaml", "--output", name, "--no-calibration")
        return name

    def small_disk(self):
        """A file system that is small enough to be filled; an ordinary folder where none can be mounted."""
        disk = self.folder / "disk"
        disk.mkdir()
        size = f"size={120 if LONG else 24}m"
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", disk], capture_output=True).returncode == 0
        if mounted:
            self.addCleanup(subprocess.run, ["umount", "-l", disk])
        self.can_fill = mounted
        return disk

    def runner(self, sweep, number):
        command = [PROGRAM, "sweep", "run", str(sweep), "--device", "cpu", "--workers", str(WORKERS)]
        if number == 1 and shutil.which("faketime"):
            command = ["faketime", "-f", "+5m", *command]
        log = open(self.folder / f"runner-{number}.log", "w")
        self.addCleanup(log.close)
        process = subprocess.Popen(command, stdout=log, stderr=log)
        self.addCleanup(process.kill)
        return process

    def fill(self):
        with open(self.disk / "filler", "wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(1 << 12))
            except OSError:
                pass

    def disturb(self, runners):
        """Until the runners have ended; returns how many workers were killed."""
        chance = random.Random(int(os.environ.get("MINICHILLA_FAULT_SEED", time.time_ns() % 1000000)))
        begin, killed, filled_at = time.monotonic(), 0, None
        while any(runner.poll() is None for runner in runners):
            time.sleep(BETWEEN_KILLS)
            passed = time.monotonic() - begin
            if self.can_fill and filled_at is None and any(self.disk.glob("wild/runs/*/result.json")):
                self.fill()
                filled_at = passed
            if filled_at and passed > filled_at + FULL_FOR:
                (self.disk / "filler").unlink(missing_ok=True)
            trainers = [pid for runner in runners for pid in children_of(runner.pid) if is_trainer(pid)]
            if trainers:
                os.kill(chance.choice(trainers), signal.SIGKILL)
                killed += 1
            self.assertLess(passed, 1200, "it does not end")
        return killed, filled_at is not None

    def test_everything_at_once(self):
        calm, wild = self.plan(self.folder / "calm"), self.plan(self.disk / "wild")
        minichilla("sweep", "run", calm, "--device", "cpu")
        runners = [self.runner(wild, number) for number in range(2)]
        killed, full = self.disturb(runners)
        logs = [(self.folder / f"runner-{number}.log").read_text() for number in range(2)]
        self.assertEqual([runner.returncode for runner in runners], [0, 0], logs)
        self.assertGreater(killed, 5)
        if self.can_fill:
            self.assertTrue(full)
            self.assertIn("waiting for space", "".join(logs))
        runs = sorted(path.name for path in (wild / "runs").iterdir())
        self.assertEqual(len(runs), RUNS)
        for run in runs:
            steps, final = joined_steps(wild / "runs" / run)
            self.assertEqual(steps, list(range(1, STEPS + 1)), run)
            self.assertEqual(len(final), 1, "one attempt alone ended with the result")
            outcome, result = (wild / "runs" / run / "attempts" / str(final[0]) / "outcome.json"), wild / "runs" / run / "result.json"
            self.assertTrue(outcome.samefile(result))
            self.assertEqual(bits_of(wild / "runs" / run), bits_of(calm / "runs" / run), run)
        print(f"{RUNS} runs, {killed} workers killed, disk {'full for a while' if full else 'never full'}, "
              f"clocks {'five minutes apart' if shutil.which('faketime') else 'equal: no faketime'}")


if __name__ == "__main__":
    unittest.main()
