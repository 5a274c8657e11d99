"""What Piper's joe means to say: VITS's text encoder and flow, without noise. Many sentences at once, on any device.

The generator, which turns the latent into sound, is `speech.Joe`'s.
"""

import math

import onnx
import torch
from torch import nn
from torch.nn import functional as F

LATENT, HIDDEN, FILTER, HEADS, LAYERS, WINDOW = 192, 192, 768, 2, 6, 4
FLOWS, WN_LAYERS = (6, 4, 2, 0), 4


class Piper(nn.Module):
    """`weights` by the names of Piper's network; those of convolutions without a name by that of their node."""

    def __init__(self, weights: dict[str, torch.Tensor]):
        super().__init__()
        for name, value in weights.items():
            self.register_buffer(name.replace(".", "_"), value)

    def conv(self, name, x, **how):
        weight, bias = (getattr(self, f"{name}.{part}".replace(".", "_")) for part in ("weight", "bias"))
        return F.conv1d(x, weight, bias, padding=weight.shape[-1] // 2, **how)

    def norm(self, name, x):
        gamma, beta = (getattr(self, f"{name}.{part}".replace(".", "_")) for part in ("gamma", "beta"))
        return F.layer_norm(x.transpose(1, 2), (x.shape[1],), gamma, beta, 1e-5).transpose(1, 2)

    def attend(self, name, x, on):
        batch, _, count = x.shape
        depth = HIDDEN // HEADS
        q, k, v = (self.conv(f"{name}.conv_{part}", x).view(batch, HEADS, depth, count).transpose(2, 3) for part in "qkv")
        near_k, near_v = (getattr(self, f"{name}.emb_rel_{part}".replace(".", "_"))[0] for part in "kv")
        at = torch.arange(count, device=x.device)
        offset = at[None] - at[:, None] + WINDOW  # [query, key]
        near = (offset >= 0) & (offset <= 2 * WINDOW)
        index = offset.clamp(0, 2 * WINDOW).expand(batch, HEADS, -1, -1)
        q = q * depth**-0.5
        scores = q @ k.transpose(2, 3) + torch.gather(q @ near_k.T, 3, index) * near
        p = torch.softmax(scores.masked_fill(~on[:, None, None], -1e4), -1)
        around = torch.zeros(batch, HEADS, count, 2 * WINDOW + 1, device=x.device).scatter_add(3, index, p * near)
        return self.conv(f"{name}.conv_o", (p @ v + around @ near_v).transpose(2, 3).reshape(batch, HIDDEN, count))

    @torch.no_grad()
    def forward(self, ids, frames):
        """`ids` [B, N], padded by whatever lasts for 0 `frames` [B, N], to latents [B, T, 192] at 22,050 / 256 Hz and their
        lengths [B]. What pads has `frames` of -1."""
        on, frames = frames >= 0, frames.clamp(min=0)
        mask = on[:, None].float()
        x = self.enc_p_emb_weight[ids].transpose(1, 2) * math.sqrt(HIDDEN) * mask
        for layer in range(LAYERS):
            stem = f"enc_p.encoder.{{}}.{layer}"
            x = self.norm(stem.format("norm_layers_1"), x + self.attend(stem.format("attn_layers"), x, on))
            y = torch.relu(self.conv(f"{stem.format('ffn_layers')}.conv_1", x * mask))
            x = self.norm(stem.format("norm_layers_2"), x + self.conv(f"{stem.format('ffn_layers')}.conv_2", y * mask) * mask)
        x = self.conv("enc_p.proj", x * mask)[:, :LATENT]
        ends, lengths = frames.cumsum(1), frames.sum(1)
        at = torch.arange(int(lengths.max()), device=x.device)
        token = torch.searchsorted(ends, at.expand(len(ids), -1).contiguous(), right=True).clamp(max=ids.shape[1] - 1)
        mask = (at < lengths[:, None])[:, None].float()
        z = x.gather(2, token[:, None].expand(-1, LATENT, -1)) * mask
        for flow in FLOWS:
            z = self.coupled(f"flow.flows.{flow}", z.flip(1), mask)
        return z.transpose(1, 2), lengths

    def coupled(self, name, z, mask):
        kept, moved = z.chunk(2, 1)
        x = self.conv(f"{name}.pre", kept) * mask
        out = 0.0
        for layer in range(WN_LAYERS):
            turned, gate = self.conv(f"{name}.enc.in_layers.{layer}", x).chunk(2, 1)
            y = self.conv(f"{name}.enc.res_skip_layers.{layer}", torch.tanh(turned) * torch.sigmoid(gate))
            if layer < WN_LAYERS - 1:
                onward, y = y.chunk(2, 1)
                x = (x + onward) * mask
            out = out + y
        return torch.cat([kept, moved - self.conv(f"{name}.post", out * mask) * mask], 1)


def weights(path) -> dict[str, torch.Tensor]:
    """Those of a Piper voice's text encoder and flow."""
    graph = onnx.load(str(path)).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    value = lambda name: torch.from_numpy(onnx.numpy_helper.to_array(tensors[name]).copy())  # noqa: E731
    out = {name: value(name) for name in tensors if name.startswith(("enc_p.", "flow."))}
    for node in graph.node:
        if node.op_type == "Conv" and node.name.startswith("/flow/"):
            name = node.name.strip("/").removesuffix("/Conv").replace("/", ".")
            out[f"{name}.weight"] = value(node.input[1])
        if node.name == "/enc_p/emb/Gather":
            out["enc_p.emb.weight"] = value(node.input[0])
    return out
