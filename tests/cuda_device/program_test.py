#!/usr/bin/env python3
"""The program on a GPU, real or played by the rig: a run, a run that is interrupted, and a sweep, against the CPU's.

MINICHILLA_STEPS: how long a run must be for a kill to come before its end. Exit status 77: there is no GPU.
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM = os.environ["MINICHILLA_BINARY"]
STEPS = int(os.environ.get("MINICHILLA_STEPS", "20"))
SKIPPED = 77
RUN = """model: {n_layers: 2, d_model: 16, n_heads: 2, context_length: 16, attention: {pattern: [dense, banded], window: 5}}
data: {corpus: corpus}
train: {tokens: 2560, batch_tokens: 128, micro_batch: 4, checkpoint: {every: 4 steps},
        evaluate: {every: 10 steps, tokens: 256}}
"""
SWEEP = """model: {context_length: 16}
data: {corpus: corpus}
train: {batch_tokens: 128, micro_batch: 4, evaluate: {every: 20 steps, tokens: 256}}
sweep: {kind: grid, tokens: [1280], sizes: ["ladder[0:2]"], seeds: [1]}
"""


class Program(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)
        (self.folder / "text.txt").write_text("".join(f"Line {i % 97} of a text, number {i * i % 1013}.\n"
                                                      for i in range(2000)))
        (self.folder / "run.yaml").write_text(RUN)
        (self.folder / "sweep.yaml").write_text(SWEEP)
        self.call(0, "data", "prepare", "text.txt", "--val", "0.1", "--split", "position", "--output", "corpus")

    def call(self, status, *arguments):
        done = subprocess.run([PROGRAM, *arguments], cwd=self.folder, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, status, done.stderr)
        return done

    def result(self, run):
        return json.loads((self.folder / run / "result.json").read_text())

    def train(self, run, device, *more, status=0):
        return self.call(status, "train", "run.yaml", "--output", run, "--device", device, *more)

    def test_a_run_learns_what_it_learns_on_the_cpu(self):
        self.train("cpu", "cpu")
        for precision, tolerance in (("fp32", 1e-4), ("tf32", 1e-3), ("bf16", 1e-2)):
            with self.subTest(precision):
                self.train(precision, "cuda", "--set", f"train.precision={precision}")
                expected, found = self.result("cpu"), self.result(precision)
                self.assertEqual(found["device"], "cuda")
                self.assertNotEqual(found["numerics_id"], expected["numerics_id"])
                self.assertLess(abs(found["val_loss"] / expected["val_loss"] - 1), tolerance)

    def test_an_interrupted_run_ends_with_the_same_bits(self):
        settings = ["--set", "train.precision=bf16", "--set", f"train.tokens={128 * STEPS}",
                    "--set", f"train.checkpoint.every={STEPS // 10} steps"]
        self.train("whole", "cuda", *settings)
        process = subprocess.Popen([PROGRAM, "train", "run.yaml", "--output", "cut", "--device", "cuda", *settings],
                                   cwd=self.folder, stderr=subprocess.PIPE, text=True)
        for line in process.stderr:
            if "step " in line:
                break
        while not any((self.folder / "cut" / "checkpoints").glob("*")) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        self.assertFalse((self.folder / "cut" / "result.json").exists())
        self.train("cut", "cuda", *settings)
        for key in ("val_loss", "train_loss", "numerics_id"):
            self.assertEqual(self.result("cut")[key], self.result("whole")[key])
        weights = [(self.folder / run / "checkpoints" / str(STEPS) / "model.safetensors").read_bytes() for run in ("cut", "whole")]
        self.assertEqual(*weights)

    def test_our_own_products_train_too(self):
        settings = ["--set", "train.precision=bf16", "--set", "train.tokens=1280"]
        self.train("library", "cuda", *settings)
        self.train("own", "cuda", *settings, "--products", "own")
        expected, found = self.result("library"), self.result("own")
        self.assertNotEqual(found["numerics_id"], expected["numerics_id"])
        self.assertLess(abs(found["val_loss"] / expected["val_loss"] - 1), 1e-2)
        self.assertIn("cuBLASLt", (self.folder / "library" / "algorithms.txt").read_text())
        self.assertFalse((self.folder / "own" / "algorithms.txt").exists())
        done = self.train("none", "cuda", "--products", "own", status=2)
        self.assertIn("train.precision: found fp32, expected bf16 with --products own", done.stderr)

    def test_broken_algorithms_are_told_and_replaced(self):
        self.train("run", "cuda", "--set", "train.tokens=1280")
        algorithms = self.folder / "run" / "algorithms.txt"
        for end in ("result.json", "attempts/1/outcome.json"):  # as if it had died before its end
            (self.folder / "run" / end).unlink()
        algorithms.write_text("nonsense\n")
        done = self.train("run", "cuda", "--set", "train.tokens=1280")  # goes on from the last checkpoint
        self.assertIn("algorithms.txt: cuBLASLt algorithms: found those of 'nonsense'", done.stderr)
        self.assertEqual(self.result("run")["status"], "done")

    def test_a_sweep_runs_on_the_device(self):
        self.call(0, "sweep", "run", "sweep.yaml", "--output", "sweep", "--device", "cuda")
        results = [json.loads(file.read_text()) for file in (self.folder / "sweep" / "runs").glob("*/result.json")]
        self.assertEqual([result["status"] for result in results], ["done", "done"])
        self.assertEqual({result["device"] for result in results}, {"cuda"})

    def test_workers_share_a_gpu(self):
        done = self.call(0, "sweep", "run", "sweep.yaml", "--output", "sweep", "--gpus", "0", "--workers", "2",
                         "--no-calibration", "--json", "-")
        self.assertEqual(json.loads(done.stdout)["done"], 2, done.stdout)
        for run in (self.folder / "sweep" / "runs").iterdir():
            self.assertEqual(json.loads((run / "result.json").read_text())["device"], "cuda")
            self.assertEqual([attempt.name for attempt in (run / "attempts").iterdir()], ["1"])

    def test_a_sweep_is_planned_on_the_device(self):
        done = self.call(0, "sweep", "plan", "sweep.yaml", "--output", "sweep", "--device", "cuda", "--set",
                         "train.precision=bf16", "--json", "-")
        planned = json.loads(done.stdout)["runs"]
        self.assertEqual(len(planned), 2)
        measured = json.loads((self.folder / "sweep" / "calibration.json").read_text())
        self.assertTrue(measured["machine"].startswith("cuda, "), measured)
        self.assertTrue(measured["machine"].endswith(", bf16"), measured)
        for run in planned:
            self.assertGreater(run["tokens_per_s"], 0)
            self.assertGreater(run["memory_bytes"], 32 << 20, "with the library's workspace")
            dry = self.call(0, "train", f"sweep/runs/{run['run_id']}/config.yaml", "--device", "cuda", "--dry-run",
                            "--json", "-")
            self.assertEqual(json.loads(dry.stdout)["memory_bytes"]["total"], run["memory_bytes"])
        self.call(0, "sweep", "run", "sweep", "--device", "cuda")
        results = [json.loads(file.read_text()) for file in (self.folder / "sweep" / "runs").glob("*/result.json")]
        self.assertEqual([result["status"] for result in results], ["done", "done"])

    def test_what_does_not_fit_is_said_before_the_start(self):
        large = ["--set", "model.n_layers=24", "--set", "model.d_model=8192"]
        done = self.train("large", "cuda", *large, status=2)
        self.assertRegex(done.stderr, r"memory: found 16 GiB free on cuda, expected the run's \d+ GiB: .*"
                                      r"train.recompute: \[norms, mlp\] saves .*; train.precision: bf16 ")
        self.assertFalse((self.folder / "large").exists())
        done = self.call(2, "train", "run.yaml", "--device", "cuda", "--dry-run", *large)
        self.assertRegex(done.stdout, r"memory +\d+ bytes .* of 16 GiB free on cuda\n +\d+ weights\n")
        self.assertIn("memory: found 16 GiB free on cuda", done.stderr)
        done = self.call(0, "sweep", "plan", "sweep.yaml", "--output", "large", "--device", "cuda", "--set",
                         "sweep.sizes=[24x8192x64]", "--set", "sweep.tokens=[1280]")
        self.assertIn("warning: no room for the run: 24x8192", done.stdout)

    def test_recomputation_changes_no_bits(self):
        settings = ["--set", "train.precision=bf16", "--set", "train.tokens=1280"]
        self.train("kept", "cuda", *settings)
        self.train("again", "cuda", *settings, "--set", "train.recompute=[norms, mlp]")
        weights = [(self.folder / run / "checkpoints" / "10" / "model.safetensors").read_bytes()
                   for run in ("kept", "again")]
        self.assertEqual(*weights)
        self.assertEqual(self.result("kept")["run_id"], self.result("again")["run_id"])

    def test_the_dry_run_counts_the_devices_bytes(self):
        def memory(precision):
            plan = self.call(0, "train", "run.yaml", "--device", "cuda", "--dry-run", "--json", "-", "--set",
                             f"train.precision={precision}")
            return json.loads(plan.stdout)["memory_bytes"]
        full, half = memory("fp32"), memory("bf16")
        self.assertEqual(full["compute_weights"], 0)
        self.assertEqual(2 * half["compute_weights"], half["weights"])
        self.assertLess(half["activations"], full["activations"])

    def test_the_benchmark_measures_the_device(self):
        report = json.loads(self.call(0, "bench", "--device", "cuda", "--precision", "bf16", "--only", "peak,operations",
                                      "--shapes", "S", "--seconds", "1e-6", "--json", "-").stdout)
        measured, = report["measured"]
        self.assertEqual((measured["device"], measured["lanes"], report["precision"]), ("cuda", 1, "bf16"))
        self.assertRegex(measured["peak"]["gflops_of"], "matrix product of ")
        for figures in (measured["peak"], *measured["operations"]):
            self.assertGreater(figures["gb_per_s"], 0)
        self.assertEqual(len(measured["operations"]), 21)

    def test_another_gpu_than_there_is(self):
        done = self.train("none", "cuda:700", status=2)
        self.assertRegex(done.stderr, r"--device cuda:700: found no GPU 700, expected 0 to \d+")


def problem():
    """Why no GPU can train here; empty: one can."""
    doctor = subprocess.run([PROGRAM, "doctor", "--json", "-"], capture_output=True, text=True, check=True)
    return json.loads(doctor.stdout)["cuda"]["problem"]


if __name__ == "__main__":
    if found := problem():
        print("SKIPPED: no GPU to test on:", found)
        sys.exit(SKIPPED)
    unittest.main()
