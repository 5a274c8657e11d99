#!/usr/bin/env bash
# Trains everything on an accelerator from the bundle, within 25 minutes on an H100, and leaves the checkpoints in $OUT.
# Run it in the folder above `train`: train/gpu.sh BUNDLE.zip
set -euo pipefail
bundle=$1
export SYRINX_VOICE_WORK=${SYRINX_VOICE_WORK:-$PWD/voice-work}
mkdir -p "$SYRINX_VOICE_WORK"
python - "$bundle" "$SYRINX_VOICE_WORK" <<'PYTHON'
import sys, zipfile
archive = zipfile.ZipFile(sys.argv[1])
archive.extractall(sys.argv[2], [n for n in archive.namelist() if n.startswith("wheels/")])
PYTHON
python -c "import soundfile" 2>/dev/null || python -m pip install -q --no-index --no-deps "$SYRINX_VOICE_WORK"/wheels/*.whl
python -m train.bundle --unpack "$bundle"
python -m train.content --steps 12000 --batch 64 --every 500
python -m train.vocoder --steps 9000 --batch 24 --judges-after 1500 --every 500
python -m train.finetune --steps 8000 --batch 24 --every 500
python -m train.export
cp -r "$SYRINX_VOICE_WORK/pack" "$OUT/"
