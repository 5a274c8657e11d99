"""RVC v1's synthesizer as inference runs it: text encoder, generator with a harmonic source. No posterior encoder.

The flow is the identity here (see `export`): the text encoder's mean is the generator's latent.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from ..common import FRAME_HOP, OUTPUT_HZ

LATENT, HIDDEN, FILTER, HEADS, LAYERS, TAPS, SPEAKER, WINDOW = 192, 128, 512, 2, 2, 3, 8, 10
RATES, KERNELS, WIDTH = [10, 6, 4], [20, 12, 8], 256
RES_KERNELS, RES_DILATIONS = [3, 5, 7], [[1, 2], [2, 6], [3, 12]]
CONFIG = [
    513, 32, LATENT, HIDDEN, FILTER, HEADS, LAYERS, TAPS, 0, "2", RES_KERNELS, RES_DILATIONS, RATES, WIDTH, KERNELS,
    1, SPEAKER, OUTPUT_HZ,
]  # fmt: skip


def coarse(f0):
    """RVC's pitch classes 1..255 on a mel scale from 50 to 1100 Hz."""
    low, high = (1127 * math.log1p(hz / 700) for hz in (50, 1100))
    mel = 1127 * torch.log1p(f0 / 700)
    return torch.where(mel > 0, (mel - low) * 254 / (high - low) + 1, mel).clamp(1, 255).round().long()


class ChannelNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        return F.layer_norm(x.transpose(1, 2), (x.shape[1],), self.gamma, self.beta, 1e-5).transpose(1, 2)


def band(x):
    """The view [.., T, 2 WINDOW + 1] around the diagonal of `x` [.., T, T + 2 WINDOW]."""
    *outer, row, column = x.stride()
    return x.as_strided((*x.shape[:-1], 2 * WINDOW + 1), (*outer, row + column, column))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        for name in ("conv_q", "conv_k", "conv_v", "conv_o"):
            setattr(self, name, nn.Conv1d(HIDDEN, HIDDEN, 1))
        depth = HIDDEN // HEADS
        self.emb_rel_k = nn.Parameter(torch.randn(1, 2 * WINDOW + 1, depth) * depth**-0.5)
        self.emb_rel_v = nn.Parameter(torch.randn(1, 2 * WINDOW + 1, depth) * depth**-0.5)

    def forward(self, x):
        batch, channels, frames = x.shape
        depth = channels // HEADS
        q, k, v = (
            conv(x).view(batch, HEADS, depth, frames).transpose(2, 3) for conv in (self.conv_q, self.conv_k, self.conv_v)
        )
        q = q * depth**-0.5
        score = q @ F.pad(k, (0, 0, WINDOW, WINDOW)).transpose(2, 3)
        band(score).add_(q @ self.emb_rel_k[0].T)
        p = torch.softmax(score[..., WINDOW:-WINDOW], -1)
        out = p @ v + band(F.pad(p, (WINDOW, WINDOW))) @ self.emb_rel_v[0].to(p.dtype)
        return self.conv_o(out.transpose(2, 3).reshape(batch, channels, frames))


