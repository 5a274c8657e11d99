"""python -m train.spectra: what follows the encoder's first layers, taught from spectra instead of sound.

The first layers say log mel spectra by now (`filters`). Perturbing a spectrum costs next to nothing, and units can be drawn one by
one from all speech. `content` goes on from what this leaves, with the text encoder and the sound as the first layers hear it.
"""

import argparse
import math
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from .common import DEVICE, INPUT_HZ, RUNS, UNIT_HOP, load, save, schedule, setup
from .content import WARM_UP, Content
from .dataset import LATENT_HZ, WORTH, Corpus, between
from .filters import BANDS, FLOOR, HOP, PER_UNIT, WINDOW, Spectra
from .nets.hubert import EDGE, POSITION_AHEAD, POSITION_TAPS, UNIT, WIDTH
from .nets.rvc import LATENT

PER_HOP = UNIT_HOP // HOP  # spectra from one unit to the next
BACK = POSITION_TAPS // 2  # units
SEEN = BACK + 1 + POSITION_AHEAD
FRAMES = PER_HOP * (SEEN - 1) + PER_UNIT  # spectra that a unit is told from
PERTURBED = 0.7
HEADS_FIRST = 300  # steps


class Units:
    """All units of a set of utterances: the spectra around each, its phone, and joe's latent in its two halves."""

    def __init__(self, items: list[dict], spectra: Spectra):
        frames, first, phone, latent, kinds, total = [], [], [], [], [], 0
        for item in items:
            count = len(item["audio"]) // UNIT_HOP
            middle = (np.arange(count) + 0.5) * UNIT_HOP / INPUT_HZ + item["lag"]
            halves = [between(item["latent"], (middle + shift) * LATENT_HZ - 0.5) for shift in (-0.005, 0.005)]
            said = item["phone"][np.clip((middle * LATENT_HZ).astype(int), 0, len(item["phone"]) - 1)]
            inside = (middle >= 0) & (middle < len(item["latent"]) / LATENT_HZ)
            around = self.frames(item["audio"], count, spectra)
            frames.append(around.half())
            first.append(total + PER_HOP * np.arange(count))
            phone.append(np.where(inside, said, -1))
            latent.append(np.concatenate(halves, 1).astype(np.float16))
            kinds += [item["kind"]] * count
            total += len(around)
        kinds = np.array(kinds)
        weights = np.zeros(len(kinds))
        for kind in set(kinds):
            weights[kinds == kind] = WORTH[kind] * (kinds == kind).sum() ** -0.5
        self.chances = torch.from_numpy(weights.cumsum() / weights.sum())
        self.spectra, self.first = torch.cat(frames), torch.from_numpy(np.concatenate(first))
        self.phone, self.latent = torch.from_numpy(np.concatenate(phone)), torch.from_numpy(np.concatenate(latent))

    @staticmethod
    def frames(audio: np.ndarray, count: int, spectra: Spectra) -> torch.Tensor:
        """Log mel spectra from `BACK` units before the first unit to all that the last one is told from."""
        sound = torch.from_numpy(audio.astype(np.float32) / 32768)
        before, wanted = BACK * UNIT_HOP, (PER_HOP * (count - 1) + FRAMES - 1) * HOP + WINDOW
        sound = F.pad(sound, (before, max(0, wanted - before - len(sound))))[:wanted]
        return spectra.plain(sound[None].to(DEVICE))[0].cpu()

    def __len__(self):
        return len(self.first)

    def drawn(self, size: int) -> torch.Tensor:
        return torch.searchsorted(self.chances, torch.rand(size, dtype=torch.double)).clamp(max=len(self) - 1)

    def around(self, units: torch.Tensor) -> torch.Tensor:
        """Spectra [n, FRAMES, BANDS]."""
        return self.spectra[self.first[units][:, None] + torch.arange(FRAMES)].float().to(DEVICE)


