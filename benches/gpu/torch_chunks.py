"""Chunks of RVC's real-time loop in PyTorch, eager and captured in a CUDA graph; prints a table, and JSON with --json.

What is timed of each chunk: the window's upload, RMVPE over its end, HuBERT over the whole of it, text encoder, flow over 24
hops more than are kept, generator, the audio's download. All of it stays on the device in between, as upstream's does not;
what joins chunks, and retrieval, are left out. 32-bit floats; TF32 where torch may (`--exact`: nowhere). Each network is held
to the reference's recordings first, without TF32. On a CPU there is no graph. Usage:

    python torch_chunks.py --weights FOLDER [--device cuda:0] [--chunks 20,60] [--contexts 1000] [--repeat 100]
"""

import argparse
import json
import statistics
import time

import torch

import torch_networks as nets

COLD = 8
# Overlap and search in hops: 40 ms, as `syrinx bench`, and 10 ms.
FADE, SEARCH = 4, 1
# What a network without TF32 may be off the reference.
ALLOWED = 1e-4


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = lambda text: [int(part) for part in text.split(",")]
    parser.add_argument("--weights", required=True, help="folder for the seeded checkpoints, which Syrinx reads, too")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--chunks", type=numbers, default=[20, 60, 100, 250])
    parser.add_argument("--contexts", type=numbers, default=[1000, 2500])
    parser.add_argument("--repeat", type=int, default=100)
    parser.add_argument("--exact", action="store_true", help="no TF32")
    parser.add_argument("--only-weights", action="store_true", help="make the checkpoints and end")
    parser.add_argument("--json", help="file for the figures")
    return parser.parse_args()


