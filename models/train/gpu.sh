#!/usr/bin/env bash
# Trains the encoder and the text encoder on an accelerator from what `train.bundle` packed and what hibari says there, going on
# from the bundle's `content.pt`, or else beginning with its `filters.pt`. Leaves the checkpoint in $OUT, in pieces of 15 MiB.
# Needs PyTorch, onnx, onnxruntime and, in Python or as wheels in PARTS_FOLDER/wheels, soundfile and hibari-tts.
# Run it in the folder above `train`: train/gpu.sh PARTS_FOLDER HIBARI_SHARDS UNIT_MINUTES TEXT_MINUTES
set -euo pipefail
parts=$1 hibari=$2 minutes=$3 text=$4
export SYRINX_VOICE_WORK=${SYRINX_VOICE_WORK:-$PWD/voice-work} PYTHONUNBUFFERED=1 OUT=${OUT:-$PWD}
mkdir -p "$SYRINX_VOICE_WORK/runs"
python3 -c "import soundfile, hibari" 2>/dev/null || {
  python3 -m pip install -q --no-index --no-deps --target "$SYRINX_VOICE_WORK/site" "$parts"/wheels/*.whl
  export PYTHONPATH="$SYRINX_VOICE_WORK/site:${PYTHONPATH:-}"
}
step() { echo "$(date +%T) $*" && python3 -m "train.$@"; }
{
  [ -e "$SYRINX_VOICE_WORK/data" ] || step bundle --unpack "$parts"
  for file in "$parts"/*.pt; do [ ! -e "$file" ] || cp -n "$file" "$SYRINX_VOICE_WORK/runs/"; done
  OMP_NUM_THREADS=1 step data --pairs 0 --flite 0 --joe 0 --humans 0 --hibari "$hibari" --processes "${PROCESSES:-$(nproc)}"
  step spectra --minutes "$minutes" --batch 8192 --align 0.35 0.7 --text-minutes "$text" --text-batch 48 --every 2000
} 2>&1 | tee "$OUT/content.log"
split -b 15M -d "$SYRINX_VOICE_WORK/runs/content.pt" "$OUT/content.pt."
