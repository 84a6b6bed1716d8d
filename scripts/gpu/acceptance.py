"""What scripts/gpu_acceptance.sh runs: the parts of an acceptance on a GPU, and their figures."""

import argparse
import csv
import json
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
import xml.etree.ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import page  # noqa: E402
from parts import Failed, Runner, Skipped, last_words  # noqa: E402
from synthetic_text import write_text  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
SKIPPED = 77
BENCHES = {"fp32": ["--precision", "fp32"], "tf32": ["--precision", "tf32"], "bf16": ["--precision", "bf16"],
           "own": ["--precision", "bf16", "--products", "own"]}
# Seconds, by the first word of a part's name. Together more than the total, which is what ends the whole.
LIMITS = {"environment": 20, "build": 240, "tests": 120, "bench": 45, "corpus": 90, "training": 120, "attention": 40,
          "memcheck": 60, "racecheck": 60}
TOTAL_SECONDS = 530
# Under compute-sanitizer a kernel takes up to a hundred times as long: one small test of each kind of kernel.
SANITIZED_TESTS = ":".join(("CudaAddNorm/*.AgreesWithTheReferenceAtAnyAddress", "CudaAttention/*.RowsNeedNotBeAligned",
                            "CudaOptimizer.ANonFiniteStepLeavesEveryBit", "CudaSquareSums*",
                            "CudaTensorCoreGemm.EveryEpilogueIsRight"))
TEXT_BYTES, TOKENIZER_BYTES, VOCABULARY = 12_000_000, 4_000_000, 50257
BENCH_SHAPES = "S,M,L,124M"


def toolkit(name):
    """The path of a tool of the CUDA toolkit, or None."""
    return shutil.which(name) or shutil.which(name, path="/usr/local/cuda/bin")


