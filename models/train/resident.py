"""The corpus in the device's memory. Batches are cut there: no CPU cuts them as fast as an accelerator learns them."""

import math

import torch

from .common import DEVICE, INPUT_HZ, UNIT_HOP
from .dataset import BEGIN, LATENT_HZ, Corpus
from .features import TEACHER_DIM
from .nets.hubert import EDGE
from .sinc import sounded

SURROUNDED = 0.3  # of the stretches begin, and as many end, mirrored, as recordings are continued where they are converted
BEYOND = 0.6  # seconds of silence before and after what is said
QUIET = 0.02  # of the stretches hold next to nothing


class Table:
    """Rows of all items, one after the other."""

    def __init__(self, parts, dtype):
        lengths = torch.tensor([len(p) for p in parts])
        self.length, self.first = lengths.to(DEVICE), (lengths.cumsum(0) - lengths).to(DEVICE)
        self.rows = torch.cat([torch.as_tensor(p) for p in parts]).to(DEVICE, dtype)

    def nearest(self, items, at):
        """Rows `at` [B, T] of `items` [B]; what is outside is the item's first or last."""
        last = (self.length[items] - 1)[:, None]
        return self.rows[self.first[items][:, None] + at.long().clamp(min=0).minimum(last)]

    def between(self, items, at):
        """The same at fractional positions."""
        low = at.floor()
        part = at - low
        part = part[(...,) + (None,) * (self.rows.dim() - 1)]
        return self.nearest(items, low).float() * (1 - part) + self.nearest(items, low + 1).float() * part


class Resident:
    def __init__(self, corpus: Corpus):
        nothing = torch.zeros(2, TEACHER_DIM).half().numpy(), torch.zeros(2, 192).half().numpy(), torch.zeros(2).numpy()
        items = corpus.items
        self.audio = Table([i["audio"] for i in items], torch.int16)
        self.heard = Table([i["heard"] for i in items], torch.float16)
        self.latent = Table([i.get("latent", nothing[1]) for i in items], torch.float16)
        self.f0 = Table([i.get("f0", nothing[2]) for i in items], torch.float32)
        self.phone = Table([i.get("phone", nothing[2]) for i in items], torch.int16)
        self.spoken = torch.tensor(["latent" in i for i in items], device=DEVICE)
        self.lag = torch.tensor([i["lag"] for i in items], device=DEVICE)
        self.silence = torch.from_numpy(corpus.silence.astype("float32").mean(0)).to(DEVICE)
        self.chances = torch.from_numpy(corpus.chances).to(DEVICE)

    def batch(self, size: int, units: int) -> dict[str, torch.Tensor]:
        def draw(low, high):
            return low + (high - low) * torch.rand(size, 1, device=DEVICE)

        items = torch.multinomial(self.chances, size, replacement=True)
        length = (self.audio.length[items] / INPUT_HZ)[:, None]
        speed = torch.where(draw(0, 1) < 0.5, torch.exp(draw(math.log(0.88), math.log(1.14))), 1.0)
        window = units * UNIT_HOP / INPUT_HZ
        start = -BEYOND + draw(0, 1) * ((length - window * speed).clamp(min=0) + 2 * BEYOND)
        first = torch.where(draw(0, 1) < SURROUNDED, draw(0.3, 1.5), -1.0)
        last = torch.where(draw(0, 1) < SURROUNDED, window - draw(0.3, 1.5), window + 1.0)

        def source(count, step, half=0.5):
            """Seconds of the source that are heard at each position of the stretch, and which are as they were said."""
            at = (torch.arange(count, device=DEVICE) + half)[None] * step
            plain = (at >= first) & (at <= last)
            at = torch.where(at < first, 2 * first - at, at)
            at = torch.where(at > last, 2 * last - at, at)
            return start + at * speed, plain

        at, _ = source(units * UNIT_HOP + EDGE, 1 / INPUT_HZ, 0.0)
        inside = (at >= 0) & (at < length)
        audio = sounded(lambda whole: self.audio.nearest(items, whole), at * INPUT_HZ, speed.flatten()) / 32768 * inside
        unit_at, plain = source(units, UNIT_HOP / INPUT_HZ)
        unit_inside = (unit_at >= 0) & (unit_at < length)
        frame_at, frame_plain = source(2 * units, UNIT_HOP / INPUT_HZ / 2)
        frame_at = frame_at + self.lag[items][:, None]
        said = self.latent.length[items][:, None] / LATENT_HZ
        spoken = self.spoken[items][:, None]
        known = (frame_at >= 0) & (frame_at < said) & spoken
        silent = (frame_at < 0) | (frame_at >= torch.where(spoken, said, length))
        quiet = torch.arange(size, device=DEVICE)[:, None] < max(1, round(size * QUIET))
        noise = torch.randn_like(audio) * 10 ** (-draw(45, 90) / 20) * (draw(0, 1) < 0.5)
        silent, plain, frame_plain, known = silent | quiet, plain | quiet, frame_plain | quiet, known & ~quiet
        latent = self.latent.between(items, frame_at * LATENT_HZ - 0.5)
        phone = self.phone.nearest(items, (unit_at + self.lag[items][:, None]) * LATENT_HZ).long()
        phone = torch.where(known[:, ::2], phone, -1)
        phone = torch.where(silent[:, ::2], BEGIN, phone)
        return {
            "audio": torch.where(quiet, noise, audio),
            "loud": ~quiet,
            "heard": self.heard.between(items, unit_at / 0.02),
            "heard_on": (unit_inside & plain & ~quiet & (self.heard.length[items] > 2)[:, None]).float(),
            "latent": torch.where(silent[..., None], self.silence, latent),
            "latent_on": ((known | silent) & frame_plain).float(),
            "f0": self.f0.nearest(items, frame_at * 100) * known,
            "phone": torch.where(plain, phone, -1),
        }
