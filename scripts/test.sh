#!/usr/bin/env bash
# The one command that tests: installs what is missing, builds with warnings as errors, runs every test.
# usage: scripts/test.sh [--fast]      --fast leaves the sanitizer build, the fuzz targets and the tests labelled "slow" out
set -euo pipefail
cd "$(dirname "$0")/.."

fast=false
case "${1:-}" in
  --fast) fast=true ;;
  "") ;;
  *) sed -n '2,3p' "$0" >&2; exit 2 ;;
esac

step() { printf '\n== %s (%dm%02ds)\n' "$1" $((SECONDS / 60)) $((SECONDS % 60)); }

step "packages"
scripts/install_packages.sh test

step "build: release"
scripts/build.sh release -DMINICHILLA_WARNINGS_AS_ERRORS=ON -DMINICHILLA_TESTS=ON

if ! $fast; then
  step "build: AddressSanitizer and UndefinedBehaviorSanitizer"
  scripts/build.sh asan -DMINICHILLA_TESTS=ON

  step "unit tests under the sanitizers"
  # Whole programs instead of ctest's process per test: the sanitizers' start-up would cost more than the tests.
  # test_sweeps starts the program itself many times and has not been seen to the end under them yet.
  for program in kernels model trainer analysis; do
    build/asan/tests/test_$program --gtest_brief=1
  done

  step "fuzz targets, 10 seconds each"
  scripts/fuzz.sh 10
fi

step "all tests"
if $fast; then
  ctest --test-dir build/release -j "$(nproc)" --output-on-failure --label-exclude slow
else
  ctest --test-dir build/release -j "$(nproc)" --output-on-failure
fi
