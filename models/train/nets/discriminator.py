"""Judges of sound: small networks on spectrograms of several resolutions."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

SIZES = [(512, 120), (1024, 240), (2048, 480)]
CHANNELS = 20


class Spectrogram(nn.Module):
    def __init__(self, n_fft, hop):
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        conv = lambda before, after, kernel, stride: weight_norm(  # noqa: E731
            nn.Conv2d(before, after, kernel, stride, tuple(k // 2 for k in kernel))
        )
        self.convs = nn.ModuleList(
            [conv(1, CHANNELS, (7, 3), (2, 1)), *(conv(CHANNELS, CHANNELS, (7, 3), (2, 1)) for _ in range(3))]
            + [conv(CHANNELS, CHANNELS, (3, 3), (1, 1))]
        )
        self.post = weight_norm(nn.Conv2d(CHANNELS, 1, (3, 3), 1, 1))

    def forward(self, sound):
        window = torch.hann_window(self.n_fft, device=sound.device)
        magnitude = torch.stft(sound, self.n_fft, self.hop, window=window, return_complex=True).abs()
        x, seen = torch.log(magnitude + 1e-3)[:, None], []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.1)
            seen.append(x)
        return self.post(x), seen


class Judges(nn.Module):
    def __init__(self):
        super().__init__()
        self.judges = nn.ModuleList(Spectrogram(*size) for size in SIZES)

    def forward(self, sound):
        return [judge(sound) for judge in self.judges]


def judge_loss(judges, real, made):
    pairs = zip(judges(real), judges(made.detach()))
    return sum(((1 - r).square().mean() + m.square().mean()) for (r, _), (m, _) in pairs)


def generator_loss(judges, real, made):
    """How far the judges are from taking it as real, and how differently they see it."""
    fooled = alike = 0.0
    with torch.no_grad():
        reals = judges(real)
    for (_, seen_real), (score, seen_made) in zip(reals, judges(made)):
        fooled = fooled + (1 - score).square().mean()
        alike = alike + sum((a - b).abs().mean() for a, b in zip(seen_real, seen_made)) / len(seen_real)
    return fooled, alike
