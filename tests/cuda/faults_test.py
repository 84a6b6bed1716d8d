#!/usr/bin/env python3
"""Makes deliberate faults in the CUDA kernels, one at a time, and requires that a test notices each.

usage: faults_test.py BUILD_FOLDER PROCESSES [NAME ...]      the build is Ninja's

By default all faults but those that are like another one; with MINICHILLA_LONG_FAULTS=1 really all.

A fault changes one file in a temporary copy. The files that contain it are compiled as the build compiles them (but
without optimisation), put in the place of the original objects in a copy of the kernels' library, and linked with the
test objects of the build. Noticed means a finding of ptxrun (exit 99) or a failed assertion: not an error of the
compiler, a crash or a timeout. Each filter must select tests.
"""
import concurrent.futures
import dataclasses
import os
import pathlib
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
KERNELS = ROOT / "kernels" / "cuda"
PROGRAM, LIBRARY = "tests/cuda/test_cuda_sm_80", "tests/cuda/libminichilla_cuda_sm_80.a"
SECONDS = 300
FINDING = 99  # ptxrun's exit status


@dataclasses.dataclass
class Fault:
    """`text`, which `file` has once, becomes `replacement`; `unit` is compiled, and tests of `filter` must fail."""

    name: str
    file: str
    text: str
    replacement: str
    unit: str
    filter: str
    like_another: bool = False


# Those that take longest to compile come first.
FAULTS = [
    Fault("the product does not wait for its next tiles", "tensor_core_gemm.cu",
          "cp_async_wait<kStages - 2>();\n    __syncthreads();", "cp_async_wait<kStages - 1>();\n    __syncthreads();",
          "tensor_core_gemm.cu", "CudaTensorCoreGemm.BothTilesGiveTheSameBits"),
    Fault("backward attention loads the statistics of one query too many", "attention_bf16_backward.cu",
          "const bool exists = begin + i < end;", "const bool exists = begin + i <= end;",
          "attention_bf16_backward.cu", "CudaAttention/bf16.DenseAgreesWithTheReference", like_another=True),
    Fault("backward attention overwrites keys that are still read", "attention_fp32_backward.cu",
          "__syncthreads();\n    keys.load(", "keys.load(",
          "attention_fp32_backward.cu", "CudaAttention/fp32.RowsNeedNotBeAligned"),
    Fault("the online softmax does not rescale the sums so far", "attention_bf16.cu",
          "[2 * half + n % 2] *= shrink;", "[2 * half + n % 2] *= 1;",
          "attention_bf16.cu", "CudaAttention/bf16.DenseAgreesWithTheReference"),
    Fault("attention's tiles are not swizzled", "attention_bf16.cuh",
          "kPermuted = kChunks % 8 == 0 ? 8 : kChunks & -kChunks;", "kPermuted = 1;",
          "attention_bf16.cu", "CudaAttention/bf16.LoadsWhatTheBandNeedsAndNothingElse"),
    Fault("attention's pipeline does not wait until a stage is free", "attention_bf16.cuh",
          "    __syncthreads();  // the step's tiles are there", "    // the step's tiles are there",
          "attention_bf16.cu", "CudaAttention/bf16.BandedAgreesWithTheReference", like_another=True),
    Fault("the band is one key too wide", "attention_head.cuh",
          "return key <= query && query - key < window;", "return key <= query && query - key <= window;",
          "attention_fp32.cu", "CudaAttention/fp32.BandedAgreesWithTheReference"),
    Fault("the norm's gradient takes the mean of another row", "add_norm.cu",
          "mu = m < end ? mean[m] : 0", "mu = m < end ? mean[first] : 0",
          "add_norm.cu", "CudaAddNorm/fp32.AgreesWithTheReference"),
    Fault("a second sum over a row overwrites the first", "rows.cuh",
          "__syncthreads();  // until nobody reads what was combined before", "",
          "wide_norm.cu", "CudaAddNorm/fp32.AgreesWithTheReferenceInWideRows", like_another=True),
    Fault("the wide norm keeps the gradient's row over the end of the sum's", "wide_norm.cu",
          "held_sum + min(C, kHeldColumns);", "held_sum + min(C, kHeldColumns / 2);",
          "wide_norm.cu", "CudaAddNorm/fp32.AgreesWithTheReferenceInWideRows"),
    Fault("the wide norm forgets what it added up for columns that it does not keep", "wide_norm.cu",
          "if (m != begin) load(d_w_out", "if (m < begin) load(d_w_out",
          "wide_norm.cu", "CudaAddNorm/fp32.AgreesWithTheReferenceInRowsTooWideToKeep", like_another=True),
    Fault("the next chunk of the classifier has the first one's targets", "cuda_operations.cpp",
          "logits, targets + begin, loss_scale", "logits, targets, loss_scale",
          "cuda_operations.cpp", "CudaClassifier/fp32.AgreesWithTheReferenceWhereverAChunkEnds"),
    Fault("the classifier's last chunk is as long as the others", "cuda_operations.cpp",
          "const int rows = std::min(step, shape.M - begin);", "const int rows = step;",
          "cuda_operations.cpp", "CudaClassifier/fp32.AgreesWithTheReferenceWhereverAChunkEnds", like_another=True),
    Fault("the gradient of padding columns stays what was there", "softmax_cross_entropy.cu",
          "c < leading_dimension; c += step", "c < V; c += step",
          "softmax_cross_entropy.cu", "CudaSoftmaxCrossEntropy/fp32.AgreesWithTheReference"),
    Fault("the loss reads rows beyond the last", "softmax_cross_entropy.cu",
          "const bool inside = m < rows;", "const bool inside = m < rows + 1;",
          "softmax_cross_entropy.cu", "CudaSoftmaxCrossEntropy/fp32.AgreesWithTheReference", like_another=True),
    Fault("AdamW ignores the finite flag", "optimizer.cu",
          "if (state.finite == 0) return;", "",
          "optimizer.cu", "CudaOptimizer.ANonFiniteStepLeavesEveryBit"),
    Fault("the bf16 copy is made with vectors at any address", "optimizer.cu",
          "all_aligned({from, to})", "true",
          "optimizer.cu", "CudaOptimizer.CastToBf16RoundsToNearest", like_another=True),
    Fault("every chunk of a long run adds the run's sum", "embed.cu",
          "if (sorted.token(end) != token || sorted.token_before(begin) == token) return;",
          "if (sorted.token(end) != token) return;",
          "embed.cu", "CudaEmbed/fp32.GradientsOfFrequentTokensAgreeWithTheReference"),
    Fault("rows of one token are sorted backwards within a warp", "sort_rows.cu",
          "__popc(peers & lower_lanes)", "__popc(peers & ~lower_lanes) - 1",
          "sort_rows.cu", "CudaSortRows.SortsStably"),
    Fault("lanes count digits while others read the count", "sort_rows.cu",
          "__syncwarp();  // the count may have been read, or changed by another lane", "",
          "sort_rows.cu", "CudaSortRows.SortsStably", like_another=True),
    Fault("the epilogue adds the bias of another column", "separate_epilogue.cu",
          "load(epilogue.bias + column, others);", "load(epilogue.bias + columns - kWidth - column, others);",
          "separate_epilogue.cu", "CudaCublasLtGemm/0.EveryEpilogueIsRight"),
    Fault("the epilogue multiplies by GELU instead of its derivative", "separate_epilogue.cu",
          "values[j] *= gelu_derivative(", "values[j] *= gelu(",
          "separate_epilogue.cu", "CudaCublasLtGemm/0.EveryEpilogueIsRight", like_another=True),
    Fault("the last block of the gradient's norm goes on beyond its range", "square_sums.cu",
          "min(begin + Operations::kNormBlock, range.end)", "begin + Operations::kNormBlock",
          "square_sums.cu", "CudaSquareSums.EachBlockHasItsOwnSum"),
    Fault("partial sums are added before they are there", "partial_sums.cu",
          "__syncthreads();\n  if (threadIdx.y != 0", "if (threadIdx.y != 0",
          "partial_sums.cu", "CudaAddNorm/fp32.AgreesWithTheReferenceAtAnyAddress"),
]


