#!/usr/bin/env python3
"""Writes the table of docs/kernels.md with the bytes that each CUDA kernel moves against the least that it must.

usage: scripts/kernel_traffic.py [--check] [PROGRAM]

PROGRAM: the tests of the kernels, linked with the rig [build/release/tests/cuda/test_cuda_sm_80]. Its CudaTraffic tests
count, hold the counts against their bounds, and record them. --check changes nothing, and fails where the page has
another table. Fails too where a kernel has no row.
"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import doc_table

ROOT = pathlib.Path(__file__).resolve().parent.parent
KERNEL = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\(")
HEADS = ["file", "kernel", "shape", "least bytes", "moved / least", "loaded / least to load", "loaded / needed by tiles"]


def kernels():
    """The file of each kernel."""
    sources = sorted((ROOT / "kernels" / "cuda").glob("*.cu*"))
    return {name: source.stem for source in sources for name in KERNEL.findall(source.read_text())}


def recorded(program):
    """What the tests wrote down, a list of fields for each row."""
    with tempfile.TemporaryDirectory() as folder:
        output = pathlib.Path(folder) / "tests.json"
        done = subprocess.run([program, "--gtest_brief=1", "--gtest_filter=CudaTraffic*", f"--gtest_output=json:{output}"],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"kernel_traffic.py: {program}: {done.stdout}{done.stderr}")
        suites = json.loads(output.read_text())["testsuites"]
    tests = [test for suite in suites for test in suite["testsuite"]]
    return [value.split(";") for test in tests for key, value in test.items() if key.startswith("traffic_")]


def row(file, fields):
    names, shape = fields[:2]
    least, moved, least_loaded, loaded, tiled = map(float, fields[2:])
    label = " + ".join(f"`{name.removesuffix('_kernel')}`" for name in names.split(" + "))
    return [file, label, shape, f"{least:.0f}", f"{moved / least:.2f}", f"{loaded / least_loaded:.2f}",
            f"{loaded / tiled:.2f}" if tiled > 0 else "–"]


def main():
    check, others = "--check" in sys.argv[1:], [word for word in sys.argv[1:] if word != "--check"]
    program = others[0] if others else ROOT / "build" / "release" / "tests" / "cuda" / "test_cuda_sm_80"
    if not pathlib.Path(program).exists():
        sys.exit(f"kernel_traffic.py: expected {program}: build the target test_cuda_sm_80")
    files, found = kernels(), recorded(program)
    counted = {name for fields in found for name in fields[0].split(" + ")}
    if counted != set(files):
        sys.exit(f"kernel_traffic.py: kernels without a count, or the reverse: {sorted(counted ^ set(files))}")
    rows = [row(files[fields[0].split(" + ")[0]], fields) for fields in found]
    rows.sort(key=lambda cells: cells[:2])
    doc_table.put("kernel_traffic", doc_table.table(HEADS, rows, 3), check)


if __name__ == "__main__":
    main()
