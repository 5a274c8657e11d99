"""Records the kinds of voices that have no other recording: ResBlock2, and voices without pitch.

Usage: record_voices.py OUT.safetensors   (needs torch, safetensors, numpy, infer-rvc-python==1.3.1 without its
dependencies). Weights are 0.3 times the seeded generator of tests/golden/support.rs by folded tensor name; units are
the generator's `units`; there is no noise.
"""
import sys
import types
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

# The package's own __init__ imports the whole application; its models need only these folders.
root = Path(next(p for p in sys.path if (Path(p) / "infer_rvc_python").is_dir())) / "infer_rvc_python"
for name, path in [("infer_rvc_python", root), ("infer_rvc_python.lib", root / "lib")]:
    module = types.ModuleType(name)
    module.__path__ = [str(path)]
    sys.modules[name] = module
from infer_rvc_python.lib.infer_pack import models  # noqa: E402

FRAMES = 33


def uniform(name, count):
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float64) / 2**24 * 2 - 1


def seeded(name, shape):
    values = 0.3 * uniform(name, int(np.prod(shape))).astype(np.float32)
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def fill(model):
    state = model.state_dict()
    for name in state:
        if name.startswith("enc_q."):
            continue
        if name.endswith("weight_v"):
            folded = seeded(name.removesuffix("_v"), tuple(state[name].shape))
            state[name] = folded
            state[name.removesuffix("v") + "g"] = folded.flatten(1).norm(dim=1).reshape(-1, 1, 1)
        elif not name.endswith("weight_g"):
            state[name] = seeded(name, tuple(state[name].shape))
    model.load_state_dict(state)


def record(kind, pitched):
    dilations = [[1, 3, 5]] * 2 if kind == "1" else [[1, 3]] * 2
    sizes = [9, 32, 6, 8, 10, 2, 1, 3, 0, kind, [3, 5], dilations, [6, 2, 2], 16, [12, 4, 4], 2, 4, 8000]
    network = models.SynthesizerTrnMs256NSFsid if pitched else models.SynthesizerTrnMs256NSFsid_nono
    model = network(*sizes, is_half=False).eval()
    fill(model)
    units = torch.from_numpy(uniform("units", FRAMES * 256).astype(np.float32).reshape(1, FRAMES, 256))
    arguments = [units, torch.tensor([FRAMES])]
    if pitched:
        frames = torch.arange(FRAMES)
        f0 = torch.where(frames % 5 == 0, 0.0, 200.0 + frames)
        arguments += [(1 + frames * 7 % 255)[None], f0[None]]
    with torch.no_grad():
        audio, _, (latent, _, mean, log_deviation) = model.infer(*arguments, torch.tensor([1]))
    return {"mean": mean, "log_deviation": log_deviation, "latent": latent, "audio": audio}


torch.randn_like = torch.zeros_like
arrays = {}
for case, kind, pitched in [("pitch_single", "2", True), ("plain_single", "2", False), ("plain_pairs", "1", False)]:
    for name, value in record(kind, pitched).items():
        arrays[f"{case}.{name}"] = np.ascontiguousarray(value.numpy())
save_file(arrays, sys.argv[1])
