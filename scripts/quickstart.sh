#!/usr/bin/env bash
# From nothing to a compute-optimal answer: installs what is missing, builds, fetches 12.9 MB of English prose, trains a
# sweep of small transformers, fits it, draws it and prints the answer.
# usage: scripts/quickstart.sh [--output SWEEP] [--vocab V] [options of `minichilla sweep plan` …]
#   scripts/quickstart.sh --output results/seed2 --set sweep.seeds=[2]
#   scripts/quickstart.sh --vocab 1024                # subword tokens by SentencePiece instead of bytes
# Running it again goes on where it stopped.
set -euo pipefail
cd "$(dirname "$0")/.."

output=""
corpus=corpora/english
tokenizer=()
while true; do
  case "${1:-}" in
    -h | --help) sed -n '2,7p' "$0"; exit 0 ;;
    --output) output=${2:?--output needs a folder}; shift 2 ;;
    --vocab)
      corpus=corpora/english-${2:?--vocab needs a number}
      tokenizer=(--tokenizer sentencepiece --vocab "$2")
      shift 2 ;;
    *) break ;;
  esac
done
output=${output:-results/quickstart${corpus#corpora/english}}

step() { printf '\n== %s (%dm%02ds)\n' "$1" $((SECONDS / 60)) $((SECONDS % 60)); }
minichilla=build/release/minichilla

step "packages"
scripts/install_packages.sh
step "build"
# Kernels for GPUs take minutes to compile: only where there is one.
cuda=OFF
if command -v nvidia-smi > /dev/null && nvidia-smi -L > /dev/null 2>&1; then cuda=AUTO; fi
scripts/build.sh release -DMINICHILLA_TESTS=OFF -DMINICHILLA_CUDA=$cuda
step "text"
scripts/fetch_text.py corpora/text/english
$minichilla data prepare corpora/text/english --output "$corpus" "${tokenizer[@]}"
step "plan"
$minichilla sweep plan configs/quickstart.yaml --output "$output" --set "data.corpus=$corpus" "$@"
step "train"
$minichilla sweep run "$output"
step "fit"
$minichilla fit "$output"
step "report"
$minichilla report "$output"
