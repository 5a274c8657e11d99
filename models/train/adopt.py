"""python -m train.adopt: what the shipped pack holds, as the checkpoints that `content`, `vocoder` and `finetune` go on from.

With nothing but the repository, training continues where the pack stands. What the pack does not hold begins anew: the heads
that say the phone and what whisper hears (`content` fits them before its first step), the judges, the optimizers' memory.
"""

import argparse
import re
from pathlib import Path

import torch

from .common import RUNS, save
from .content import Content
from .nets.rvc import Voice

SHIPPED = Path(__file__).resolve().parents[1] / "default"


def voice_state(weight: dict) -> dict[str, torch.Tensor]:
    """The voice's tensors without the flow. A convolution's direction is stored at its own length, so magnitudes say nothing
    more."""
    kept = {name: tensor for name, tensor in weight.items() if not name.endswith(".weight_g") and not name.startswith("flow.")}
    return {name.replace(".weight_v", ".weight"): tensor.float() for name, tensor in kept.items()}


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("pack", nargs="?", type=Path, default=SHIPPED)
    pack = args.parse_args().pack
    content, voice, file = Content(), Voice(), torch.load(pack / "joe.pth", map_location="cpu", weights_only=False)
    content.hubert.load_state_dict(torch.load(pack / "encoder/pytorch_model.bin", map_location="cpu"))
    voice.load_state_dict(voice_state(file["weight"]))
    content.enc_p.load_state_dict(voice.enc_p.state_dict())
    steps = {stage: int(count) for stage, count in re.findall(r"(\w+) (\d+)", file["info"])}
    if (RUNS / "content.pt").exists() or (RUNS / "vocoder.pt").exists():
        raise SystemExit(f"{RUNS} has checkpoints already")
    save(RUNS / "content.pt", step=steps.get("content", 0), base=steps.get("content", 0), model=content.state_dict())
    save(RUNS / "vocoder.pt", step=steps.get("vocoder", 0), voice=voice.state_dict())
    print("adopted", file["info"])


if __name__ == "__main__":
    main()
