#!/usr/bin/env python3
"""Trains the same models with the same seeds in fp32 and in bf16, and says whether their validation losses differ by more
than seeds make them differ.

usage: scripts/compare_precisions.py [CORPUS [SEEDS]]   (default corpora/english, of scripts/quickstart.sh, and 4;
                                                         MINICHILLA_BINARY: another program than build/release/minichilla)

Two sizes at one FLOP budget of configs/quickstart.yaml, all else as there: about five minutes on two cores.
"""

import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = os.environ.get("MINICHILLA_BINARY", str(ROOT / "build/release/minichilla"))
SWEEP = "sweep:\n  kind: isoflop\n  budgets: [6.3e11]\n  sizes: [2x24, 3x40]\n  seeds: {seeds}\n  rules:"


def config(corpus, precision, seeds):
    """The quickstart's, with another sweep."""
    text = (ROOT / "configs/quickstart.yaml").read_text()
    text = re.sub(r"corpus: [^}]*", f"corpus: {json.dumps(str(corpus))}", text)
    text = text.replace("\ntrain:\n", f"\ntrain:\n  precision: {precision}\n")
    return re.sub(r"sweep:\n.*?\n  rules:", lambda _: SWEEP.format(seeds=list(range(1, seeds + 1))), text, flags=re.DOTALL)


def losses(folder, corpus, precision, seeds):
    """Of each size, by seed: nats per token."""
    path, sweep = folder / f"{precision}.yaml", folder / precision
    path.write_text(config(corpus, precision, seeds))
    for words in (["plan", path, "--output", sweep, "--no-calibration"], ["run", sweep]):
        subprocess.run([PROGRAM, "sweep", *map(str, words), "--device", "cpu"], check=True, stdout=subprocess.DEVNULL)
    found = {}
    for run in sorted((sweep / "runs").iterdir()):
        found.setdefault(run.name.split("-")[0], []).append(json.loads((run / "result.json").read_text())["val_loss"])
    return found


def main(arguments):
    if arguments[:1] in (["-h"], ["--help"]):
        print(__doc__.strip())
        return 0
    corpus = pathlib.Path(arguments[0] if arguments else ROOT / "corpora/english").absolute()
    wanted = arguments[1] if len(arguments) > 1 else "4"
    problem = ("" if wanted.isascii() and wanted.isdigit() and int(wanted) >= 2
               else f"SEEDS: found {wanted!r}, expected a number of at least 2")
    if not corpus.is_dir():
        problem = f"found no folder {corpus}, expected a corpus of minichilla data prepare"
    if not os.access(PROGRAM, os.X_OK):
        problem = f"found no program {PROGRAM}, expected a built minichilla"
    if problem:
        print(f"compare_precisions.py: {problem}", file=sys.stderr)
        return 2
    seeds = int(wanted)
    with tempfile.TemporaryDirectory(prefix="minichilla-precisions-") as name:
        fp32, bf16 = (losses(pathlib.Path(name), corpus, precision, seeds) for precision in ("fp32", "bf16"))
    print("| size | fp32: mean, deviation of seeds | bf16 | difference of means | its standard error |")
    print("|---|---:|---:|---:|---:|")
    alike = True
    for size in fp32:
        means = [statistics.mean(values[size]) for values in (fp32, bf16)]
        deviations = [statistics.stdev(values[size]) for values in (fp32, bf16)]
        error = (sum(deviation ** 2 for deviation in deviations) / seeds) ** 0.5
        difference = means[1] - means[0]
        alike = alike and abs(difference) <= 2 * error
        print(f"| {size} | {means[0]:.4f}, {deviations[0]:.4f} | {means[1]:.4f}, {deviations[1]:.4f} | "
              f"{difference:+.4f} | {error:.4f} |")
    print("within seed noise (two standard errors)" if alike else "NOT within seed noise (two standard errors)")
    return 0 if alike else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
