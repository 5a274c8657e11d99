"""Random networks through the reference's own code: checkpoints in its file formats, inputs, and what came out.

Usage: python live.py FOLDER SEED   (`make test-reference` runs this)
Sizes, weights and inputs follow from SEED. Each case leaves a checkpoint and a `.safetensors` of its arrays.
"""

import math
import random
import sys
from pathlib import Path

import faiss
import numpy as np
import torch
from safetensors.torch import save_file

import pipeline
import seeded_weights

FOLDER, SEED = Path(sys.argv[1]), int(sys.argv[2])
# Draws a whole number with both ends, or one of a list.
DRAW = random.Random(SEED)
NUMBERS = np.random.default_rng(SEED)


def salt() -> str:
    """Makes weights others each time."""
    return f"{DRAW.random()}."


def save(name: str, arrays: dict) -> None:
    tensors = {key: torch.as_tensor(np.asarray(value)) for key, value in arrays.items()}
    save_file({key: value.contiguous().clone() for key, value in tensors.items()}, FOLDER / f"{name}.safetensors")


def sound(samples: int) -> np.ndarray:
    """Harmonics of a wandering pitch that swell and pause, with some noise; 16 kHz, below full scale."""
    seconds = np.arange(samples) / pipeline.RATE
    slow = [np.sin(2 * np.pi * (DRAW.uniform(0.3, 2) * seconds + DRAW.random())) for _ in range(2)]
    phase = 2 * np.pi * np.cumsum(DRAW.uniform(90, 300) * 2 ** (0.5 * slow[0])) / pipeline.RATE
    voiced = sum(np.sin(k * phase) / k for k in range(1, 9)) * np.clip(slow[1] + 0.6, 0, 1)
    return (0.25 * voiced + 0.02 * NUMBERS.standard_normal(samples)).clip(-0.9, 0.9).astype(np.float32)


def until(is_clear, draw):
    """The first draw whose result does not hang on rounding."""
    for _ in range(100):
        if is_clear(drawn := draw()):
            return drawn
    sys.exit("no input without a near tie in 100 draws")


def voice_config(has_f0: bool, resblock: str) -> list:
    """Sizes of a small voice, odd ones among them."""
    # Upstream's source comes down to a stage by the rates after it, and fits where their product is even.
    last = [2, 4, 6] if has_f0 else [2, 3, 5, 7]
    rates = until(lambda r: 80 <= math.prod(r) <= 240,
                  lambda: [DRAW.randint(2, 12) for _ in range(DRAW.randint(1, 3))] + [DRAW.choice(last)])
    heads, blocks = DRAW.randint(1, 4), DRAW.randint(1, 3)
    return [
        513, 32, 2 * DRAW.randint(2, 16), heads * DRAW.randint(3, 16), DRAW.randint(5, 70), heads, DRAW.randint(1, 3),
        DRAW.choice([1, 3, 5]), 0, resblock, [DRAW.choice([3, 5, 7, 9, 11]) for _ in range(blocks)],
        [[DRAW.randint(1, 6) for _ in range(3 if resblock == "1" else 2)] for _ in range(blocks)],
        rates, DRAW.randint(1, 5) << len(rates), [rate + 2 * DRAW.randint(0, rate) for rate in rates],
        DRAW.randint(1, 5), DRAW.randint(1, 24), 100 * math.prod(rates),
    ]


def write_voice(name: str, version: str, has_f0: bool, resblock: str) -> Path:
    path = FOLDER / f"{name}.pth"
    seeded_weights.write_voice(str(path), voice_config(has_f0, resblock), version, int(has_f0), salt())
    return path


def record_voice(name: str, version: str, has_f0: bool, resblock: str) -> None:
    synthesizer, _ = pipeline.voice(write_voice(name, version, has_f0, resblock))
    hops = DRAW.choice([DRAW.randint(1, 20), DRAW.randint(20, 150)])
    dim = 256 if version == "v1" else 768
    units = torch.from_numpy(0.5 * NUMBERS.standard_normal((1, hops, dim)).astype(np.float32))
    f0 = (220 * 2 ** NUMBERS.uniform(-2, 2, hops) * (NUMBERS.random(hops) < 0.8)).astype(np.float32)
    coarse, speaker = NUMBERS.integers(1, 256, hops), DRAW.randrange(synthesizer.spk_embed_dim)
    pitch = (torch.from_numpy(coarse)[None], torch.from_numpy(f0)[None]) if has_f0 else ()
    length, chosen = torch.tensor([hops]), torch.tensor([speaker])
    audio, _, (latent, _, mean, deviation) = synthesizer.infer(units, length, *pitch, chosen)
    save(name, {
        "units": units, "f0": f0, "coarse": coarse, "speaker": [speaker],
        "mean": mean, "log_deviation": deviation, "latent": latent, "audio": audio,
    })


