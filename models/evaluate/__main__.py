"""python -m evaluate SOURCES JOE.wav [--engine COMMAND]: the figures of the voice on a folder of recordings.

A recording's own transcript by whisper-base is the truth unless a .txt lies beside it. Without an engine the networks run
in PyTorch; an engine is a command with {input} and {output} in it, such as "syrinx convert {input} -o {output}".
"""

import argparse
import os
import shlex
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from train.common import INPUT_HZ, setup
from train.data import decode
from train.features import Pitch

from .metrics import Likeness, Words, in_room, level_db, naturalness, pitch_match, to_16k, word_errors, words_of


def with_engine(command: str):
    def convert(audio):
        with tempfile.TemporaryDirectory() as folder:
            source, made = f"{folder}/in.wav", f"{folder}/out.wav"
            soundfile.write(source, audio, INPUT_HZ)
            subprocess.run(shlex.split(command.format(input=source, output=made)), check=True, capture_output=True)
            return soundfile.read(made, dtype="float32")

    return convert


def with_torch():
    from train.convert import Converter
    from train.common import OUTPUT_HZ

    converter = Converter()
    return lambda audio: (converter(audio), OUTPUT_HZ)


def truth(path: Path, audio, words, language: str) -> list[str]:
    written = path.with_suffix(".txt")
    return words_of(written.read_text()) if written.exists() else words(audio, language)


def decay(text: str) -> float:
    seconds = float(text)
    if not 0.05 <= seconds <= 5:
        raise argparse.ArgumentTypeError(f"expected 0.05 to 5 seconds, found {text}")
    return seconds


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("sources", type=Path)
    args.add_argument("joe", help="speech of the target, to compare with")
    args.add_argument("--engine")
    args.add_argument("--language", default="en")
    args.add_argument("--room", type=decay, help="put the sources, before all but their truth, into a room that decays in so many seconds")
    args.add_argument("--keep", type=Path, help="folder for the converted sound")
    args = args.parse_args()
    sources = sorted(p for p in args.sources.glob("*") if p.suffix in (".wav", ".g722", ".flac"))
    if not sources:
        raise SystemExit(f"{args.sources}: expected recordings, .wav, .g722 or .flac, found none")
    setup(0)
    convert = with_engine(args.engine) if args.engine else with_torch()
    words, likeness, track = Words(), Likeness(), Pitch()
    target = likeness.embed(decode("-i", args.joe).astype(np.float32) / 32768)
    rows, errors, bounded, own, total, seconds, spent = [], 0, 0, 0, 0, 0.0, 0.0
    for path in sources:
        audio = decode("-i", str(path)).astype(np.float32) / 32768
        said = truth(path, audio, words, args.language)
        audio = in_room(audio, args.room) if args.room else audio
        began = sum(os.times()[:4])  # of the engine as well
        made, hz = convert(audio)
        spent, seconds = spent + sum(os.times()[:4]) - began, seconds + len(audio) / INPUT_HZ
        if args.keep:
            args.keep.mkdir(parents=True, exist_ok=True)
            soundfile.write(args.keep / f"{path.stem}.wav", np.clip(made, -1, 1), hz)
        made = to_16k(made, hz)
        heard, source = words(made, args.language), words(audio, args.language)
        wrong = word_errors(said, heard)
        errors, bounded = errors + wrong, bounded + min(wrong, len(said))
        own, total = own + word_errors(said, source), total + len(said)
        match, lag = pitch_match(audio, made, track)
        rows.append((likeness.embed(made) @ target, likeness.embed(audio) @ target, naturalness(made), naturalness(audio), match, lag))
        print(f"{path.name}: {' '.join(said)} | {' '.join(heard)} | f0 {match:.2f} lag {lag}", flush=True)
    columns = np.nanmean(np.array(rows, float), 0)
    quiet = [np.zeros(3 * INPUT_HZ, np.float32), np.random.default_rng(0).normal(0, 3e-4, 3 * INPUT_HZ).astype(np.float32)]
    levels = [level_db(convert(q)[0]) for q in quiet]
    print(f"{len(rows)} recordings, {seconds:.0f} s, {total} words")
    print("| figure | source | converted |\n|---|---|---|")
    print(f"| WER | {own / total:.3f} | {errors / total:.3f} |")
    print(f"| the same, of a recording no more errors than words | | {bounded / total:.3f} |")
    print(f"| cosine to the target | {columns[1]:.3f} | {columns[0]:.3f} |")
    print(f"| DNSMOS OVRL | {columns[3]:.2f} | {columns[2]:.2f} |")
    print(f"| f0 correlation | | {columns[4]:.3f} |")
    print(f"| level out of silence, of noise at -70 dBFS | | {levels[0]:.1f}, {levels[1]:.1f} dBFS |")
    print(f"| RTF, PyTorch or engine, CPU time | | {spent / seconds:.3f} |")


if __name__ == "__main__":
    main()
