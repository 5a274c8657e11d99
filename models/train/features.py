"""python -m train.features: whisper's view of every utterance, and joe's pitch, beside the shards that `data` wrote.

Whisper-base's encoder (50 Hz, 512 values) says what is spoken, hardly by whom. A third of its variance is the position in
its 30 s window, which is subtracted; what is left is reduced to its 96 strongest directions.
"""

import os
import sys

import numpy as np

from .common import DATA, INPUT_HZ, JOE_PITCH_HZ, UNIT_HOP, WORK, setup
from .data import read, resample, shards

TEACHER_DIM = 96
PITCH = "x/swift_f0/model.onnx"  # SwiftF0
WINDOW = 30 * INPUT_HZ
GAP = 12 * UNIT_HOP


class Pitch:
    """SwiftF0 on a grid of 10 ms, 0 where unvoiced."""

    def __init__(self):
        from .speech import session

        self.session = session(WORK / PITCH)

    def __call__(self, audio: np.ndarray, frames: int) -> np.ndarray:
        feed = {"audio": audio[None].astype(np.float32), "fmin": np.float32(50), "fmax": np.float32(1000)}
        feed = {k: np.asarray(v, np.float32) for k, v in feed.items()}
        hz, sure = (r[0] for r in self.session.run(None, feed))
        at, want = np.arange(len(hz)) * 256 / INPUT_HZ, (np.arange(frames) + 0.5) * 0.01
        voiced = (sure >= 0.5) & (hz > 50)
        if voiced.sum() < 2:
            return np.zeros(frames, np.float32)
        f0 = np.exp(np.interp(want, at[voiced], np.log(hz[voiced])))
        return (f0 * (np.interp(want, at, voiced.astype(float)) >= 0.5)).astype(np.float32)


def pitches(name: str, voice: str = "joe") -> list[np.ndarray]:
    """The pitch of joe, or of the `other`, in a shard, worked out once."""
    path = DATA / (f"pitch-{name}.npz" if voice == "joe" else f"pitch-{voice}-{name}.npz")
    if not path.exists() and voice == "joe" and "joe" not in read(name)[0]:
        f0 = [pitch_of(u["latent"]) for u in read(name)]
        keep(path, f0)
    elif not path.exists():
        keep(path, heights([spoken(u)[voice] for u in read(name)]))
    return [u["f0"] for u in read(path.stem)]


