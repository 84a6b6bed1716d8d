#!/usr/bin/env bash
# From nothing to a compute-optimal answer: installs what is missing, builds, fetches 12.9 MB of English prose, trains a
# sweep of small transformers, fits it, draws it and prints the answer.
# usage: scripts/quickstart.sh [--output SWEEP] [options of `minichilla sweep plan` …]
#   scripts/quickstart.sh --output results/seed2 --set sweep.seeds=[2]
# Running it again goes on where it stopped.
set -euo pipefail
cd "$(dirname "$0")/.."

output=results/quickstart
case "${1:-}" in
  -h | --help) sed -n '2,6p' "$0"; exit 0 ;;
  --output) output=${2:?--output needs a folder}; shift 2 ;;
esac

step() { printf '\n== %s (%dm%02ds)\n' "$1" $((SECONDS / 60)) $((SECONDS % 60)); }
minichilla=build/release/minichilla

step "packages"
scripts/install_packages.sh
step "build"
scripts/build.sh release -DMINICHILLA_TESTS=OFF
step "text"
scripts/fetch_text.py corpora/text/english
$minichilla data prepare corpora/text/english --output corpora/english
step "plan"
$minichilla sweep plan configs/quickstart.yaml --output "$output" "$@"
step "train"
$minichilla sweep run "$output"
step "fit"
$minichilla fit "$output"
step "report"
$minichilla report "$output"
