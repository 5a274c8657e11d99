#!/usr/bin/env bash
# Builds what measures Syrinx on a GPU and puts it into a folder to carry, with `run.sh`: see there. `make gpu`.
set -euo pipefail
bundle="${1:?a folder}"
cargo="${CARGO:-cargo}"
here="$(cd "$(dirname "$0")" && pwd)"
mkdir -p "$bundle"
# Both at once, so that they share one build of burn; cargo tells their files, one JSON object a line.
built="$("$cargo" build --release --locked --features cuda --bin syrinx --test gpu --message-format json-render-diagnostics)"
pack() {
  local program
  program="$(sed -n "s/.*\"name\":\"$1\".*\"executable\":\"\([^\"]*\)\".*/\1/p" <<<"$built" | tail -1)"
  strip -o "$bundle/$2" "$program"
  gzip -9nf "$bundle/$2"
}
pack syrinx syrinx
pack gpu gpu-tests
cp "$here/run.sh" "$bundle/"
du -sh "$bundle"
echo "carry the folder and the repository's files to a machine with a GPU, and there: bash $(basename "$bundle")/run.sh"
