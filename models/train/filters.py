"""python -m train.filters: the encoder's first layers, taught to hear what a mel filterbank hears.

Learned from nothing, with phones as the teacher, they blur what is short: from log mel spectra the same small network says joe's
words with half of the errors. So they learn those spectra first, from perturbed sound of any kind, in minutes.
"""

import argparse
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from .augment import perturb
from .common import DEVICE, INPUT_HZ, OUTPUT_HZ, RUNS, UNIT_HOP, fast, load, save, schedule, setup
from .data import read, resample, shards
from .nets.hubert import CONV_DIM, EDGE, FeatureExtractor

BANDS, WINDOW, HOP, N_FFT = 80, 400, 160, 512
PER_UNIT = 3  # spectra that a unit covers: at 0, 10 and 20 ms
FLOOR = 1e-2
UNITS = 50  # of a stretch
HOUR = 3600 * INPUT_HZ


class Spectra:
    """Log mel spectra of 25 ms windows, normalised band by band."""

    def __init__(self):
        mel, hz = lambda f: 2595 * np.log10(1 + f / 700), lambda m: 700 * (10 ** (m / 2595) - 1)  # noqa: E731
        edges = hz(np.linspace(mel(40), mel(7800), BANDS + 2))[:, None]
        low, middle, high = edges[:-2], edges[1:-1], edges[2:]
        bins = np.linspace(0, INPUT_HZ / 2, N_FFT // 2 + 1)
        bank = np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)).clip(0)
        self.bank, self.window = torch.from_numpy(bank.T).float().to(DEVICE), torch.hann_window(WINDOW, device=DEVICE)
        self.mean, self.deviation = 0.0, 1.0

    def fit(self, audio):
        spectra = self(audio)
        self.mean, self.deviation = spectra.mean((0, 1)), spectra.std((0, 1))

    @torch.no_grad()
    def plain(self, audio):
        """Sound [B, 160 n + 240] to log mel spectra [B, n, 80]."""
        windows = audio.unfold(1, WINDOW, HOP) * self.window
        return torch.log(torch.fft.rfft(windows, N_FFT).abs() @ self.bank + FLOOR)

    def __call__(self, audio):
        """Sound [B, 320 n + 400] to what a unit's first layers shall say [B, n, 240]."""
        frames = self.plain(audio).unfold(1, PER_UNIT, UNIT_HOP // HOP).transpose(2, 3).flatten(2)
        return (frames - self.mean) / self.deviation


def sound(rng) -> torch.Tensor:
    """An hour of what all voices say, one after the other."""
    names, out, length = [p.stem for p in shards()], [], 0
    for name in rng.permutation(names):
        for utterance in read(name)[::4]:
            audio = utterance["other"] if "other" in utterance else resample(utterance["joe"], OUTPUT_HZ, INPUT_HZ)
            out.append(np.asarray(audio, np.int16))
            length += len(audio)
        if length > HOUR:
            break
    return torch.from_numpy(np.concatenate(out)).to(DEVICE)


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--steps", type=int, default=1600)
    args.add_argument("--batch", type=int, default=32)
    args.add_argument("--rate", type=float, default=2e-3)
    args.add_argument("--every", type=int, default=100)
    args = args.parse_args()
    path = RUNS / "filters.pt"
    state = load(path) or {"step": 0}
    step, rng = state["step"], setup(600 + state["step"])
    everything, window = sound(rng), torch.arange(UNITS * UNIT_HOP + EDGE, device=DEVICE)

    def batch():
        first = torch.randint(0, len(everything) - len(window), (args.batch, 1), device=DEVICE)
        return perturb(everything[first + window].float() / 32768)

    spectra = Spectra()
    if step:
        spectra.mean, spectra.deviation = (state[name].to(DEVICE) for name in ("mean", "deviation"))
    else:
        spectra.fit(torch.cat([batch() for _ in range(8)]))
    filters = FeatureExtractor().to(DEVICE)
    told = nn.Sequential(nn.LayerNorm(CONV_DIM[-1]), nn.Linear(CONV_DIM[-1], PER_UNIT * BANDS)).to(DEVICE)
    learned = [*filters.parameters(), *told.parameters()]
    optimizer = torch.optim.AdamW(learned, args.rate, betas=(0.9, 0.98), weight_decay=0.0)
    if step:
        filters.load_state_dict(state["filters"]), told.load_state_dict(state["told"])
        optimizer.load_state_dict(state["optimizer"])
    total, began = 0.0, time.time()
    while step < args.steps:
        for group in optimizer.param_groups:
            group["lr"] = args.rate * schedule(step, step / args.steps, 50)
        audio = batch()
        with fast():
            heard = told(filters(audio))
        loss = F.mse_loss(heard.float(), spectra(audio))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        step, total = step + 1, total + loss.item()
        if step % args.every == 0 or step == args.steps:
            print(f"{step} error {total / args.every:.4f} {(time.time() - began) / args.every:.3f} s/step", flush=True)
            sizes = {"mean": spectra.mean.cpu(), "deviation": spectra.deviation.cpu()}
            kept = {"filters": filters.state_dict(), "told": told.state_dict(), "optimizer": optimizer.state_dict()}
            save(path, step=step, **sizes, **kept)
            total, began = 0.0, time.time()


if __name__ == "__main__":
    main()
