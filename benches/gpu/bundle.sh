#!/usr/bin/env bash
# Builds what proves and measures Syrinx on a GPU and puts it into a folder to carry, with `run.sh`: see there. `make gpu`.
set -euo pipefail
bundle="${1:?a folder}"
cargo="${CARGO:-cargo}"
here="$(cd "$(dirname "$0")" && pwd)"
mkdir -p "$bundle"
# All at once, so that they share one build of burn; cargo tells their files, one JSON object a line.
# shellcheck disable=SC2086 # PROFILE may be several words.
built="$("$cargo" build ${PROFILE:---release} --locked --features cuda --bin syrinx --test gpu --test kernels \
  --message-format json-render-diagnostics)"
pack() {
  local program
  program="$(sed -n "s/.*\"name\":\"$1\".*\"executable\":\"\([^\"]*\)\".*/\1/p" <<<"$built" | tail -1)"
  strip -o "$bundle/$1" "$program"
  gzip -9nf "$bundle/$1"
}
pack syrinx
pack gpu
pack kernels
cc -O2 -Wall -Wextra -shared -fPIC "$here/launches.c" -o "$bundle/launches.so" -ldl
cp "$here/run.sh" "$bundle/"
git -C "$here" describe --always --dirty >"$bundle/commit" 2>/dev/null || echo unknown >"$bundle/commit"
du -ah "$bundle"
echo "carry the folder and the repository's files to a machine with a GPU, and there: bash $(basename "$bundle")/run.sh MINUTES"
