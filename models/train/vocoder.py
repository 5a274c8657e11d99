"""python -m train.vocoder: the generator, from joe's latent and a pitch to joe's sound.

It starts from Piper's generator for joe, which knows the voice but neither 24 kHz, nor 100 frames a second, nor a pitch
from outside. Half of the sound is transposed with its formants kept while the latent stays, so that the given pitch wins.

With `--from content` the latent is the content network's prediction from perturbed speech instead of the true one: the
generator then learns to make good what the prediction lacks.
"""

import argparse
import time

import numpy as np
import torch

from .augment import repitched
from .common import DEVICE, FRAME_HOP, OUTPUT_HZ, RUNS, fast, load, save, schedule, setup
from .data import GENERATOR, read, shards
from .dataset import LATENT_HZ, between
from .features import pitches
from .nets.discriminator import Judges, generator_loss, judge_loss
from .nets.rvc import Voice, adopt_piper

MARGIN = 8  # frames around a segment while it is transposed
SIZES = [(2048, 480), (1024, 240), (512, 120), (256, 60)]


class JoeCorpus:
    """Joe's utterances: latent, pitch, sound."""

    def __init__(self, held_out=("joe-000", "pairs-000")):
        self.held_out, self.seen, self.items, self.valid = held_out, set(), [], []
        self.refresh()

    def refresh(self):
        for path in shards():
            if path.stem in self.seen or path.stem.startswith("other"):
                continue
            self.seen.add(path.stem)
            if "joe" not in np.load(path):
                continue
            for utterance, f0 in zip(read(path.stem), pitches(path.stem)):
                item = {"latent": utterance["latent"], "f0": f0, "sound": utterance["joe"], "frames": len(f0)}
                if len(f0) > 150:
                    (self.valid if path.stem in self.held_out else self.items).append(item)
        self.chances = np.array([i["frames"] for i in self.items], float)
        self.chances /= self.chances.sum()

    def cut(self, item, rng, frames, context, speed):
        """A segment with context around it for the network; the sound covers the segment alone."""
        wide = int(np.ceil((frames + 2 * context) * speed))
        start = int(rng.integers(-context, max(1, item["frames"] - int(frames * speed) - context)))
        at = start + (np.arange(frames + 2 * context) + 0.5) * speed  # in frames of the utterance
        near = np.clip(at.astype(int), 0, item["frames"] - 1)
        known = (at >= 0) & (at < item["frames"])
        latent = between(item["latent"], at * 0.01 * LATENT_HZ - 0.5)
        f0 = item["f0"][near] * known * speed
        sound = self.sound(item, start + (context - MARGIN) * speed, frames + 2 * MARGIN, speed)
        return latent, f0.astype(np.float32), sound[MARGIN * FRAME_HOP : -MARGIN * FRAME_HOP], wide

    def sound(self, item, start, frames, speed):
        first, count = int(round(start * FRAME_HOP)), int(round(frames * speed * FRAME_HOP))
        index = np.arange(first, first + count)
        kept = (index >= 0) & (index < len(item["sound"]))
        audio = item["sound"][np.clip(index, 0, len(item["sound"]) - 1)].astype(np.float32) / 32768 * kept
        if speed == 1.0:
            return audio
        return repitched(torch.from_numpy(audio)[None], frames * FRAME_HOP)[0].numpy()

    def batch(self, rng, size, frames, context, transposed=0.5):
        out = []
        for i in rng.choice(len(self.items), size, p=self.chances):
            speed = float(np.exp(rng.uniform(np.log(0.75), np.log(1.9)))) if rng.random() < transposed else 1.0
            out.append(self.cut(self.items[i], rng, frames, context, speed)[:3])
        return [torch.from_numpy(np.stack(column)).float().to(DEVICE) for column in zip(*out)]


