"""A small HuBERT for streaming: frame-wise norms, attention that looks back only, a short positional convolution.

A unit of 20 ms sees 45 ms past its end: 2 frames through the positional convolution, 5 ms through the first layers.
"""

import torch
from torch import nn
from torch.nn import functional as F

CONV_DIM = [64, 64, 96, 128, 128, 192, 192]
CONV_KERNEL = [10, 3, 3, 3, 3, 2, 2]
CONV_STRIDE = [5, 2, 2, 2, 2, 2, 2]
WIDTH, INNER, HEADS, LAYERS, UNIT = 192, 768, 4, 5, 256
POSITION_TAPS, POSITION_GROUPS = 12, 1  # 6 frames back, 5 ahead
POSITION_AHEAD = 2  # the taps beyond are 0: they would have to be waited for
LOOK_BACK = 50
DROPPED = 0.05
EDGE = 80  # samples that the last frame needs beyond its hop

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


class FeatureExtractor(nn.Module):
    def __init__(self):
        super().__init__()
        sizes = zip([1, *CONV_DIM], CONV_DIM, CONV_KERNEL, CONV_STRIDE)
        self.conv_layers = nn.ModuleList(ConvLayer(*size) for size in sizes)

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
    def __init__(self):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x, mask):
        batch, frames, width = x.shape
        q, k, v = (
            p(x).view(batch, frames, HEADS, width // HEADS).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        heard = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(heard.transpose(1, 2).reshape(batch, frames, width))


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
    def __init__(self):
        super().__init__()
        self.attention, self.layer_norm = Attention(), nn.LayerNorm(WIDTH)
        self.feed_forward, self.final_layer_norm = FeedForward(), nn.LayerNorm(WIDTH)

    def forward(self, x, mask):
        x = self.layer_norm(x + drop(self.attention(x, mask), self.training))
        return self.final_layer_norm(x + drop(self.feed_forward(x), self.training))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.pos_conv_embed, self.layer_norm = PositionalConv(), nn.LayerNorm(WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))

    def forward(self, x):
        x = drop(self.layer_norm(x + self.pos_conv_embed(x)), self.training)
        at = torch.arange(x.shape[1], device=x.device)
        back = at[:, None] - at[None]
        mask = (back >= 0) & (back <= LOOK_BACK)
        for layer in self.layers:
            x = layer(x, mask)
        return x


class Hubert(nn.Module):
    def __init__(self):
        super().__init__()
        self.feature_extractor, self.feature_projection = FeatureExtractor(), FeatureProjection()
        self.encoder, self.final_proj = Encoder(), nn.Linear(WIDTH, UNIT)

    def forward(self, audio):
        """16 kHz sound [B, 320 n + 80] to units [B, n, 256]."""
        return self.units(self.feature_extractor(audio))

    def units(self, frames):
        """What the first layers made of the sound [B, n, 192], to units."""
        return self.final_proj(self.encoder(self.feature_projection(frames)))
