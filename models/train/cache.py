"""python -m train.cache: what the encoder's first layers make of the corpus, perturbed many times over, on disk.

Perturbing and the first layers are two thirds of a training step. Once these layers have settled, `content --cached` trains
what follows three times as fast, on some dozens of hours. Several runs side by side, each with its `--part`, fill it sooner.
"""

import argparse
import json

import numpy as np
import torch

from .augment import perturb
from .common import DATA, DEVICE, RUNS, fast, load, setup
from .dataset import Corpus
from .resident import Resident

UNITS = 200  # of a window
BATCH = 16


def fingerprint(content) -> float:
    """Tells first layers from others."""
    return float(sum(p.detach().double().abs().sum() for p in content.hubert.feature_extractor.parameters()))


def parts() -> list:
    return sorted(DATA.glob("cache-*.json"))


def narrow(values: torch.Tensor) -> np.ndarray:
    """As it is stored."""
    return values.cpu().to(torch.float16 if values.is_floating_point() else torch.int16).numpy()


@torch.no_grad()
def fill(content, corpus: Corpus, part: int, count: int) -> None:
    """Writes `count` windows, a file for each field."""
    resident, path, files = Resident(corpus), DATA / f"cache-{part:03}.json", {}
    for first in range(0, count, BATCH):
        batch = resident.batch(BATCH, UNITS)
        audio = torch.where(batch.pop("loud").view(-1, 1), perturb(batch["audio"]), batch.pop("audio"))
        with fast():
            batch["frames"] = content.hubert.feature_extractor(audio)
        for name, values in batch.items():
            values = narrow(values)
            if name not in files:
                shape = (count, *values.shape[1:])
                files[name] = np.memmap(path.with_suffix(f".{name}"), values.dtype, "w+", shape=shape)
            files[name][first : first + BATCH] = values[: count - first]
        if first // BATCH % 100 == 0:
            print(f"{first} of {count} windows", flush=True)
    for file in files.values():
        file.flush()
    fields = {name: [str(file.dtype), file.shape] for name, file in files.items()}
    path.write_text(json.dumps({"layers": fingerprint(content), "fields": fields}))


class Cache:
    """Windows of frames with their targets; takes in new parts by `refresh`."""

    def __init__(self, content):
        self.parts, self.layers = None, fingerprint(content)
        self.refresh()

    def refresh(self) -> None:
        if parts() == self.parts:
            return
        self.parts, self.windows = parts(), []
        for path in self.parts:
            known = json.loads(path.read_text())
            if not np.isclose(known["layers"], self.layers, rtol=1e-6):
                raise SystemExit(f"{path} was made with other first layers: remove it, and run `train.cache` again")
            files = {
                name: np.memmap(path.with_suffix(f".{name}"), dtype, "r", shape=tuple(shape))
                for name, (dtype, shape) in known["fields"].items()
            }
            self.windows += [(files, index) for index in range(len(files["frames"]))]

    def batch(self, rng, size: int) -> dict[str, torch.Tensor]:
        picks = [self.windows[i] for i in rng.integers(0, len(self.windows), size)]
        wide = lambda values: values.long() if values.dtype == torch.int16 else values.float()  # noqa: E731
        names = picks[0][0]
        return {name: wide(torch.from_numpy(np.stack([files[name][i] for files, i in picks]))) for name in names}


def main() -> None:
    from .content import Content

    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--hours", type=float, default=60)
    args.add_argument("--part", type=int, help="number of the part, if not the next")
    args = args.parse_args()
    content, state = Content().to(DEVICE), load(RUNS / "content.pt")
    content.load_state_dict(state["model"])
    part = len(parts()) if args.part is None else args.part
    setup(400 + state["step"] + part)
    fill(content.eval(), Corpus(), part, round(args.hours * 3600 / (UNITS * 0.02)))


if __name__ == "__main__":
    main()
