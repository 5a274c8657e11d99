#!/bin/sh
# Prepares what `make test-reference` runs on: a Python environment with the published packages, the pitch networks'
# weights, spoken prompts. What is there already is kept. PYTHON may name another Python 3.11 or later.
# Usage: tests/reference/prepare.sh
set -eu

here="$(dirname "$0")"
folder="${SYRINX_REFERENCE_MODELS:-${XDG_CACHE_HOME:-$HOME/.cache}/syrinx/reference}"
mkdir -p "$folder"

venv="$folder/venv"
# The lists of requirements that were installed, to see when they change.
wanted="$(cat "$here/requirements.txt" "$here/../../benches/peer/requirements.txt")"
if [ "$(cat "$venv/installed.txt" 2>/dev/null)" != "$wanted" ]; then
    "${PYTHON:-python3}" -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet -r "$here/requirements.txt"
    "$venv/bin/pip" install --quiet --no-deps infer-rvc-python==1.3.1
    printf '%s\n' "$wanted" > "$venv/installed.txt"
fi
PIP="$venv/bin/pip" "$here/fetch.sh"
"$here/fetch_speech.sh"
