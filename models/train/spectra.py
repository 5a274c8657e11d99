"""python -m train.spectra: what follows the encoder's first layers, taught from spectra instead of sound.

The first layers say log mel spectra by now (`filters`). Perturbing a spectrum costs next to nothing, and all speech fits into the
device's memory, twice: as it was said and elsewhere (`augment.elsewhere`). First units are drawn one by one from all speech;
then, with `--text-minutes`, whole stretches, and the text encoder with them; at last, with `--clear-minutes`, by what is heard in
the sound of its latents as well (`clarity`). While units are drawn, joe's latents are moved to where the other voice says the
same (`align`), as the units tell it.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from .align import REACH, WEIGHT, paths
from .augment import elsewhere
from .clarity import BATCHES, Clarity, lowered
from .common import DEVICE, INPUT_HZ, RUNS, UNIT_HOP, fast, fixed, load, save, schedule, setup
from .content import PHONES, WARM_UP, Content
from .dataset import BEGIN, LATENT_HZ, Corpus, between
from .filters import BANDS, FLOOR, HOP, PER_UNIT, WINDOW, Spectra
from .nets.hubert import EDGE, LOOK_BACK, POSITION_AHEAD, POSITION_TAPS, UNIT, WIDTH
from .nets.rvc import LATENT, Voice
from .resident import QUIET, SURROUNDED, Table

PER_HOP = UNIT_HOP // HOP  # spectra from one unit to the next
BACK = POSITION_TAPS // 2  # units
SEEN = BACK + 1 + POSITION_AHEAD
FRAMES = PER_HOP * (SEEN - 1) + PER_UNIT  # spectra that a unit is told from
FINE = 200  # spectra a second that are kept, of which any tempo takes the nearest
PERTURBED = 0.7
MOVED = 0.5  # of what is heard is heard elsewhere, most of it in a room
HEADS_FIRST = 300  # steps
STRETCH = 200  # units
VALID = 200  # units of a held-out stretch
DRAWN = 6  # units that tell what a single one heard in the second before
BEGINS = 0.15  # of single units hear less than that
IN_STEP = ("joe", "voiced")  # kinds whose latents need no moving
WORTH = {  # of each error, in each part of the training
    "units": {"phone": 1.0, "halves": 1.0},
    "text": {"phone": 1.0, "halves": 1.0, "latent": 2.0},
    "clear": {"phone": 1.0, "halves": 0.5, "latent": 2.0, "heard": 2.0, "clear": 1.0},
}


class Apart(Corpus):
    """What is said and what of it is heard, each in its own time."""

    def beside(self, item, shift, source_pitch):
        return {"source": source_pitch, "shift": np.zeros(2, np.int8) if shift is None else shift}


@torch.no_grad()
def in_step(items: list[dict], silence, many: int = 64) -> list[dict]:
    """The same sentences in joe's voice, as the pack's generator makes it of his latents, higher or lower: they are in step with
    these by construction."""
    voice, rng, out, drawn = Voice(), np.random.default_rng(2), [], torch.get_rng_state()
    voice.load_state_dict(load(RUNS / "vocoder.pt")["voice"])
    voice.to(DEVICE).eval()
    quiet = torch.from_numpy(silence.astype(np.float32).mean(0))
    items = sorted(items, key=lambda item: len(item["latent"]))
    for some in (items[first : first + many] for first in range(0, len(items), many)):
        frames = [min(int(len(item["latent"]) / LATENT_HZ * 100), len(item["f0"])) for item in some]
        latent, f0 = quiet.repeat(len(some), max(frames) + 4, 1), torch.zeros(len(some), max(frames) + 4)
        for row, (item, count) in enumerate(zip(some, frames)):
            at = (np.arange(count) + 0.5) * 0.01 * LATENT_HZ - 0.5
            latent[row, :count] = torch.from_numpy(between(item["latent"], at))
            f0[row, :count] = torch.from_numpy(item["f0"][:count]) * math.exp(rng.uniform(-0.2, 0.6))
        sound = lowered(voice.sound(latent.transpose(1, 2).to(DEVICE), f0.to(DEVICE)).float()).clamp(-1, 1) * 32767
        for item, count, row in zip(some, frames, sound.short().cpu().numpy()):
            kept = {key: value for key, value in item.items() if key not in ("shift", "source")}
            out.append(kept | {"audio": row[: count * INPUT_HZ // 100].copy(), "kind": "voiced", "lag": 0.0})
    torch.set_rng_state(drawn)
    return [item for item in out if len(item["audio"]) > INPUT_HZ]


def through(f0: np.ndarray) -> np.ndarray:
    """Pitch, interpolated where there is none."""
    voiced = np.flatnonzero(f0)
    if len(voiced) < 2:
        return f0
    return np.exp(np.interp(np.arange(len(f0)), voiced, np.log(f0[voiced]))).astype(np.float32)


class Speech:
    """A set of utterances on the device: log mel spectra, and what joe says there."""

    def __init__(self, items: list[dict], chances, spectra: Spectra, silence):
        self.hears = spectra
        self.items = [item for item in items if "latent" in item]
        pick = [i for i, item in enumerate(items) if "latent" in item]
        self.chances = torch.from_numpy(chances[pick]).to(DEVICE)
        self.frames = Table([self.spectra(item["audio"]) for item in self.items], torch.float16)
        others = [self.items[-1], *self.items[:-1]]
        moved = [self.spectra(item["audio"], other["audio"]) for item, other in zip(self.items, others)]
        self.moved = Table(moved, torch.float16)
        self.latent = Table([item["latent"] for item in self.items], torch.float16)
        self.phone = Table([item["phone"] for item in self.items], torch.int16)
        self.height = Table([through(item["f0"]) for item in self.items], torch.float32)
        self.voiced = Table([item.get("source", item["f0"]) > 0 for item in self.items], torch.float32)
        shifts = [item.get("shift", np.zeros(2, np.int8)) for item in self.items]
        lengths = [len(item["audio"]) // 160 + 1 for item in self.items]
        self.shift = Table([np.resize(s, n) if len(s) == 2 else s for s, n in zip(shifts, lengths)], torch.float32)
        self.lag = torch.tensor([item["lag"] for item in self.items], device=DEVICE)[:, None]
        self.length = torch.tensor([len(item["audio"]) / INPUT_HZ for item in self.items], device=DEVICE)[:, None]
        self.silence = torch.from_numpy(silence.astype(np.float32).mean(0)).to(DEVICE)

    def spectra(self, audio: np.ndarray, other: np.ndarray | None = None) -> torch.Tensor:
        """Those whose middles lie every 5 ms; of a recording elsewhere, where there may be an `other`."""
        whole = lambda audio: torch.from_numpy(audio).to(DEVICE).float()[None] / 32768  # noqa: E731
        sound = whole(audio) if other is None else elsewhere(whole(audio), whole(other))
        sound = F.pad(sound, (WINDOW // 2, WINDOW))
        fine = [self.hears.plain(sound[:, first:]) for first in (0, HOP // 2)]
        count = min(len(f[0]) for f in fine)
        return torch.stack([f[0, :count] for f in fine], 1).flatten(0, 1).half()

    def heard(self, items, at, moved):
        """Spectra [B, T, BANDS] at `at` seconds of `items`, as they were said or, by `moved` [B, 1], elsewhere; nothing around."""
        fine = (at * FINE).round()
        spectra = torch.where(moved[..., None], self.moved.nearest(items, fine), self.frames.nearest(items, fine)).float()
        return torch.where(((at >= 0) & (at <= self.length[items]))[..., None], spectra, math.log(FLOOR))

    def joes(self, items, at):
        """Joe's time where the source says the same, in seconds."""
        return at + self.lag[items] + 0.01 * self.shift.nearest(items, at * 100)

    def batch(self, size: int, units: int):
        items = torch.multinomial(self.chances, size, replacement=True)
        draw = lambda low, high: low + (high - low) * torch.rand(size, 1, device=DEVICE)  # noqa: E731
        speed = torch.where(draw(0, 1) < 0.5, torch.exp(draw(math.log(0.88), math.log(1.14))), 1.0)
        window, beyond = units * UNIT_HOP / INPUT_HZ, 0.6 if units > 1 else 0.1
        start = -beyond + draw(0, 1) * ((self.length[items] - window * speed).clamp(min=0) + 2 * beyond)
        surrounded = SURROUNDED if units > 1 else 0.0
        first = torch.where(draw(0, 1) < surrounded, draw(0.3, 1.5), -9.0)
        last = torch.where(draw(0, 1) < surrounded, window - draw(0.3, 1.5), window + 9.0)
        quiet = torch.arange(size, device=DEVICE)[:, None] < max(1, round(size * QUIET)) if units > 1 else None
        moved = draw(0, 1) < MOVED
        batch = self.cut(items, units, start, speed, first, last, quiet, moved)
        return batch | (self.past(items, start, speed, moved) if units == 1 else {})

    def past(self, items, start, speed, moved):
        """Spectra of some of the units before those at `start` [B, DRAWN, FRAMES, BANDS], and how many of these are heard
        [B, 1, 1]: those of a second, or, where a recording begins, fewer."""
        draw = lambda *shape: torch.rand(len(items), *shape, device=DEVICE)  # noqa: E731
        heard = torch.where(draw(1) < BEGINS, (draw(1) * LOOK_BACK).ceil().clamp(min=1), LOOK_BACK)
        back = ((torch.arange(DRAWN, device=DEVICE) + draw(DRAWN)) * heard / DRAWN).ceil().clamp(min=1)
        frame = (WINDOW / 2 + HOP * torch.arange(FRAMES, device=DEVICE)) / INPUT_HZ
        at = start[..., None] + (frame - UNIT_HOP / INPUT_HZ * (BACK + back[..., None])) * speed[..., None]
        past = self.heard(items, at.flatten(1), moved).unflatten(1, (DRAWN, FRAMES))
        return {"past": past, "heard": heard[..., None]}

    def cut(
        self, items, units: int, start=0.0, speed=1.0, first=-9.0, last=math.inf, quiet=None, moved=None
    ) -> dict[str, torch.Tensor]:
        """Stretches, each of `items` [B] from `start` seconds on, mirrored before `first` and after `last`."""
        moved = torch.zeros(len(items), 1, dtype=torch.bool, device=DEVICE) if moved is None else moved

        def source(count: int, step: float, begin: float):
            at = (begin + step * torch.arange(count, device=DEVICE, dtype=torch.float32))[None].expand(len(items), -1)
            plain = (at >= first) & (at <= last)
            at = torch.where(at < first, 2 * first - at, at)
            at = torch.where(at > last, 2 * last - at, at)
            return start + at * speed, plain

        hop, length = UNIT_HOP / INPUT_HZ, self.length[items]
        at, _ = source(PER_HOP * (units - 1) + FRAMES, HOP / INPUT_HZ, WINDOW / 2 / INPUT_HZ - BACK * hop)
        spectra = self.heard(items, at, moved)
        at, plain = source(2 * units, hop / 2, hop / 4)
        joes = self.joes(items, at)
        said = self.latent.length[items][:, None] / LATENT_HZ
        known, silent = (joes >= 0) & (joes < said), (at < 0) | (at > length)
        if quiet is not None:
            level = torch.exp(-9 + 7 * torch.rand(len(items), 1, 1, device=DEVICE))
            hiss = torch.log(level * torch.exp(0.4 * torch.randn_like(spectra)) + FLOOR)
            spectra = torch.where(quiet[..., None], hiss, spectra)
            known, silent, plain = known & ~quiet, silent | quiet, plain | quiet
        latent = self.latent.between(items, joes * LATENT_HZ - 0.5)
        middle, middle_plain = source(units, hop, hop / 2)
        phone = self.phone.nearest(items, self.joes(items, middle) * LATENT_HZ).long()
        inside = lambda on: on[:, ::2] & on[:, 1::2]  # noqa: E731
        phone = torch.where(inside(known & plain), phone, -1)
        return {
            "spectra": spectra,
            "phone": torch.where(inside(silent & plain), BEGIN, phone),
            "latent": torch.where(silent[..., None], self.silence, latent),
            "on": ((known | silent) & plain).float(),
            "f0": self.height.nearest(items, joes * 100) * self.voiced.nearest(items, at * 100) * known,
        }

    @torch.no_grad()
    def align(self, tell, spread, many: int = 64) -> None:
        """Moves joe's latents to where `tell`, spectra to latents, fits them best."""
        order = self.length.flatten().argsort().cpu()
        shifts = [None] * len(self.items)
        for some in order.split(many):
            items = some.to(DEVICE)
            units = int(self.length[items].max() * INPUT_HZ / UNIT_HOP) + 1
            guessed = tell(self.cut(items, units)["spectra"])
            at = ((torch.arange(2 * units, device=DEVICE) + 0.5) * 0.01)[None] + self.lag[items]
            cost = [
                ((guessed - self.latent.between(items, (at + 0.01 * k) * LATENT_HZ - 0.5)) / spread).square().mean(2)
                for k in range(-REACH, REACH + 1)
            ]
            inside = at - self.lag[items] < self.length[items]
            found = paths(0.5 * WEIGHT * torch.stack(cost, 2) * inside[..., None])
            for i, row in zip(some.tolist(), found.cpu().numpy()):
                kept = row[: len(self.items[i]["audio"]) // 160 + 1]
                shifts[i] = kept * 0 if self.items[i]["kind"] in IN_STEP else kept
        self.shift = Table(shifts, torch.float32)
        every = np.concatenate([s for s, item in zip(shifts, self.items) if item["kind"] not in IN_STEP])
        print(f"joe's latents lie {every.mean():.2f} frames later, +- {every.std():.2f}", flush=True)


def perturb(spectra):
    """Other throats, microphones, rooms' noise and levels, on log mel spectra [n, frames, BANDS]."""
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
    noise = torch.exp(uniform(-6, -1.8) + curve() + 0.3 * torch.randn_like(spectra)) * (uniform(0, 1) < 0.5)
    changed = torch.log(loudness(moved) * torch.exp(curve() - uniform(0, 1.2)) + FLOOR + noise)
    only_level = torch.log(loudness(spectra) * torch.exp(uniform(-1.6, 0.4)) + FLOOR)
    return torch.where(uniform(0, 1) < PERTURBED, changed, only_level)


class Upper(nn.Module):
    """The encoder from its projection's values on, and what is told from units alone."""

    def __init__(self, content: Content, mean: torch.Tensor, deviation: torch.Tensor):
        super().__init__()
        self.encoder, self.projection, self.phone = content.hubert.encoder, content.hubert.final_proj, content.phone
        self.halves = nn.Linear(UNIT, 2 * LATENT)
        self.mean, self.deviation = mean, deviation

    def units(self, spectra, past=None, heard=None):
        """Spectra [B, 2 (n - 1) + FRAMES, BANDS] to units [B, n, UNIT]; a single one with what `Speech.past` gives."""
        x = self.around(spectra)
        if past is not None:
            x = torch.cat([x, self.around(past.flatten(0, 1)).view(len(x), -1, WIDTH)], 1)
        return self.projection(self.encoder.embedded(x, heard))

    def around(self, spectra):
        """Frames that know what is around them."""
        said = spectra.unfold(1, PER_UNIT, PER_HOP).transpose(2, 3).flatten(2)
        x = F.pad((said - self.mean) / self.deviation, (0, WIDTH - said.shape[2]))
        conv = self.encoder.pos_conv_embed.conv
        count = x.shape[1] - SEEN + 1
        around = torch.stack([x[:, k : k + count] for k in range(SEEN)], 2).flatten(2)
        taps = conv.weight[..., :SEEN].permute(0, 2, 1).flatten(1)
        return x[:, BACK : BACK + count] + F.gelu(F.linear(around, taps, conv.bias))

    def told(self, units):
        """Phones [B, n, PHONES] and normalised latents [B, 2 n, LATENT]."""
        return self.phone(units), self.halves(units).view(len(units), -1, LATENT)


@torch.no_grad()
def said(content: Content, corpus: Corpus, spectra: Spectra):
    """Mean and deviation of the spectra that the encoder's first layers say: the line that fits best. People's recordings end at
    5.5 kHz; bands that hold nothing would bend it."""
    length = 100 * UNIT_HOP + EDGE
    some = [item["audio"] for item in corpus.items if len(item["audio"]) > length and item["kind"] != "people"]
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
    beyond = [value[PER_UNIT * BANDS :] for value in hubert.feature_projection.projection.parameters()]
    assert all(not value.any() for value in beyond), "the projection says more than spectra, which nothing here hears"
    print(f"the first layers say spectra with an error of {left:.3f}", flush=True)
    return mean, deviation


class Lesson:
    """What is learned, of what, and how well."""

    def __init__(self, state: dict, copies: Path | None = None, voiced: float = 0.0):
        self.step, self.copies = state["step"], copies
        corpus, self.spectra = Apart(), Spectra()
        self.content = Content().to(DEVICE)
        if self.step:
            self.content.load_state_dict(state["model"])
        else:
            self.content.begin_with(load(RUNS / "filters.pt"))
        self.scale = (state["scale"] if "scale" in state else corpus.spread()).to(DEVICE)
        self.upper = Upper(self.content, *said(self.content, corpus, self.spectra)).to(DEVICE)
        if "halves" in state:
            self.upper.halves.load_state_dict(state["halves"])
        if voiced:
            others = [item for item in corpus.items if "latent" in item and item["kind"] not in IN_STEP]
            chosen = np.random.default_rng(3).random(len(others)) < voiced
            corpus.take(in_step([item for item, on in zip(others, chosen) if on], corpus.silence))
        self.speech = Speech(corpus.items, corpus.chances, self.spectra, corpus.silence)
        with fixed(7):  # the same rooms in each run
            self.held = Speech(corpus.valid, np.ones(len(corpus.valid)), self.spectra, corpus.silence)
        self.middle = self.speech.latent.rows[::7].float().mean(0)
        print(f"{float(self.speech.length.sum()) / 3600:.1f} h of speech", flush=True)

    def losses(self, batch, part: str) -> dict[str, torch.Tensor]:
        text = part != "units"
        with fast():
            units = self.upper.units(batch["spectra"], batch.get("past"), batch.get("heard"))
            phone, halves = self.upper.told(units)
            latent = self.latent(units, batch["f0"]) if text else None
        target, on = (batch["latent"] - self.middle) / self.scale, batch["on"]
        near = lambda told: ((told.float() - target).square().mean(2) * on).sum() / (on.sum() + 1)  # noqa: E731
        out = {"phone": F.cross_entropy(phone.float().flatten(0, 1), batch["phone"].flatten(), ignore_index=-1)}
        out["halves"] = near(halves)
        if text:
            out["latent"] = near((latent.float() - self.middle) / self.scale)
        return out | (self.clarity(latent, batch) if part == "clear" else {})

    def latent(self, units, f0):
        """By the text encoder. It attends to all that there is, so several stretches in a row teach it long recordings."""
        rows = int(np.random.choice([n for n in (1, 2, 4) if len(units) % n == 0])) if self.upper.training else 1
        twice = units.repeat_interleave(2, 1).reshape(-1, rows * f0.shape[1], UNIT)
        return self.content.enc_p(twice, f0.reshape(-1, rows * f0.shape[1])).transpose(1, 2).reshape(*f0.shape, LATENT)

    @torch.no_grad()
    def validated(self, part: str) -> str:
        self.upper.eval()
        sums, parts = {}, torch.arange(len(self.held.items), device=DEVICE).split(16)
        for items in parts:
            for where in (False, True):
                moved = torch.full((len(items), 1), where, device=DEVICE)
                for name, value in self.losses(self.held.cut(items, VALID, moved=moved), part).items():
                    sums[name, where] = sums.get((name, where), 0.0) + value.item()
        self.upper.train()
        told = lambda moved: " ".join(f"{v / len(parts):.3f}" for (_, where), v in sums.items() if where == moved)  # noqa: E731
        return f"{told(False)}, elsewhere {told(True)},"

    @torch.no_grad()
    def align(self) -> None:
        self.upper.eval()
        tell = lambda spectra: self.upper.told(self.upper.units(spectra))[1] * self.scale + self.middle  # noqa: E731
        some = self.held.cut(torch.arange(0, len(self.held.items), 3, device=DEVICE), VALID)
        off = (tell(some["spectra"]) - some["latent"])[some["on"] > 0]
        self.speech.align(tell, off.std(0))
        self.upper.train()

    def learn(self, part: str, minutes: float, size: int, rate: float, every: int, settled: int = 0, align_at=()) -> None:
        content, first, units, worth = self.content, self.step, 1 if part == "units" else STRETCH, WORTH[part]
        body = [*self.upper.encoder.parameters(), *self.upper.projection.parameters()]
        learned = [p for p in self.upper.parameters() if p.requires_grad]
        learned += [] if part == "units" else content.enc_p.parameters()
        if part == "clear":
            self.clarity = Clarity(PHONES).to(DEVICE)
            self.clarity.prepare(self.speech.batch(size, STRETCH) for _ in range(BATCHES))
        fused = DEVICE.type == "cuda"
        optimizer = torch.optim.AdamW(learned, rate, betas=(0.9, 0.98), weight_decay=0.05, fused=fused)
        total, count, done, align_at = {}, 0, 0.0, list(align_at)
        entered = began = time.time()
        while done < 1:
            done = (time.time() - entered) / (60 * minutes)
            for group in optimizer.param_groups:
                group["lr"] = rate * schedule(self.step - first, done, WARM_UP)
            batch = self.speech.batch(size, units)
            heard = [batch["spectra"], *([batch["past"].flatten(1, 2)] if "past" in batch else [])]
            heard = perturb(torch.cat(heard, 1)).split([part.shape[1] for part in heard], 1)  # in one room, by one throat
            batch["spectra"] = heard[0]
            if "past" in batch:
                batch["past"] = heard[1].unflatten(1, (DRAWN, FRAMES))
            losses = self.losses(batch, part)
            optimizer.zero_grad()
            sum(worth[name] * value for name, value in losses.items()).backward()
            if self.step < settled:
                for parameter in body:
                    parameter.grad = None
            length = nn.utils.clip_grad_norm_(learned, 1.0)
            if part != "clear" or torch.isfinite(length):
                optimizer.step()
            self.step, count = self.step + 1, count + 1
            for name, value in losses.items():
                total[name] = total.get(name, 0.0) + value.detach()
            if align_at and done > align_at[0]:
                align_at.pop(0)
                self.align()
            if self.step % every == 0 or done >= 1:
                shown, pace = " ".join(f"{k} {v.item() / count:.3f}" for k, v in total.items()), (time.time() - began) / count
                print(f"{self.step} {shown} held out {self.validated(part)} {pace:.4f} s/step {done:.2f}", flush=True)
                self.keep(part)
                total, count, began = {}, 0, time.time()

    @torch.no_grad()
    def keep(self, part: str) -> None:
        """`direct` tells one latent a unit, in its own size."""
        halves, direct = self.upper.halves, self.content.direct
        direct.weight.copy_(halves.weight.view(2, LATENT, UNIT).mean(0) * self.scale[:, None])
        direct.bias.copy_(halves.bias.view(2, LATENT).mean(0) * self.scale + self.middle)
        model, heads = self.content.state_dict(), halves.state_dict()
        save(RUNS / "content.pt", step=self.step, model=model, halves=heads, scale=self.scale.cpu())
        if self.copies:
            half = lambda state: {k: v.half() for k, v in state.items()}  # noqa: E731
            save(self.copies / f"{part}.pt", step=self.step, model=half(model), halves=half(heads), scale=self.scale.cpu())


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--minutes", type=float, default=20, help="with units drawn one by one")
    args.add_argument("--batch", type=int, default=1024, help="units")
    args.add_argument("--rate", type=float, default=1.5e-3)
    args.add_argument("--align", type=float, nargs="*", default=[], help="when to align, in shares of the minutes")
    args.add_argument("--text-minutes", type=float, default=0.0, help="with stretches and the text encoder, after that")
    args.add_argument("--text-batch", type=int, default=8, help="stretches")
    args.add_argument("--text-rate", type=float, default=8e-4)
    args.add_argument("--clear-minutes", type=float, default=0.0, help="by what is heard as well, after that")
    args.add_argument("--clear-batch", type=int, default=4, help="stretches")
    args.add_argument("--clear-rate", type=float, default=3e-4)
    args.add_argument("--every", type=int, default=500)
    args.add_argument("--voiced", type=float, default=0.0, help="share of others' sentences that joe's generator says as well")
    args.add_argument("--copies", type=Path, help="folder for a copy of each part's end, in half precision")
    args = args.parse_args()
    state = load(RUNS / "content.pt") or {"step": 0}
    if (args.clear_minutes or args.voiced) and not (RUNS / "vocoder.pt").exists():
        raise SystemExit("what is heard needs joe's generator: run train.vocoder or train.adopt before")
    setup(700 + state["step"])
    lesson = Lesson(state, args.copies, args.voiced)
    settled = lesson.step + HEADS_FIRST if lesson.step and "halves" not in state else 0  # a pack has no heads
    often = max(1, args.every // 5)
    if args.minutes:
        lesson.learn("units", args.minutes, args.batch, args.rate, args.every, settled, args.align)
    if args.text_minutes:
        lesson.learn("text", args.text_minutes, args.text_batch, args.text_rate, often)
    if args.clear_minutes:
        lesson.learn("clear", args.clear_minutes, args.clear_batch, args.clear_rate, often)


if __name__ == "__main__":
    main()
