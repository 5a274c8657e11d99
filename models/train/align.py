"""python -m train.align: moves what joe says to where the other voice says it, phone by phone.

Given another voice's durations joe does not speak in step with it: durations are told in steps of 25 ms, and where in a phone
its burst lies is up to each voice. A network that learns from such pairs blurs what is short. Its blurred guess still tells
where in the source a thing is said, so each true latent is moved, monotonically, to where the guess fits it best.
"""

import argparse

import numpy as np
import torch
from torch.nn import functional as F

from .common import DATA, DEVICE, INPUT_HZ, OUTPUT_HZ, RUNS, UNIT_HOP, load, setup
from .content import Content
from .data import read, resample, shards, write
from .dataset import LAG, LATENT_HZ, between
from .nets.hubert import EDGE

REACH = 8  # frames of 10 ms that a latent may move either way
STIFF, LEASH = 0.5, 5.0  # what a change of the shift costs; a shift of so much is unlikely by itself
WEIGHT = 20  # independent values of a latent, more or less


def paths(cost: torch.Tensor) -> torch.Tensor:
    """The cheapest shifts [B, T], in frames, that change by at most one from row to row, of their cost [B, T, 2 REACH + 1]."""
    offset = torch.arange(cost.shape[2], device=cost.device) - REACH
    cost = cost + 0.05 * (offset / LEASH) ** 2
    total, came = cost[:, 0], torch.zeros(cost.shape, dtype=torch.int8, device=cost.device)
    for t in range(1, cost.shape[1]):
        wide = F.pad(total, (1, 1), value=torch.inf)
        options = torch.stack([wide[:, :-2] + STIFF, wide[:, 1:-1], wide[:, 2:] + STIFF])
        least, pick = options.min(0)
        came[:, t], total = pick - 1, least + cost[:, t]
    out = [total.argmin(1)]
    for t in range(cost.shape[1] - 1, 0, -1):
        out.append(out[-1] + came[:, t].gather(1, out[-1][:, None])[:, 0])
    return torch.stack(out[::-1], 1) - REACH


@torch.no_grad()
def guess(content, audio: np.ndarray) -> np.ndarray:
    """The latent at 100 Hz that the units tell."""
    units = len(audio) // UNIT_HOP
    sound = np.pad(audio.astype(np.float32) / 32768, (0, EDGE))[: units * UNIT_HOP + EDGE]
    told = content.direct(content.hubert(torch.from_numpy(sound)[None].to(DEVICE)))
    return told[0].repeat_interleave(2, 0).cpu().numpy()


def shifts(guessed: np.ndarray, latent: np.ndarray, lag: float, spread: np.ndarray) -> np.ndarray:
    """Frames of 10 ms by which the latent lies later than `lag` says, at each of the guessed frames."""
    at = (np.arange(len(guessed)) + 0.5) * 0.01 + lag
    rows = [between(latent, (at + 0.01 * k) * LATENT_HZ - 0.5) for k in range(-REACH, REACH + 1)]
    cost = np.stack([(((guessed - row) / spread) ** 2).mean(1) for row in rows], 1)
    return paths(torch.from_numpy(0.5 * WEIGHT * cost)[None])[0].numpy()


def spreads(content) -> np.ndarray:
    """How far guesses lie from the truth, value by value."""
    path = DATA / "spread.npy"
    if not path.exists():
        off = []
        for name in ("pairs-000", "joe-000"):
            for utterance in read(name):
                audio = utterance.get("other", utterance.get("joe"))
                if name == "joe-000":
                    audio = resample(audio.astype(np.float32), OUTPUT_HZ, INPUT_HZ)
                lag = LAG.get(name.split("-")[0], 0.0)
                guessed = guess(content, audio)
                at = (np.arange(len(guessed)) + 0.5) * 0.01 + lag
                off.append(guessed - between(utterance["latent"], at * LATENT_HZ - 0.5))
        np.save(path, np.concatenate(off).std(0))
    return np.load(path)


def aligned(content, name: str) -> list[dict]:
    lag, spread = LAG[name.split("-")[0]], spreads(content)
    out = []
    for utterance in read(name):
        guessed = guess(content, utterance["other"])
        out.append({"shift": shifts(guessed, utterance["latent"], lag, spread).astype(np.int8)})
    return out


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("kinds", nargs="*", default=list(LAG))
    args = args.parse_args()
    setup(500)
    content = Content().to(DEVICE).eval()
    content.load_state_dict(load(RUNS / "content.pt")["model"])
    for kind in args.kinds:
        for name in (p.stem for p in shards() if p.stem.startswith(kind)):
            if name != "pairs-000" and not (DATA / f"shift-{name}.npz").exists():  # what validates stays
                found = aligned(content, name)
                write(f"shift-{name}", found)
                every = np.concatenate([u["shift"] for u in found])
                print(f"{name} {every.mean():.2f} frames later, +- {every.std():.2f}", flush=True)


if __name__ == "__main__":
    main()
