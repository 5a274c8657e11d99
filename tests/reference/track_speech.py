"""Lets the published FCPE and CREPE track a recording.

Usage: python track_speech.py FOLDER SEED RECORDING MODELS   (MODELS is the folder that prepare.sh fills)
Leaves FOLDER/tracks.safetensors: f0 in Hz every 10 ms, 0 where unvoiced.
"""

import sys
from pathlib import Path

import record_small
import soundfile
import torch
from safetensors.torch import save_file

RATE, HOP = 16_000, 160


def fcpe(audio: torch.Tensor) -> torch.Tensor:
    import torchfcpe

    return torchfcpe.spawn_bundled_infer_model("cpu").infer(audio[None, :, None], RATE)[0, :, 0]


def crepe(audio: torch.Tensor) -> torch.Tensor:
    """As RVC runs it, but at its smallest size, and without the random dither."""
    import torchcrepe

    torchcrepe.convert.dither = lambda cents: cents
    f0, periodicity = torchcrepe.predict(
        audio[None], RATE, HOP, 50, 1100, "tiny", batch_size=512, return_periodicity=True
    )
    periodicity, f0 = torchcrepe.filter.median(periodicity, 3), torchcrepe.filter.mean(f0, 3)
    f0[periodicity < 0.1] = 0
    return f0[0]


def main(folder: str, _seed: str, recording: str, models: str) -> None:
    samples, _ = soundfile.read(recording, dtype="float32")
    record_small.use_packages(models)
    audio = torch.from_numpy(samples)
    with torch.no_grad():
        save_file({"fcpe": fcpe(audio), "crepe": crepe(audio)}, Path(folder) / "tracks.safetensors")


if __name__ == "__main__":
    main(*sys.argv[1:])
