"""python -m train.convert OUT in.wav...: converts with the trained networks in PyTorch, as the engine does offline.

The pitch is transposed so that the median falls on joe's.
"""

import argparse
from pathlib import Path

import numpy as np
import soundfile
import torch

from .common import FRAME_HOP, INPUT_HZ, JOE_PITCH_HZ, OUTPUT_HZ, UNIT_HOP, setup
from .data import decode
from .export import trained
from .features import Pitch
from .nets.hubert import EDGE


class Converter:
    def __init__(self):
        self.encoder, self.voice, self.info = trained()
        self.pitch = Pitch()
        self.encoder.eval(), self.voice.eval()

    @torch.no_grad()
    def __call__(self, audio: np.ndarray, key: float | None = None) -> np.ndarray:
        """16 kHz sound to joe's at 24 kHz; `key` in semitones, or so that the medians meet. Before and after the sound the
        networks get a second of it mirrored."""
        length = len(audio) // UNIT_HOP * FRAME_HOP * 2
        audio = np.pad(audio, INPUT_HZ, mode="reflect" if len(audio) > INPUT_HZ else "constant")
        units = len(audio) // UNIT_HOP
        padded = np.pad(audio, (0, EDGE))[: units * UNIT_HOP + EDGE]
        f0 = self.pitch(audio, 2 * units)
        voiced = f0 > 0
        if key is not None:
            f0 = f0 * 2 ** (key / 12)
        elif voiced.any():
            f0 = f0 * JOE_PITCH_HZ / np.median(f0[voiced])
        heard = self.encoder(torch.from_numpy(padded.astype(np.float32))[None])
        f0 = torch.from_numpy(f0.astype(np.float32))[None]
        made = self.voice.sound(self.voice.latent(heard.repeat_interleave(2, 1), f0), f0)[0].numpy()
        return made[OUTPUT_HZ : OUTPUT_HZ + length]


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("out", type=Path)
    args.add_argument("wavs", nargs="+")
    args.add_argument("--key", type=float)
    args = args.parse_args()
    setup(0)
    convert = Converter()
    args.out.mkdir(parents=True, exist_ok=True)
    for wav in args.wavs:
        made = convert(decode("-i", wav).astype(np.float32) / 32768, args.key)
        soundfile.write(args.out / f"{Path(wav).stem}.wav", np.clip(made, -1, 1), OUTPUT_HZ)
    print("converted by", convert.info, "at", INPUT_HZ, "to", OUTPUT_HZ)


if __name__ == "__main__":
    main()
