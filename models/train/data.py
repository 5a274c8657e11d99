"""python -m train.data: speaks and gathers the training audio, in shards; a shard that exists is kept.

pairs-*.npz   Kokoro in a fresh voice per sentence, and joe saying the same with the same timing
hibari-*.npz  the same with one English voice made into many, which cost little
flite-*.npz   the same with flite's voices, which cost little
joe-*.npz     joe with his own timing
people-*.npz  actors and joe saying the same: `people`
other-*.npz   further voices without a partner: flite, espeak-ng, recorded Italian and Russian prompts
"""

import argparse
import json
import multiprocessing
import os
import subprocess
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from .common import DATA, DEVICE, INPUT_HZ, OUTPUT_HZ, setup
from .speech import LEAN_JOE, PHONEMES
from .texts import sentences

SHARD = 40  # sentences
ALOUD = 4  # shards of each kind of pairs that hold joe's sound; the others hold his latent alone
GENERATOR = DATA / "generator.npz"  # Piper's, to start from
SOUNDS = Path(os.environ.get("ASTERISK_SOUNDS", "/usr/share/asterisk/sounds"))
HELD_OUT = (0, 100)  # where the sentences of pairs-000 and joe-000 lie, in shards
NOT_SPEECH = ("tone", "beep", "silence", "music", "scream", "monkey", "gargl", "ring")
FLITE = ["slt", "rms", "awb", "kal16"]
ESPEAK = ["en-us+f2", "en-gb", "en-us+m3", "en-gb+f5", "en-us+m7", "fr+f3", "es", "de+f4"]
HUMANS = ["it_IT_m_Carlo", "ru_RU_f_IvrvoiceRU"]  # CC BY 3.0


def pcm(audio: np.ndarray) -> np.ndarray:
    return (np.clip(audio, -1, 1) * 32767).astype(np.int16)


