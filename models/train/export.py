"""python -m train.export: what was trained, as the files that the engine loads, in half precision."""

import argparse
import json

import torch

from .common import JOE_PITCH_HZ, OUTPUT_HZ, PACK, RUNS, load
from .content import Content
from .nets import hubert, rvc

FLOWS = (0, 2, 4, 6)
WN_LAYERS, WN_TAPS = 3, 5
NO_NOISE = -8.0  # log deviation of the prior


def norms(weight):
    """A convolution as RVC stores it: magnitude and direction of each row."""
    magnitude = weight.flatten(1).norm(dim=1).view(-1, *[1] * (weight.dim() - 1))
    return {"weight_g": magnitude.half(), "weight_v": weight.half()}


def identity_flow() -> dict[str, torch.Tensor]:
    """A flow that changes nothing, as views of single values, which take no room in the file."""
    zero, one = torch.zeros(1, dtype=torch.half), torch.ones(1, dtype=torch.half)
    half, hidden = rvc.LATENT // 2, rvc.HIDDEN
    out = {}

    def plain(name, *shape):
        out[f"{name}.weight"], out[f"{name}.bias"] = zero.expand(*shape), zero.expand(shape[0])

    def normed(name, *shape):
        out[f"{name}.weight_g"], out[f"{name}.weight_v"] = zero.expand(shape[0], 1, 1), one.expand(*shape)
        out[f"{name}.bias"] = zero.expand(shape[0])

    for flow in FLOWS:
        stem = f"flow.flows.{flow}"
        plain(f"{stem}.pre", hidden, half, 1)
        plain(f"{stem}.post", half, hidden, 1)
        normed(f"{stem}.enc.cond_layer", 2 * hidden * WN_LAYERS, rvc.SPEAKER, 1)
        for layer in range(WN_LAYERS):
            last = layer == WN_LAYERS - 1
            normed(f"{stem}.enc.in_layers.{layer}", 2 * hidden, hidden, WN_TAPS)
            normed(f"{stem}.enc.res_skip_layers.{layer}", hidden if last else 2 * hidden, hidden, 1)
    return out


def voice_file(voice: rvc.Voice, path, info: str) -> None:
    weight = identity_flow()
    state = voice.state_dict()
    state["enc_p.proj.weight"][rvc.LATENT :] = 0
    state["enc_p.proj.bias"][rvc.LATENT :] = NO_NOISE
    for name, tensor in state.items():
        tensor = tensor.detach().cpu().float()
        if name.endswith(".weight") and name.startswith(("dec.ups", "dec.resblocks")):
            for suffix, part in norms(tensor).items():
                weight[f"{name.removesuffix('weight')}{suffix}"] = part
        else:
            weight[name] = tensor.half()
    file = {"weight": weight, "config": rvc.CONFIG, "info": info, "sr": f"{OUTPUT_HZ // 1000}k", "f0": 1, "version": "v1"}
    file["pitch_hz"] = JOE_PITCH_HZ
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(file, path)


def encoder_folder(encoder: hubert.Hubert, folder) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    zero = torch.zeros(1, dtype=torch.half)
    # Views of single values take no room, where attention is all zeros, nor does a matrix that is another's as well.
    kept = lambda tensor: tensor.half() if tensor.any() else zero.expand(tensor.shape)  # noqa: E731
    tensors = {name: kept(tensor.detach().cpu()) for name, tensor in encoder.state_dict().items()}
    for part in ("weight", "bias"):
        tensors[f"encoder.layers.0.attention.v_proj.{part}"] = tensors[f"final_proj.{part}"]
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(hubert.CONFIG, indent=2) + "\n")


def trained() -> tuple[hubert.Hubert, rvc.Voice, str]:
    """The latest networks: fine-tuned if they were, else from their own stages."""
    content, voice = Content(), rvc.Voice()
    tuned, alone, vocoder = (load(RUNS / f"{name}.pt") for name in ("finetune", "content", "vocoder"))
    if vocoder:
        voice.load_state_dict(vocoder["voice"])
    if alone:
        content.load_state_dict(alone["model"])
        voice.enc_p.load_state_dict(content.enc_p.state_dict())
    if tuned:
        content.hubert.load_state_dict(tuned["hubert"])
        voice.load_state_dict(tuned["voice"])
    steps = {k: s["step"] for k, s in {"content": alone, "vocoder": vocoder, "finetune": tuned}.items() if s}
    return content.hubert, voice, " ".join(f"{k} {v}" for k, v in steps.items()) or "random"


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--random", action="store_true", help="untrained networks, to try the format")
    args = args.parse_args()
    encoder, voice, info = (hubert.Hubert(), rvc.Voice(), "random") if args.random else trained()
    encoder_folder(encoder, PACK / "encoder")
    voice_file(voice, PACK / "joe.pth", info)
    for path in sorted(PACK.rglob("*")):
        if path.is_file():
            print(path.relative_to(PACK), path.stat().st_size)


if __name__ == "__main__":
    main()
