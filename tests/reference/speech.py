"""Joins spoken prompts, drawn by a seed, to a recording of 30 to 45 s, 16 kHz mono.

Usage: python speech.py FOLDER SEED MODELS   (MODELS is the folder that prepare.sh fills; leaves FOLDER/speech.wav)
"""

import random
import sys
from pathlib import Path

import av
import numpy as np
import soundfile

RATE = 16_000
LONGEST = 45 * RATE
# A second of G.722 has 8000 bytes: whole sentences, not single words.
LEAST_BYTES = 20_000
PAUSE = np.zeros(RATE // 4, np.int16)


def prompts(folder: Path) -> list:
    """The sentences; the rest are words, tones and monkeys."""
    files = sorted(folder.rglob("*.g722"))
    long = [file for file in files if file.stat().st_size > LEAST_BYTES]
    return [file for file in long if file.parent.name != "silence" and "monkeys" not in file.name]


def decode(path: Path) -> np.ndarray:
    with av.open(str(path), format="g722") as file:
        samples = [frame.to_ndarray()[0] for frame in file.decode(audio=0) if frame.sample_rate == RATE]
    return np.concatenate(samples)


def main(folder: str, seed: str, models: str) -> None:
    drawn = prompts(Path(models) / "prompts")
    random.Random(seed).shuffle(drawn)
    parts, total = [], 0
    for path in drawn:
        part = np.concatenate([decode(path), PAUSE])
        if total + len(part) <= LONGEST:
            parts.append(part)
            total += len(part)
        if total > LONGEST * 2 // 3:
            break
    soundfile.write(Path(folder) / "speech.wav", np.concatenate(parts), RATE)


if __name__ == "__main__":
    main(*sys.argv[1:])
