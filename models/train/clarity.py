"""How clear a latent is: what whisper hears in the sound that joe's generator makes of it, against what it hears in the sound of
the true one, and which phones can be told from that.

Where the network does not know what was said, the latent that is nearest on average is one that sounds like nothing. A listener
minds that more than the square of the distance does.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from .common import DATA, DEVICE, INPUT_HZ, OUTPUT_HZ, RUNS, WORK, fast, load
from .nets.rvc import Voice
from .nets.whisper import WIDTH, Spectra, Whisper, adopted, from_bytes

LISTENER = DATA / "whisper-base.npz"  # the encoder as bytes, where the whole is not
WHOLE = "lab/models/whisper-base-ct2/model.bin"
LEVELS = (1, 3, 5)  # of whisper's blocks, that are compared
FRAMES = 300  # of 10 ms, that are listened to at a time
EDGE = 8  # units at either end that the cut changes
PLACES = 25  # of 20 ms, where in whisper's window the stretch may lie
QUIETEST = 0.1  # as what a stretch's loudest counts, of the other stretches' loudest
BATCHES, STEPS, ROWS = 24, 600, 4096  # that the probe learns from


def whisper_weights() -> dict[str, torch.Tensor]:
    return from_bytes(np.load(LISTENER)) if LISTENER.exists() else adopted(WORK / WHOLE)


def lowered(sound):
    """24 kHz sound [B, 3 n] as 16 kHz [B, 2 n], by Fourier's way."""
    count = sound.shape[1] * INPUT_HZ // OUTPUT_HZ
    return torch.fft.irfft(torch.fft.rfft(sound)[:, : count // 2 + 1], n=count) * (INPUT_HZ / OUTPUT_HZ)


class Clarity(nn.Module):
    def __init__(self, phones: int):
        super().__init__()
        self.voice, self.spectra, self.whisper = Voice(), Spectra(), Whisper()
        self.voice.load_state_dict(load(RUNS / "vocoder.pt")["voice"])
        self.whisper.load_state_dict(whisper_weights())
        self.probe = nn.Linear(WIDTH, phones)
        self.requires_grad_(False)
        torch.backends.cudnn.benchmark = True
        self.register_buffer("mean", torch.zeros(len(LEVELS), 1, 1, WIDTH))
        self.register_buffer("deviation", torch.ones(len(LEVELS), 1, 1, WIDTH))

    def spoken(self, latent, source):
        """The power of joe's sound on whisper's mel scale, of latents [B, T, 192]."""
        dec = self.voice.dec
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=DEVICE.type == "cuda"):  # a CPU takes ten times as long with it
            sound = dec.stages(latent.transpose(1, 2), source, self.voice.speaker(len(latent)))[-1]
        return self.spectra(lowered(sound.float()))

    def heard(self, power, loudest, place: int):
        """What the `LEVELS` hear [levels, B, T / 2, WIDTH], each value in its own size."""
        with fast():
            told = self.whisper(power, loudest, place)
        return (torch.stack([told[k] for k in LEVELS]).float() - self.mean) / self.deviation

    def segment(self, batch):
        """A part of the stretches, the same of all: true latents, where they are known, pitch, phones."""
        units = batch["phone"].shape[1]
        first = int(np.random.randint(units - FRAMES // 2 + 1)) if units > FRAMES // 2 else 0
        frames, units = slice(2 * first, 2 * first + FRAMES), slice(first, first + FRAMES // 2)
        return frames, batch["latent"][:, frames], batch["on"][:, frames], batch["f0"][:, frames], batch["phone"][:, units]

    @staticmethod
    def drawn(power):
        """The loudest of each stretch, noise around it, and where it lies for whisper."""
        loudest = power.amax((1, 2), keepdim=True)
        loudest = loudest.maximum(QUIETEST * loudest.median()) + 1e-6  # next to nothing shall stay that
        level = 10 ** torch.empty_like(loudest).uniform_(-8, -2.5)
        shape = torch.empty_like(power).exponential_()
        return loudest, loudest * level * shape, int(np.random.randint(PLACES))

    @torch.no_grad()
    def true(self, batch):
        frames, latent, on, f0, phone = self.segment(batch)
        source = self.voice.dec.m_source(f0)
        power = self.spoken(latent, source)
        loudest, noise, place = self.drawn(power)
        heard = self.heard(power + noise, loudest, place)
        on = (on[:, ::2] * on[:, 1::2])[:, EDGE:-EDGE]
        return frames, latent, source, heard, (loudest, noise, place), on, phone[:, EDGE:-EDGE]

    def forward(self, guessed, batch) -> dict[str, torch.Tensor]:
        """Of `guessed` latents [B, T, 192]: how far what is heard lies from what should be, and how surprising the phones are."""
        frames, latent, source, meant, (loudest, noise, place), on, phone = self.true(batch)
        known = batch["on"][:, frames, None] > 0
        guessed = torch.where(known, guessed[:, frames].float(), latent)
        heard = self.heard(self.spoken(guessed, source) + noise, loudest, place)[:, :, EDGE:-EDGE]
        off = F.smooth_l1_loss(heard, meant[:, :, EDGE:-EDGE], reduction="none").mean((0, 3))
        told = self.probe(heard[-1]).flatten(0, 1)
        return {
            "heard": (off * on).sum() / (on.sum() + 1),
            "clear": F.cross_entropy(told, phone.masked_fill(on == 0, -1).flatten(), ignore_index=-1),
        }

    def prepare(self, batches) -> None:
        """Learns how far what is heard varies, and the probe."""
        heard, phones, count = [], [], 0
        for batch in batches:
            *_, levels, _, on, phone = self.true(batch)
            levels = levels[:, :, EDGE:-EDGE]
            phone = phone.masked_fill(on == 0, -1)
            if not count:
                flat = levels.flatten(1, 2)
                self.mean.copy_(flat.mean(1)[:, None, None])
                self.deviation.copy_(flat.std(1)[:, None, None] + 1e-3)
                levels = (levels - self.mean) / self.deviation
            kept = phone >= 0
            heard.append(levels[-1][kept]), phones.append(phone[kept])
            count += 1
        heard, phones, last = torch.cat(heard), torch.cat(phones), len(torch.cat(phones[-max(1, count // 8) :]))
        self.probe.requires_grad_(True)
        optimizer = torch.optim.AdamW(self.probe.parameters(), 3e-3, weight_decay=0.01)
        for step in range(STEPS):
            for group in optimizer.param_groups:
                group["lr"] = 3e-3 * (1 - step / STEPS)
            some = torch.randint(0, len(heard) - last, (ROWS,), device=DEVICE)
            optimizer.zero_grad()
            F.cross_entropy(self.probe(heard[some]), phones[some]).backward()
            optimizer.step()
        self.probe.requires_grad_(False)
        told = self.probe(heard[-last:])
        right = (told.argmax(1) == phones[-last:]).float().mean()
        surprise = F.cross_entropy(told, phones[-last:])
        print(f"of what is heard, {right:.3f} of the phones can be told, entropy {surprise:.3f}", flush=True)
