#!/bin/sh
# Prepares what `make test-cuda` needs: g++, and NVIDIA's compilers as PyPI has them, whose `bin` and `lib` are then below
# FOLDER/cuda. What is there already is kept. PYTHON may name another Python 3.11 or later.
# Usage: tests/kernels/prepare.sh FOLDER
set -eu

here="$(dirname "$0")"
folder="$1"
python="${PYTHON:-python3}"
wanted="$(cat "$here/requirements.txt")"

if ! command -v g++ >/dev/null || ! "$python" -c 'import ensurepip' 2>/dev/null; then
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo "install g++ and python3-venv" >&2; exit 1; }
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends g++ python3-venv
fi
if [ "$(cat "$folder/installed.txt" 2>/dev/null)" != "$wanted" ]; then
    "$python" -m venv --clear "$folder/venv"
    "$folder/venv/bin/pip" install --quiet --no-deps -r "$here/requirements.txt"
    rm -f "$folder/cuda"
    ln -s "$(dirname "$(ls -d "$folder"/venv/lib/python*/site-packages/nvidia/cu*/bin)")" "$folder/cuda"
    printf '%s\n' "$wanted" > "$folder/installed.txt"
fi
