"""One offline conversion in PyTorch, timed per stage; prints JSON.

The path is RVC's classic one without an index: high-pass, reflect padding of 1 s, RMVPE, HuBERT layer 12, synthesizer,
RMS mix. Usage: python run_torch.py --audio speech.wav --weights FOLDER --threads N [--repeat K] [--output out.wav]
"""

import argparse
import json
import os
import resource
import sys
import time


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--output")
    return parser.parse_args()


ARGS = arguments()
# Before any of the libraries starts its threads.
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(ARGS.threads)

import librosa  # noqa: E402
import numpy as np  # noqa: E402
import scipy.signal  # noqa: E402
import soundfile  # noqa: E402
import torch  # noqa: E402

import reference  # noqa: E402
import seeded_weights  # noqa: E402

torch.set_num_threads(ARGS.threads)
torch.set_grad_enabled(False)
RATE = 16_000


def load(folder: str) -> tuple:
    """All three networks in f32, weight norm folded."""
    from transformers import HubertConfig, HubertModel

    paths = seeded_weights.ensure(folder)
    started = time.perf_counter()
    hubert = HubertModel(HubertConfig.from_json_file(os.path.join(paths["hubert"], "config.json")))
    state = torch.load(os.path.join(paths["hubert"], "pytorch_model.bin"), weights_only=True)
    present = set(hubert.state_dict())
    modern = {".weight_g": ".parametrizations.weight.original0", ".weight_v": ".parametrizations.weight.original1"}
    for name in list(state):
        for old, new in modern.items():
            if name.endswith(old) and name not in present:
                state[name.removesuffix(old) + new] = state.pop(name)
    missing, unknown = hubert.load_state_dict(state, strict=False)
    assert not missing and all(name.startswith("final_proj") for name in unknown), (missing, unknown)

    voice = torch.load(paths["voice.pth"], weights_only=True)
    config = voice["config"]
    config[-3] = voice["weight"]["emb_g.weight"].shape[0]
    synthesizer = reference.models().SynthesizerTrnMs768NSFsid(*config, is_half=False)
    del synthesizer.enc_q
    missing, unknown = synthesizer.load_state_dict(voice["weight"], strict=False)
    assert not missing and not unknown, (missing, unknown)
    synthesizer.dec.remove_weight_norm()
    synthesizer.flow.remove_weight_norm()

    pitch = reference.rmvpe().RMVPE(paths["rmvpe.pt"], False, "cpu")
    pitch.model.float()
    for module in (hubert, synthesizer, pitch.model):
        module.float().eval()
    return hubert, synthesizer, pitch, int(config[-1]), time.perf_counter() - started


def coarse(f0: np.ndarray) -> np.ndarray:
    mel = 1127.0 * np.log1p(f0 / 700.0)
    low, high = 1127.0 * np.log1p(50.0 / 700.0), 1127.0 * np.log1p(1100.0 / 700.0)
    mel[mel > 0] = (mel[mel > 0] - low) * 254.0 / (high - low) + 1.0
    return np.rint(np.clip(mel, 1, 255)).astype(np.int64)


def mix_loudness(source: np.ndarray, voice: np.ndarray, rate: int, share: float) -> np.ndarray:
    def envelope(audio, audio_rate):
        rms = librosa.feature.rms(y=audio, frame_length=audio_rate // 2 * 2, hop_length=audio_rate // 2)
        rms = torch.from_numpy(rms)[None]
        return torch.nn.functional.interpolate(rms, size=len(voice), mode="linear").numpy().ravel()

    wanted, own = envelope(source, RATE), np.maximum(envelope(voice, rate), 1e-6)
    return voice * wanted ** (1.0 - share) * own ** (share - 1.0)


class Clock:
    """Seconds per stage, in the order of the path."""

    def __init__(self):
        self.seconds, self.last = {}, time.perf_counter()

    def stage(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self.last
        self.last = now


def convert(audio: np.ndarray, networks: tuple) -> tuple:
    hubert, synthesizer, pitch, rate, _ = networks
    clock = Clock()
    b, a = scipy.signal.butter(5, 48, btype="high", fs=RATE)
    source = scipy.signal.filtfilt(b, a, audio).astype(np.float32)
    padded = np.pad(source, RATE, mode="reflect")
    clock.stage("source")
    f0 = pitch.infer_from_audio(padded, thred=0.03)
    clock.stage("rmvpe")
    units = hubert(torch.from_numpy(padded)[None]).last_hidden_state
    clock.stage("hubert")
    units = units.repeat_interleave(2, dim=1)
    hops = min(units.shape[1], len(padded) // 160)
    f0 = np.resize(f0, hops).astype(np.float32)
    tensors = (torch.from_numpy(coarse(f0.copy()))[None], torch.from_numpy(f0)[None])
    torch.manual_seed(0)
    voice = synthesizer.infer(units[:, :hops], torch.tensor([hops]), *tensors, torch.tensor([0]))[0][0, 0].numpy()
    clock.stage("synthesizer")
    voice = mix_loudness(source, voice[rate:-rate], rate, 0.25)
    voice /= max(np.abs(voice).max() / 0.99, 1.0)
    clock.stage("sink")
    return voice, rate, clock.seconds


def main() -> None:
    audio, file_rate = soundfile.read(ARGS.audio, dtype="float32", always_2d=True)
    audio = librosa.resample(audio.mean(axis=1), orig_sr=file_rate, target_sr=RATE)
    networks = load(ARGS.weights)
    convert(audio[: 2 * RATE], networks)  # Warm-up.
    runs = [convert(audio, networks) for _ in range(ARGS.repeat)]
    voice, rate, _ = runs[-1]
    assert np.isfinite(voice).all(), "the output is not finite"
    if ARGS.output:
        soundfile.write(ARGS.output, voice, rate)
    seconds = len(audio) / RATE
    stages = {name: float(np.median([run[2][name] for run in runs])) for name in runs[0][2]}
    total = float(np.median([sum(run[2].values()) for run in runs]))
    result = {
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "audio_seconds": seconds,
        "load_seconds": networks[-1],
        "stages": stages,
        "seconds": total,
        "rtf": total / seconds,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "output_rms": float(np.sqrt(np.mean(voice**2))),
        "output_saturated": float(np.mean(np.abs(voice) > 0.98)),
    }
    json.dump(result, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
