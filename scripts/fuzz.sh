#!/usr/bin/env bash
# Feeds broken input to everything that reads files: no crash, no sanitizer finding, no hang, no large allocation.
# usage: scripts/fuzz.sh [SECONDS [TARGET ...]]      by default 10 seconds for every target
#   scripts/fuzz.sh 600 config csv
# Prints a line per target. What it found worth keeping stays in build/fuzz/corpus/TARGET: the next run goes on there.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '3,5p' "$0"; }
case "${1:-}" in
  -h | --help) usage; exit 0 ;;
esac
seconds=${1:-10}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || { usage >&2; exit 2; }

programs=build/fuzz/tests/fuzz
known=()
for source in tests/fuzz/*_fuzz.cpp; do known+=("$(basename "$source" _fuzz.cpp)"); done
targets=("${@:2}")
if [ ${#targets[@]} -eq 0 ]; then targets=("${known[@]}"); fi
for target in "${targets[@]}"; do
  [ -f "tests/fuzz/${target}_fuzz.cpp" ] || { echo "fuzz.sh: no target $target, expected ${known[*]}" >&2; exit 2; }
done

mkdir -p build
scripts/build.sh fuzz > build/fuzz.log 2>&1 || { cat build/fuzz.log >&2; exit 1; }

# Targets whose reader opens files write them here: in memory if possible.
scratch=$(mktemp -d -p /dev/shm 2> /dev/null || mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export TMPDIR=$scratch
export ASAN_OPTIONS=detect_leaks=1:quarantine_size_mb=32
export UBSAN_OPTIONS=print_stacktrace=1
rm -rf build/fuzz/seeds
$programs/fuzz_seeds build/fuzz/seeds

# Short runs try the same inputs each time, so that a test fails by what was changed and not by chance.
seed=()
if [ "$seconds" -le 10 ]; then seed=(-seed=1); fi
# The limits are what a forged length must not get past with an input of at most 64 KiB.
limits=(-max_len=65536 -timeout=5 -malloc_limit_mb=64 -rss_limit_mb=1024)

fuzz() {
  local target=$1 program=$programs/$1_fuzz log=build/fuzz/log/$1 finding
  mkdir -p "build/fuzz/corpus/$target" build/fuzz/log build/fuzz/findings
  local hostile=(build/fuzz/seeds/hostile/"$target"/*)
  if { [ ! -e "${hostile[0]}" ] || $program "${limits[@]}" "${hostile[@]}"; } > "$log" 2>&1 &&
    $program "${limits[@]}" "${seed[@]}" -max_total_time="$seconds" -dict="build/fuzz/seeds/$target.dict" \
    -artifact_prefix="build/fuzz/findings/$target-" -print_final_stats=1 \
    "build/fuzz/corpus/$target" "build/fuzz/seeds/$target" >> "$log" 2>&1; then
    awk -v target="$target" '
      { for (i = 1; i < NF; ++i) { if ($i == "cov:") edges = $(i + 1); if ($i == "corp:") corpus = $(i + 1) } }
      /^stat::number_of_executed_units:/ { runs = $2 }
      /^stat::average_exec_per_sec:/ { rate = $2 }
      END { sub("/.*", "", corpus)
            printf "%-14s %9d executions  %6d /s  %5d edges  %5d inputs kept\n", target, runs, rate, edges, corpus }
    ' "$log"
  else
    # A file that was given by its name is not written again.
    finding=$(sed -n -e 's/^Running: //p' -e 's/.*Test unit written to //p' "$log" | tail -1)
    grep -m 1 -A 1 -E '^FINDING|ERROR: |runtime error: |terminate called|what\(\):' "$log" || tail -5 "$log"
    echo "$target: FOUND ${finding:-nothing that was kept}; see $log"
    echo "  reproduce: $program ${limits[*]} $finding"
    return 1
  fi
}

failed=false
running=0
for target in "${targets[@]}"; do
  if [ "$running" -ge "$(nproc)" ]; then
    wait -n || failed=true
    running=$((running - 1))
  fi
  fuzz "$target" &
  running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
  wait -n || failed=true
  running=$((running - 1))
done
if $failed; then exit 1; fi