class Failure(Exception):
    """A fault that could not be made, or that nothing noticed."""


def run(command, folder, seconds=None, environment=None):
    return subprocess.run(command, cwd=folder, timeout=seconds, env=environment, capture_output=True, text=True,
                          errors="replace", check=False)


def run_tests(build, program, test_filter):
    schedule = {"PTXRUN_SEED": "1", "PTXRUN_BLOCKS": "2", "PTXRUN_LEAKS": "1"}
    return run([program, f"--gtest_filter={test_filter}"], build, SECONDS, {**os.environ, **schedule})


def one(found, what):
    if len(found) != 1:
        raise Failure(f"expected one {what}, found {len(found)}")
    return found[0]


class Build:
    """How the build makes the program: the words of each of its commands."""

    def __init__(self, folder):
        self.folder = folder
        listed = run(["ninja", "-t", "commands", PROGRAM], folder)
        if listed.returncode != 0:
            raise Failure(f"ninja: {listed.stdout}{listed.stderr}")
        self.commands = [shlex.split(part) for line in listed.stdout.splitlines() for part in line.split(" && ")]

    def command(self, option, value):
        """Of the command with this option, as a copy."""
        found = [command for command in self.commands if (option, value) in zip(command, command[1:])]
        return list(one(found, f"command with {option} {value}"))

    def compile_kernels(self, source, folder):
        """Objects of a .cu: of its host code and of its translated kernels. Includes come from `folder` first."""
        original, stem = str(KERNELS / source.name), source.stem
        command = self.command("--source", original)
        translated = command[command.index("--cpp") + 1]
        objects = [folder / f"{stem}.o", folder / f"{stem}.ptx.cpp.o"]
        for option, value in [("--source", source), ("--object", objects[0]), ("--cpp", folder / f"{stem}.ptx.cpp")]:
            command[command.index(option) + 1] = str(value)
        at = command.index("--depfile")
        del command[at:at + 2]
        command.insert(command.index("--") + 1, f"-I{folder}")
        self.must(command)
        self.compile_cpp(translated, folder / f"{stem}.ptx.cpp", objects[1], folder)
        return objects

    def compile_cpp(self, original, source, target, folder):
        command = self.command("-c", str(original))
        for option in ("-MT", "-MF"):
            at = command.index(option)
            del command[at:at + 2]
        command[command.index("-o") + 1], command[command.index("-c") + 1] = str(target), str(source)
        command.remove("-MD")
        command.insert(command.index("-c"), "-O0")
        command.insert(next(i for i, word in enumerate(command) if word.startswith("-")), f"-I{folder}")
        self.must(command)

    def program_with(self, objects, folder):
        library, program = folder / "kernels.a", folder / "test"
        shutil.copy(self.folder / LIBRARY, library)
        self.must(["ar", "r", str(library), *map(str, objects)])
        command = self.command("-o", PROGRAM)
        command[command.index(PROGRAM)], command[command.index(LIBRARY)] = str(program), str(library)
        self.must(command)
        return program

    def must(self, command):
        done = run(command, self.folder)
        if done.returncode != 0:
            raise Failure(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def changed(fault):
    text = (KERNELS / fault.file).read_text()
    if text.count(fault.text) != 1:
        raise Failure(f"{fault.file} has {text.count(fault.text)} times, expected once: {fault.text!r}")
    return text.replace(fault.text, fault.replacement)


def noticed(done):
    """By what; None: by nothing that counts."""
    finding = re.search(r"^ptxrun: ([A-Z-]+: .*)$", done.stderr, re.MULTILINE)
    if done.returncode == FINDING and finding and not finding[1].startswith("HANG"):
        return finding[1]
    test = re.search(r"^\[  FAILED  \] ([\w/.]+)", done.stdout, re.MULTILINE)
    if done.returncode == 1 and test:
        return test[1]
    return None


def check_fault(build, fault):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        copy = folder / "kernels" / "cuda" / fault.file
        copy.parent.mkdir(parents=True)
        copy.write_text(changed(fault))
        source = copy if fault.unit == fault.file else KERNELS / fault.unit
        if source.suffix == ".cu":
            objects = build.compile_kernels(source, folder)
        else:
            objects = [folder / f"{source.name}.o"]
            build.compile_cpp(KERNELS / fault.unit, source, objects[0], folder)
        done = run_tests(build.folder, build.program_with(objects, folder), fault.filter)
    by = noticed(done)
    if by is None:
        raise Failure(f"{fault.filter} did not notice it (exit status {done.returncode}):\n{done.stdout}{done.stderr}")
    return f"noticed  {fault.name} ({fault.file}): {by}"


def check_filter(build, test_filter):
    """That there are such tests. They pass without a fault in cuda.sm_80.schedule_1, which has the same schedule."""
    listed = run([build.folder / PROGRAM, f"--gtest_filter={test_filter}", "--gtest_list_tests"], build.folder)
    if not re.search(r"^  \w", listed.stdout, re.MULTILINE):
        raise Failure(f"expected tests, found {listed.stdout}{listed.stderr}")
    return f"found    {test_filter}"


def main():
    build, processes = Build(pathlib.Path(sys.argv[1]).resolve()), int(sys.argv[2])
    names, every = sys.argv[3:], os.environ.get("MINICHILLA_LONG_FAULTS") == "1"
    faults = [fault for fault in FAULTS if (fault.name in names if names else every or not fault.like_another)]
    for fault in FAULTS:
        changed(fault)  # also those that are not tried must still be where they were
    filters = sorted({fault.filter for fault in faults})
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(processes) as pool:
        started = {pool.submit(check_fault, build, fault): fault.name for fault in faults}
        started |= {pool.submit(check_filter, build, test_filter): test_filter for test_filter in filters}
        for task in concurrent.futures.as_completed(started):
            try:
                print(task.result(), flush=True)
            except (Failure, subprocess.TimeoutExpired) as error:
                print(f"FAILED   {started[task]}: {error}", flush=True)
                failed += 1
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{len(faults)} faults, {failed} failures, {used.ru_utime + used.ru_stime:.0f} CPU seconds")
    return 1 if failed or not faults else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as error:
        sys.exit(f"faults_test.py: {error}")
