"""Tests of scripts/gpu_acceptance.sh with tools that are played: no GPU, CUDA or build is needed."""

import contextlib
import importlib.util
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest
from unittest import mock

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "gpu_acceptance.sh"
spec = importlib.util.spec_from_file_location("acceptance", ROOT / "scripts" / "gpu" / "acceptance.py")
acceptance = importlib.util.module_from_spec(spec)
spec.loader.exec_module(acceptance)

PARTS = ["environment", "build", "tests", "bench fp32", "bench tf32", "bench bf16", "bench own", "corpus", "training",
         "attention of PyTorch", "memcheck", "racecheck"]

NVIDIA_SMI = 'echo "NVIDIA H100 80GB HBM3, 9.0, 570.1, 81559 MiB, 1980 MHz, 700.00 W"'
NVCC = 'echo "Cuda compilation tools, release 13.0, V13.0.48"'
CMAKE = 'echo "cmake $*" >> "$(dirname "$0")/calls"'
CTEST = """while [ $# -gt 0 ]; do if [ "$1" = --output-junit ]; then file=$2; fi; shift; done
cat > "$file" <<'XML'
<testsuite name="x"><testcase name="gpu.cuda" time="2.5" status="run"><system-out>[==========] Running 60 tests
[  PASSED  ] 55 tests.
[  SKIPPED ] 5 tests, listed below:
</system-out></testcase><testcase name="gpu.program" time="1" status="run"><system-out/></testcase></testsuite>
XML"""
CTEST_FAILS = CTEST.replace('status="run"><system-out>[', 'status="fail"><system-out>[').replace(
    "[  SKIPPED ] 5", "[  FAILED  ] CudaEmbed/bf16.Sums, where TypeParam = x (3 ms)\n[  SKIPPED ] 5") + "\nexit 8"
CTEST_SKIPS = CTEST.replace('status="run"', 'status="notrun"').replace("[  PASSED  ] 55 tests.",
                                                                      "SKIPPED: no GPU to test on: it is asleep")
SANITIZER = """case "$*" in *error-exitcode*gtest_filter*) ;; *) exit 3 ;; esac
echo "[  PASSED  ] 7 tests."
echo "========= ERROR SUMMARY: 0 errors" """
MINICHILLA = """#!/usr/bin/env python3
import json, pathlib, sys
def option(name): return sys.argv[sys.argv.index(name) + 1]
if sys.argv[1] == "bench":
    row = {"shape": "L", "operation": "attention dense", "pass": "forward", "best_ms": 0.125, "gflops_per_s": 5e4,
           "peak_percent": 50.0, "gb_per_s": 900.0, "memory_percent": 30.0}
    step = {"shape": "L", "tokens_per_s": 1e6, "median_tokens_per_s": 9e5, "gflops_per_s": 4e4, "peak_percent": 40.0}
    peak = {"gflops_per_s": 1e5, "gflops_of": "matrix product of 8192³", "gb_per_s": 3000.0, "gb_of": "a copy"}
    pathlib.Path(option("--json")).write_text(json.dumps({"measured": [
        {"numerics": "cuda, H100, " + option("--precision"), "peak": peak, "operations": [row], "steps": [step]}]}))
elif sys.argv[1] == "train":
    run = pathlib.Path(option("--output"))
    (run / "attempts" / "1").mkdir(parents=True)
    lines = [{"step": step, "loss": 11.0 - step / 100, "tokens_per_s": 1000.0 * step} for step in range(1, 201)]
    lines.insert(100, {"step": 100, "split": "val", "loss": 9.0})
    (run / "attempts" / "1" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\\n" for line in lines))
    (run / "result.json").write_text(json.dumps({"status": "done", "params": 124439808, "tokens": 6553600,
        "flops": 5e15, "train_loss": 9.0, "val_loss": 9.1, "tokens_per_s": 99000.0, "wall_s": 66.0,
        "numerics_id": "cafe"}))
elif sys.argv[1:3] != ["data", "prepare"]:
    sys.exit(2)
"""
TORCH = """import sys
from unittest.mock import MagicMock
torch = MagicMock(__version__="2.9.0")
torch.cuda.is_available.return_value = True
torch.cuda.Event.return_value.elapsed_time.return_value = 2.0
sys.modules["torch"] = torch
"""
TOOLS = {"nvidia-smi": NVIDIA_SMI, "nvcc": NVCC, "cmake": CMAKE, "ctest": CTEST, "compute-sanitizer": SANITIZER}


