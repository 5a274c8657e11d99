#!/usr/bin/env bash
# Trains the encoder and the text encoder on an accelerator from what `train.bundle` packed, going on from what a run there
# before left, from the bundle's `content.pt`, or else from the shipped pack. The rate has fallen to nothing when MINUTES are up.
# Leaves the checkpoint in $OUT, in pieces of 15 MiB. Needs PyTorch and, in Python or as wheels in PARTS_FOLDER/wheels,
# soundfile.
# Run it in the folder above `train`: train/gpu.sh PARTS_FOLDER MINUTES
set -euo pipefail
parts=$1 minutes=$2
export SYRINX_VOICE_WORK=${SYRINX_VOICE_WORK:-$PWD/voice-work} PYTHONUNBUFFERED=1
mkdir -p "$SYRINX_VOICE_WORK/runs"
python3 -c "import soundfile" 2>/dev/null || python3 -m pip install -q --no-index --no-deps "$parts"/wheels/*.whl
[ -e "$SYRINX_VOICE_WORK/data" ] || python3 -m train.bundle --unpack "$parts"
for file in "$parts"/*.pt; do [ ! -e "$file" ] || cp -n "$file" "$SYRINX_VOICE_WORK/runs/"; done
[ -e "$SYRINX_VOICE_WORK/runs/content.pt" ] || python3 -m train.adopt
python3 -m train.content --listen --minutes "$minutes" --batch 192 --rate 2e-4 --every 250 2>&1 | tee "$OUT/content.log"
split -b 15M -d "$SYRINX_VOICE_WORK/runs/content.pt" "$OUT/content.pt."
