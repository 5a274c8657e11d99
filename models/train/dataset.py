"""Batches of perturbed source speech with what joe says there, frame by frame."""

import numpy as np
import torch

from .common import DATA, INPUT_HZ, JOE_HOP, JOE_HZ, OUTPUT_HZ, UNIT_HOP
from .data import read, resample, shards
from .features import TEACHER_DIM, pitches, voiced_as
from .nets.hubert import EDGE
from .sinc import sounded

PAD, BEGIN, END, SPACE = 0, 1, 2, 3
STRESS, LONG, SILENT = (120, 121), 122, (4, 8, 10, 11, 12, 13)  # Piper's numbers: ˈ ˌ, ː, punctuation
# Seconds that joe trails others when given their durations; those of people are told from his.
LAG = {"pairs": 0.030, "hibari": 0.030, "flite": -0.042, "people": 0.0}
# A kind is heard so often, times its length's root.
WORTH = {"people": 2.0, "pairs": 1.5, "hibari": 1.0, "voiced": 1.0, "flite": 1.0, "joe": 0.6, "other": 0.3}
LATENT_HZ = JOE_HZ / JOE_HOP


def phones(ids: np.ndarray) -> np.ndarray:
    """Per frame the phone alone: blanks, spaces and length marks join what is before, stress what follows."""
    out = ids.astype(np.int64)
    out[np.isin(out, (BEGIN, END, *SILENT))] = BEGIN
    for i in range(1, len(out)):
        if out[i] in (PAD, LONG, SPACE):
            out[i] = out[i - 1]
    for i in range(len(out) - 2, -1, -1):
        if out[i] in STRESS:
            out[i] = out[i + 1]
    return out


class Corpus:
    """All shards so far; `refresh` takes in new ones. Without features a shard teaches joe's latent alone."""

    def __init__(self, held_out=("joe-000", "pairs-000")):
        self.held_out, self.known = held_out, None
        self.refresh()

    def refresh(self):
        known = {p.stem: (DATA / f"features-{p.name}").exists() for p in shards()}
        if known == self.known:
            return
        self.known, self.items, self.valid = known, [], []
        for name, has_features in known.items():
            utterances = read(name)
            heard = read(f"features-{name}") if has_features else [{}] * len(utterances)
            f0 = pitches(name) if "latent" in utterances[0] else [None] * len(utterances)
            both = "other" in utterances[0] and "latent" in utterances[0]
            source = pitches(name, "other") if both else [None] * len(utterances)
            target = self.valid if name in self.held_out else self.items
            shifted = both and (DATA / f"shift-{name}.npz").exists()
            shift = [u["shift"] for u in read(f"shift-{name}")] if shifted else [None] * len(utterances)
            for row in zip(utterances, heard, f0, source, shift):
                target += self.sources(name, *row)
        self.take([])
        quiet = [i["latent"][i["phone"] == BEGIN] for i in self.items if "latent" in i]
        self.silence = np.concatenate(quiet) if quiet else None

    def take(self, more: list[dict]) -> None:
        """Takes in more, and tells anew how often each is heard."""
        self.items += more
        lengths, kinds = np.array([len(i["audio"]) for i in self.items], float), np.array([i["kind"] for i in self.items])
        totals = {kind: lengths[kinds == kind].sum() for kind in WORTH}
        weights = lengths * np.array([WORTH[kind] * totals[kind] ** -0.5 for kind in kinds])
        self.chances = weights / max(1e-9, weights.sum())

    def spread(self) -> torch.Tensor:
        """How far each value of joe's latent varies. It matters little to words how much: those that vary least weigh as those
        that vary ten times as far."""
        some = [item["latent"].astype(np.float32) for item in self.items[::7] if "latent" in item]
        return torch.from_numpy(np.concatenate(some).std(0))

    def sources(self, name, utterance, heard, pitch, source_pitch, shift):
        """The utterance as the encoder may meet it: spoken by another voice, by joe, or both."""
        target, out = {}, []
        if "latent" in utterance:
            target = {
                "latent": utterance["latent"],
                "phone": phones(utterance["phone"]),
                "f0": pitch,
                "sound": utterance.get("joe"),
            }
        nothing = np.zeros((2, TEACHER_DIM), np.float16)
        kind = name.split("-")[0]
        if "other" in utterance and (target or heard):
            lag = LAG.get(kind, 0.0)
            item = {"audio": utterance["other"], "heard": heard.get("other_heard", nothing), "lag": lag, "kind": kind, **target}
            if target:
                item |= self.beside(item, shift, source_pitch)
            out.append(item)
        if "joe" in utterance:
            audio = resample(utterance["joe"].astype(np.float32), OUTPUT_HZ, INPUT_HZ).astype(np.int16)
            out.append({"audio": audio, "heard": heard.get("joe_heard", nothing), "lag": 0.0, "kind": "joe", **target})
        return [{"name": name, **item} for item in out if len(item["audio"]) > INPUT_HZ]

    def beside(self, item, shift, source_pitch) -> dict:
        """The targets in the source's time, as far as it is known."""
        if shift is None:
            return {"f0": voiced_as(item["f0"], source_pitch, item["lag"])}
        return moved(item, shift) | {"f0": voiced_as(moved(item, shift)["f0"], source_pitch, 0.0)}

    def cut(self, item, rng, units: int, speed: float):
        """A stretch of one source, played `speed` times as fast, with its targets."""
        start = self.start(item, rng, units, speed)
        return {"audio": self.audio(item, start, units, speed)} | self.targets(item, start, units, speed)

    def start(self, item, rng, units: int, speed: float) -> float:
        """Where a stretch may begin, in seconds of the source."""
        return rng.uniform(-0.2, max(0.0, len(item["audio"]) / INPUT_HZ - units * UNIT_HOP / INPUT_HZ * speed))

    def audio(self, item, start: float, units: int, speed: float) -> np.ndarray:
        return played(item["audio"], start, units * UNIT_HOP + EDGE, speed)

    def targets(self, item, start: float, units: int, speed: float) -> dict:
        """What the networks shall make of a stretch."""
        length = len(item["audio"]) / INPUT_HZ
        unit_at = start + (np.arange(units) + 0.5) * 0.02 * speed
        frame_at = start + (np.arange(2 * units) + 0.5) * 0.01 * speed + item["lag"]
        out = {
            "heard": between(item["heard"], unit_at / 0.02),
            "heard_on": inside(unit_at, length if len(item["heard"]) > 2 else 0.0),
            "latent": np.zeros((2 * units, 192), np.float32),
            "f0": np.zeros(2 * units, np.float32),
            "phone": np.full(units, -1),
            "latent_on": np.zeros(2 * units, np.float32),
        }
        if "latent" in item:
            known = inside(frame_at, len(item["latent"]) / LATENT_HZ)
            out["latent"] = between(item["latent"], frame_at * LATENT_HZ - 0.5)
            out["latent_on"] = known
            near = np.clip((frame_at * 100).astype(int), 0, len(item["f0"]) - 1)
            out["f0"] = item["f0"][near] * known
            phone = item["phone"][np.clip(((unit_at + item["lag"]) * LATENT_HZ).astype(int), 0, len(item["phone"]) - 1)]
            out["phone"] = np.where(known[::2] > 0, phone, -1)
        return out


