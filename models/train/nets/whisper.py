"""Whisper-base's encoder, through which gradients pass: 16 kHz sound to what it hears, 512 values every 20 ms.

It hears stretches of a few seconds, not of thirty: its positions are cut to the stretch, and what the loudest of a recording sets,
the caller tells. It travels with its matrices as bytes, a scale for each row.
"""

import struct
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

HZ, WINDOW, HOP, BANDS = 16_000, 400, 160, 80
WIDTH, HEADS, LAYERS, POSITIONS = 512, 8, 6, 1500
FLOOR = 1e-7  # of the loudest; whisper's own is a tenth of that, where gradients are long
TYPES = [np.float32, np.int8, np.int16, np.int32, np.float16]  # CTranslate2's, in its order


def mel_bank() -> torch.Tensor:
    """Slaney's triangles [201, 80], linear in hertz to 1 kHz and logarithmic from there, of equal area."""
    step, knee, growth = 200 / 3, 1000.0, np.log(6.4) / 27
    top = knee / step + np.log(HZ / 2 / knee) / growth
    mels = np.linspace(0, top, BANDS + 2)
    edges = np.where(mels * step < knee, mels * step, knee * np.exp(growth * (mels - knee / step)))[:, None]
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    bins = np.linspace(0, HZ / 2, WINDOW // 2 + 1)
    bank = np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)).clip(0) * 2 / (high - low)
    return torch.from_numpy(bank.T).float()


class Spectra(nn.Module):
    """Power on the mel scale: sound [B, 160 n] to [B, n, 80]."""

    def __init__(self):
        super().__init__()
        self.register_buffer("bank", mel_bank(), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)

    def forward(self, sound):
        told = torch.stft(sound, WINDOW, HOP, window=self.window, return_complex=True)[..., :-1]
        return (told.real.square() + told.imag.square()).transpose(1, 2) @ self.bank


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn_norm, self.qkv, self.out = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norm, self.inner, self.outer = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        q, k, v = self.qkv(self.attn_norm(x)).view(*x.shape[:2], 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.outer(F.gelu(self.inner(self.norm(x))))


class Whisper(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(BANDS, WIDTH, 3, padding=1), nn.Conv1d(WIDTH, WIDTH, 3, 2, padding=1)
        self.positions = nn.Parameter(torch.zeros(POSITIONS, WIDTH))
        self.blocks, self.norm = nn.ModuleList(Block() for _ in range(LAYERS)), nn.LayerNorm(WIDTH)

    def forward(self, spectra, loudest, first: int = 0):
        """What each block hears, and the whole at the end, of spectra of power [B, 2 n, 80], the loudest of which is `loudest`
        [B, 1, 1]; the stretch lies at the position `first`."""
        x = torch.log10(spectra / loudest + FLOOR) / 4 + 1
        x = F.gelu(self.conv2(F.gelu(self.conv1(x.transpose(1, 2))))).transpose(1, 2)
        x, out = x + self.positions[first : first + x.shape[1]], []
        for block in self.blocks:
            x = block(x)
            out.append(x)
        return [*out[:-1], self.norm(x)]


def tensors(path: Path):
    """What a file of CTranslate2 holds."""
    with open(path, "rb") as file:
        number = lambda kind: struct.unpack(f"<{kind}", file.read(struct.calcsize(f"<{kind}")))[0]  # noqa: E731
        text = lambda: file.read(number("H"))[:-1].decode()  # noqa: E731
        number("I"), text(), number("I")
        out = {}
        for _ in range(number("I")):
            name, shape = text(), [number("I") for _ in range(number("B"))]
            kind, size = TYPES[number("B")], number("I")
            out[name] = np.frombuffer(file.read(size), kind).reshape(shape)
    return out


def adopted(path: Path) -> dict[str, torch.Tensor]:
    """`Whisper`'s state from CTranslate2's."""
    held = tensors(path)

    def told(name):
        value = held[f"encoder/{name}"].astype(np.float32)
        scale = held.get(f"encoder/{name}_scale")
        return torch.from_numpy(value if scale is None else value / scale[:, None])

    names = {"positions": "position_encodings/encodings"}
    parts = {"conv1": "conv1", "conv2": "conv2"}
    norms = {"norm": "layer_norm"}
    for i in range(LAYERS):
        attention, dense = f"layer_{i}/self_attention", f"layer_{i}/ffn"
        parts |= {f"blocks.{i}.qkv": f"{attention}/linear_0", f"blocks.{i}.out": f"{attention}/linear_1"}
        parts |= {f"blocks.{i}.inner": f"{dense}/linear_0", f"blocks.{i}.outer": f"{dense}/linear_1"}
        norms |= {f"blocks.{i}.attn_norm": f"{attention}/layer_norm", f"blocks.{i}.norm": f"{dense}/layer_norm"}
    names |= {f"{mine}.{kind}": f"{its}/{kind}" for mine, its in parts.items() for kind in ("weight", "bias")}
    names |= {f"{mine}.{a}": f"{its}/{b}" for mine, its in norms.items() for a, b in (("weight", "gamma"), ("bias", "beta"))}
    return {mine: told(its) for mine, its in names.items()}


def as_bytes(state: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Matrices as whole numbers of 7 bits with a scale for each row, the rest in half precision."""
    out = {}
    for name, value in state.items():
        if value.dim() > 1 and name != "positions":
            scale = value.flatten(1).abs().amax(1).clamp(min=1e-8) / 63
            out[f"{name}:scale"] = scale.numpy()
            value = (value / scale.view(-1, *[1] * (value.dim() - 1))).round().to(torch.int8)
        out[name] = value.half().numpy() if value.is_floating_point() else value.numpy()
    return out


def from_bytes(held) -> dict[str, torch.Tensor]:
    out = {name: torch.from_numpy(held[name].astype(np.float32)) for name in held.keys() if ":" not in name}
    for name in held.keys():
        if name.endswith(":scale"):
            value = out[name.removesuffix(":scale")]
            value.mul_(torch.from_numpy(held[name]).view(-1, *[1] * (value.dim() - 1)))
    return out
