"""python -m evaluate.live SYRINX SOURCES [--chunk MS]: how far what is said live lies from what is said offline.

The distance is the mean difference of log mel spectra (dB, 100 bands, 10 ms) where either is within 50 dB of its loudest, at
the voice's own loudness. What cannot be less is told by converting the recording offline once more, 5 ms later.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile


def mel_db(path: str) -> np.ndarray:
    import librosa

    audio, hz = soundfile.read(path, dtype="float32")
    audio = librosa.resample(audio, orig_sr=hz, target_sr=16_000)
    mel = librosa.feature.melspectrogram(y=audio, sr=16_000, n_fft=1024, hop_length=160, n_mels=100, fmax=8000)
    return 10 * np.log10(mel + 1e-10)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    n = min(a.shape[1], b.shape[1])
    x, y = (np.maximum(m[:, :n], m.max() - 50) for m in (a, b))
    heard = (x.max(0) > a.max() - 40) | (y.max(0) > b.max() - 40)
    return float(np.abs(x - y)[:, heard].mean())


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("syrinx")
    args.add_argument("sources", type=Path)
    args.add_argument("--chunk", default="20")
    args = args.parse_args()
    same = ["--force", "--pitch", "-12", "--rms-mix-rate", "1"]
    rows, worst = [], 0.0

    def run(*command):
        return subprocess.run([args.syrinx, *command], check=True, capture_output=True, text=True).stdout

    with tempfile.TemporaryDirectory() as folder:
        offline, later, moved, live = (f"{folder}/{name}.wav" for name in ("offline", "later", "moved", "live"))
        sources = sorted(args.sources.glob("*.wav"))
        if not sources:
            raise SystemExit(f"{args.sources}: expected recordings, *.wav, found none")
        for path in sources:
            audio, hz = soundfile.read(path, dtype="float32")
            soundfile.write(later, np.concatenate([np.zeros(hz // 200, np.float32), audio]), hz)
            run("convert", str(path), "-o", offline, *same)
            run("convert", later, "-o", moved, *same)
            voice, rate = soundfile.read(moved, dtype="float32")
            soundfile.write(moved, voice[rate // 200 :], rate)
            live_options = ["--chunk", args.chunk, "--json-lines", "--threads", "1"]
            told = run("live", "--host", "file", "--in", str(path), "--out", live, *live_options, *same)
            last = json.loads(told.splitlines()[-1])
            worst = max(worst, last["rtf_p99"])
            told = mel_db(offline)
            rows.append((distance(told, mel_db(live)), distance(told, mel_db(moved))))
            print(f"{path.name}: {rows[-1][0]:.2f} dB, 5 ms later {rows[-1][1]:.2f} dB, RTF p99 {last['rtf_p99']:.2f}", flush=True)
    far, least = np.mean(rows, 0)
    print(f"| live against offline, chunks of {args.chunk} ms | {far:.2f} dB (offline, 5 ms later: {least:.2f} dB) |")
    print(f"| RTF p99 of the worst recording, one thread | {worst:.2f} |")


if __name__ == "__main__":
    main()