class FeedForward(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv_1 = nn.Conv1d(HIDDEN, FILTER, TAPS, padding=TAPS // 2)
        self.conv_2 = nn.Conv1d(FILTER, HIDDEN, TAPS, padding=TAPS // 2)

    def forward(self, x):
        return self.conv_2(torch.relu(self.conv_1(x)))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn_layers = nn.ModuleList(Attention() for _ in range(LAYERS))
        self.norm_layers_1 = nn.ModuleList(ChannelNorm(HIDDEN) for _ in range(LAYERS))
        self.ffn_layers = nn.ModuleList(FeedForward() for _ in range(LAYERS))
        self.norm_layers_2 = nn.ModuleList(ChannelNorm(HIDDEN) for _ in range(LAYERS))

    def forward(self, x):
        for attn, norm_1, ffn, norm_2 in zip(self.attn_layers, self.norm_layers_1, self.ffn_layers, self.norm_layers_2):
            x = norm_1(x + attn(x))
            x = norm_2(x + ffn(x))
        return x


class TextEncoder(nn.Module):
    """Units and pitch to the generator's latent."""

    def __init__(self):
        super().__init__()
        self.emb_phone = nn.Linear(256, HIDDEN)
        self.emb_pitch = nn.Embedding(256, HIDDEN)
        self.encoder = Transformer()
        self.proj = nn.Conv1d(HIDDEN, 2 * LATENT, 1)

    def forward(self, units, f0):
        """`units` [B, T, 256] and `f0` [B, T] at 100 Hz to `[B, 192, T]`."""
        x = (self.emb_phone(units) + self.emb_pitch(coarse(f0))) * math.sqrt(HIDDEN)
        return self.proj(self.encoder(F.leaky_relu(x, 0.1).transpose(1, 2)))[:, :LATENT]


class ResBlock2(nn.Module):
    def __init__(self, channels, kernel, dilations):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, dilation=d, padding=d * (kernel - 1) // 2) for d in dilations
        )

    def forward(self, x):
        for conv in self.convs:
            x = x + conv(F.leaky_relu(x, 0.1))
        return x


class Source(nn.Module):
    def __init__(self):
        super().__init__()
        self.l_linear = nn.Linear(1, 1)

    def forward(self, f0):
        """A sine of each frame's pitch, and noise where there is none."""
        held = f0.repeat_interleave(FRAME_HOP, 1)
        phase = (held.double() / OUTPUT_HZ).cumsum(1) % 1.0
        voiced = (held > 0).float()
        noise = torch.randn_like(held) * (0.003 * voiced + 0.1 / 3 * (1 - voiced))
        sine = 0.1 * torch.sin(2 * math.pi * phase).float() * voiced + noise
        return torch.tanh(self.l_linear(sine[..., None])).transpose(1, 2)


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.m_source = Source()
        self.conv_pre = nn.Conv1d(LATENT, WIDTH, 7, padding=3)
        self.cond = nn.Conv1d(SPEAKER, WIDTH, 1)
        self.ups, self.resblocks, self.noise_convs = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        channels = WIDTH
        for i, (rate, kernel) in enumerate(zip(RATES, KERNELS)):
            self.ups.append(nn.ConvTranspose1d(channels, channels // 2, kernel, rate, padding=(kernel - rate) // 2))
            channels //= 2
            stride = math.prod(RATES[i + 1 :])
            taps = (2 * stride, stride, stride // 2) if stride > 1 else (1, 1, 0)
            self.noise_convs.append(nn.Conv1d(1, channels, taps[0], taps[1], padding=taps[2]))
            self.resblocks.extend(ResBlock2(channels, k, d) for k, d in zip(RES_KERNELS, RES_DILATIONS))
        self.conv_post = nn.Conv1d(channels, 1, 7, padding=3, bias=False)

    def forward(self, latent, f0, speaker):
        """`latent` [B, 192, T], `f0` [B, T] to sound [B, T * 240]."""
        return self.stages(latent, self.m_source(f0), speaker)[-1]

    def stages(self, latent, source, speaker):
        """What is between, from the latent on, and the sound."""
        x = self.conv_pre(latent) + self.cond(speaker)
        out = [x]
        for i, (up, noise) in enumerate(zip(self.ups, self.noise_convs)):
            x = up(F.leaky_relu(x, 0.1)) + noise(source)
            blocks = self.resblocks[i * len(RES_KERNELS) : (i + 1) * len(RES_KERNELS)]
            x = sum(block(x) for block in blocks) / len(blocks)
            out.append(x)
        return [*out, torch.tanh(self.conv_post(F.leaky_relu(x, 0.01)))[:, 0]]


class Voice(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc_p, self.dec, self.emb_g = TextEncoder(), Generator(), nn.Embedding(1, SPEAKER)

    def speaker(self, batch):
        return self.emb_g.weight[:1].expand(batch, -1)[..., None]

    def latent(self, units, f0):
        return self.enc_p(units, f0)

    def sound(self, latent, f0):
        return self.dec(latent, f0, self.speaker(len(latent)))


def stretch(weight, taps):
    """A kernel re-sampled to another number of taps, its sum kept."""
    out = F.interpolate(weight, size=taps, mode="linear", align_corners=False)
    return out * weight.shape[-1] / taps


def delayed_pulses(channels, taps):
    """Kernels that let the source through, each with a delay and a weight of its own."""
    at = torch.arange(taps, dtype=torch.float32)
    delay = torch.rand(channels, 1) * (taps - 1)
    pulse = torch.exp(-(((at - delay) / max(1.0, taps / 8)) ** 2))
    return (torch.randn(channels, 1) * pulse / pulse.sum(1, keepdim=True))[:, None]


def adopt_piper(dec: Generator, weights: dict) -> None:
    """Starts the generator from Piper's: the same network at 22.05 kHz and 86 frames a second, without a source."""
    state = {name.removeprefix("dec."): torch.from_numpy(value).float() for name, value in weights.items()}
    with torch.no_grad():
        own = dec.state_dict()
        for name, value in state.items():
            if name.startswith("ups") and name.endswith("weight"):
                rate = own[name].shape[-1] / value.shape[-1]
                value = stretch(value, own[name].shape[-1]) * rate  # as much signal per input frame at the higher rate
            own[name].copy_(value)
        for noise, gain in zip(dec.noise_convs, (6.0, 1.1, 0.25)):  # as loud as what the generator has there
            noise.weight.copy_(delayed_pulses(*noise.weight.shape[::2]) * gain)
            noise.bias.zero_()
        dec.cond.weight.zero_()
        dec.cond.bias.zero_()
        dec.m_source.l_linear.weight.fill_(3.0)
        dec.m_source.l_linear.bias.zero_()
