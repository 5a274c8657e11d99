"""Records small FCPE and CREPE networks with seeded weights, from the published packages' own code.

Usage: run prepare.sh beside this file; then, with the Python it made and the folder it names:
       python record_small.py ../data 0 FOLDER
With another seed than 0 weights and clip are others (`make test-reference`).
"""

import random
import sys
import types
import wave
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

CLIP = slice(16000, 16000 + 8113)
CLASSIFIER_GAIN = 16


def seed_weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Fills a network with f16-rounded values and returns its state dictionary."""
    state = module.state_dict()
    for name, value in state.items():
        if "cent" in name or not value.is_floating_point():
            continue
        noise = torch.rand(value.shape) * 2 - 1
        if name.endswith("running_var"):
            value.copy_((1 + 0.3 * noise).half().float())
        elif value.ndim >= 2:
            value.copy_((noise * (3 / value[0].numel()) ** 0.5).half().float())
        elif name.endswith("weight"):
            value.copy_((1 + 0.2 * noise).half().float())
        else:
            value.copy_((0.1 * noise).half().float())
    module.load_state_dict(state)
    module.eval()
    return {n: (t if "cent" in n else t.half()) for n, t in state.items() if t.is_floating_point() and t.ndim}


def record_fcpe(audio: torch.Tensor, target: Path, seed: int) -> None:
    from torchfcpe.mel_extractor import Wav2MelModule
    from torchfcpe.models import CFNaiveMelPE

    torch.manual_seed(seed)
    network = CFNaiveMelPE(128, 360, hidden_dims=32, n_layers=2, n_heads=8, conv_only=True)
    weights = seed_weights(network)
    to_mel = Wav2MelModule(16000, 128, 1024, 1024, 160, 0, 8000)
    recorded = {}
    for case, samples in enumerate([audio, audio[:700], audio[:300]]):
        mel = to_mel(samples[None, :, None], 16000)
        with torch.no_grad():
            latent = network(mel)
            f0 = network.infer(mel, threshold=0.006)
        recorded |= {f"{case}.wav": samples, f"{case}.mel": mel[0], f"{case}.latent": latent[0], f"{case}.f0": f0[0, :, 0]}
    save_file({n: t.contiguous() for n, t in weights.items()}, target / "fcpe_small.weights.safetensors")
    save_file({n: t.contiguous().clone() for n, t in recorded.items()}, target / "fcpe_small.safetensors")


def record_crepe(audio: torch.Tensor, target: Path, seed: int) -> None:
    import torchcrepe

    # The published code adds random dither to every pitch; without it the result is a function of the input.
    torchcrepe.convert.dither = lambda cents: cents
    torch.manual_seed(seed)
    network = torchcrepe.Crepe("tiny")
    channels = [1, 16, 8, 8, 8, 8, 8]
    for i, (a, b) in enumerate(zip(channels, channels[1:]), 1):
        taps, stride = (512, 4) if i == 1 else (64, 1)
        setattr(network, f"conv{i}", torch.nn.Conv2d(a, b, (taps, 1), (stride, 1)))
        setattr(network, f"conv{i}_BN", torch.nn.BatchNorm2d(b, eps=0.0010000000474974513))
    network.in_features = 4 * channels[-1]
    network.classifier = torch.nn.Linear(network.in_features, 360)
    weights = seed_weights(network)
    # Far-apart saliences, so that the pitch moves.
    network.classifier.weight.data *= CLASSIFIER_GAIN
    weights["classifier.weight"] *= CLASSIFIER_GAIN
    torchcrepe.infer.model, torchcrepe.infer.capacity = network, "tiny"
    recorded = {"wav": audio}
    frames = next(torchcrepe.preprocess(audio[None], 16000, 160))
    with torch.no_grad():
        recorded["salience"] = torchcrepe.infer(frames, "tiny")
    for name, decoder in [("weighted", torchcrepe.decode.weighted_argmax), ("viterbi", torchcrepe.decode.viterbi)]:
        f0, confidence = torchcrepe.predict(
            audio[None], 16000, 160, 50, 1100, "tiny", decoder, return_periodicity=True
        )
        recorded |= {f"{name}.f0": f0[0], f"{name}.periodicity": confidence[0]}
        if name == "viterbi":
            # What RVC makes of it.
            confidence, f0 = torchcrepe.filter.median(confidence, 3), torchcrepe.filter.mean(f0, 3)
            recorded["rvc.smooth_f0"], recorded["rvc.periodicity"] = f0[0].clone(), confidence[0]
    # A peak that wanders and leaps between strong rivals makes the likeliest path leave the largest bins.
    centre = 150 + torch.cumsum(torch.randint(-9, 10, (60,)), 0)
    centre[30:] += 40
    near = torch.exp(-((torch.arange(360) - centre[:, None]) ** 2) / 18.0)
    moving = (0.7 * near * torch.rand(60, 1) + 0.5 * torch.rand(60, 360) ** 4).clamp(0, 1)
    f0, confidence = torchcrepe.postprocess(
        moving.T[None].clone(), 50, 1100, torchcrepe.decode.viterbi, return_periodicity=True
    )
    recorded |= {"moving.salience": moving, "moving.f0": f0[0], "moving.periodicity": confidence[0]}
    save_file({n: t.contiguous() for n, t in weights.items()}, target / "crepe_small.weights.safetensors")
    save_file({n: t.contiguous().clone() for n, t in recorded.items()}, target / "crepe_small.safetensors")


def use_packages(folder: str) -> None:
    """Makes the packages that fetch.sh left in `folder` importable."""
    # Both packages import torchaudio, which they use only to resample and to read files.
    transforms = types.ModuleType("torchaudio.transforms")
    transforms.Resample = None
    sys.modules.update({"torchaudio": types.ModuleType("torchaudio"), "torchaudio.transforms": transforms})
    sys.path.insert(0, folder)


def main(target: str, seed: str, packages: str) -> None:
    use_packages(packages)
    with wave.open(str(Path(__file__).parents[1] / "data" / "audio" / "speech1.wav")) as clip:
        samples = np.frombuffer(clip.readframes(clip.getnframes()), "<i2").astype(np.float32) / 32768
    clip, seeds = CLIP, (1, 2)
    if int(seed):
        draw = random.Random(seed)
        start = draw.randrange(16000, 150000)
        clip, seeds = slice(start, start + draw.randint(2000, 12000)), (int(seed), int(seed))
    audio = torch.from_numpy(samples[clip].copy())
    record_fcpe(audio, Path(target), seeds[0])
    record_crepe(audio, Path(target), seeds[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