def write_encoder(name: str, hidden: int, heads: int) -> Path:
    groups = DRAW.choice([groups for groups in range(1, 9) if hidden % groups == 0])
    sizes = {
        "hidden_size": hidden, "num_attention_heads": heads, "intermediate_size": DRAW.randint(9, 90),
        "num_hidden_layers": DRAW.randint(1, 12), "conv_dim": [DRAW.randint(3, 24) for _ in range(7)],
        "num_conv_pos_embeddings": DRAW.randint(3, 40), "num_conv_pos_embedding_groups": groups,
        "layer_norm_eps": DRAW.choice([1e-5, 1e-6]),
    }
    seeded_weights.write_hubert(str(FOLDER / name), sizes, salt())
    return FOLDER / name


def record_encoder(name: str) -> None:
    heads = DRAW.randint(1, 6)
    wrapper = pipeline.encoder(write_encoder(name, heads * DRAW.randint(3, 16), heads))
    audio = torch.from_numpy(sound(DRAW.choice([DRAW.randint(400, 3000), DRAW.randint(3000, 40_000)])))
    ninth, last = (wrapper.extract_features(audio, output_layer=layer)[0] for layer in (9, 12))
    save(name, {"wav": audio, "v1": wrapper.final_proj(ninth), "v2": last})


def write_rmvpe(name: str) -> tuple:
    sizes = (DRAW.randint(1, 3), 1, (2, 2), DRAW.randint(2, 5), DRAW.randint(1, 3), 1, DRAW.randint(2, 7))
    path = FOLDER / f"{name}.pt"
    seeded_weights.write_rmvpe(str(path), sizes, salt())
    pipeline.sharpen(path, path)
    return path, sizes


def draw_rmvpe(name: str) -> tuple:
    """A network and a recording; whether its pitch hangs on no rounding."""
    rmvpe = pipeline.pitch(*write_rmvpe(name))
    audio = sound(DRAW.randint(600, 30_000))
    return rmvpe, audio, pipeline.is_clear(rmvpe, audio, 0)


def record_rmvpe(name: str) -> None:
    rmvpe, audio, _ = until(lambda drawn: drawn[-1], lambda: draw_rmvpe(name))
    mel, salience = pipeline.salience(rmvpe, audio)
    f0 = rmvpe.infer_from_audio(audio, pipeline.THRESHOLD)
    save(name, {"wav": audio, "mel": mel.T, "salience": salience, "f0": f0})


def train_index(rows: np.ndarray, lists: int, probes: int) -> faiss.Index:
    index = faiss.index_factory(rows.shape[1], f"IVF{lists},Flat")
    faiss.extract_index_ivf(index).nprobe = probes
    index.train(rows)
    return index


def is_clear_search(index: faiss.Index, queries: np.ndarray, in_order: bool) -> np.ndarray:
    """For each query whether the cells and rows found, and their order if asked for, hang on no rounding."""
    found = index.search(queries, 9)[0]
    # What is not there is as far as numbers reach.
    apart = (np.diff(found) > 1e-5 * found[:, :-1]) | (found[:, 1:] == np.finfo(np.float32).max)
    is_clear = apart.all(axis=1) if in_order else apart[:, -1]
    if index.nlist > index.nprobe:
        inside, outside = index.quantizer.search(queries, index.nprobe + 1)[0][:, -2:].T
        is_clear &= outside - inside > 1e-4 * inside
    return is_clear


