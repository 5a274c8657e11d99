"""How a latent sounds: what a trained generator makes of it, against what it makes of the true one.

The error of the latent alone knows nothing of what is heard: a tenth of its values hold half of its variance.
"""

import torch
from torch import nn

from .common import RUNS, load
from .nets.rvc import Voice
from .vocoder import SpectralLoss

FRAMES = 48  # of a segment: 0.48 s


class Listener(nn.Module):
    def __init__(self):
        super().__init__()
        self.voice, self.spectral = Voice(), SpectralLoss()
        self.voice.load_state_dict(load(RUNS / "vocoder.pt")["voice"])
        self.requires_grad_(False)

    def forward(self, guessed, true, on, f0):
        """Error of `guessed` latents [B, T, 192] where `on` [B, T], at pitch `f0` [B, T], in a random segment."""
        first = int(torch.randint(0, guessed.shape[1] - FRAMES + 1, ()))
        guessed, true, on, f0 = (x[:, first : first + FRAMES] for x in (guessed, true, on, f0))
        guessed = torch.where(on[..., None] > 0, guessed, true)
        dec, speaker, source = self.voice.dec, self.voice.speaker(len(f0)), self.voice.dec.m_source(f0)
        with torch.no_grad():
            *real, meant = dec.stages(true.transpose(1, 2), source, speaker)
        *made, heard = dec.stages(guessed.transpose(1, 2), source, speaker)
        inner = sum((a.float() - b.float()).abs().mean() / b.float().abs().mean() for a, b in zip(made, real)) / len(made)
        return inner + self.spectral(heard.float(), meant.float())[0]