class Loop:
    """The state of the loop, on the device; everything in it keeps its place, so that a graph can be captured."""

    def __init__(self, networks: tuple, chunk_ms: int, context_ms: int, device: str):
        self.hubert, self.pitch, self.voice = networks
        self.chunk, self.context = chunk_ms // 10, context_ms // 10
        self.hops = self.context + FADE + SEARCH + self.chunk
        self.kept = slice(self.context, self.context + self.chunk + FADE + SEARCH)
        self.window = torch.zeros(1, self.hops * nets.HOP, device=device)
        # What RMVPE sees ends where the window does; frames are a multiple of 32.
        self.tracked = 5120 * ((self.chunk * nets.HOP + 799) // 5120 + 1) - nets.HOP
        self.f0_hz = torch.zeros(1, 1024, device=device)

    def units(self) -> torch.Tensor:
        units = nets.hubert(self.hubert, self.window)
        units = torch.cat([units, units[:, -1:]], 1).repeat_interleave(2, 1)
        return units[:, : self.hops]

    def track(self) -> None:
        end = torch.nn.functional.pad(self.window, (max(self.tracked - self.window.shape[1], 0), 0))[:, -self.tracked :]
        f0_hz = self.pitch.f0(end)[3:-1]
        settled = torch.cat([self.f0_hz[0, self.chunk :], self.f0_hz[0, : self.chunk]])
        settled[-len(f0_hz) :] = f0_hz
        self.f0_hz.copy_(settled[None])

    def render(self, units: torch.Tensor) -> torch.Tensor:
        return self.voice.render(units, self.f0_hz[:, -self.hops :], self.kept)

    def step(self) -> torch.Tensor:
        self.track()
        return self.render(self.units())


def set_tf32(wanted: bool) -> None:
    torch.backends.cudnn.allow_tf32 = wanted
    torch.set_float32_matmul_precision("high" if wanted else "highest")


def wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def captured(work, device: str):
    """`work` as one graph, or itself on a CPU, and what it gives."""
    if device == "cpu":
        return work
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        given = work()

    def replay():
        graph.replay()
        return given

    return replay


def quantiles(seconds: list) -> dict:
    ms = sorted(1e3 * value for value in seconds)
    at = lambda share: ms[min(len(ms) - 1, int(share * len(ms)))]
    return {"p50_ms": statistics.median(ms), "p95_ms": at(0.95), "p99_ms": at(0.99), "max_ms": ms[-1]}


def time_chunks(loop: Loop, step, repeat: int, device: str) -> dict:
    """Whole chunks, from samples in the host's memory to samples there."""
    samples = loop.window.shape[1]
    audio = torch.randn(samples + (COLD + repeat) * loop.chunk * nets.HOP) * 0.1
    place = torch.empty(1, samples, pin_memory=device != "cpu")
    seconds = []
    for index in range(COLD + repeat):
        first = index * loop.chunk * nets.HOP
        began = time.perf_counter()
        place[0].copy_(audio[first : first + samples])
        loop.window.copy_(place, non_blocking=True)
        voice = step().cpu()
        seconds.append(time.perf_counter() - began)
        assert torch.isfinite(voice).all() and voice.shape[1] == (loop.kept.stop - loop.kept.start) * nets.VOICE_HOP
    return quantiles(seconds[COLD:])


def time_network(work, device: str, repeat: int) -> float:
    """Median ms of one call and the wait for it."""
    seconds = []
    for _ in range(COLD + repeat):
        began = time.perf_counter()
        work()
        wait(device)
        seconds.append(time.perf_counter() - began)
    return 1e3 * statistics.median(seconds[COLD:])


def row(networks: tuple, chunk_ms: int, context_ms: int, args: argparse.Namespace, mode: str) -> dict:
    wrap = (lambda work: captured(work, args.device)) if mode == "graph" else (lambda work: work)
    loop = Loop(networks, chunk_ms, context_ms, args.device)
    figures = time_chunks(loop, wrap(loop.step), args.repeat, args.device)
    units = loop.units()
    parts = {"pitch": loop.track, "units": loop.units, "voice": lambda: loop.render(units)}
    stages = {name: time_network(wrap(part), args.device, min(args.repeat, 30)) for name, part in parts.items()}
    return {"mode": mode, "chunk_ms": chunk_ms, "context_ms": context_ms, **figures, "stages_ms": stages}


def main() -> None:
    args = arguments()
    torch.set_grad_enabled(False)
    states = nets.write(args.weights)
    if args.only_weights:
        return
    set_tf32(False)
    errors = nets.check(states, args.device)
    for name, error in errors.items():
        print(f"{name}: off the reference by {error:.1e} of {ALLOWED:.0e}", flush=True)
    assert all(error <= ALLOWED for error in errors.values()), errors
    set_tf32(not args.exact)
    torch.backends.cudnn.benchmark = True
    hubert, rmvpe, voice = (nets.unfolded(states[name], args.device) for name in ("hubert", "rmvpe", "voice"))
    networks = hubert, nets.Rmvpe(rmvpe, args.device), nets.Voice(voice)
    report = {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if args.device != "cpu" else "cpu",
        "tf32": not args.exact and args.device != "cpu",
        "count": args.repeat,
        "errors_without_tf32": errors,
        "rows": [],
    }
    print(f"{'mode':>6}{'chunk':>7}{'context':>9}{'p50':>9}{'p95':>9}{'p99':>9}{'max':>9}{'pitch':>9}{'units':>9}{'voice':>9}")
    for context_ms in args.contexts:
        for chunk_ms in args.chunks:
            for mode in ("eager", "graph") if args.device != "cpu" else ("eager",):
                found = row(networks, chunk_ms, context_ms, args, mode)
                report["rows"].append(found)
                values = [found[name] for name in ("p50_ms", "p95_ms", "p99_ms", "max_ms")] + list(found["stages_ms"].values())
                print(f"{mode:>6}{chunk_ms:>7}{context_ms:>9}" + "".join(f"{value:>9.2f}" for value in values), flush=True)
                if args.json:
                    # After each row, so that a run that is cut short leaves what it has.
                    with open(args.json, "w", encoding="utf8") as file:
                        json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