def perturb(spectra):
    """Other throats, microphones, rooms' noise and levels, on log mel spectra [n, FRAMES, BANDS]."""
    count, like = len(spectra), spectra[:, :1, :1]
    uniform = lambda low, high: torch.empty_like(like).uniform_(low, high)  # noqa: E731
    band = torch.linspace(0, 1, BANDS, device=spectra.device)
    shapes = [torch.full_like(band, 2.2), band - 0.5, torch.cos(2 * math.pi * band), torch.cos(4 * math.pi * band)]
    curve = lambda: (0.3 * torch.randn(count, 1, 4, device=spectra.device)) @ torch.stack(shapes)  # noqa: E731
    source = (torch.arange(BANDS, device=spectra.device) * torch.exp(uniform(-0.16, 0.16))).clamp(0, BANDS - 1)
    low = source.floor().long().clamp(max=BANDS - 2)
    part, index = source - low, low.expand(-1, spectra.shape[1], -1)
    moved = spectra.gather(2, index) * (1 - part) + spectra.gather(2, index + 1) * part
    loudness = lambda log: (log.exp() - FLOOR).clamp(min=0)  # noqa: E731
    noise = torch.exp(uniform(-6, -2.5) + curve() + 0.3 * torch.randn_like(spectra)) * (uniform(0, 1) < 0.5)
    changed = torch.log(loudness(moved) * torch.exp(curve() - uniform(0, 1.2)) + FLOOR + noise)
    only_level = torch.log(loudness(spectra) * torch.exp(uniform(-1.6, 0.4)) + FLOOR)
    return torch.where(uniform(0, 1) < PERTURBED, changed, only_level)


class Upper(nn.Module):
    """The encoder from its projection's values on, one unit at a time, and what is told from a unit."""

    def __init__(self, content: Content, mean: torch.Tensor, deviation: torch.Tensor):
        super().__init__()
        self.encoder, self.projection, self.phone = content.hubert.encoder, content.hubert.final_proj, content.phone
        self.halves = nn.Linear(UNIT, 2 * LATENT)
        self.mean, self.deviation = mean, deviation

    def forward(self, spectra):
        said = [spectra[:, PER_HOP * k : PER_HOP * k + PER_UNIT].flatten(1) for k in range(SEEN)]
        x = (torch.stack(said, 1) - self.mean) / self.deviation
        x = F.pad(x, (0, WIDTH - x.shape[2]))
        conv = self.encoder.pos_conv_embed.conv
        taps = conv.weight[..., :SEEN].permute(0, 2, 1).flatten(1)
        x = self.encoder.layer_norm(x[:, BACK] + F.gelu(F.linear(x.flatten(1), taps, conv.bias)))[:, None]
        for layer in self.encoder.layers:
            x = layer(x)
        unit = self.projection(x[:, 0])
        return self.phone(unit), self.halves(unit)


