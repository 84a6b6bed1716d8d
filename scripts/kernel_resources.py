#!/usr/bin/env python3
"""Makes a Markdown table of each CUDA kernel: registers, shared memory, occupancy, stack and spills.

usage: scripts/kernel_resources.py [ARCHITECTURE ...]      needs nvcc, c++filt and the build

Without architectures writes the table of all into docs/kernels.md, else prints that of these.

Registers, static shared memory, stack and spills are ptxas's. Threads to a block and dynamic shared memory are those of
the launches that build/release/tests/cuda/test_cuda_sm_80 makes (target test_cuda_sm_80); where they depend on the
shape, the table has the least and the most.
"""
import collections
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import doc_table

ROOT = pathlib.Path(__file__).resolve().parent.parent
TESTS = ROOT / "build" / "release" / "tests" / "cuda" / "test_cuda_sm_80"
ENTRY = re.compile(r"Compiling entry function '(\w+)' for 'sm_(\d+)'")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")
LAUNCH = re.compile(r"^\[ptxrun\] (\w+)<<<\([\d,]+\),\((\d+),(\d+),(\d+)\),(\d+)>>>", re.MULTILINE)

Limits = collections.namedtuple("Limits", "warps blocks shared_bytes")
# Of a multiprocessor: CUDA C++ Programming Guide 13.0, "Technical Specifications per Compute Capability".
LIMITS = {"80": Limits(64, 32, 164 << 10), "86": Limits(48, 16, 100 << 10), "89": Limits(48, 24, 100 << 10),
          "90": Limits(64, 32, 228 << 10), "100": Limits(64, 32, 228 << 10), "120": Limits(48, 24, 100 << 10)}
# The same for all of these (there, and in the toolkit's cuda_occupancy.h): registers go to warps in units of 256, from
# the quarter of the multiprocessor that the warp is in; shared memory goes to blocks in units of 128 bytes, and a
# block has 1 KB of the system's.
WARP, REGISTERS_OF_A_QUARTER, QUARTERS, REGISTER_UNIT = 32, 16384, 4, 256
SHARED_UNIT, SYSTEM_SHARED = 128, 1024


def round_up(value, unit):
    return -(-value // unit) * unit


def occupancy(limits, registers, threads, shared):
    """Of the warps that a multiprocessor may have, those it has, in percent."""
    warps = -(-threads // WARP)
    warps_by_registers = REGISTERS_OF_A_QUARTER // round_up(registers * WARP, REGISTER_UNIT) * QUARTERS
    blocks = min(limits.blocks, limits.warps // warps, warps_by_registers // warps,
                 limits.shared_bytes // round_up(shared + SYSTEM_SHARED, SHARED_UNIT))
    return (100 * blocks * warps + limits.warps // 2) // limits.warps


def compiled(source, architectures):
    """What ptxas says of each (kernel, architecture) in one file."""
    flags = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in architectures]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["nvcc", "-std=c++20", "-O3", f"-I{ROOT}", *flags, "-Xptxas=-v", "-c", source, "-o",
                               f"{folder}/kernels.o"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"kernel_resources.py: {source}: {done.stderr}")
    kernels, now = {}, None
    for line in done.stderr.splitlines():
        if found := ENTRY.search(line):
            now = kernels.setdefault(found.groups(), {"shared": 0})
        elif now is not None and (found := STACK.search(line)):
            now["stack"], now["spills"] = int(found[1]), int(found[2]) + int(found[3])
        elif now is not None and (found := USED.search(line)):
            now["registers"] = int(found[1])
            now["shared"] = int(shared[1]) if (shared := SHARED.search(line)) else 0
    return kernels


def readable(names):
    """Demangled, without namespaces, parameters and casts in template arguments."""
    text = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    short = []
    for line in text.splitlines():
        line = re.sub(r"minichilla::cuda::|\(anonymous namespace\)::|^void ", "", line)
        line = re.sub(r"\((?:bool|int)\)", "", line)
        short.append(re.sub(r"\(.*$", "", line))
    return dict(zip(names, short))


def launches():
    """By readable name: the (threads to a block, bytes of dynamic shared memory) of a kernel's launches."""
    if not TESTS.exists():
        sys.exit(f"kernel_resources.py: expected {TESTS}: build the target test_cuda_sm_80")
    done = subprocess.run([TESTS, "--gtest_brief=1"], env={**os.environ, "PTXRUN_VERBOSE": "1"}, capture_output=True,
                          text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"kernel_resources.py: {TESTS}: {done.stdout}")
    seen = collections.defaultdict(set)
    for name, x, y, z, dynamic in set(LAUNCH.findall(done.stderr)):
        seen[name].add((int(x) * int(y) * int(z), int(dynamic)))
    names = readable(sorted(seen))
    return {names[name]: shapes for name, shapes in seen.items()}


def extent(values):
    """The least and the most, or the one that there is."""
    least, most = min(values), max(values)
    return str(least) if least == most else f"{least}–{most}"


def row(source, short, resources, shapes):
    """The cells of a line; `resources` by architecture."""
    static = max(found["shared"] for found in resources.values())
    columns = [source.stem, f"`{short}`", *(str(found["registers"]) for found in resources.values()),
               extent([threads for threads, _ in shapes]), extent([static + dynamic for _, dynamic in shapes])]
    for a, found in resources.items():
        columns.append(extent([occupancy(LIMITS[a], found["registers"], threads, found["shared"] + dynamic)
                               for threads, dynamic in shapes]))
    columns.append(str(max(found["stack"] + found["spills"] for found in resources.values())))
    return columns


def main():
    architectures = sys.argv[1:] or list(LIMITS)
    if unknown := sorted(set(architectures) - set(LIMITS)):
        sys.exit(f"kernel_resources.py: found architecture {unknown[0]}, expected one of {', '.join(LIMITS)}")
    shapes = launches()
    heads = ["file", "kernel", *(f"sm_{a}: registers" for a in architectures), "threads", "shared bytes",
             *(f"sm_{a}: occupancy %" for a in architectures), "stack and spills"]
    rows = []
    for source in sorted((ROOT / "kernels" / "cuda").glob("*.cu")):
        kernels = compiled(source, architectures)
        names = readable(sorted({name for name, _ in kernels}))
        for name, short in sorted(names.items(), key=lambda item: item[1]):
            if short not in shapes:
                sys.exit(f"kernel_resources.py: {source.name}: no test launches {short}")
            rows.append(row(source, short, {a: kernels[name, a] for a in architectures}, shapes[short]))
    text = doc_table.table(heads, rows, 2)
    if sys.argv[1:]:
        print(text)
    else:
        doc_table.put("kernel_resources", text)


if __name__ == "__main__":
    main()
