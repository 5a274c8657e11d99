"""Where things lie, seeds, the device, checkpoints."""

import os
import random
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

WORK = Path(os.environ.get("SYRINX_VOICE_WORK", Path.home() / ".cache/syrinx/voice"))
DATA, RUNS, PACK = WORK / "data", WORK / "runs", WORK / "pack"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

INPUT_HZ = 16_000
OUTPUT_HZ = 24_000
UNIT_HOP = 320  # input samples per unit: 20 ms
FRAME_HOP = OUTPUT_HZ // 100  # output samples per frame: 10 ms
JOE_HZ, JOE_HOP = 22_050, 256  # Piper's
JOE_PITCH_HZ = 92  # the median of his voiced speech


def setup(seed: int) -> np.random.Generator:
    """Seeds everything, and keeps to the threads that OMP_NUM_THREADS allows."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    return np.random.default_rng(seed)


@contextmanager
def fixed(seed: int):
    """What is drawn inside is the same whatever was drawn before, and leaves no trace in what is drawn after."""
    drawn = random.getstate()
    with torch.random.fork_rng():
        random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(drawn)


def fast():
    """In bfloat16, where the device multiplies it: without, a processor takes several times as long as in 32 bits."""
    has_it = DEVICE.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(DEVICE.type, torch.bfloat16, enabled=has_it)


def save(path: Path, **state) -> None:
    """Writes a checkpoint whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def load(path: Path) -> dict | None:
    """The checkpoint, if there is one."""
    return torch.load(path, map_location="cpu", weights_only=False) if path.exists() else None


def schedule(step: int, done: float, warmup: int = 100, floor: float = 0.0) -> float:
    """Learning rate over its peak, `step` steps into a run of which the share `done` is over: a short warm-up, a plateau, and a
    straight fall over the second half, to nothing.

    On the plateau a run can be stopped and resumed with another length.
    """
    return min(1.0, (step + 1) / warmup, max(floor, 2 * (1 - done)))
