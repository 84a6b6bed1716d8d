#!/usr/bin/env bash
# Installs the Debian packages that minichilla needs, if any is missing. usage: scripts/install_packages.sh [test]
# With "test" also what the tests need. Needs root or sudo only when something is missing.
set -euo pipefail

packages=(
  g++ cmake ninja-build pkg-config ccache git       # to build
  libhwy-dev                                        # kernels: SIMD
  libyaml-cpp-dev nlohmann-json3-dev libspdlog-dev  # configs, JSON, logs
  libsentencepiece-dev                              # subword tokens
  libcli11-dev libssl-dev libmuparser-dev           # command line, SHA-256, rules of a sweep
  libeigen3-dev                                     # fits
  gnuplot-nox fonts-dejavu-core                     # figures
  python3                                           # fetch_text.py (python3-minimal lacks shutil and html)
)
if [ "${1:-}" = test ]; then
  packages+=(libgtest-dev libgmock-dev clang libclang-rt-14-dev python3 faketime)
  packages+=(slurm-wlm munge)                       # a cluster for tests/slurm
fi

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then exit 0; fi

echo "Installing: ${missing[*]}" >&2
as_root=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo > /dev/null || { echo "install_packages.sh: need root or sudo to install: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