def heights(voices: list[np.ndarray]) -> list[np.ndarray]:
    heights.net = getattr(heights, "net", None) or Pitch()
    return [heights.net(v.astype(np.float32) / 32768, len(v) // 160) for v in voices]


def keep_source_pitch(name: str, utterances: list[dict]) -> None:
    """As `pitches` would find it: where many speak at once, each can track its own voice."""
    keep(DATA / f"pitch-other-{name}.npz", heights([u["other"] for u in utterances]))


def keep(path, f0: list[np.ndarray]) -> None:
    part = path.with_suffix(f".{os.getpid()}.part.npz")
    np.savez(part, f0=np.concatenate(f0), f0_n=np.array([len(f) for f in f0]))
    os.replace(part, path)


def around(latent: np.ndarray) -> np.ndarray:
    """A latent on a grid of 10 ms, each frame with its neighbours."""
    from .dataset import LATENT_HZ, between

    at = (np.arange(int(len(latent) / LATENT_HZ * 100)) + 0.5) * 0.01 * LATENT_HZ - 0.5
    rows = [between(latent, at + step) for step in (-1, 0, 1)]
    return np.concatenate([*rows, np.ones((len(at), 1), np.float32)], 1)


def pitch_of(latent: np.ndarray) -> np.ndarray:
    """The pitch that joe's generator gives a latent: a linear function of it, fitted where he was heard."""
    path = DATA / "pitch-of-latent.npz"
    if not path.exists():
        x, f0 = [], []
        for shard in sorted(DATA.glob("joe-[0-9][0-9][0-9].npz")):
            for utterance, pitch in zip(read(shard.stem), pitches(shard.stem)):
                rows = around(utterance["latent"])
                n = min(len(rows), len(pitch))
                x.append(rows[:n]), f0.append(pitch[:n])
        x, f0 = np.concatenate(x).astype(float), np.concatenate(f0)
        voiced, wanted = f0 > 0, np.log(np.maximum(f0, 1))
        solve = lambda a, b: np.linalg.solve(a.T @ a + 1e-3 * len(a) * np.eye(a.shape[1]), a.T @ b)  # noqa: E731
        height, sure = solve(x[voiced], wanted[voiced] - np.log(JOE_PITCH_HZ)), solve(x, voiced.astype(float))
        left = (x[voiced] @ height + np.log(JOE_PITCH_HZ) - wanted[voiced]).var() / wanted[voiced].var()
        print(f"pitch of a latent: {1 - left:.3f} of its variance, voicing {((x @ sure > 0.5) == voiced).mean():.3f}", flush=True)
        part = path.with_suffix(f".{os.getpid()}.part.npz")
        np.savez(part, height=height, sure=sure)
        os.replace(part, path)
    fitted, rows = np.load(path), around(latent)
    hz = JOE_PITCH_HZ * np.exp(rows @ fitted["height"])
    return np.where(rows @ fitted["sure"] > 0.5, hz, 0).astype(np.float32)


class Teacher:
    def __init__(self):
        from faster_whisper import WhisperModel

        model = str(WORK / "lab/models/whisper-base-ct2")
        self.whisper = WhisperModel(model, device="cpu", compute_type="int8", cpu_threads=int(os.environ.get("OMP_NUM_THREADS", 1)))

    def window(self, audio: np.ndarray) -> np.ndarray:
        mel = self.whisper.feature_extractor(audio, padding=0)[:, :3000]
        return np.array(self.whisper.encode(mel))[0].astype(np.float32)

    def raw(self, utterances: list[np.ndarray], rng: np.random.Generator):
        """Each utterance's features and their positions in the window; several share one."""
        windows, at = [], WINDOW
        for index, audio in enumerate(utterances):
            length = min(-(-len(audio) // UNIT_HOP) * UNIT_HOP, WINDOW - GAP)
            if at + length > WINDOW:
                at = int(rng.integers(0, 40)) * UNIT_HOP
                at = at if at + length <= WINDOW else 0
                windows.append([])
            windows[-1].append((index, at, length))
            at += length + GAP
        features, positions = [None] * len(utterances), [None] * len(utterances)
        for window in windows:
            audio = np.zeros(WINDOW, np.float32)
            for index, at, length in window:
                piece = utterances[index][:length].astype(np.float32) / 32768
                audio[at : at + len(piece)] = piece * min(8.0, 0.08 / (np.sqrt(np.mean(piece**2)) + 1e-6))
            heard = self.window(audio)
            for index, at, length in window:
                span = np.arange(at // UNIT_HOP, (at + length) // UNIT_HOP)
                features[index], positions[index] = heard[span], span
        return features, positions


def voiced_as(f0: np.ndarray, source: np.ndarray, lag: float) -> np.ndarray:
    """Joe's pitch where the source, which he trails by `lag` seconds, is voiced: what conversion will give, since it can but
    ask the source. In one frame of six the two differ."""
    voiced = np.flatnonzero(f0)
    if len(voiced) < 2:
        return f0
    at = np.clip(np.arange(len(f0)) - round(lag * 100), 0, len(source) - 1)
    through = np.exp(np.interp(np.arange(len(f0)), voiced, np.log(f0[voiced])))
    return np.where(source[at] > 0, through, 0).astype(np.float32)


def fit(teacher: Teacher) -> dict:
    """The mean of each position in the window, and the directions that are kept."""
    path = DATA / "teacher.npz"
    if not path.exists():
        rng = setup(11)
        names = ["pairs-000", "joe-000", "pairs-001"]
        audio = [a for name in names for u in read(name)[:50] for a in spoken(u).values()]
        features, positions = teacher.raw([audio[i] for i in rng.permutation(len(audio))], rng)
        x, p = np.concatenate(features), np.concatenate(positions)
        total, count = np.zeros((1500, x.shape[1])), np.bincount(p, minlength=1500).astype(float)
        np.add.at(total, p, x)
        smooth = np.ones(61)
        mean = np.stack([np.convolve(column, smooth, "same") for column in total.T], 1)
        mean /= np.maximum(1, np.convolve(count, smooth, "same"))[:, None]
        x = x - mean[p]
        scale = x.std(0) + 1e-3
        values, vectors = np.linalg.eigh(np.cov((x / scale)[::2].T))
        kept = vectors[:, ::-1][:, :TEACHER_DIM] / np.sqrt(values[::-1][:TEACHER_DIM].mean())
        print("variance kept", values[::-1][:TEACHER_DIM].sum() / values.sum(), flush=True)
        np.savez(path, mean=mean.astype(np.float32), kept=(kept / scale[:, None]).astype(np.float32))
    return dict(np.load(path))


def spoken(utterance: dict) -> dict[str, np.ndarray]:
    """The utterance's voices at 16 kHz."""
    out = {"other": utterance["other"]} if "other" in utterance else {}
    if "joe" in utterance:
        out["joe"] = (resample(utterance["joe"].astype(np.float32), 24_000, INPUT_HZ)).astype(np.int16)
    return out


def main() -> None:
    teacher = Teacher()
    basis = fit(teacher)
    for path in shards():
        out = DATA / f"features-{path.name}"
        if out.exists():
            continue
        rng, utterances, fields = setup(13), read(path.stem), {}
        voices = [spoken(u) for u in utterances]
        for voice in voices[0]:
            features, positions = teacher.raw([v[voice] for v in voices], rng)
            reduced = [((f - basis["mean"][p]) @ basis["kept"]).astype(np.float16) for f, p in zip(features, positions)]
            fields[f"{voice}_heard"], fields[f"{voice}_heard_n"] = np.concatenate(reduced), np.array([len(r) for r in reduced])
        part = out.with_suffix(".part")
        with open(part, "wb") as file:
            np.savez(file, **fields)
        os.replace(part, out)
        print(path.stem, flush=True)


if __name__ == "__main__":
    sys.exit(main())
