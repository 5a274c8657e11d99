"""python -m train.bundle: the training data small enough to carry to a machine with an accelerator, and back again.

Sound goes as Ogg Opus, the latents in 8 bits per value, for as many shards as fit; what whisper hears in 8 bits as well.
Unpacked there (`--unpack`), the stages run unchanged.
"""

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np
import soundfile

from .common import DATA, INPUT_HZ, OUTPUT_HZ, WORK
from .data import GENERATOR, shards

RATES = {"joe": OUTPUT_HZ, "other": INPUT_HZ}
MEBI = 1 << 20


def packed(key: str, values: np.ndarray):
    """A field's name in the archive and its bytes."""
    buffer = io.BytesIO()
    if values.dtype == np.int16:
        soundfile.write(buffer, values, RATES[key], format="OGG", subtype="OPUS")
        return f"{key}.ogg", buffer.getvalue()
    if values.dtype == np.float16:
        step = np.abs(values.astype(np.float32)).max(0) / 127 + 1e-6
        np.savez_compressed(buffer, step=step, values=np.round(values / step).astype(np.int8))
        return f"{key}.int8.npz", buffer.getvalue()
    np.savez_compressed(buffer, values=values)
    return f"{key}.npz", buffer.getvalue()


def unpacked(name: str, content: bytes, length: int | None):
    buffer = io.BytesIO(content)
    if name.endswith(".ogg"):
        values = soundfile.read(buffer, dtype="int16")[0]
        return np.pad(values, (0, max(0, length - len(values))))[:length]
    stored = np.load(buffer)
    return (stored["values"] * stored["step"]).astype(np.float16) if "step" in stored else stored["values"]


def pack(out: Path, limit: int) -> None:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for path in shards():
            for file in (path, DATA / f"features-{path.name}", DATA / f"pitch-{path.name}"):
                if not file.exists():
                    continue
                shard = np.load(file)
                for key in shard.files:
                    name, content = packed(key, shard[key])
                    archive.writestr(f"{file.stem}/{name}", content)
            if archive.fp.tell() > limit:
                break
        for wheel in sorted((WORK / "wheels").glob("*.whl")):  # soundfile and what it needs, to read Opus there
            archive.write(wheel, f"wheels/{wheel.name}")
        archive.write(GENERATOR, GENERATOR.name)
    print(out.stat().st_size // MEBI, "MiB")


def unpack(source: Path) -> None:
    DATA.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(source) as archive:
        files = {}
        archive.extract(GENERATOR.name, DATA)
        names = [n for n in archive.namelist() if "/" in n and not n.startswith("wheels")]
        for entry in sorted(names, key=lambda n: n.endswith(".ogg")):  # lengths come before sound
            stem, name = entry.split("/")
            shard, key = files.setdefault(stem, {}), name.split(".")[0]
            length = int(shard[f"{key}_n"].sum()) if name.endswith(".ogg") else None
            shard[key] = unpacked(name, archive.read(entry), length)
    for stem, shard in files.items():
        np.savez(DATA / f"{stem}.npz", **shard)


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--unpack", type=Path)
    args.add_argument("--out", type=Path, default=WORK / "bundle.zip")
    args.add_argument("--limit", type=int, default=56, help="MiB")
    args = args.parse_args()
    unpack(args.unpack) if args.unpack else pack(args.out, args.limit * MEBI)


if __name__ == "__main__":
    main()
