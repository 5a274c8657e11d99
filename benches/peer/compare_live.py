"""Syrinx and PyTorch run RVC's real-time loop over the same speech with the same weights, in turn, on the same threads.

Usage: python compare_live.py --audio speech.wav --weights FOLDER [--syrinx PATH] [--rounds K] [--threads 1 2]
Chunks of 0.25 s, 2.5 s of context, 0.05 s of cross-fade: upstream's defaults. Prints a Markdown table of medians.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile

from compare import HERE, arguments, heading, prepare


def run_torch(args, threads: int) -> dict:
    script = [sys.executable, "-W", "ignore", os.path.join(HERE, "run_torch_live.py")]
    command = [*script, "--audio", args.audio, "--weights", args.weights, "--threads", str(threads)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["chunk_ms"]


def run_syrinx(args, threads: int, folder: str, precision: str) -> dict:
    """The whole live engine: graph and worker, a recording for a device, as fast as it goes."""
    weights = [os.path.join(args.weights, name) for name in ("voice.pth", "hubert", "rmvpe.pt")]
    command = [args.syrinx, "--quiet", "--threads", str(threads), "live", "--host", "file", "--fast", "--json-lines"]
    command += ["--chunk", "250", "--context", "2500", "--crossfade", "50"]
    command += ["--voice", weights[0], "--encoder", weights[1], "--f0", "rmvpe", "--pitch-model", weights[2]]
    command += ["--in", args.audio, "--out", os.path.join(folder, "out.wav"), "--force", "--encoder-precision", precision]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    last = json.loads(lines[-1])
    assert last["failed"] == 0 and last["shed"] == 0 and last["chunks"] > 10, last
    return last["chunk_ms"]


def main() -> None:
    args = arguments(__doc__)
    prepare(args)
    print(heading(args, "benches/peer/compare_live.py"))
    print("\n| threads | | Syrinx, live default | all f32 | PyTorch, f32 | PyTorch / Syrinx | / all f32 |\n|---:|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for threads in args.threads:
            reduced, full, torch = [], [], []
            for _ in range(args.rounds):
                torch.append(run_torch(args, threads))
                reduced.append(run_syrinx(args, threads, folder, "reduced"))
                full.append(run_syrinx(args, threads, folder, "full"))
            for name, words in (("p50", "chunk of 250 ms takes, p50 (ms)"), ("max", "the longest (ms)")):
                own, exact, peer = (statistics.median(run[name] for run in runs) for runs in (reduced, full, torch))
                times = f"{own:.3g} | {exact:.3g} | {peer:.3g} | {peer / own:.2f} | {peer / exact:.2f}"
                print(f"| {threads} | {words} | {times} |", flush=True)


if __name__ == "__main__":
    main()
