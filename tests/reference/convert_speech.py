"""Lets the reference convert some 5 s of a recording with networks of full size, without noise.

Usage: python convert_speech.py FOLDER SEED RECORDING WEIGHTS   (WEIGHTS is filled by seeded_weights.py on first use)
Leaves FOLDER/rmvpe.pt, and FOLDER/excerpt.safetensors: the excerpt, the f0 of RMVPE over it, the voice in 16 bits, and
by how many steps of those it hangs on the last bit of f0.
"""

import random
import sys
from pathlib import Path

import numpy as np
import soundfile
from safetensors.numpy import save_file

import pipeline
import seeded_weights


def main(folder: str, seed: str, recording: str, weights: str) -> None:
    paths = seeded_weights.ensure(weights)
    pipeline.sharpen(Path(folder) / "rmvpe.pt", paths["rmvpe.pt"])
    rmvpe, draw = pipeline.pitch(Path(folder) / "rmvpe.pt"), random.Random(seed)
    speech, _ = soundfile.read(recording, dtype="float32")
    for _ in range(100):
        length = draw.randint(4 * pipeline.RATE, 6 * pipeline.RATE)
        start = draw.randrange(len(speech) - length)
        excerpt = speech[start : start + length]
        if pipeline.is_clear(rmvpe, pipeline.padded(excerpt), 0):
            break
    else:
        sys.exit("no excerpt without a near tie in 100 draws")
    synthesizer, converter = pipeline.voice(paths["voice.pth"])
    networks = (synthesizer, converter, pipeline.encoder(paths["hubert"]), rmvpe)
    f0 = rmvpe.infer_from_audio(pipeline.padded(excerpt), pipeline.THRESHOLD).astype(np.float32)
    pcm = pipeline.convert(networks, excerpt, "v2")
    last_bit = np.array([pipeline.last_bit(pcm, networks, excerpt, "v2")])
    save_file({"wav": excerpt, "f0": f0, "pcm": pcm, "last_bit": last_bit}, Path(folder) / "excerpt.safetensors")


if __name__ == "__main__":
    main(*sys.argv[1:])