@torch.no_grad()
def said(content: Content, corpus: Corpus, spectra: Spectra):
    """Mean and deviation of the spectra that the encoder's first layers say: the line that fits best."""
    length = 100 * UNIT_HOP + EDGE
    some = [item["audio"] for item in corpus.items if len(item["audio"]) > length]
    audio = np.stack([a[len(a) - length :] for a in some[:: max(1, len(some) // 100)]]).astype(np.float32) / 32768
    audio = torch.from_numpy(audio * 10 ** -np.random.default_rng(0).uniform(0, 1, (len(audio), 1)).astype(np.float32)).to(DEVICE)
    hubert = content.hubert.eval()
    told = hubert.feature_projection(hubert.feature_extractor(audio)).flatten(0, 1)[:, : PER_UNIT * BANDS]
    true = spectra(audio).flatten(0, 1)
    content.train()
    apart = told - told.mean(0)
    deviation = (apart * true).mean(0) / apart.square().mean(0)
    mean = true.mean(0) - deviation * told.mean(0)
    left = ((true - mean) / deviation - told).square().mean()
    print(f"the first layers say spectra with an error of {left:.3f}", flush=True)
    return mean, deviation


def losses(phone, latent, wanted_phone, wanted_latent):
    known = wanted_phone >= 0
    near = F.mse_loss(latent.float()[known], wanted_latent[known])
    return F.cross_entropy(phone.float()[known], wanted_phone[known]), near


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--minutes", type=float, default=20)
    args.add_argument("--batch", type=int, default=1024, help="units")
    args.add_argument("--rate", type=float, default=1.5e-3)
    args.add_argument("--every", type=int, default=500)
    args = args.parse_args()
    path = RUNS / "content.pt"
    state = load(path) or {"step": 0}
    step = first = state["step"]
    setup(700 + step)
    corpus, content, spectra = Corpus(), Content().to(DEVICE), Spectra()
    units = Units([item for item in corpus.items if "latent" in item], spectra)
    held = Units([item for item in corpus.valid if "latent" in item][::3], spectra)
    if step:
        content.load_state_dict(state["model"])
    else:
        content.begin_with(load(RUNS / "filters.pt"))
    mean, deviation = said(content, corpus, spectra)
    scale = state["scale"] if "scale" in state else corpus.spread()
    middle = units.latent[::7].float().mean(0).view(2, LATENT).mean(0)
    upper = Upper(content, mean, deviation).to(DEVICE)
    if "halves" in state:
        upper.halves.load_state_dict(state["halves"])
    learned = [p for p in upper.parameters() if p.requires_grad]
    body = [*upper.encoder.parameters(), *upper.projection.parameters()]
    settled = first + HEADS_FIRST if step and "halves" not in state else first  # a pack has no heads
    optimizer = torch.optim.AdamW(learned, args.rate, betas=(0.9, 0.98), weight_decay=0.05)

    def targets(of: Units, some):
        latent = (of.latent[some].float() - middle.repeat(2)) / scale.repeat(2)
        return of.phone[some].long().to(DEVICE), latent.to(DEVICE)

    def validated() -> str:
        upper.eval()
        with torch.no_grad():
            parts = torch.arange(len(held)).split(2048)
            told = [torch.cat(each) for each in zip(*(upper(held.around(some)) for some in parts))]
            phone, near = losses(*told, *targets(held, torch.arange(len(held))))
        upper.train()
        return f"held out {phone:.3f} {near:.3f}"

    def kept() -> dict:
        """`direct` tells one latent a unit, in its own size."""
        halves, direct = upper.halves, content.direct
        with torch.no_grad():
            direct.weight.copy_(halves.weight.view(2, LATENT, UNIT).mean(0) * scale.to(DEVICE)[:, None])
            direct.bias.copy_(halves.bias.view(2, LATENT).mean(0) * scale.to(DEVICE) + middle.to(DEVICE))
        return {"model": content.state_dict(), "halves": halves.state_dict(), "scale": scale}

    total, count, done = np.zeros(2), 0, 0.0
    entered = began = time.time()
    while done < 1:
        done = (time.time() - entered) / (60 * args.minutes)
        for group in optimizer.param_groups:
            group["lr"] = args.rate * schedule(step - first, done, WARM_UP)
        some = units.drawn(args.batch)
        with torch.autocast(DEVICE.type, torch.bfloat16):
            told = upper(perturb(units.around(some)))
        phone, near = losses(*told, *targets(units, some))
        optimizer.zero_grad()
        (phone + near).backward()
        if step < settled:
            for parameter in body:
                parameter.grad = None
        nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        step, count, total = step + 1, count + 1, total + [phone.item(), near.item()]
        if step % args.every == 0 or done >= 1:
            shown, pace = "phone {:.3f} latent {:.3f}".format(*total / count), (time.time() - began) / count
            print(f"{step} {shown} {validated()} {pace:.3f} s/step", flush=True)
            save(path, step=step, **kept())
            total, count, began = np.zeros(2), 0, time.time()


if __name__ == "__main__":
    main()
