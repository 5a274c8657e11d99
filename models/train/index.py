"""python -m train.index: joe's units, condensed to their cluster centres, as the FAISS file that retrieval reads."""

import argparse

import faiss
import numpy as np
import torch

from .common import INPUT_HZ, OUTPUT_HZ, PACK, UNIT_HOP, setup
from .data import read, resample
from .export import trained
from .nets.hubert import EDGE

LISTS = 16


@torch.no_grad()
def units(encoder, sound: np.ndarray) -> np.ndarray:
    audio = resample(sound.astype(np.float32) / 32768, OUTPUT_HZ, INPUT_HZ)
    count = (len(audio) - EDGE) // UNIT_HOP
    return encoder(torch.from_numpy(audio[: count * UNIT_HOP + EDGE])[None])[0].numpy()


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--centres", type=int, default=128)
    args = args.parse_args()
    setup(400)
    encoder = trained()[0].eval()
    joe = np.concatenate([units(encoder, u["joe"]) for u in read("joe-*")])
    clusters = faiss.Kmeans(joe.shape[1], args.centres, niter=12, seed=0)
    clusters.train(joe)
    index = faiss.index_factory(joe.shape[1], f"IVF{LISTS},Flat")
    index.train(clusters.centroids)
    index.add(clusters.centroids)
    faiss.write_index(index, str(PACK / "units.index"))
    print(len(joe), "units in", index.ntotal, "centres")


if __name__ == "__main__":
    main()