def mel_bands(n_fft, bands, low=20.0, high=12_000.0):
    """Triangles of equal area, evenly spaced on the mel scale."""
    to_mel = lambda hz: 2595 * np.log10(1 + hz / 700)  # noqa: E731
    edges = 700 * (10 ** (np.linspace(to_mel(low), to_mel(high), bands + 2) / 2595) - 1)
    hz = np.linspace(0, OUTPUT_HZ / 2, n_fft // 2 + 1)
    rise = (hz - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - hz) / np.diff(edges)[1:, None]
    area = 2 / (edges[2:] - edges[:-2])
    return torch.from_numpy(np.maximum(0, np.minimum(rise, fall)) * area[:, None]).float()


class SpectralLoss(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mel", mel_bands(2048, 100))
        for n_fft, _ in SIZES:
            self.register_buffer(f"window{n_fft}", torch.hann_window(n_fft))

    def magnitude(self, sound, n_fft, hop):
        window = getattr(self, f"window{n_fft}")
        return torch.stft(sound, n_fft, hop, window=window, return_complex=True).abs()

    def forward(self, made, real):
        total = 0.0
        for n_fft, hop in SIZES:
            a, b = self.magnitude(made, n_fft, hop), self.magnitude(real, n_fft, hop)
            total = total + (torch.log(a + 1e-3) - torch.log(b + 1e-3)).abs().mean()
            total = total + 0.5 * (a - b).norm(dim=(1, 2)).div(b.norm(dim=(1, 2)) + 1.0).mean()
            if n_fft == 2048:
                a, b = (torch.log(self.mel @ x + 1e-4) for x in (a, b))
                mel = (a - b).abs().mean()
        return total / len(SIZES) + 2 * mel, mel


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--steps", type=int, default=8000)
    args.add_argument("--batch", type=int, default=6)
    args.add_argument("--frames", type=int, default=32)
    args.add_argument("--context", type=int, default=8)
    args.add_argument("--rate", type=float, default=4e-4)
    args.add_argument("--judges-after", type=int, default=1500)
    args.add_argument("--every", type=int, default=200)
    args = args.parse_args()
    path = RUNS / "vocoder.pt"
    state = load(path)
    step = state["step"] if state else 0
    rng = setup(200 + step)
    corpus, voice, judges, spectral = JoeCorpus(), Voice().to(DEVICE), Judges().to(DEVICE), SpectralLoss().to(DEVICE)
    parameters = [*voice.dec.parameters(), *voice.emb_g.parameters()]
    optimizer = torch.optim.AdamW(parameters, args.rate, betas=(0.8, 0.99), weight_decay=0.0)
    judging = torch.optim.AdamW(judges.parameters(), 2 * args.rate, betas=(0.8, 0.99))
    if state:
        voice.load_state_dict(state["voice"])
        judges.load_state_dict(state["judges"])
        optimizer.load_state_dict(state["optimizer"])
        judging.load_state_dict(state["judging"])
    else:
        adopt_piper(voice.dec, dict(np.load(GENERATOR)))
    sums, count, began = np.zeros(5), 0, time.time()
    while step < args.steps:
        rate = schedule(step, step / args.steps, 100)
        for group in optimizer.param_groups:
            group["lr"] = args.rate * rate
        for group in judging.param_groups:
            group["lr"] = 2 * args.rate * rate
        latent, f0, real = corpus.batch(rng, args.batch, args.frames, args.context)
        with fast():
            made = voice.sound(latent.transpose(1, 2), f0)
        made = made.float()[:, args.context * FRAME_HOP : -args.context * FRAME_HOP]
        loss, mel = spectral(made, real)
        fooled = alike = judged = torch.zeros(())
        if step >= args.judges_after:
            with fast():
                judged = judge_loss(judges, real, made)
                judging.zero_grad()
                judged.backward()
                judging.step()
                fooled, alike = generator_loss(judges, real, made)
            loss = loss + 0.15 * fooled + 0.5 * alike
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 10.0)
        optimizer.step()
        step, count = step + 1, count + 1
        sums += [loss.item(), mel.item(), fooled.item(), alike.item(), judged.item()]
        if step % args.every == 0 or step == args.steps:
            save(
                path,
                step=step,
                voice=voice.state_dict(),
                judges=judges.state_dict(),
                optimizer=optimizer.state_dict(),
                judging=judging.state_dict(),
            )
            names = ["loss", "mel", "fooled", "alike", "judged"]
            shown = " ".join(f"{n} {v / count:.3f}" for n, v in zip(names, sums))
            print(f"{step} {shown} {(time.time() - began) / count:.3f} s/step {len(corpus.items)} items", flush=True)
            sums, count, began = np.zeros(5), 0, time.time()
            corpus.refresh()


if __name__ == "__main__":
    main()
