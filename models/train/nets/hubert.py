"""A small HuBERT for streaming: frame-wise norms, a short positional convolution, attention that tells who speaks, once.

A unit of 20 ms sees 45 ms past its end: 1 frame through the positional convolution, 25 ms through the first layers. These
begin as a mel filterbank of 20 ms windows every 5 ms: these three layers hear consonants that seven, learned from nothing,
blurred.
"""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

BANDS, PHASES, LEVELS = 64, 4, 3
CONV_DIM = [BANDS * PHASES, BANDS * LEVELS, 256]
CONV_KERNEL = [320, 4, 2]
CONV_STRIDE = [80, 2, 2]
WIDTH, INNER, HEADS, LAYERS, UNIT = 256, 832, 4, 4, 256
POSITION_TAPS, POSITION_GROUPS = 12, 1  # 6 frames back, 5 ahead
POSITION_AHEAD = 1  # the taps beyond are 0: they would have to be waited for
LOOK_BACK = 50
DROPPED = 0.05
EDGE = 400  # samples that the last frame needs beyond its hop

CONFIG = {
    "model_type": "hubert",
    "architectures": ["HubertModel"],
    "activation_dropout": 0.0,
    "attention_dropout": 0.0,
    "attention_left": LOOK_BACK,
    "attention_right": 0,
    "classifier_proj_size": UNIT,
    "conv_bias": True,
    "conv_dim": CONV_DIM,
    "conv_kernel": CONV_KERNEL,
    "conv_stride": CONV_STRIDE,
    "do_stable_layer_norm": False,
    "feat_extract_activation": "gelu",
    "feat_extract_norm": "layer",
    "feat_proj_layer_norm": True,
    "hidden_act": "gelu",
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "layer_norm_eps": 1e-5,
    "num_attention_heads": HEADS,
    "num_conv_pos_embedding_groups": POSITION_GROUPS,
    "num_conv_pos_embeddings": POSITION_TAPS,
    "num_feat_extract_layers": len(CONV_DIM),
    "num_hidden_layers": LAYERS,
}


class ConvLayer(nn.Module):
    """A strided convolution over frames [B, T, C], as products with blocks of a stride's length: twice as fast on a CPU."""

    def __init__(self, before, channels, kernel, stride):
        super().__init__()
        self.conv = nn.Conv1d(before, channels, kernel, stride)
        self.layer_norm = nn.LayerNorm(channels)
        nn.init.kaiming_normal_(self.conv.weight)

    def forward(self, x):
        batch, frames, channels = x.shape
        (kernel,), (stride,) = self.conv.kernel_size, self.conv.stride
        steps = (frames - kernel) // stride + 1
        taps = self.conv.weight.permute(0, 2, 1)
        out = self.conv.bias
        for first in range(0, kernel, stride):
            count = min(stride, kernel - first)
            block = x[:, first : first + steps * stride]
            block = F.pad(block, (0, 0, 0, steps * stride - block.shape[1])).view(batch, steps, stride, channels)[:, :, :count]
            out = out + F.linear(block.flatten(2), taps[:, first : first + count].flatten(1))
        return F.gelu(self.layer_norm(out))


def filters() -> torch.Tensor:
    """Bands on a mel scale from 80 to 7400 Hz, each in four phases, whose rectified sum is the band's level: [256, 1, 320]."""
    mel, hz = lambda f: 2595 * math.log10(1 + f / 700), lambda m: 700 * (10 ** (m / 2595) - 1)  # noqa: E731
    out, (middles, step) = np.zeros((PHASES, BANDS, CONV_KERNEL[0])), np.linspace(mel(80), mel(7400), BANDS, retstep=True)
    for band, middle in enumerate(middles):
        spacing = hz(middle + step) - hz(middle)
        length = int(np.clip(2 * 16_000 / (1.5 * spacing), 120, CONV_KERNEL[0]))
        at, first = np.arange(length) - (length - 1) / 2, (CONV_KERNEL[0] - length) // 2
        window = np.hanning(length + 2)[1:-1]
        gain = 2 * max(1.0, hz(middle) / 300) ** 0.6 / window.sum()  # speech falls towards high frequencies
        for phase in range(PHASES):
            wave = np.cos(2 * np.pi * (hz(middle) / 16_000 * at + phase / PHASES))
            out[phase, band, first : first + length] = gain * window * wave
    return torch.from_numpy(out.reshape(-1, 1, CONV_KERNEL[0]))


