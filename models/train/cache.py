"""python -m train.cache: what the encoder's first layers make of the corpus, perturbed many times over.

Perturbing and the first layers are two thirds of a training step. Once these layers have settled, their output is worked
out for some dozens of hours of perturbed sound, on disk; `content --cached` then trains what follows three times as fast.
Its threads draw from one generator, so no two runs perturb alike.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from .augment import perturb
from .common import DATA, DEVICE, RUNS, load, setup
from .dataset import Corpus, stack
from .nets.hubert import CONV_DIM

UNITS = 200  # of a window
BATCH = 8
QUIET = "quiet"


def fingerprint(content) -> float:
    """Tells first layers from others."""
    return float(sum(p.detach().double().abs().sum() for p in content.hubert.feature_extractor.parameters()))


def parts() -> list:
    return sorted(DATA.glob("cache-*.npz"))


def fill(content, corpus: Corpus, seed: int, count: int) -> None:
    """Writes `count` windows of what no earlier part has, or of all if there is nothing new. A window is a source, a start
    and a speed, so that targets are cut anew when they are needed."""
    had = {key for part in parts() for key in np.load(part)["keys"]}
    new = np.array([item["key"] not in had for item in corpus.items])
    if new.any():
        corpus.chances = corpus.chances * new / (corpus.chances * new).sum()
    path = DATA / f"cache-{len(parts()):03}"
    store = np.memmap(path.with_suffix(".f16"), np.float16, "w+", shape=(count, UNITS, CONV_DIM[-1]))
    keys, starts, speeds = np.empty(count, "U40"), np.empty(count), np.empty(count)

    def batch(first: int) -> None:
        span, rng = slice(first, min(first + BATCH, count)), np.random.default_rng([seed, first])
        picks, fast = corpus.draw(rng, span.stop - first)
        items = [corpus.items[i] for i in picks]
        start = np.array([corpus.start(item, rng, UNITS, v) for item, v in zip(items, fast)])
        audio = [corpus.audio(item, at, UNITS, v) for item, at, v in zip(items, start, fast)]
        audio = perturb(torch.from_numpy(np.stack(audio)).to(DEVICE))
        names = [item["key"] for item in items]
        if rng.random() < 0.25:
            audio[-1], names[-1] = torch.from_numpy(corpus.quiet(rng, UNITS)["audio"]), QUIET
        with torch.no_grad(), torch.autocast(DEVICE.type, torch.bfloat16):
            store[span] = content.hubert.feature_extractor(audio).float().cpu().numpy()
        keys[span], starts[span], speeds[span] = names, start, fast
        if first // BATCH % 100 == 0:
            print(f"{first} of {count} windows", flush=True)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # batches side by side scale better than threads within one
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(batch, range(0, count, BATCH)))
    store.flush()
    np.savez(path.with_suffix(".npz"), keys=keys, starts=starts, speeds=speeds, layers=fingerprint(content))


class Cache:
    """Windows of frames with their targets; takes in new parts by `refresh`."""

    def __init__(self, corpus: Corpus, content):
        self.corpus, self.parts, self.layers = corpus, None, fingerprint(content)
        self.refresh()

    def refresh(self) -> None:
        if parts() == self.parts:
            return
        self.parts = parts()
        self.corpus.refresh()
        self.items = {item["key"]: item for item in self.corpus.items}
        self.windows = []
        for part in self.parts:
            known = np.load(part)
            if not np.isclose(known["layers"], self.layers, rtol=1e-6):
                raise SystemExit(f"{part} was made with other first layers: remove it, and run `train.cache` again")
            shape = (len(known["keys"]), UNITS, CONV_DIM[-1])
            frames = np.memmap(part.with_suffix(".f16"), np.float16, "r", shape=shape)
            self.windows += list(zip(frames, known["keys"], known["starts"], known["speeds"]))

    def batch(self, rng, size: int) -> dict[str, torch.Tensor]:
        return stack([self.window(*self.windows[i], rng) for i in rng.integers(0, len(self.windows), size)])

    def window(self, frames, key, start, speed, rng) -> dict:
        frames = {"frames": frames.astype(np.float32)}
        if key == QUIET:
            return frames | self.corpus.silent(rng, UNITS)
        return frames | self.corpus.targets(self.items[key], start, UNITS, speed)


def main() -> None:
    from .content import Content

    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--hours", type=float, default=60)
    args = args.parse_args()
    content, state = Content().to(DEVICE), load(RUNS / "content.pt")
    content.load_state_dict(state["model"])
    setup(400)
    fill(content, Corpus(), 400 + state["step"], round(args.hours * 3600 / (UNITS * 0.02)))


if __name__ == "__main__":
    main()
