"""Full-size RVC checkpoints with seeded weights, in the files that both Syrinx and PyTorch read.

The weights are untrained but well scaled: every element follows from its tensor's name (FNV-1a, then splitmix64), so
that two machines make the same files without shipping 300 MB. Usage: python seeded_weights.py FOLDER
"""

import json
import math
import os
import sys

import numpy as np
import torch

VOICE_CONFIG = [
    1025, 32, 192, 192, 768, 2, 6, 3, 0, "1", [3, 7, 11], [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
    [10, 10, 2, 2], 512, [16, 16, 4, 4], 109, 256, 40000,
]
# Blocks per level, recurrent layers, pooling; the other sizes are the defaults of the network.
RMVPE_SIZES = (4, 1, (2, 2))


def uniform(name: str, count: int) -> np.ndarray:
    """`count` values in [-1, 1) that follow from `name`, as f64."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float64) / 2.0**24 * 2.0 - 1.0


def offset_and_scale(name: str, shape: tuple, network: str) -> tuple:
    """Where the values of a tensor lie, so that signals keep their size through the network."""
    last = name.rsplit(".", 1)[-1]
    gain = 1.0 if network == "hubert" else 0.8
    if name.endswith("running_mean"):
        return 0.0, 0.1
    if name.endswith("running_var"):
        return 1.0, 0.3
    if last in ("weight_g", "original0"):
        return gain, 0.25 * gain
    if "emb_rel_" in name:
        return 0.0, math.sqrt(3.0 / shape[-1])
    if any(part in name for part in ("emb_pitch", "emb_g", "masked_spec_embed")):
        return 0.0, math.sqrt(3.0)
    if len(shape) >= 2:
        scale = math.sqrt(3.0 / math.prod(shape[1:]))
        if network == "rmvpe" and len(shape) == 4 and ".conv." in name:
            scale *= 0.6
        if network == "rmvpe" and name.startswith("fc.1"):
            scale *= 4.0
        if network == "synth" and name == "dec.conv_post.weight":
            scale *= 3.0
        return 0.0, scale
    is_scale = last == "gamma" or ("norm" in name and last == "weight") or (".bn" in name and last == "weight")
    if is_scale or (network == "rmvpe" and last == "weight"):
        return 1.0, 0.2
    return 0.0, 0.1


def tensor(name: str, like: torch.Tensor, network: str, salt: str = "") -> torch.Tensor:
    """The seeded tensor of this name, shaped as `like`, as f16; every `salt` gives others."""
    shape = tuple(like.shape)
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    offset, scale = offset_and_scale(name, shape, network)
    values = (offset + scale * uniform(salt + name, math.prod(shape))).astype(np.float32)
    return torch.from_numpy(values.reshape(shape)).half()


def checkpoint_name(name: str) -> str:
    """The weight-norm spelling of published checkpoints for today's module names."""
    name = name.replace(".parametrizations.weight.original0", ".weight_g")
    return name.replace(".parametrizations.weight.original1", ".weight_v")


def seeded_state(module: torch.nn.Module, network: str, skip: str = "\0", salt: str = "") -> dict:
    """A whole state dict, without the tensors whose name contains `skip`."""
    names = {checkpoint_name(name): value for name, value in module.state_dict().items() if skip not in name}
    return {name: tensor(name, value, network, salt) for name, value in names.items()}


def write_voice(path: str, config: list = VOICE_CONFIG, version: str = "v2", f0: int = 1, salt: str = "") -> None:
    from reference import synthesizer

    with torch.device("meta"):
        module = synthesizer(version, bool(f0))(*config, is_half=False)
    weight = seeded_state(module, "synth", skip="enc_q", salt=salt)
    extra = {"config": config, "info": "seeded, untrained", "sr": f"{config[-1] // 1000}k", "f0": f0, "version": version}
    torch.save({"weight": weight, **extra}, path)


def write_rmvpe(path: str, sizes: tuple = RMVPE_SIZES, salt: str = "") -> None:
    from reference import rmvpe

    with torch.device("meta"):
        module = rmvpe().E2E(*sizes)
    torch.save(seeded_state(module, "rmvpe", salt=salt), path)


def write_hubert(folder: str, sizes: dict | None = None, salt: str = "") -> None:
    """A Hugging Face folder; base size but for `sizes`, v2 voices use no final projection."""
    from transformers import HubertConfig, HubertModel

    config = HubertConfig(**(sizes or {}))
    with torch.device("meta"):
        module = HubertModel(config)
    state = seeded_state(module, "hubert", salt=salt)
    units, hidden = config.classifier_proj_size, config.hidden_size
    for name, shape in (("final_proj.weight", (units, hidden)), ("final_proj.bias", (units,))):
        state[name] = tensor(name, torch.empty(shape), "hubert", salt)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf8") as file:
        json.dump(config.to_dict(), file, indent=1)
    torch.save(state, os.path.join(folder, "pytorch_model.bin"))


def ensure(folder: str) -> dict:
    """The paths of all three checkpoints below `folder`, made where they are missing."""
    os.makedirs(folder, exist_ok=True)
    paths = {name: os.path.join(folder, name) for name in ("voice.pth", "rmvpe.pt", "hubert")}
    writers = {"voice.pth": write_voice, "rmvpe.pt": write_rmvpe, "hubert": write_hubert}
    for name, path in paths.items():
        if not os.path.exists(path):
            # Made aside, so that an interrupted run leaves nothing that looks whole.
            writers[name](path + ".part")
            os.replace(path + ".part", path)
    return paths


if __name__ == "__main__":
    for made in ensure(sys.argv[1]).values():
        print(made)