class FeatureExtractor(nn.Module):
    """20 ms windows every 5 ms, levels of bands every 10 ms, and one frame of them every 20 ms."""

    def __init__(self):
        super().__init__()
        sizes = zip([1, *CONV_DIM], CONV_DIM, CONV_KERNEL, CONV_STRIDE)
        self.conv_layers = nn.ModuleList(ConvLayer(*size) for size in sizes)
        waves, levels, _ = self.conv_layers
        with torch.no_grad():
            waves.conv.weight.copy_(filters())
            waves.conv.bias.normal_(0, 0.003)  # what silence is told from
            waves.layer_norm.weight.fill_(3.0)
            weight = 0.01 * torch.randn(LEVELS, BANDS, PHASES, BANDS, CONV_KERNEL[1])
            band = torch.arange(BANDS)
            weight[:, band, :, band] += 0.25 * torch.tensor([0.5, 1.0, 1.0, 0.5])
            levels.conv.weight.copy_(weight.view(levels.conv.weight.shape))
            levels.conv.bias.zero_()
            levels.layer_norm.weight.copy_(torch.tensor([1.0, 2.0, 4.0]).repeat_interleave(BANDS))  # low and high ones
            levels.layer_norm.bias.copy_(torch.tensor([0.5, 0.0, -1.0]).repeat_interleave(BANDS))

    def forward(self, audio):
        x = audio[..., None]
        for layer in self.conv_layers:
            x = layer(x)
        return x


class FeatureProjection(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer_norm, self.projection = nn.LayerNorm(CONV_DIM[-1]), nn.Linear(CONV_DIM[-1], WIDTH)

    def forward(self, x):
        return self.projection(self.layer_norm(x))


class PositionalConv(nn.Module):
    used = POSITION_TAPS // 2 + POSITION_AHEAD + 1

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(WIDTH, WIDTH, POSITION_TAPS, groups=POSITION_GROUPS)
        nn.init.zeros_(self.conv.weight[..., self.used :])

    def forward(self, x):
        x = F.pad(x.transpose(1, 2), (POSITION_TAPS // 2, POSITION_AHEAD))
        return F.gelu(F.conv1d(x, self.conv.weight[..., : self.used], self.conv.bias, groups=POSITION_GROUPS)).transpose(1, 2)


class Attention(nn.Module):
    """Queries and keys are 0, so each unit hears the mean of the past second's values: how this voice in this room sounds."""

    def __init__(self):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        for parameter in self.parameters():
            nn.init.zeros_(parameter.requires_grad_(False))

    def forward(self, x, past=None):
        """Of stretches [B, n, WIDTH]; or of units [B, 1, WIDTH], which come with some, drawn from the `past` [B, 1, 1] so many
        before them, as [B, 1 + some, WIDTH]."""
        value = self.v_proj(x).float()
        if past is not None:
            heard = (value[:, :1] + past * value[:, 1:].mean(1, keepdim=True)) / (past + 1)
        else:
            at = torch.arange(x.shape[1], device=x.device)
            first = (at - LOOK_BACK).clamp(min=0)
            total = F.pad(value.cumsum(1), (0, 0, 1, 0))
            heard = (total[:, at + 1] - total[:, first]) / (at + 1 - first)[:, None]
        return self.out_proj(heard)


class FeedForward(nn.Module):
    def __init__(self):
        super().__init__()
        self.intermediate_dense, self.output_dense = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)

    def forward(self, x):
        return self.output_dense(F.gelu(self.intermediate_dense(x)))


def drop(x, training):
    """Features are dropped for a whole stretch: random numbers for each value would take as long as the products."""
    if not training:
        return x
    return x * F.dropout(torch.ones(len(x), 1, x.shape[2], device=x.device, dtype=x.dtype), DROPPED)


class Layer(nn.Module):
    """Only in the first layer does attention add anything."""

    def __init__(self, first: bool):
        super().__init__()
        self.first, self.attention, self.layer_norm = first, Attention(), nn.LayerNorm(WIDTH)
        if first:
            self.attention.out_proj.requires_grad_(True)
        self.feed_forward, self.final_layer_norm = FeedForward(), nn.LayerNorm(WIDTH)

    def forward(self, x, past=None):
        if self.first:
            x = (x if past is None else x[:, :1]) + self.attention(x, past)
        x = self.layer_norm(x)
        return self.final_layer_norm(x + drop(self.feed_forward(x), self.training))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.pos_conv_embed, self.layer_norm = PositionalConv(), nn.LayerNorm(WIDTH)
        self.layers = nn.ModuleList(Layer(i == 0) for i in range(LAYERS))

    def forward(self, x):
        return self.embedded(x + self.pos_conv_embed(x))

    def embedded(self, x, past=None):
        """From where frames know what is around them; `past` as in `Attention`."""
        x = drop(self.layer_norm(x), self.training)
        for layer in self.layers:
            x = layer(x, past)
        return x


class Hubert(nn.Module):
    def __init__(self):
        super().__init__()
        self.feature_extractor, self.feature_projection = FeatureExtractor(), FeatureProjection()
        self.encoder, self.final_proj = Encoder(), nn.Linear(WIDTH, UNIT)
        # One more matrix would not fit into the pack. In packs without it v_proj is 0: final_proj is read after it.
        self.encoder.layers[0].attention.v_proj = self.final_proj

    def forward(self, audio):
        """16 kHz sound [B, 320 n + 80] to units [B, n, 256]."""
        return self.units(self.feature_extractor(audio))

    def units(self, frames):
        """What the first layers made of the sound [B, n, 192], to units."""
        return self.final_proj(self.encoder(self.feature_projection(frames)))
