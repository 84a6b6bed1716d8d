#!/usr/bin/env bash
# Configures and builds one preset. usage: scripts/build.sh PRESET [cmake options …]
# PRESET: release, debug, asan or fuzz (see CMakePresets.json); TARGETS="name …" in the environment builds these alone.
# Compiles on all cores as far as 2 GiB of memory each allow.
set -euo pipefail
cd "$(dirname "$0")/.."

preset=${1:?usage: scripts/build.sh PRESET [cmake options]}
shift
memory_jobs=$(awk '/MemAvailable/ {print int($2 / 2097152)}' /proc/meminfo)
jobs=$(nproc)
if [ "$memory_jobs" -lt "$jobs" ]; then jobs=$((memory_jobs > 0 ? memory_jobs : 1)); fi

cmake --preset "$preset" "$@" > "/tmp/minichilla-configure-$$.log" 2>&1 || {
  cat "/tmp/minichilla-configure-$$.log" >&2
  exit 1
}
rm -f "/tmp/minichilla-configure-$$.log"
read -ra targets <<< "${TARGETS:-all}"
cmake --build --preset "$preset" -j "$jobs" --target "${targets[@]}"
