"""HuBERT base, RMVPE and the v2 40 kHz synthesizer in plain PyTorch, as functions of their published tensors.

They do what upstream's modules do in f32, without the modules' overhead. Weights are those of
`benches/peer/seeded_weights.py`, and `check` holds each network to what the reference implementation recorded of the same
weights (`tests/data`).
"""

import json
import math
import os
import sys

import torch
from torch.nn import functional as F

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DATA = os.path.join(ROOT, "tests", "data")
sys.path.insert(0, os.path.join(ROOT, "benches", "peer"))
import seeded_weights  # noqa: E402

HOP = 160
# Samples of the voice per hop; stages of the generator.
VOICE_RATE, UP_RATES, UP_TAPS = 40_000, [10, 10, 2, 2], [16, 16, 4, 4]
VOICE_HOP = VOICE_RATE // 100
RES_TAPS, RES_DILATIONS = [3, 7, 11], [1, 3, 5]
LATENT, HIDDEN, TEXT_HEADS, TEXT_LAYERS, REACH = 192, 192, 2, 6, 10
HUBERT_STRIDES = [5, 2, 2, 2, 2, 2, 2]
HUBERT_LAYERS, HUBERT_HEADS, POSITION_GROUPS = 12, 12, 16


class Weights(dict):
    """Tensors by name; `below` gives those whose names begin so."""

    def below(self, prefix: str) -> "Weights":
        return Weights({name[len(prefix) :]: value for name, value in self.items() if name.startswith(prefix)})


def listed(listing: str) -> list:
    """Names and shapes of a listing of `tests/data`."""
    with open(os.path.join(DATA, listing), encoding="utf8") as file:
        rows = [line.replace(",", " ").split() for line in file]
    return [(row[0], [int(extent) for extent in row[1:]]) for row in rows]


def seeded(listing: str, network: str) -> dict:
    """The seeded state dict of the network with these names and shapes, f16."""
    like = {name: torch.empty(shape, device="meta") for name, shape in listed(listing)}
    return {name: seeded_weights.tensor(name, value, network) for name, value in like.items()}


def unfolded(state: dict, device: str) -> Weights:
    """The state in f32 on the device, weight norm folded."""
    weights = Weights({name: value.to(device, torch.float32) for name, value in state.items() if value.is_floating_point()})
    for name in [name for name in weights if name.endswith("weight_v")]:
        direction, size = weights.pop(name), weights.pop(name[:-1] + "g")
        kept = [axis for axis in range(direction.dim()) if size.shape[axis] == 1]
        weights[name.removesuffix("_v")] = size * direction / direction.norm(dim=kept, keepdim=True)
    return weights


def write(folder: str) -> dict:
    """Makes the three checkpoints below `folder`, in the published formats that Syrinx reads, unless they are there.
    Returns their state dicts."""
    os.makedirs(os.path.join(folder, "hubert"), exist_ok=True)
    config = {
        "model_type": "hubert", "hidden_size": 768, "num_hidden_layers": HUBERT_LAYERS, "num_attention_heads": HUBERT_HEADS,
        "intermediate_size": 3072, "conv_dim": [512] * 7, "conv_kernel": [10, 3, 3, 3, 3, 2, 2], "conv_stride": HUBERT_STRIDES,
        "conv_bias": False, "feat_extract_norm": "group", "feat_extract_activation": "gelu", "hidden_act": "gelu",
        "num_conv_pos_embeddings": 128, "num_conv_pos_embedding_groups": POSITION_GROUPS, "do_stable_layer_norm": False,
        "layer_norm_eps": 1e-5, "classifier_proj_size": 256,
    }  # fmt: skip
    with open(os.path.join(folder, "hubert", "config.json"), "w", encoding="utf8") as file:
        json.dump(config, file)

    def kept(name: str, make) -> dict:
        path = os.path.join(folder, name)
        if not os.path.exists(path):
            # Made aside, so that an interrupted run leaves nothing that looks whole.
            torch.save(make(), path + ".part")
            os.replace(path + ".part", path)
        return torch.load(path, weights_only=True)

    extra = {"config": seeded_weights.VOICE_CONFIG, "info": "seeded, untrained", "sr": "40k", "f0": 1, "version": "v2"}
    return {
        "hubert": kept(os.path.join("hubert", "pytorch_model.bin"), lambda: seeded("hubert_listing.txt", "hubert")),
        "rmvpe": kept("rmvpe.pt", lambda: seeded("rmvpe_listing.txt", "rmvpe")),
        "voice": kept("voice.pth", lambda: {"weight": seeded("voice_v2_40k_listing.txt", "synth"), **extra})["weight"],
    }


