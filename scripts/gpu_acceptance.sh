#!/usr/bin/env bash
# For somebody with an NVIDIA GPU: builds for it, tests, measures and trains on it, and writes one report to send back.
# usage: scripts/gpu_acceptance.sh [OUTPUT_FOLDER] [--build FOLDER] [--limit SECONDS]
#   OUTPUT_FOLDER   acceptance.json, acceptance.md and logs/ go there [results/gpu-acceptance]
#   --build         where to build [build/gpu]
#   --limit         of all parts together [530]
# Needs what scripts/install_packages.sh test installs, and the CUDA toolkit. Goes on to the end when a part fails.
# Exit status: 0 no part failed, 1 a part failed, 2 wrong usage.
exec python3 -B "$(dirname "$0")/gpu/acceptance.py" "$@"
