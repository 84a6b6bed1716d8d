#!/usr/bin/env python3
"""Prints a Markdown table of what ptxas gives each CUDA kernel: registers, static shared memory, stack and spills.

usage: scripts/kernel_resources.py [ARCHITECTURE ...]      by default 80 and 90; needs nvcc and c++filt
docs/kernels.md has its output.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
ENTRY = re.compile(r"Compiling entry function '(\w+)' for 'sm_(\d+)'")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")


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


def main():
    architectures = sys.argv[1:] or ["80", "90"]
    print("| file | kernel | " + " | ".join(f"sm_{a}: registers" for a in architectures) +
          " | static shared bytes | stack and spills |\n|---|---|" + "---:|" * (len(architectures) + 2))
    for source in sorted((ROOT / "kernels" / "cuda").glob("*.cu")):
        kernels = compiled(source, architectures)
        names = readable(sorted({name for name, _ in kernels}))
        for name, short in sorted(names.items(), key=lambda item: item[1]):
            rows = [kernels[name, a] for a in architectures]
            print(f"| {source.stem} | `{short}` | " + " | ".join(str(row["registers"]) for row in rows) +
                  f" | {max(row['shared'] for row in rows)} | {max(row['stack'] + row['spills'] for row in rows)} |")


if __name__ == "__main__":
    main()