class Acceptance(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)
        self.output = self.folder / "report"
        self.tools = self.folder / "bin"
        self.tools.mkdir()
        (self.folder / "build").mkdir()
        self.executable(self.folder / "build" / "minichilla", MINICHILLA)

    def executable(self, path, text):
        path.write_text(text)
        path.chmod(0o755)

    def play(self, **tools):
        for name, text in {**TOOLS, **{name.replace("_", "-"): text for name, text in tools.items()}}.items():
            if text is not None:
                self.executable(self.tools / name, "#!/bin/bash\n" + text + "\n")

    def accept(self, limits=None, torch_module="raise ImportError('it is not installed here')\n"):
        """Runs it in this process, with a PyTorch that is played: (exit status, parts by name, page)."""
        path = f"{self.tools}:/usr/bin:/bin"
        absent = mock.patch.object(acceptance, "toolkit", lambda name: acceptance.shutil.which(name))
        torch = self.folder / "modules"
        torch.mkdir(exist_ok=True)
        (torch / "torch.py").write_text(torch_module)
        with mock.patch.dict(os.environ, PATH=path, PYTHONPATH=str(torch)), absent, \
                mock.patch.dict(acceptance.LIMITS, limits or {}), mock.patch.object(acceptance, "TEXT_BYTES", 1000), \
                contextlib.redirect_stdout(io.StringIO()):
            status = acceptance.main([str(self.output), "--build", str(self.folder / "build")])
        report = json.loads((self.output / "acceptance.json").read_text())
        self.assertEqual([part["name"] for part in report["parts"]], PARTS)
        self.assertEqual(report["status"], "failed" if status else "ok")
        return status, {part["name"]: part for part in report["parts"]}, (self.output / "acceptance.md").read_text()

    def statuses(self, parts):
        return {name: part["status"] for name, part in parts.items()}

    def test_everything_succeeds_but_pytorch_which_is_not_there(self):
        self.play()
        status, parts, page = self.accept()
        self.assertEqual(self.statuses(parts), {**dict.fromkeys(PARTS, "ok"), "attention of PyTorch": "skipped"})
        self.assertEqual(status, 0)
        self.assertIn("it is not installed here", parts["attention of PyTorch"]["reason"])
        self.assertEqual(parts["environment"]["figures"]["gpus"][0]["compute_cap"], "9.0")
        self.assertEqual(parts["environment"]["figures"]["toolkit"], "13.0")
        self.assertIn("-DMINICHILLA_CUDA_ARCHITECTURES=90", (self.tools / "calls").read_text())
        self.assertEqual(parts["tests"]["figures"]["gpu.cuda"],
                         {"status": "ok", "seconds": 2.5, "failed": [], "passed": 55, "skipped": 5})
        self.assertEqual(parts["bench bf16"]["figures"]["numerics"], "cuda, H100, bf16")
        training = parts["training"]["figures"]
        self.assertEqual((training["steps"], training["median_tokens_per_s"]), (200, 120500.0))
        self.assertEqual(training["params"], 124439808)
        self.assertEqual(parts["memcheck"]["figures"], {"summary": "0 errors", "passed": 7})
        for expected in ("# minichilla on a GPU: ok", "| NVIDIA H100 80GB HBM3 | 9.0 |", "## bench fp32: ok",
                         "100 TFLOP/s", "| L | attention dense | forward | 0.125 | 50 | 50 | 900 | 30 |",
                         "| gpu.cuda | ok | 55 | 5 |",
                         "| median tokens per s | 1.205e+05 |"):
            self.assertIn(expected, page)

    def test_pytorch_stands_beside_the_same_attention(self):
        self.play()
        status, parts, page = self.accept(torch_module=TORCH)
        self.assertEqual((status, parts["attention of PyTorch"]["status"]), (0, "ok"))
        figures = parts["attention of PyTorch"]["figures"]
        self.assertEqual(figures["torch"], "2.9.0")
        expected = {(shape, precision) for shape in ("S", "M", "L", "124M") for precision in ("fp32", "tf32", "bf16")}
        self.assertEqual({(row["shape"], row["precision"]) for row in figures["rows"]}, expected)
        self.assertIn("| L | bf16 | forward | 0.1 | 0.125 |", page)
        _, parts, _ = self.accept(torch_module=TORCH.replace("= True", "= False"))
        self.assertEqual(parts["attention of PyTorch"]["status"], "skipped")
        self.assertEqual(parts["attention of PyTorch"]["reason"], "PyTorch finds no GPU")

    def test_without_a_gpu_everything_else_is_skipped_and_said(self):
        self.play(nvidia_smi=None)
        status, parts, page = self.accept()
        self.assertEqual(status, 1)
        self.assertEqual(self.statuses(parts), {**dict.fromkeys(PARTS, "skipped"), "environment": "failed"})
        self.assertIn("no NVIDIA driver", parts["environment"]["reason"])
        self.assertIn("it needs environment", parts["build"]["reason"])
        self.assertTrue(parts["environment"]["figures"]["python"])
        self.assertIn("# minichilla on a GPU: failed", page)

    def test_without_a_driver_nvidia_smi_says_why(self):
        self.play(nvidia_smi="echo 'NVIDIA-SMI has failed: is the driver loaded?'; exit 9")
        _, parts, _ = self.accept()
        self.assertIn("status 9: ", parts["environment"]["reason"])
        self.assertIn("is the driver loaded?", parts["environment"]["reason"])

    def test_a_sanitizer_that_is_not_there_is_skipped(self):
        self.play(compute_sanitizer=None)
        status, parts, _ = self.accept()
        self.assertEqual(status, 0)
        self.assertEqual({parts[name]["status"] for name in ("memcheck", "racecheck")}, {"skipped"})

    def test_a_failing_part_does_not_stop_the_others(self):
        self.play(ctest=CTEST_FAILS, compute_sanitizer="echo '========= ERROR SUMMARY: 3 errors'; exit 9")
        status, parts, page = self.accept()
        self.assertEqual(status, 1)
        self.assertEqual(parts["tests"]["reason"], "failed: gpu.cuda")
        self.assertEqual(parts["tests"]["figures"]["gpu.cuda"]["failed"], ["CudaEmbed/bf16.Sums"])
        self.assertEqual(parts["memcheck"]["reason"], "memcheck ended with status 9: 3 errors")
        self.assertEqual({parts[name]["status"] for name in ("bench fp32", "training")}, {"ok"})
        self.assertIn("| gpu.cuda | failed | 55 | 5 | CudaEmbed/bf16.Sums |", page)

    def test_a_build_that_fails_skips_what_needs_it(self):
        self.play(cmake="echo 'ptxas: out of registers'; exit 1")
        _, parts, _ = self.accept()
        self.assertEqual(parts["build"]["status"], "failed")
        self.assertIn("ptxas: out of registers", parts["build"]["reason"])
        self.assertEqual({parts[name]["status"] for name in PARTS[2:]}, {"skipped"})

    def test_tests_that_are_skipped_are_neither_passed_nor_failed(self):
        self.play(ctest=CTEST_SKIPS)
        _, parts, _ = self.accept()
        self.assertEqual(parts["tests"]["status"], "skipped")
        self.assertIn("no GPU to test on: it is asleep", parts["tests"]["reason"])

    def test_a_part_that_hangs_ends_at_its_limit_with_its_children(self):
        survivor = self.folder / "survivor"
        self.play(ctest=f"(trap '' TERM; sleep 4; touch {survivor}) & sleep 600")
        begin = time.monotonic()
        status, parts, _ = self.accept({"tests": 1.5})
        self.assertEqual(status, 1)
        self.assertIn("stopped at its time limit of 2 s", parts["tests"]["reason"])
        self.assertLess(parts["tests"]["seconds"], 60)
        self.assertEqual(parts["bench fp32"]["status"], "ok")
        time.sleep(max(0, begin + 6 - time.monotonic()))
        self.assertFalse(survivor.exists())

    def test_a_run_that_hangs_leaves_the_speed_of_its_steps(self):
        self.play()
        self.executable(self.folder / "build" / "minichilla", MINICHILLA.replace(
            'elif sys.argv[1:3]', '    sys.stdout.flush()\n    import time; time.sleep(600)\nelif sys.argv[1:3]'))
        _, parts, _ = self.accept({"training": 3})
        self.assertEqual(parts["training"]["status"], "failed")
        self.assertIn("stopped at its time limit", parts["training"]["reason"])
        self.assertEqual(parts["training"]["figures"]["steps"], 200)

    def test_the_total_limit_is_kept(self):
        self.play()
        with mock.patch.object(acceptance, "TOTAL_SECONDS", 0):
            status, parts, _ = self.accept()
        self.assertEqual(status, 1)
        self.assertEqual(parts["environment"]["reason"], "no time is left of the 0 s of all parts")

    def test_the_command_itself(self):
        environment = {**os.environ, "PATH": f"{self.tools}:/usr/bin:/bin"}
        done = subprocess.run([SCRIPT, self.output, "--build", self.folder / "build"], env=environment,
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("== environment\n   failed: found no nvidia-smi", done.stdout)
        self.assertIn("acceptance.md", done.stdout)
        self.assertTrue((self.output / "acceptance.json").exists())
        for arguments in (["--limt", "3"], [__file__]):
            done = subprocess.run([SCRIPT, *arguments], env=environment, capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 2, arguments)

    def test_the_text_has_words_enough_and_is_always_the_same(self):
        files = [self.folder / name for name in ("a.txt", "b.txt")]
        for file in files:
            acceptance.write_text(file, 200_000)
        text = files[0].read_text()
        self.assertEqual(text, files[1].read_text())
        self.assertGreaterEqual(len(text), 200_000)
        words = text.lower().replace(".", "").split()
        self.assertGreater(len(set(words)), 5000)
        self.assertGreater(words.count(max(set(words[:200]), key=words.count)), len(words) / 500)


if __name__ == "__main__":
    unittest.main()
