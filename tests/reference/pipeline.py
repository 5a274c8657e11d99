"""The reference's whole conversion by its own code, without noise, and where it hangs on the last bit of a number."""

import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benches" / "peer"))
import reference  # noqa: E402
from seeded_weights import RMVPE_SIZES  # noqa: E402

RATE = 16_000
# One window, whatever the length: the package seeks the quietest cut by the sum of samples, today's RVC by that of
# their magnitudes.
CPU = SimpleNamespace(device="cpu", is_half=False, x_pad=1, x_query=6, x_center=38, x_max=10**6)
# Below this salience RVC calls a frame unvoiced.
THRESHOLD = 0.03

torch.set_grad_enabled(False)
# All that is random in the synthesizer.
torch.randn_like = torch.zeros_like


def voice(path: Path) -> tuple:
    """The synthesizer in a file, and the `VC` that runs it."""
    _, _, synthesizer, converter, _, _ = reference.application().load_trained_model(str(path), CPU)
    return synthesizer, converter


def encoder(folder: Path):
    return reference.application().load_hu_bert(CPU, str(folder))


def pitch(path: Path, sizes: tuple = RMVPE_SIZES):
    """RMVPE of any size, with the padding of today's RVC."""
    module = reference.rmvpe()
    build = module.E2E.__init__

    class Rmvpe(module.RMVPE):
        def mel2hidden(self, mel):
            # The package still reflects frames to a multiple of 32; RVC has long appended zeros.
            frames = mel.shape[-1]
            return super().mel2hidden(torch.nn.functional.pad(mel, (0, -frames % 32)))[:, :frames]

    with mock.patch.object(module.E2E, "__init__", lambda network, *_: build(network, *sizes)):
        return Rmvpe(str(path), False, "cpu")


def sharpen(path: Path, source: Path) -> None:
    """Rewrites an untrained RMVPE so that its salience has few peaks, some below the threshold, as a trained one's.

    Else it is near 1 in many bins at once, and which is the largest hangs on the last bit.
    """
    state = torch.load(source)
    bias = torch.full_like(state["fc.1.bias"], -8)
    bias[45:300:15] = -4.5
    state["fc.1.bias"] += bias
    state["fc.1.weight"] /= 2
    torch.save(state, path)


def salience(rmvpe, audio: np.ndarray) -> tuple:
    """Log-mel `[bands, frames]` and salience `[frames, bins]`."""
    mel = rmvpe.mel_extractor(torch.from_numpy(audio).float()[None], center=True)
    return mel[0], rmvpe.mel2hidden(mel)[0]


def level(audio: np.ndarray) -> np.ndarray:
    """What the application does with a recording before it hands it to `VC`."""
    return audio / max(np.abs(audio).max() / 0.95, 1)


def padded(audio: np.ndarray) -> np.ndarray:
    """The audio that `VC` hands to the networks."""
    application = reference.application()
    filtered = application.signal.filtfilt(application.bh, application.ah, level(audio))
    return np.pad(filtered, CPU.x_pad * RATE, mode="reflect")


def is_clear(rmvpe, audio: np.ndarray, key: int) -> bool:
    """Whether no voicing, no peak and no coarse pitch of `audio` would be another for a rounding error."""
    values = salience(rmvpe, audio)[1].numpy()
    low, high = np.sort(values, axis=1)[:, -2:].T
    if (np.abs(high - THRESHOLD) < 1e-4).any() or (high - low < 1e-4)[high > THRESHOLD].any():
        return False
    f0 = rmvpe.decode(values) * 2 ** (key / 12)
    mel, bottom, top = (1127 * np.log1p(hz / 700) for hz in (f0, 50, 1100))
    coarse = (mel - bottom) * 254 / (top - bottom) + 1
    inside = (coarse > 1) & (coarse < 255)
    return bool((np.abs(coarse % 1 - 0.5)[inside] > 5e-4).all())


def convert(networks: tuple, audio: np.ndarray, version: str, **settings) -> np.ndarray:
    """`audio` (16 kHz) as `VC.pipeline` of (synthesizer, VC, encoder, RMVPE) has it: 16-bit samples."""
    synthesizer, converter, hubert, rmvpe = networks
    converter.model_rmvpe = rmvpe
    defaults = {
        "sid": 0, "f0_up_key": 0, "file_index": "", "index_rate": 0, "if_f0": 1, "rms_mix_rate": 0.25, "protect": 0.33,
    }
    return converter.pipeline(
        hubert, synthesizer, audio=level(audio), input_audio_path="", times=[0, 0, 0], f0_method="rmvpe",
        filter_radius=3, tgt_sr=converter.t_pad_tgt // CPU.x_pad, resample_sr=0, version=version,
        **{**defaults, **settings},
    )


def last_bit(voice: np.ndarray, networks: tuple, audio: np.ndarray, version: str, **settings) -> int:
    """Steps of 16 bits by which `voice`, made by `convert` of the same, changes if f0 rises by the last bit of an f32.

    The source sums f0 over the whole recording, and a steady pitch sums the same rounding again and again.
    """
    rmvpe = networks[-1]
    track = rmvpe.infer_from_audio
    with mock.patch.object(rmvpe, "infer_from_audio", lambda *arguments: track(*arguments) * (1 + 2**-23)):
        risen = convert(networks, audio, version, **settings)
    return int(np.abs(risen.astype(int) - voice).max())