def played(audio: np.ndarray, start: float, count: int, speed: float) -> np.ndarray:
    """`count` samples of 16-bit sound from `start` seconds on, `speed` times as fast, with silence around it."""
    at = start * INPUT_HZ + np.arange(count) * speed
    sound, end = torch.from_numpy(audio), len(audio) - 1
    sample = lambda whole: sound[whole.clamp(0, end)] * ((whole >= 0) & (whole <= end))  # noqa: E731
    return (sounded(sample, torch.from_numpy(at)[None], torch.tensor([speed]))[0] / 32768).float().numpy()


def moved(item: dict, shift: np.ndarray) -> dict:
    """Latent, phones and pitch in the source's time, `shift` (10 ms) later than the lag says at each 10 ms."""
    grid = np.arange(len(shift))
    at = (np.arange(int(len(shift) * 0.01 * LATENT_HZ)) + 0.5) / LATENT_HZ
    joes = at + item["lag"] + 0.01 * np.interp(at * 100 - 0.5, grid, shift)
    phone = item["phone"][np.clip((joes * LATENT_HZ).astype(int), 0, len(item["phone"]) - 1)]
    frame = ((grid + 0.5) * 0.01 + item["lag"] + 0.01 * shift) * 100
    f0 = item["f0"][np.clip(frame.astype(int), 0, len(item["f0"]) - 1)]
    latent = between(item["latent"], joes * LATENT_HZ - 0.5).astype(np.float16)
    return {"latent": latent, "phone": phone, "f0": f0, "lag": 0.0}


def between(rows: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Rows at fractional positions."""
    at = np.clip(at, 0, len(rows) - 1)
    low = np.minimum(at.astype(int), len(rows) - 2)
    part = (at - low)[:, None].astype(np.float32)
    return rows[low].astype(np.float32) * (1 - part) + rows[low + 1].astype(np.float32) * part


def inside(at: np.ndarray, length: float) -> np.ndarray:
    return ((at >= 0) & (at < length)).astype(np.float32)


def stack(cuts: list[dict]) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(np.stack([c[key] for c in cuts])) for key in cuts[0]}
