#!/usr/bin/env bash
# Trains the encoder and the text encoder on an accelerator from what `train.bundle` packed and what hibari says there, going on
# from the shipped pack, or from a `content.pt` beside the parts. Leaves in $OUT, in half precision, what each part of the
# training ends with, and its last checkpoint while it runs: units.pt, text.pt, clear.pt.
# Needs PyTorch, onnx, onnxruntime and, in Python or as wheels in PARTS_FOLDER/wheels, soundfile and hibari-tts.
# VOICED is the share of others' sentences that joe's generator says as well.
# Run it in the folder above `train`: train/gpu.sh PARTS_FOLDER HIBARI_SHARDS UNIT_MINUTES TEXT_MINUTES CLEAR_MINUTES
set -euo pipefail
parts=$1 hibari=$2 units=$3 text=$4 clear=$5
export SYRINX_VOICE_WORK=${SYRINX_VOICE_WORK:-$PWD/voice-work} PYTHONUNBUFFERED=1 OUT=${OUT:-$PWD}
mkdir -p "$SYRINX_VOICE_WORK/runs"
python3 -c "import soundfile, hibari" 2>/dev/null || {
  for wheel in "$parts"/wheels/*.whl; do python3 -m zipfile -e "$wheel" "$SYRINX_VOICE_WORK/site"; done
  export PYTHONPATH="$SYRINX_VOICE_WORK/site:${PYTHONPATH:-}"
}
step() { echo "$(date +%T) $*" && python3 -m "train.$@"; }
{
  [ -e "$SYRINX_VOICE_WORK/data" ] || step bundle --unpack "$parts"
  if [ ! -e "$SYRINX_VOICE_WORK/runs/content.pt" ]; then
    step adopt
    for file in "$parts"/*.pt; do [ ! -e "$file" ] || cp "$file" "$SYRINX_VOICE_WORK/runs/"; done
  fi
  OMP_NUM_THREADS=1 step data --pairs 0 --flite 0 --joe 0 --humans 0 --hibari "$hibari" --processes "${PROCESSES:-$(nproc)}"
  step spectra --minutes "$units" --batch 8192 --align 0.35 0.7 --text-minutes "$text" --text-batch 48 \
    --clear-minutes "$clear" --clear-batch "${CLEAR_BATCH:-32}" --every 1000 --voiced "${VOICED:-0}" --copies "$OUT"
  date +%T
} 2>&1 | tee "$OUT/content.log"
