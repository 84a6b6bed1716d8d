#!/usr/bin/env bash
# The one command that tests: installs what is missing, builds with warnings as errors, runs every test.
# usage: scripts/test.sh [--fast | --long]
#   --fast   leaves the sanitizer build, the fuzz targets and the tests labelled "slow" and "slurm" out
#   --long   adds what takes hours: ten minutes for each fuzz target, more faults in every file call, and all of it,
#            the tests' own code and the program included, under the sanitizers; CUDA kernels for every architecture,
#            and the tests of the rig that runs them on the CPU; the CPU's kernels for 64-bit ARM, run by qemu
set -euo pipefail
cd "$(dirname "$0")/.."

extent=usual
case "${1:-}" in
  --fast) extent=fast ;;
  --long) extent=long ;;
  "") ;;
  *) sed -n '3,7p' "$0" >&2; exit 2 ;;
esac

step() { printf '\n== %s (%dm%02ds)\n' "$1" $((SECONDS / 60)) $((SECONDS % 60)); }

step "packages"
scripts/install_packages.sh test

if ! command -v nvcc > /dev/null && [ ! -x /usr/local/cuda/bin/nvcc ]; then
  echo "test.sh: found no nvcc: the CUDA device is NOT built and NOT tested" >&2
  if [ "${CI:-}" = true ]; then exit 1; fi
fi
if [ "$(id -u)" != 0 ] || ! PATH=$PATH:/usr/sbin command -v slurmctld > /dev/null; then
  echo "test.sh: not root, or found no slurmctld: sweeps through SLURM are NOT tested" >&2
fi
architectures="80;90"
if [ $extent = long ]; then architectures="80;86;89;90;100;120"; fi

step "build: release, the CPU's part"
objects=(test_{kernels,model,trainer,analysis,sweeps}_objects)  # by themselves: the clock shows what CUDA adds
TARGETS="minichilla_commands ${objects[*]}" scripts/build.sh release -DMINICHILLA_WARNINGS_AS_ERRORS=ON \
  -DMINICHILLA_TESTS=ON -DMINICHILLA_SANITIZED_TWINS=ON -DMINICHILLA_CUDA=AUTO \
  "-DMINICHILLA_CUDA_ARCHITECTURES=$architectures"
step "build: release, the rest"
scripts/build.sh release

if [ $extent != fast ]; then
  # Of the floors below the sweeps, whose tests mostly start the program and wait for it.
  programs=(test_{analysis,trainer,kernels,model}_sanitized)  # the longest first
  step "build: the floors below the sweeps with AddressSanitizer and UndefinedBehaviorSanitizer"
  TARGETS="${programs[*]}" scripts/build.sh release

  step "unit tests under the sanitizers"
  # Whole programs instead of ctest's process per test: the sanitizers' start-up would cost more than the tests.
  # Left to the release build, as other tests feed the same code: very many texts for sentencepiece, which no sanitizer
  # looks into, the largest tables of measurements, and the long searches of RunProtocol.
  left_out='*AllCorpora*:*AHundredThousand*:*.EpochChinchillaIntervals:*.DataAblations:RunProtocol.Holds*'
  printf '%s\n' "${programs[@]}" |
    xargs -P "$(nproc)" -I {} env build/release/tests/{} --gtest_brief=1 "--gtest_filter=-$left_out"

  step "fuzz targets"
  if [ $extent = long ]; then scripts/fuzz.sh 600; else scripts/fuzz.sh 10; fi
fi

step "all tests"
case $extent in
  fast) ctest --test-dir build/release -j "$(nproc)" --output-on-failure --label-exclude "slow|slurm" ;;
  usual) ctest --test-dir build/release -j "$(nproc)" --output-on-failure ;;
  long)
    scripts/build.sh asan -DMINICHILLA_TESTS=ON
    ctest --test-dir build/asan -j "$(nproc)" --output-on-failure --label-exclude "slow|slurm"
    cmake -B build/ptxrun -S tests/ptxrun/tests -G Ninja > /dev/null
    cmake --build build/ptxrun -j "$(nproc)"
    ctest --test-dir build/ptxrun -j "$(nproc)" --output-on-failure
    if command -v aarch64-linux-gnu-g++-12 > /dev/null; then
      scripts/test_neon.sh --gtest_brief=1
    else
      echo "test.sh: found no compiler for 64-bit ARM: the NEON path is NOT tested; see scripts/test_neon.sh --help" >&2
    fi
    MINICHILLA_LONG_FAULTS=1 MINICHILLA_LONG_STATISTICS=1 MINICHILLA_LONG_CHAOS=1 MINICHILLA_LONG_PROTOCOL=1 \
      ctest --test-dir build/release -j "$(nproc)" --output-on-failure ;;
esac