def resample(audio: np.ndarray, source_hz: int, target_hz: int) -> np.ndarray:
    """Band-limited, by Fourier's way."""
    length = len(audio) * target_hz // source_hz
    spectrum = np.fft.rfft(np.pad(audio.astype(np.float32), (0, -len(audio) % 256)))  # lengths that divide well
    padded = (len(spectrum) - 1) * 2
    out = np.fft.irfft(spectrum[: padded * target_hz // source_hz // 2 + 1], n=round(padded * target_hz / source_hz))
    return (out[:length] * (target_hz / source_hz)).astype(np.float32)


def write(name: str, utterances: list[dict]) -> None:
    """Lists of arrays as one archive: each field concatenated, with its lengths."""
    out = {}
    for key in utterances[0]:
        out[key] = np.concatenate([u[key] for u in utterances])
        out[f"{key}_n"] = np.array([len(u[key]) for u in utterances])
    part = DATA / f"{name}.part.npz"
    np.savez(part, **out)
    os.replace(part, DATA / f"{name}.npz")


def read(pattern: str) -> list[dict]:
    """The utterances of all shards whose names match."""
    out = []
    for path in sorted(DATA.glob(f"{pattern}.npz")):
        shard = np.load(path)
        keys = [k for k in shard.files if not k.endswith("_n")]
        columns = [np.split(shard[k], np.cumsum(shard[f"{k}_n"])[:-1]) for k in keys]
        out += [dict(zip(keys, row), shard=path.stem) for row in zip(*columns)]
    return out


def shards() -> list[Path]:
    names = ("joe", "people", "pairs", "hibari", "flite", "other")
    return sorted(p for name in names for p in DATA.glob(f"{name}-[0-9][0-9][0-9].npz"))


def joe_says(joe, ids, frames, noise, aloud: bool = True) -> dict:
    """What joe shall say. The encoder learns from the latent, which it cannot but expect without noise (`complete`); only the
    generator needs the sound, which costs the most."""
    said = {"ids": np.array(ids, np.uint8), "frames": np.asarray(frames, np.int16)}
    said["phone"] = np.repeat(said["ids"], said["frames"])
    if not aloud:
        return said
    audio, latent = joe.speak(ids, frames, noise)
    return {"joe": pcm(resample(audio, 22_050, OUTPUT_HZ)), "latent": latent.astype(np.float16), **said}


def complete(utterances: list[dict]) -> list[dict]:
    """With joe's latent of what he shall say."""
    import torch

    from .nets.piper import Piper
    from .speech import joe_weights

    if "latent" in utterances[0] or "ids" not in utterances[0]:
        return utterances
    complete.joe = getattr(complete, "joe", None) or Piper(joe_weights()).to(DEVICE)
    most = max(len(u["ids"]) for u in utterances)
    row = lambda values, beyond: np.pad(values.astype(int), (0, most - len(values)), constant_values=beyond)  # noqa: E731
    ids, frames = (
        torch.from_numpy(np.stack([row(u[key], beyond) for u in utterances])).to(DEVICE)
        for key, beyond in (("ids", 0), ("frames", -1))
    )
    latents, lengths = complete.joe(ids, frames)
    latents = latents.half().cpu().numpy()
    return [u | {"latent": latent[:length]} for u, latent, length in zip(utterances, latents, lengths.tolist())]


def pairs(shard: int, texts: list[str]) -> list[dict]:
    from .speech import KOKORO_HZ, Joe, Kokoro, phonemes

    pairs.kokoro = getattr(pairs, "kokoro", None) or Kokoro()
    pairs.joe = getattr(pairs, "joe", None) or Joe()
    rng, out = setup(1000 + shard), []
    for text in texts:
        voice = pairs.kokoro.held_out(rng) if shard == 0 else pairs.kokoro.voice(rng)
        audio, timed = pairs.kokoro.speak(phonemes(text), voice, rng.uniform(0.85, 1.2))
        ids, frames = timed.joe(pairs.joe)
        said = joe_says(pairs.joe, ids, frames, rng.uniform(0.1, 0.667), shard < ALOUD)
        out.append({"other": pcm(resample(audio, KOKORO_HZ, INPUT_HZ)), **said})
    return out


def hibari(shard: int, texts: list[str]) -> list[dict]:
    from .speech import KOKORO_HZ, Hibari, Joe, Tokens, phonemes

    hibari.voice = getattr(hibari, "voice", None) or Hibari()
    aloud = shard < ALOUD and not LEAN_JOE.exists()
    hibari.joe = Joe() if aloud else getattr(hibari, "joe", None) or Tokens()
    rng, out = setup(4000 + shard), []
    for text in texts:
        audio, timed = hibari.voice.speak(phonemes(text), Hibari.Manner.drawn(rng), rng.uniform(0.85, 1.25), rng)
        ids, frames = timed.joe(hibari.joe)
        said = joe_says(hibari.joe, ids, frames, rng.uniform(0.1, 0.667), aloud)
        out.append({"other": pcm(resample(audio, KOKORO_HZ, INPUT_HZ)), **said})
    return out


def flite(shard: int, texts: list[str]) -> list[dict]:
    from .speech import Flite, Joe

    flite.joe = getattr(flite, "joe", None) or Joe()
    rng, out, voices = setup(3000 + shard), [], Flite()
    for index, text in enumerate(texts):
        voice = Flite.VOICES[index % 3 if index % 8 else 3]  # the least human one least
        audio, hz, timed = voices.speak(text, voice, rng.uniform(0.85, 1.25))
        ids, frames = timed.joe(flite.joe)
        said = joe_says(flite.joe, ids, frames, rng.uniform(0.1, 0.667), shard < ALOUD)
        out.append({"other": pcm(resample(audio, hz, INPUT_HZ)), **said})
    return out


def alone(shard: int, texts: list[str]) -> list[dict]:
    from .speech import Joe, phonemes

    alone.joe = getattr(alone, "joe", None) or Joe()
    rng, out = setup(2000 + shard), []
    for text in texts:
        ids = alone.joe.tokens(phonemes(text))
        frames = alone.joe.durations(ids, rng.uniform(0.85, 1.25))
        out.append(joe_says(alone.joe, ids, frames, rng.uniform(0.1, 0.667)))
    return out


def decode(*command) -> np.ndarray:
    raw = subprocess.run(
        ["ffmpeg", "-v", "error", *command, "-ac", "1", "-ar", str(INPUT_HZ), "-f", "s16le", "-"],
        check=True,
        capture_output=True,
    ).stdout
    return np.frombuffer(raw, "<i2").copy()


def robot(voice: str, text: str) -> np.ndarray:
    out = DATA / f"robot-{os.getpid()}.wav"
    if voice in FLITE:
        command = ["flite", "-voice", voice, "-t", text, "-o", str(out)]
    else:
        command = ["espeak-ng", "-v", voice, "-w", str(out), text]
    subprocess.run(command, check=True, capture_output=True)
    audio = decode("-i", str(out))
    out.unlink()
    return audio


def human(name: str, minutes: float) -> list[dict]:
    out, seconds = [], 0.0
    files = [p for p in sorted((SOUNDS / name).rglob("*.g722")) if not any(w in p.stem for w in NOT_SPEECH)]
    setup(3).shuffle(files)
    for path in files:
        audio = decode("-i", str(path))
        if 1.0 < len(audio) / INPUT_HZ < 28 and seconds < 60 * minutes:
            out.append({"other": audio})
            seconds += len(audio) / INPUT_HZ
    return out


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--pairs", type=int, default=40, help="shards of pairs, about 3 minutes each")
    args.add_argument("--hibari", type=int, default=240, help="shards of hibari's pairs")
    args.add_argument("--flite", type=int, default=10, help="shards of flite's pairs")
    args.add_argument("--joe", type=int, default=10, help="shards of joe alone")
    args.add_argument("--humans", type=float, default=14, help="minutes of each recorded voice; 0: no voices without a partner")
    args.add_argument("--processes", type=int, default=1)
    args = args.parse_args()
    DATA.mkdir(parents=True, exist_ok=True)
    texts = [text for text, _ in json.loads(PHONEMES.read_text())] if PHONEMES.exists() else sentences(7)
    if not GENERATOR.exists() and not LEAN_JOE.exists():
        from .speech import Joe

        Joe().write_generator(GENERATOR)
    jobs, mine = [], [k for k in range(len(texts) // SHARD) if k not in HELD_OUT]

    def shard(kind, index, part, count=SHARD):
        jobs.append((kind, index, texts[part * SHARD : part * SHARD + count]))

    for index in range(max(args.pairs, args.joe)):
        if index < args.joe:
            shard("joe", index, 100 + index)
        if index < args.pairs:
            shard("pairs", index, index)
    for index in range(args.flite):
        shard("flite", index, 200 + index)
    for index in range(args.hibari):  # says all that is said, again and again
        shard("hibari", index, mine[(100 + index) % len(mine)])
    for index, name in enumerate(HUMANS + FLITE + ESPEAK if args.humans else []):
        shard("other", index, 60 + index, SHARD // 2 if name in ESPEAK else SHARD)
    jobs = [(kind, index, *rest) for kind, index, *rest in jobs if not (DATA / f"{kind}-{index:03}.npz").exists()]
    with ProcessPoolExecutor(args.processes, multiprocessing.get_context("spawn")) as pool:
        for (kind, index, _), utterances in zip(jobs, pool.map(spoken, jobs, [args.humans] * len(jobs))):
            write(f"{kind}-{index:03}", complete(utterances))
            print(kind, index, flush=True)
        if list(DATA.glob("joe-[0-9][0-9][0-9].npz")):
            from .features import pitches

            list(pool.map(pitches, [f"{kind}-{index:03}" for kind, index, _ in jobs if kind != "other"]))


def spoken(job, minutes: float) -> list[dict]:
    """A shard's utterances."""
    kind, index, texts = job
    if kind != "other":
        utterances = {"joe": alone, "pairs": pairs, "flite": flite, "hibari": hibari}[kind](index, texts)
        if kind != "joe":
            from .features import keep_source_pitch

            keep_source_pitch(f"{kind}-{index:03}", utterances)
        return utterances
    if index < len(HUMANS):
        return human(HUMANS[index], minutes)
    return [{"other": robot((FLITE + ESPEAK)[index - len(HUMANS)], text)} for text in texts]


if __name__ == "__main__":
    main()
