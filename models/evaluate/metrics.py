"""The figures: word errors, likeness, naturalness, pitch, silence. 16 kHz sound in, numbers out."""

import os
import re
from pathlib import Path

import numpy as np
import torch
from scipy.signal import fftconvolve, resample_poly
from torch import nn

HZ = 16_000
MODELS = Path(os.environ.get("EVALUATE_MODELS", Path.home() / ".cache/syrinx/voice/lab/models"))
LAGS = range(-30, 31)


class Words:
    """What whisper-base understands."""

    def __init__(self):
        from faster_whisper import WhisperModel

        threads = int(os.environ.get("OMP_NUM_THREADS", 1))
        self.model = WhisperModel(str(MODELS / "whisper-base-ct2"), device="cpu", compute_type="int8", cpu_threads=threads)

    def __call__(self, audio, language="en") -> list[str]:
        parts, _ = self.model.transcribe(
            audio.astype(np.float32), language=language, beam_size=5, condition_on_previous_text=False, temperature=0.0
        )
        return words_of(" ".join(part.text for part in parts))


def words_of(text: str) -> list[str]:
    """In lower case, hyphens apart, nothing but letters, digits and apostrophes."""
    return re.sub(r"[^\w' ]+", " ", text.lower().replace("-", " ")).split()


def in_room(audio: np.ndarray, seconds: float, direct_db: float = 6.0) -> np.ndarray:
    """Speech as a room has it whose sound falls by 60 dB in `seconds`, and whose direct sound is `direct_db` above all other;
    as strong as it was."""
    rng, time = np.random.default_rng(0), np.arange(int(1.2 * seconds * HZ)) / HZ
    response = rng.standard_normal(len(time)) * 10 ** (-3 * time / seconds) * (time > 0.003)
    response *= 10 ** (-direct_db / 20) / np.linalg.norm(response)
    response[0] = 1
    heard = fftconvolve(audio, response)[: len(audio)]
    return (heard * np.std(audio) / (np.std(heard) + 1e-9)).astype(np.float32)


def word_errors(truth: list[str], heard: list[str]) -> int:
    """Levenshtein's distance in words."""
    row = np.arange(len(heard) + 1)
    for i, word in enumerate(truth, 1):
        before, row = row, np.empty_like(row)
        row[0] = i
        for j, other in enumerate(heard, 1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (word != other))
    return int(row[-1])


class Likeness:
    """Resemblyzer's speaker encoder: the cosine of two recordings' embeddings."""

    def __init__(self):
        weights = {k: torch.from_numpy(v) for k, v in np.load(MODELS / "ge2e.npz").items()}
        self.lstm, self.linear = nn.LSTM(40, 256, 3, batch_first=True), nn.Linear(256, 256)
        self.lstm.load_state_dict({k.removeprefix("lstm."): v for k, v in weights.items() if k.startswith("lstm.")})
        self.linear.load_state_dict({k.removeprefix("linear."): v for k, v in weights.items() if k.startswith("linear.")})

    @torch.no_grad()
    def embed(self, audio: np.ndarray) -> np.ndarray:
        import librosa

        audio = loud_parts(audio)
        audio = audio * max(1.0, 10 ** (-30 / 20) / (np.sqrt(np.mean(audio**2)) + 1e-9))
        audio = np.pad(audio, (0, max(0, 25_600 - len(audio))))
        mel = librosa.feature.melspectrogram(y=audio, sr=HZ, n_fft=400, hop_length=160, n_mels=40).T.astype(np.float32)
        starts = range(0, max(1, len(mel) - 159), 77)
        pieces = np.stack([np.pad(m := mel[s : s + 160], ((0, 160 - len(m)), (0, 0))) for s in starts])
        last = self.lstm(torch.from_numpy(pieces))[1][0][-1]
        each = nn.functional.normalize(torch.relu(self.linear(last)), dim=1).mean(0)
        return nn.functional.normalize(each, dim=0).numpy()


def loud_parts(audio: np.ndarray) -> np.ndarray:
    """Without the frames of 30 ms that lie 35 dB under the loudest."""
    frames = audio[: len(audio) // 480 * 480].reshape(-1, 480)
    level = 10 * np.log10(np.mean(frames**2, 1) + 1e-10)
    kept = np.convolve(level > np.percentile(level, 95) - 35, np.ones(7), "same") > 0
    return frames[kept].ravel()


def naturalness(audio: np.ndarray) -> float:
    """DNSMOS's overall score."""
    from speechmos import dnsmos

    return float(dnsmos.run(np.clip(audio, -1, 1), HZ)["ovrl_mos"])


def envelope(audio: np.ndarray, frames: int) -> np.ndarray:
    padded = np.pad(audio, (0, 400))
    return np.array([np.sqrt(np.mean(padded[i * 160 : i * 160 + 400] ** 2) + 1e-9) for i in range(frames)])


def pitch_match(source: np.ndarray, made: np.ndarray, track) -> tuple[float, int]:
    """Correlation of log pitch where both are voiced, at the lag (ms) where the envelopes fit best."""
    a, b = (track(x, len(x) // 160) for x in (source, made))
    ea, eb = envelope(source, len(a)), envelope(made, len(b))

    def at(lag, x, y):
        x, y = (x[-lag:], y) if lag < 0 else (x, y[lag:])
        n = min(len(x), len(y))
        return x[:n], y[:n]

    lag = max(LAGS, key=lambda k: np.corrcoef(*at(k, ea, eb))[0, 1] if min(map(len, at(k, ea, eb))) > 20 else -2)
    p, q = at(lag, a, b)
    both = (p > 0) & (q > 0)
    if both.sum() < 12:
        return float("nan"), 10 * lag
    p, q = np.log(p[both]), np.log(q[both])
    near = np.abs((p - np.median(p)) - (q - np.median(q))) < np.log(1.7)  # octave slips of the tracker
    return float(np.corrcoef(p[near], q[near])[0, 1]), 10 * lag


def level_db(audio: np.ndarray) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(audio**2)) + 1e-12))


def to_16k(audio: np.ndarray, hz: int) -> np.ndarray:
    common = np.gcd(hz, HZ)
    return resample_poly(audio, HZ // common, hz // common).astype(np.float32) if hz != HZ else audio.astype(np.float32)
