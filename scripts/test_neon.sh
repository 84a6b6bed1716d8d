#!/usr/bin/env bash
# The CPU's kernels and their tests compiled for 64-bit ARM and run by qemu: the NEON path, on a machine without it.
# usage: scripts/test_neon.sh [options of the tests, such as --gtest_filter=*Gemm*]
# Needs beside what the tests need:
#   dpkg --add-architecture arm64 && apt-get update
#   apt-get install g++-12-aarch64-linux-gnu qemu-user-static libhwy-dev:arm64
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in
  -h | --help) sed -n '2,6p' "$0"; exit 0 ;;
esac

compiler=aarch64-linux-gnu-g++-12 emulator=qemu-aarch64-static highway=/usr/lib/aarch64-linux-gnu/libhwy.so
for needed in "$compiler" "$emulator"; do
  command -v "$needed" > /dev/null || { echo "test_neon.sh: found no $needed; see scripts/test_neon.sh --help" >&2; exit 2; }
done
[ -e $highway ] || { echo "test_neon.sh: found no $highway; see scripts/test_neon.sh --help" >&2; exit 2; }

build=build/neon
mkdir -p $build
sources=("$PWD"/kernels/{device,error,host_memory}.cpp "$PWD"/kernels/cpu/*.cpp "$PWD"/tests/kernels/*.cpp
         /usr/src/googletest/google{test/src/gtest-all,mock/src/gmock-all,mock/src/gmock_main}.cc)
# The compiler's own headers come first; those of Highway and the tests are the same for every processor.
options=(-std=c++20 -O2 -DNDEBUG -Wall -Wextra -Werror -ffp-contract=off -DHWY_SHARED_DEFINE "-I$PWD"
         -idirafter /usr/include -idirafter /usr/src/googletest/googletest -idirafter /usr/src/googletest/googlemock)
rm -f $build/*.o
(cd $build && printf '%s\0' "${sources[@]}" | xargs -0 -n 1 -P "$(nproc)" "$compiler" "${options[@]}" -c)
"$compiler" $build/*.o $highway -lpthread -o $build/test_kernels
exec "$emulator" -L / $build/test_kernels "$@"
