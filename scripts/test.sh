#!/usr/bin/env bash
# Installs srgan_tf into a virtual environment of its own and runs its checks and tests.
#
#   bash scripts/test.sh                        everything
#   bash scripts/test.sh tests/test_metrics.py  arguments go to pytest; paths start at the repo root
#   PYTHON=python3.12 bash scripts/test.sh      on the other TensorFlow (see setup.py)
#
# SRGAN_VENV moves the environment from its default, .venv-<X.Y> in the repo.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/setup_env.sh
. "$root/scripts/setup_env.sh"

setup_env "$root" dev,onnx,pretrained,ray,serving,web
cd "$root"
say "using $("$SRGAN_BIN/python" --version) in $(dirname "$SRGAN_BIN")"

lint=0
say "ruff check, ruff format --check"
"$SRGAN_BIN/python" -m ruff check -q --output-format=concise . || lint=1
"$SRGAN_BIN/python" -m ruff format --check . || lint=1

# Whole files go to as many processes as there are cores, the long ones first (tests/conftest.py):
# most of the time is spent tracing, on one.
# Where a process ends, the others finish what they have, and the run fails: a new process would have
# xdist wait for ever for what was left of the file.
# What fails otherwise is tried once more (and counted as "rerun"): clusters of processes with clocks
# of their own lose each other on machines that do other things as well.
[ $# -gt 0 ] || set -- -n auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder \
    --max-worker-restart=0 --reruns=1
say "pytest $*"
"$SRGAN_BIN/python" -m pytest "$@"
[ "$lint" = 0 ] || die "the tests passed, but ruff did not (see above); try: ruff check --fix . && ruff format ."