def record_index(name: str, rows: int, lists: int, added: int) -> None:
    """An index of `lists` cells around `rows` of which the first `added` in order of place are in it."""
    dim = DRAW.randint(5, 800)
    centres = NUMBERS.standard_normal((lists, dim))
    data = (centres[np.arange(rows) % lists] + 0.5 * NUMBERS.standard_normal((rows, dim))).astype(np.float32)
    index = train_index(data, lists, DRAW.choice([1, 1, 2]))
    nearest = index.quantizer.search(data, 1)[1].ravel()
    index.add(data[np.argsort(nearest, kind="stable")[:added]])
    faiss.write_index(index, str(FOLDER / f"{name}.index"))
    queries = data[NUMBERS.integers(0, rows, 200)] + (0.3 * NUMBERS.standard_normal((200, dim))).astype(np.float32)
    queries = queries[is_clear_search(index, queries, in_order=True)]
    distances, ids = index.search(queries, 8)
    # The lines of `VC.vc`.
    weight = np.square(1 / distances)
    weight /= weight.sum(axis=1, keepdims=True)
    vectors = index.reconstruct_n(0, index.ntotal)
    blend = np.sum(vectors[ids] * np.expand_dims(weight, axis=2), axis=1)
    # Upstream makes this not a number.
    blend[ids[:, 0] < 0] = queries[ids[:, 0] < 0]
    save(name, {"queries": queries, "distances": distances, "ids": ids, "blend": blend})


def draw_conversion(name: str, version: str, has_f0: bool) -> tuple:
    """Networks, an index, settings and a recording; whether what comes of them hangs on no rounding."""
    synthesizer, converter = pipeline.voice(write_voice(name, version, has_f0, DRAW.choice("12")))
    heads = DRAW.choice([1, 2, 3, 4])
    encoder = pipeline.encoder(write_encoder(f"{name}.encoder", 768 if version == "v2" else 12 * heads, heads))
    rmvpe = pipeline.pitch(*write_rmvpe(f"{name}.rmvpe"))

    def units(audio):
        hidden, _ = encoder.extract_features(torch.from_numpy(audio).float(), output_layer=9 if version == "v1" else 12)
        return (encoder.final_proj(hidden) if version == "v1" else hidden)[0].numpy()

    rows = np.concatenate([units(sound(48_000)) for _ in range(4)])
    index = train_index(rows, DRAW.randint(1, 12), 1)
    index.add(rows)
    faiss.write_index(index, str(FOLDER / f"{name}.index"))
    settings = {
        "sid": DRAW.randrange(synthesizer.spk_embed_dim), "f0_up_key": DRAW.randint(-12, 12),
        "index_rate": DRAW.random(), "rms_mix_rate": DRAW.choice([0.0, 1.0, DRAW.random()]),
        "protect": DRAW.choice([0.5, 0.5 * DRAW.random()]),
    }
    audio = sound(DRAW.randint(4_000, 50_000))
    padded = pipeline.padded(audio)
    is_clear = not has_f0 or pipeline.is_clear(rmvpe, padded, settings["f0_up_key"])
    is_clear = is_clear and is_clear_search(index, units(padded), in_order=False).all()
    return (synthesizer, converter, encoder, rmvpe), settings, audio, is_clear


def record_conversion(name: str, version: str, has_f0: bool) -> None:
    # Some networks give a steady pitch that lies on an edge, so everything is drawn again.
    networks, settings, audio, _ = until(lambda drawn: drawn[-1], lambda: draw_conversion(name, version, has_f0))
    files = {"file_index": str(FOLDER / f"{name}.index"), "if_f0": int(has_f0)}
    result = pipeline.convert(networks, audio, version, **files, **settings)
    last_bit = pipeline.last_bit(result, networks, audio, version, **files, **settings)
    numbers = {key: [value] for key, value in settings.items()}
    save(name, {"wav": audio, "pcm": result, "last_bit": [last_bit], **numbers})


def main() -> None:
    for version in ("v1", "v2"):
        for has_f0, resblock in ((True, "1"), (True, "2"), (False, "1"), (False, "2")):
            record_voice(f"voice_{version}_{'f0' if has_f0 else 'plain'}_{resblock}", version, has_f0, resblock)
    for case in range(4):
        record_encoder(f"encoder_{case}")
    for case in range(3):
        record_rmvpe(f"rmvpe_{case}")
    lists = DRAW.randint(4, 30)
    rows = lists * DRAW.randint(40, 80)
    record_index("index_full", rows, lists, rows)
    record_index("index_sparse", rows, lists, rows // 3)
    record_index("index_small_cells", rows, lists, lists * 3)
    record_conversion("conversion_v1", "v1", True)
    record_conversion("conversion_v2", "v2", True)
    record_conversion("conversion_plain", DRAW.choice(["v1", "v2"]), False)


if __name__ == "__main__":
    main()
