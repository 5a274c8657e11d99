"""Syrinx and PyTorch convert the same speech with the same weights, in turn, on the same threads.

Usage: python compare.py --audio speech.wav --weights FOLDER [--syrinx PATH] [--rounds K] [--threads 1 2]
Prints a Markdown table of medians, for benches/results/. Run it on an otherwise idle machine, and build Syrinx with
`cargo build --release` before.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
# Which stages of Syrinx's path stand against each network of the peer.
STAGES = {"HuBERT": (("units",), "hubert"), "RMVPE": (("pitch",), "rmvpe"), "synthesizer": (("synthesizer",), "synthesizer")}


def arguments(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", required=True, help="about 10 s of speech")
    parser.add_argument("--weights", required=True, help="folder for the seeded checkpoints; filled on first use")
    parser.add_argument("--syrinx", default=os.path.join(HERE, "..", "..", "target", "release", "syrinx"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    return parser.parse_args()


def run_torch(args: argparse.Namespace, threads: int) -> dict:
    script = [sys.executable, "-W", "ignore", os.path.join(HERE, "run_torch.py")]
    command = [*script, "--audio", args.audio, "--weights", args.weights, "--threads", str(threads)]
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    pick = {name: result["stages"][peer] for name, (_, peer) in STAGES.items()}
    return figures(pick, result["seconds"], result["audio_seconds"], result["load_seconds"], result["peak_memory_bytes"])


def run_syrinx(args: argparse.Namespace, threads: int, folder: str) -> dict:
    report = os.path.join(folder, "report.json")
    weights = [os.path.join(args.weights, name) for name in ("voice.pth", "hubert", "rmvpe.pt")]
    command = [args.syrinx, "--quiet", "--threads", str(threads), "convert", args.audio, "--force"]
    command += ["--voice", weights[0], "--encoder", weights[1], "--f0", "rmvpe", "--pitch-model", weights[2]]
    command += ["-o", os.path.join(folder, "out.wav"), "--report", report]
    subprocess.run(command, check=True)
    with open(report, encoding="utf8") as file:
        result = json.load(file)
    done = result["files"][0]
    seconds = {stage["name"]: stage["seconds"] for stage in done["stages"]}
    # A stage that the report does not name would make the comparison wrong, so it is an error.
    pick = {name: sum(seconds[stage] for stage in own) for name, (own, _) in STAGES.items()}
    return figures(pick, done["seconds"], done["audio_seconds"], result["load_seconds"], result["peak_memory_bytes"])


def figures(stages: dict, seconds: float, audio: float, load: float, memory: int) -> dict:
    per_second = {f"{name} (ms per s of audio)": value / audio * 1000 for name, value in stages.items()}
    return {**per_second, "whole conversion, RTF": seconds / audio, "load (s)": load, "peak memory (MiB)": memory / 2**20}


def table(threads: int, syrinx: list, torch: list) -> str:
    lines = [f"\n### {threads} thread{'s' if threads > 1 else ''}, medians of {len(syrinx)}\n"]
    lines += ["| | Syrinx | PyTorch | PyTorch / Syrinx |", "|---|---:|---:|---:|"]
    for name in torch[0]:
        own, peer = (statistics.median(run[name] for run in runs) for runs in (syrinx, torch))
        lines.append(f"| {name} | {own:.3g} | {peer:.3g} | {peer / own:.2f} |")
    return "\n".join(lines)


def cpu_name() -> str:
    with open("/proc/cpuinfo", encoding="utf8") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.processor()


def prepare(args: argparse.Namespace) -> None:
    """Makes the weights, unless they are there."""
    script = os.path.join(HERE, "seeded_weights.py")
    subprocess.run([sys.executable, "-W", "ignore", script, args.weights], check=True, stdout=sys.stderr)


def heading(args: argparse.Namespace, script: str) -> str:
    return (
        f"{datetime.date.today()}, {cpu_name()}, {os.cpu_count()} cores; full-size v2 40k voice, HuBERT base, RMVPE,\n"
        f"the same seeded weights on both sides, {os.path.basename(args.audio)}; `{script}`, in turn."
    )


def main() -> None:
    args = arguments(__doc__)
    prepare(args)
    print(heading(args, "benches/peer/compare.py"))
    with tempfile.TemporaryDirectory() as folder:
        for threads in args.threads:
            syrinx, torch = [], []
            for _ in range(args.rounds):
                torch.append(run_torch(args, threads))
                syrinx.append(run_syrinx(args, threads, folder))
            print(table(threads, syrinx, torch), flush=True)


if __name__ == "__main__":
    main()
