"""RVC's real-time loop in PyTorch, timed per chunk; prints JSON.

Each chunk does what upstream's callback does at its defaults: HuBERT over the whole window, RMVPE over the window's
end, the flow over 24 hops more than are kept, the generator over what is kept, SOLA. Chunks of 0.25 s, 2.5 s of
context, 0.05 s of cross-fade. Usage: python run_torch_live.py --audio speech.wav --weights FOLDER --threads N
"""

import collections
import json
import sys
import time

import run_torch
from run_torch import ARGS, RATE, coarse, librosa, np, soundfile, torch

CHUNK_S, CONTEXT_S, CROSSFADE_S = 0.25, 2.5, 0.05
HOP = 160
# Hops before the kept ones that the flow runs on.
FLOW_HOPS = 24


class Loop:
    """The state of the loop, at the voice's own rate."""

    def __init__(self, networks: tuple):
        self.hubert, self.synthesizer, self.pitch, self.rate, _ = networks
        hops = lambda seconds: round(seconds * 100)
        hop = self.rate // 100
        self.chunk, self.context, crossfade = hops(CHUNK_S), hops(CONTEXT_S), hops(CROSSFADE_S)
        # Overlap and search of SOLA.
        self.fade, self.search = min(crossfade, 4), 1
        self.kept = self.chunk + self.fade + self.search
        self.window = np.zeros((self.context + crossfade + self.search + self.chunk) * HOP, np.float32)
        self.cache = np.zeros(1024, np.float32)
        self.hop = hop
        self.sola = torch.zeros(self.fade * hop)
        self.fade_in = torch.sin(0.5 * np.pi * torch.linspace(0.0, 1.0, self.fade * hop)) ** 2

    def step(self, chunk: np.ndarray) -> np.ndarray:
        """`chunk` at 16 kHz to as much at the voice's rate."""
        self.window = np.concatenate([self.window[len(chunk) :], chunk])
        units = self.hubert(torch.from_numpy(self.window)[None]).last_hidden_state
        units = torch.cat([units, units[:, -1:]], dim=1).repeat_interleave(2, dim=1)
        hops = len(self.window) // HOP
        units = units[:, :hops]
        self.track(len(chunk))
        f0 = self.cache[-hops:].copy()
        voice = self.render(units, torch.from_numpy(coarse(f0.copy()))[None], torch.from_numpy(f0)[None])
        return self.join(voice).numpy()

    def track(self, samples: int) -> None:
        length = 5120 * ((samples + 800 - 1) // 5120 + 1) - HOP
        f0 = self.pitch.infer_from_audio(self.window[-length:], thred=0.03).astype(np.float32)
        self.cache = np.roll(self.cache, -(samples // HOP))
        self.cache[4 - len(f0) :] = f0[3:-1]

    def render(self, units: torch.Tensor, pitch: torch.Tensor, f0: torch.Tensor) -> torch.Tensor:
        net = self.synthesizer
        speaker = net.emb_g(torch.tensor([0])).unsqueeze(-1)
        mean, logs, mask = net.enc_p(units, pitch, torch.tensor([units.shape[1]]))
        first = self.context - FLOW_HOPS
        mean, logs, mask = mean[:, :, first:], logs[:, :, first:], mask[:, :, first:]
        latents = (mean + torch.exp(logs) * torch.randn_like(mean) * 0.66666) * mask
        latents = net.flow(latents, mask, g=speaker, reverse=True)[:, :, FLOW_HOPS : FLOW_HOPS + self.kept]
        return net.dec(latents, f0[:, self.context : self.context + self.kept], g=speaker)[0, 0]

    def join(self, voice: torch.Tensor) -> torch.Tensor:
        overlap, search = self.fade * self.hop, self.search * self.hop
        head = voice[None, None, : overlap + search]
        products = torch.nn.functional.conv1d(head, self.sola[None, None])
        energy = torch.sqrt(torch.nn.functional.conv1d(head**2, torch.ones(1, 1, overlap)) + 1e-8)
        voice = voice[int(torch.argmax(products / energy)) :].clone()
        voice[:overlap] = voice[:overlap] * self.fade_in + self.sola * (1.0 - self.fade_in)
        end = self.chunk * self.hop
        self.sola = voice[end : end + overlap].clone()
        return voice[:end]


def main() -> None:
    audio, file_rate = soundfile.read(ARGS.audio, dtype="float32", always_2d=True)
    audio = librosa.resample(audio.mean(axis=1), orig_sr=file_rate, target_sr=RATE)
    loop = Loop(run_torch.load(ARGS.weights))
    torch.manual_seed(0)
    samples = loop.chunk * HOP
    chunks = [audio[at : at + samples] for at in range(0, len(audio) - samples + 1, samples)]
    for chunk in chunks[:4]:
        loop.step(chunk)  # Warm-up.
    milliseconds, output = [], collections.deque()
    for chunk in chunks:
        began = time.perf_counter()
        output.append(loop.step(chunk))
        milliseconds.append(1e3 * (time.perf_counter() - began))
    output = np.concatenate(output)
    assert np.isfinite(output).all() and len(output) == len(chunks) * loop.chunk * loop.hop
    result = {
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "chunks": len(chunks),
        "chunk_ms": {"p50": float(np.median(milliseconds)), "max": float(np.max(milliseconds))},
        "output_rms": float(np.sqrt(np.mean(output**2))),
    }
    json.dump(result, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