def said(*command):
    """What a command prints, or "" when it cannot be run."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def read_json(file):
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise Failed(f"{file}: {error}")


class Acceptance:
    def __init__(self, output, build, total_seconds):
        self.output, self.build, self.work = output, build, output / "work"
        self.began = time.strftime("%Y-%m-%d %H:%M:%S %z")
        self.runner = Runner(output, LIMITS, total_seconds, self.write)
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()

    @property
    def minichilla(self):
        return self.build / "minichilla"

    def write(self, parts):
        """The report so far, so that an acceptance that is killed leaves one too."""
        report = {"format": "minichilla gpu acceptance 1", "began": self.began,
                  "status": "failed" if any(part.status == "failed" for part in parts) else "ok",
                  "seconds": round(sum(part.seconds for part in parts), 2), "parts": [vars(part) for part in parts]}
        (self.output / "acceptance.json").write_text(json.dumps(report, indent=1) + "\n")
        (self.output / "acceptance.md").write_text(page.markdown(report))

    def run(self):
        run = self.runner.run
        environment = run("environment", self.environment)
        build = run("build", lambda: self.compile(environment.figures["gpus"]), [environment])
        run("tests", self.tests, [build])
        for name in BENCHES:
            run(f"bench {name}", lambda: self.bench(name), [build])
        corpus = run("corpus", self.corpus, [build])
        run("training", self.training, [corpus])
        run("attention of PyTorch", self.torch_attention, [environment])
        for tool in ("memcheck", "racecheck"):
            run(tool, lambda: self.sanitize(tool), [build])
        return 1 if any(part.status == "failed" for part in self.runner.parts) else 0

    def environment(self):
        figures = {"commit": said("git", "rev-parse", "HEAD"),
                   "changed_files": len(said("git", "status", "--short").splitlines()),
                   "system": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()}
        nvcc = toolkit("nvcc")
        figures["toolkit"] = (re.findall(r"release ([\d.]+)", said(nvcc, "--version")) or [""])[0] if nvcc else ""
        if not shutil.which("nvidia-smi"):
            raise Failed("found no nvidia-smi: there is no NVIDIA driver on this machine, so no GPU to accept", figures)
        keys = ("name", "compute_cap", "driver_version", "memory.total", "clocks.max.sm", "power.limit")
        log = self.runner.must("environment", ["nvidia-smi", "--query-gpu=" + ",".join(keys), "--format=csv,noheader"])
        rows = csv.reader(log.read_text().splitlines()[1:], skipinitialspace=True)
        figures["gpus"] = [dict(zip(keys, row)) for row in rows if len(row) == len(keys)]
        if not figures["gpus"]:
            raise Failed(f"nvidia-smi names no GPU: {last_words(log)}", figures)
        return figures

    def compile(self, gpus):
        if not toolkit("nvcc"):
            raise Failed("found no nvcc, neither on PATH nor in /usr/local/cuda/bin: the CUDA toolkit is needed")
        architectures = sorted({gpu["compute_cap"].replace(".", "") for gpu in gpus}, key=int)
        available = re.search(r"MemAvailable:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())
        jobs = max(1, min(os.cpu_count(), int(available[1]) // 2**21))  # 2 GiB each
        self.runner.must("configure", ["cmake", "-S", ROOT, "-B", self.build, "-G", "Ninja",
                                       "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_UNITY_BUILD=ON",
                                       "-DCMAKE_UNITY_BUILD_BATCH_SIZE=6", "-DMINICHILLA_CUDA=ON",
                                       "-DMINICHILLA_CUDA_ARCHITECTURES=" + ";".join(architectures)])
        self.runner.must("build", ["cmake", "--build", self.build, "-j", jobs, "--target", "gpu_tests"])
        return {"architectures": architectures, "jobs": jobs}

    def tests(self):
        junit = self.output / "logs" / "ctest.xml"
        junit.unlink(missing_ok=True)
        status, log = self.runner.call("tests", ["ctest", "--test-dir", self.build, "-L", "gpu", "-V",
                                                 "--output-junit", junit, "--test-output-size-passed", 2**20,
                                                 "--test-output-size-failed", 2**20])
        if not junit.exists():
            raise Failed(f"ctest ended with status {status}: {last_words(log)}")
        figures, reasons, failed = {}, [], []
        for case in xml.etree.ElementTree.parse(junit).getroot().iter("testcase"):
            text = case.findtext("system-out") or ""
            outcome = {"run": "ok", "fail": "failed"}.get(case.get("status"), "skipped")
            figures[case.get("name")] = {"status": outcome, "seconds": float(case.get("time", 0)),
                                         "failed": sorted(set(re.findall(r"^\[  FAILED  \] ([\w./]+)", text, re.M)))}
            for word in ("PASSED", "SKIPPED"):
                counted = re.search(rf"\[ +{word} +\] (\d+) test", text)
                figures[case.get("name")][word.lower()] = int(counted[1]) if counted else None
            reasons += re.findall(r"SKIPPED: (.*)", text)
            if outcome == "failed":
                failed.append(case.get("name"))
        if failed or status != 0:
            raise Failed(f"failed: {', '.join(failed) or f'ctest, status {status}'}", figures)
        skipped = [name for name, figure in figures.items() if figure["status"] == "skipped"]
        if skipped or not figures:
            raise Skipped(f"{', '.join(skipped) or 'no test'}: {'; '.join(sorted(set(reasons))) or 'ctest ran none'}")
        return figures

    def bench(self, name):
        file = self.work / f"bench-{name}.json"
        self.runner.must(f"bench-{name}", [self.minichilla, "bench", "--device", "cuda", *BENCHES[name], "--shapes",
                                           BENCH_SHAPES, "--seconds", 0.15, "--json", file])
        return read_json(file)["measured"][0]

    def corpus(self):
        text = self.work / "synthetic.txt"
        write_text(text, TEXT_BYTES)
        self.runner.must("corpus", [self.minichilla, "data", "prepare", text, "--output", self.work / "corpus",
                                    "--tokenizer", "sentencepiece", "--vocab", VOCABULARY, "--tokenizer-bytes",
                                    TOKENIZER_BYTES])
        return {"bytes": text.stat().st_size, "vocabulary": VOCABULARY}

    def training(self):
        run = self.work / "run"
        try:
            self.runner.must("training", [self.minichilla, "train", ROOT / "configs" / "gpu_124m.yaml", "--output", run,
                                          "--device", "cuda", "--set", f"data.corpus={self.work / 'corpus'}"])
        except Failed as failed:
            raise Failed(str(failed), self.speeds(run))
        result = read_json(run / "result.json")
        if result["status"] != "done":
            raise Failed(f"the run ended as {result['status']}", self.speeds(run))
        keys = ("params", "tokens", "flops", "train_loss", "val_loss", "tokens_per_s", "wall_s", "numerics_id")
        return {**self.speeds(run), **{key: result[key] for key in keys}}

    @staticmethod
    def speeds(run):
        """Of the logged steps, the first fifth left out: there libraries are loaded and clocks rise."""
        steps = []
        for file in sorted(run.glob("attempts/*/metrics.jsonl")):
            for line in file.read_text().splitlines():
                row = json.loads(line)
                if "tokens_per_s" in row:
                    steps.append(row)
        if not steps:
            return {"steps": 0}
        settled = [row["tokens_per_s"] for row in steps[len(steps) // 5:]]
        return {"steps": steps[-1]["step"], "median_tokens_per_s": statistics.median(settled),
                "best_tokens_per_s": max(settled), "first_loss": steps[0]["loss"], "last_loss": steps[-1]["loss"]}

    def torch_attention(self):
        status, log = self.runner.call("attention", [sys.executable, ROOT / "scripts" / "gpu" / "torch_attention.py"])
        if status == SKIPPED:
            raise Skipped(last_words(log, 1))
        if status != 0:
            raise Failed(f"torch_attention.py ended with status {status}: {last_words(log)}")
        return json.loads([line for line in log.read_text().splitlines() if line.startswith("{")][-1])

    def sanitize(self, tool):
        sanitizer = toolkit("compute-sanitizer")
        if not sanitizer:
            raise Skipped("found no compute-sanitizer, which belongs to the CUDA toolkit")
        status, log = self.runner.call(tool, [sanitizer, "--tool", tool, "--error-exitcode", 9,
                                              self.build / "tests" / "gpu" / "test_cuda_gpu",
                                              f"--gtest_filter={SANITIZED_TESTS}"])
        text = log.read_text(errors="replace")
        found = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: (.*)", text)
        passed = re.search(r"\[  PASSED  \] (\d+) test", text)
        figures = {"summary": found[-1] if found else "", "passed": int(passed[1]) if passed else 0}
        if status == SKIPPED:
            raise Skipped(last_words(log))
        if status != 0:
            raise Failed(f"{tool} ended with status {status}: {figures['summary'] or last_words(log)}", figures)
        if not figures["passed"]:
            raise Failed(f"no test ran under {tool}: {last_words(log)}", figures)
        return figures


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="gpu_acceptance.sh",
        description="Build, test, measure and train on this machine's GPU; one report as JSON and Markdown. "
        "Exit status: 0 no part failed, 1 a part failed, 2 usage.")
    parser.add_argument("output", nargs="?", type=pathlib.Path, default=ROOT / "results" / "gpu-acceptance",
                        help="folder of the report [results/gpu-acceptance]")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "gpu", help="where to build [build/gpu]")
    parser.add_argument("--limit", type=float, default=TOTAL_SECONDS,
                        help="seconds of all parts together [%(default)s]")
    options = parser.parse_args(arguments)
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        acceptance = Acceptance(options.output.resolve(), options.build.resolve(), options.limit)
    except OSError as error:
        parser.error(f"{options.output}: {error.strerror}, expected a folder to write to")
    status = acceptance.run()
    print(f"report: {options.output / 'acceptance.md'} and acceptance.json")
    return status


if __name__ == "__main__":
    sys.exit(main())