def linear(w: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    return F.linear(x, w[name + ".weight"], w[name + ".bias"])


def conv(w: Weights, name: str, x: torch.Tensor, **sizes) -> torch.Tensor:
    return F.conv1d(x, w[name + ".weight"], w.get(name + ".bias"), **sizes)


def norm(w: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    weight = w[name + ".weight"]
    return F.layer_norm(x, weight.shape, weight, w[name + ".bias"], 1e-5)


def hubert(w: Weights, audio: torch.Tensor) -> torch.Tensor:
    """16 kHz audio `[1, samples]` to the twelfth layer's units `[1, frames, 768]`."""
    x = audio[:, None]
    for i, stride in enumerate(HUBERT_STRIDES):
        x = conv(w, f"feature_extractor.conv_layers.{i}.conv", x, stride=stride)
        if i == 0:
            scale = "feature_extractor.conv_layers.0.layer_norm"
            x = F.group_norm(x, x.shape[1], w[scale + ".weight"], w[scale + ".bias"], 1e-5)
        x = F.gelu(x)
    x = norm(w, "feature_projection.layer_norm", x.transpose(1, 2))
    x = linear(w, "feature_projection.projection", x)
    taps = w["encoder.pos_conv_embed.conv.weight"].shape[-1]
    place = conv(w, "encoder.pos_conv_embed.conv", x.transpose(1, 2), padding=taps // 2, groups=POSITION_GROUPS)
    x = norm(w, "encoder.layer_norm", x + F.gelu(place[..., :-1]).transpose(1, 2))
    frames, width = x.shape[1:]
    for i in range(HUBERT_LAYERS):
        at = f"encoder.layers.{i}."
        q, k, v = (
            linear(w, f"{at}attention.{part}_proj", x).view(1, frames, HUBERT_HEADS, -1).transpose(1, 2) for part in "qkv"
        )
        heard = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(1, frames, width)
        x = norm(w, f"{at}layer_norm", x + linear(w, f"{at}attention.out_proj", heard))
        inner = F.gelu(linear(w, f"{at}feed_forward.intermediate_dense", x))
        x = norm(w, f"{at}final_layer_norm", x + linear(w, f"{at}feed_forward.output_dense", inner))
    return x


def mel_bands() -> torch.Tensor:
    """128 bands `[128, 513]` from 30 to 8000 Hz on the scale of HTK, of equal area: librosa's `norm="slaney"`."""
    to_mel = lambda hz: 2595.0 * math.log10(1.0 + hz / 700.0)
    mel = torch.linspace(to_mel(30.0), to_mel(8000.0), 130, dtype=torch.float64)
    edges = 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    bins = torch.linspace(0.0, 8000.0, 513, dtype=torch.float64)
    ramps = edges[:, None] - bins
    width = edges.diff()
    rise, fall = -ramps[:-2] / width[:-1, None], ramps[2:] / width[1:, None]
    bands = torch.minimum(rise, fall).clamp(min=0.0)
    return (bands * (2.0 / (edges[2:] - edges[:-2]))[:, None]).float()


class Rmvpe:
    """RMVPE with its spectrogram and the reading of its salience; all of it stays on the device."""

    def __init__(self, w: Weights, device: str):
        self.w = w
        self.window = torch.hann_window(1024, device=device)
        self.bands = mel_bands().to(device)
        self.cents = 20.0 * torch.arange(360, device=device, dtype=torch.float64) + 1997.3794084376191
        self.around = torch.arange(-4, 5, device=device)
        # cuDNN's recurrent layer wants its weights in one stretch of memory.
        self.gru = torch.nn.GRU(384, 256, batch_first=True, bidirectional=True).to(device)
        self.gru.load_state_dict(w.below("fc.0.gru."))

    def mel(self, audio: torch.Tensor) -> torch.Tensor:
        """Audio `[1, samples]` to `[1, frames, 128]`."""
        spectrum = torch.stft(audio, 1024, HOP, window=self.window, center=True, pad_mode="reflect", return_complex=True)
        return torch.log((self.bands @ spectrum.abs()).clamp(min=1e-5)).transpose(1, 2)

    def normed(self, name: str, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.w[name + ".running_mean"], self.w[name + ".running_var"]
        return F.batch_norm(x, mean, var, self.w[name + ".weight"], self.w[name + ".bias"], eps=1e-5)

    def blocks(self, name: str, x: torch.Tensor) -> torch.Tensor:
        for i in range(4):
            at, before = f"{name}.{i}", x
            for first in (0, 3):
                x = F.conv2d(x, self.w[f"{at}.conv.{first}.weight"], padding=1)
                x = torch.relu(self.normed(f"{at}.conv.{first + 1}", x))
            if f"{at}.shortcut.weight" in self.w:
                before = F.conv2d(before, self.w[f"{at}.shortcut.weight"], self.w[f"{at}.shortcut.bias"])
            x = x + before
        return x

    def salience(self, mel: torch.Tensor) -> torch.Tensor:
        """`[1, frames, 128]` to `[1, frames, 360]`."""
        frames = mel.shape[1]
        x = F.pad(mel, (0, 0, 0, -frames % 32))[:, None]
        x, skips = self.normed("unet.encoder.bn", x), []
        for level in range(5):
            x = self.blocks(f"unet.encoder.layers.{level}.conv", x)
            skips.append(x)
            x = F.avg_pool2d(x, 2)
        for level in range(4):
            x = self.blocks(f"unet.intermediate.layers.{level}.conv", x)
        for level in range(5):
            at = f"unet.decoder.layers.{level}"
            x = F.conv_transpose2d(x, self.w[at + ".conv1.0.weight"], stride=2, padding=1, output_padding=1)
            x = torch.cat([torch.relu(self.normed(at + ".conv1.1", x)), skips.pop()], 1)
            x = self.blocks(at + ".conv2", x)
        x = F.conv2d(x, self.w["cnn.weight"], self.w["cnn.bias"], padding=1)
        x = self.gru(x.transpose(1, 2).flatten(2))[0]
        return torch.sigmoid(linear(self.w, "fc.1", x))[:, :frames]

    def f0(self, audio: torch.Tensor) -> torch.Tensor:
        """Hz of each frame `[frames]`, 0 where it is unvoiced."""
        return self.read(self.salience(self.mel(audio))[0])

    def read(self, salience: torch.Tensor) -> torch.Tensor:
        """`[frames, 360]` to Hz."""
        height, peak = salience.max(1)
        near = peak[:, None] + self.around
        inside = (near >= 0) & (near < 360)
        near = near.clamp(0, 359)
        weight = (salience.gather(1, near) * inside).double()
        cents = (weight * self.cents[near]).sum(1) / weight.sum(1)
        return torch.where(height > 0.03, 10.0 * 2.0 ** (cents / 1200.0), 0.0).float()


def coarse(f0_hz: torch.Tensor) -> torch.Tensor:
    low, high = (1127.0 * math.log1p(hz / 700.0) for hz in (50.0, 1100.0))
    mel = 1127.0 * torch.log1p(f0_hz / 700.0)
    mel = torch.where(mel > 0, (mel - low) * 254.0 / (high - low) + 1.0, mel)
    return mel.clamp(1, 255).round().long()


def channel_norm(w: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    gamma = w[name + ".gamma"]
    return F.layer_norm(x.transpose(1, 2), gamma.shape, gamma, w[name + ".beta"], 1e-5).transpose(1, 2)


class Voice:
    """The synthesizer. `noise` of its methods is standard normal."""

    def __init__(self, w: Weights, speaker: int = 0):
        self.w = w
        self.speaker = w["emb_g.weight"][speaker][None, :, None]

    def attention(self, at: str, x: torch.Tensor) -> torch.Tensor:
        frames, depth = x.shape[-1], HIDDEN // TEXT_HEADS
        q, k, v = (conv(self.w, f"{at}.conv_{part}", x).view(1, TEXT_HEADS, depth, frames).transpose(2, 3) for part in "qkv")
        q = q * depth**-0.5
        near = torch.arange(frames, device=x.device)
        near = near[None] - near[:, None] + REACH
        inside = (near >= 0) & (near <= 2 * REACH)
        index = near.clamp(0, 2 * REACH).expand(1, TEXT_HEADS, -1, -1)
        relative = torch.gather(q @ self.w[at + ".emb_rel_k"][0].T, 3, index) * inside
        share = torch.softmax(q @ k.transpose(2, 3) + relative, -1)
        heard = x.new_zeros(1, TEXT_HEADS, frames, 2 * REACH + 1).scatter_add(3, index, share * inside)
        out = share @ v + heard @ self.w[at + ".emb_rel_v"][0]
        return conv(self.w, at + ".conv_o", out.transpose(2, 3).reshape(1, HIDDEN, frames))

    def text(self, units: torch.Tensor, pitch: torch.Tensor) -> torch.Tensor:
        """Units `[1, hops, 768]` and pitch `[1, hops]` to `[1, 192, hops]`."""
        x = linear(self.w, "enc_p.emb_phone", units) + self.w["enc_p.emb_pitch.weight"][pitch]
        x = F.leaky_relu(x * math.sqrt(HIDDEN), 0.1).transpose(1, 2)
        for i in range(TEXT_LAYERS):
            at = "enc_p.encoder."
            x = channel_norm(self.w, f"{at}norm_layers_1.{i}", x + self.attention(f"{at}attn_layers.{i}", x))
            inner = torch.relu(conv(self.w, f"{at}ffn_layers.{i}.conv_1", x, padding=1))
            x = channel_norm(self.w, f"{at}norm_layers_2.{i}", x + conv(self.w, f"{at}ffn_layers.{i}.conv_2", inner, padding=1))
        return x

    def flow(self, x: torch.Tensor) -> torch.Tensor:
        for i in (6, 4, 2, 0):
            at = f"flow.flows.{i}."
            kept, moved = x.flip(1).chunk(2, 1)
            h = conv(self.w, at + "pre", kept)
            given, out = conv(self.w, at + "enc.cond_layer", self.speaker), 0.0
            for j in range(3):
                a = conv(self.w, f"{at}enc.in_layers.{j}", h, padding=2) + given[:, 2 * HIDDEN * j : 2 * HIDDEN * (j + 1)]
                r = conv(self.w, f"{at}enc.res_skip_layers.{j}", torch.tanh(a[:, :HIDDEN]) * torch.sigmoid(a[:, HIDDEN:]))
                h, out = (h + r[:, :HIDDEN], out + r[:, HIDDEN:]) if j < 2 else (h, out + r)
            x = torch.cat([kept, moved - conv(self.w, at + "post", out)], 1)
        return x

    def source(self, f0_hz: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Pitch `[1, hops]` to `[1, 1, samples]`."""
        held = f0_hz.repeat_interleave(VOICE_HOP, 1)
        phase = (held.double() / VOICE_RATE).cumsum(1) % 1.0
        voiced = (held > 0).float()
        sine = 0.1 * torch.sin(2.0 * math.pi * phase).float() * voiced
        sine = sine + noise * (0.003 * voiced + 0.1 / 3.0 * (1.0 - voiced))
        return torch.tanh(linear(self.w, "dec.m_source.l_linear", sine[..., None])).transpose(1, 2)

    def block(self, at: str, taps: int, x: torch.Tensor) -> torch.Tensor:
        for i, dilation in enumerate(RES_DILATIONS):
            wide = dict(dilation=dilation, padding=dilation * (taps - 1) // 2)
            y = conv(self.w, f"{at}.convs1.{i}", F.leaky_relu(x, 0.1), **wide)
            x = x + conv(self.w, f"{at}.convs2.{i}", F.leaky_relu(y, 0.1), padding=(taps - 1) // 2)
        return x

    def generator(self, latents: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        x = conv(self.w, "dec.conv_pre", latents, padding=3) + conv(self.w, "dec.cond", self.speaker)
        for i, (rate, taps) in enumerate(zip(UP_RATES, UP_TAPS)):
            name, stride = f"dec.ups.{i}", math.prod(UP_RATES[i + 1 :])
            up = dict(stride=rate, padding=(taps - rate) // 2)
            x = F.conv_transpose1d(F.leaky_relu(x, 0.1), self.w[name + ".weight"], self.w[name + ".bias"], **up)
            x = x + conv(self.w, f"dec.noise_convs.{i}", source, stride=stride, padding=stride // 2 if stride > 1 else 0)
            x = sum(self.block(f"dec.resblocks.{3 * i + j}", taps, x) for j, taps in enumerate(RES_TAPS)) / len(RES_TAPS)
        return torch.tanh(conv(self.w, "dec.conv_post", F.leaky_relu(x), padding=3))[:, 0]

    def render(self, units, f0_hz, kept: slice, noise=None) -> torch.Tensor:
        """Audio `[1, samples]` of the hops `kept`; the flow runs on all that are given from 24 hops before them on."""
        first = max(kept.start - 24, 0)
        x = self.text(units, coarse(f0_hz))[:, :, first:]
        mean, logs = conv(self.w, "enc_p.proj", x).chunk(2, 1)
        sine = f0_hz[:, kept]
        draw, shake = noise or (torch.randn_like(mean), sine.new_empty(1, sine.shape[1] * VOICE_HOP).normal_())
        latents = self.flow(mean + torch.exp(logs) * draw * 0.66666)[:, :, kept.start - first : kept.stop - first]
        return self.generator(latents, self.source(sine, shake))


def check(states: dict, device: str) -> dict:
    """How far each network is from what the reference recorded: root of the mean square, as a share."""
    from safetensors.torch import load_file

    off = lambda found, expected: ((found.cpu() - expected).norm() / expected.norm()).item()
    recorded = load_file(os.path.join(DATA, "hubert_full.safetensors"))
    errors = {"HuBERT": off(hubert(unfolded(states["hubert"], device), recorded["in.wav"].to(device)), recorded["out.v2"])}
    recorded = load_file(os.path.join(DATA, "rmvpe_full.safetensors"))
    pitch = Rmvpe(unfolded(states["rmvpe"], device), device)
    salience = pitch.salience(pitch.mel(recorded["0.in.wav"][None].to(device)))
    errors["RMVPE"] = off(salience, recorded["0.out.salience"])
    # Of the recorded salience: a network's own, in TF32, may have its peak in another of two bins that are nearly equal.
    errors["RMVPE, Hz"] = off(pitch.read(recorded["0.out.salience"][0].to(device)), recorded["0.out.f0"].float())
    recorded = load_file(os.path.join(DATA, "synth_full_v2_40k_rt.safetensors"))
    units, f0_hz = recorded["in.phone"].to(device), recorded["in.pitchf"].to(device)
    hops = recorded["out.audio"].shape[-1] // VOICE_HOP
    # The recording kept `hops` hops that began 24 after the flow's first.
    start = units.shape[1] - recorded["noise.z"].shape[-1] + 24
    noise = recorded["noise.z"].to(device), recorded["noise.sine"][..., 0].to(device)
    voice = Voice(unfolded(states["voice"], device), recorded["in.sid"].item())
    audio = voice.render(units, f0_hz, slice(start, start + hops), noise)
    errors["synthesizer"] = off(audio, recorded["out.audio"][0])
    return errors
