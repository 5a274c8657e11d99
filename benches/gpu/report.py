"""One table of everything that run.sh measured: reads its logs, writes `results.md` and `results.json`, prints the first.

Usage: python report.py LOGS OUT COMMIT. Parts that left nothing are left out.
"""

import collections
import datetime
import json
import os
import re
import sys

LOGS, OUT, COMMIT = sys.argv[1:4]


def text(name: str) -> str:
    try:
        with open(os.path.join(LOGS, name), encoding="utf8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def figures(name: str) -> dict:
    """The JSON of a part; where it was cut off, nothing."""
    try:
        return json.loads(text(name))
    except ValueError:
        return {}


def lines(name: str, pattern: str) -> list:
    return [line for line in text(name).splitlines() if re.search(pattern, line)]


def table(head: list, rows: list) -> str:
    align = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in [head, align, *rows])


def number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def parts() -> str:
    rows = [line.split("\t") for line in text("parts.tsv").splitlines()]
    return "## Parts\n\n" + table(["part", "result", "seconds"], [row + [""] * (3 - len(row)) for row in rows])


def held() -> str:
    names = ["encoder-small", "recording", "voice-full", "encoder-full", "rmvpe-full", "stream", "others", "operations"]
    told = [line for name in names for line in lines(name + ".log", r"^\| ")]
    return "## Networks and conversions against the CPU\n\n" + "\n".join(told) if told else ""


def proof() -> str:
    rows = []
    for name in ("kernels", "memcheck", "racecheck", "initcheck"):
        said = lines(name + ".log", r"^test result|ERROR SUMMARY|RACECHECK SUMMARY|panicked")
        rows += [[name, re.sub(r"^=+ *", "", line)[:160]] for line in said]
    return "## Kernels against their twins, and under compute-sanitizer\n\n" + table(["what", "result"], rows) if rows else ""


def speed() -> str:
    told = lines("speed.log", r"^\| |multiprocessors")
    if not told:
        return ""
    note = "Time of one in a row of 100, the fastest of 7 rows; inputs stay in the second-level cache where they fit there."
    return "\n".join(["## Kernels beside the least they could take", "", told[0], "", note, "", *told[1:]])


# `syrinx bench -v` tells each row as it comes: what a part that was cut off leaves.
ROW = re.compile(r"INFO.*?:\s+([\d.\s-]+)$")


def chunk_rows(name: str) -> list:
    found = figures(name + ".json").get("rows")
    if found is not None:
        return found
    names = ["chunk_ms", "context_ms", "p50_ms", "p95_ms", "p99_ms", "max_ms", "rtf"]
    rows = []
    for line in text(name + ".log").splitlines():
        told = ROW.search(re.sub(r"\x1b\[\d*m", "", line))
        values = told.group(1).split() if told else []
        if len(values) >= 13:
            row = dict(zip(names, map(float, values)))
            stages, count = list(map(float, values[7:11])), int(values[12])
            rows.append({**row, "stages_ms": stages, "warm_up_ms": float(values[11]), "count": count, "held": None})
    return rows


def memory(held) -> list:
    """MB of process and GPU after the warm-up, and what came to each."""
    if not held:
        return [""] * 4
    first, last = held
    told = []
    for what in ("process", "gpu"):
        a, b = first[what], last[what]
        told += ["", ""] if a is None or b is None else [f"{a / 1e6:.0f}", f"{(b - a) / 1e6:+.1f}"]
    return told


CHUNK_HEAD = ["chunk", "context", "p50", "p95", "p99", "max", "RTF", "pitch", "units", "index", "voice", "warm-up", "count"]
CHUNK_HEAD += ["process, MB", "since", "GPU, MB", "since"]


def chunks(name: str, title: str) -> str:
    rows = []
    for row in chunk_rows(name):
        values = [row[key] for key in ("chunk_ms", "context_ms", "p50_ms", "p95_ms", "p99_ms", "max_ms", "rtf")]
        values += [*row["stages_ms"], row["warm_up_ms"]]
        rows.append([number(value) for value in values] + [row["count"], *memory(row["held"])])
    return f"## {title}\n\nTimes in ms.\n\n" + table(CHUNK_HEAD, rows) if rows else ""


def peer(name: str, by: str) -> str:
    torch = figures("torch.json")
    if not torch or not chunk_rows(name):
        return ""
    key = lambda row: (row["chunk_ms"], row["context_ms"])
    own = {key(row): row for row in chunk_rows(name)}
    theirs = collections.defaultdict(dict)
    for row in torch["rows"]:
        theirs[key(row)][row["mode"]] = row
    rows = []
    for (chunk, context), modes in theirs.items():
        mine, eager, graph = own.get((chunk, context)), modes.get("eager"), modes.get("graph")
        told = lambda row, name: number(row[name]) if row else ""
        row = [chunk, context]
        for side in (mine, eager, graph):
            row += [told(side, "p50_ms"), told(side, "p99_ms")]
        row += [number(side["p50_ms"] / mine["p50_ms"]) if mine and side else "" for side in (eager, graph)]
        stages = lambda side: " / ".join(number(side["stages_ms"][name]) for name in ("pitch", "units", "voice")) if side else ""
        mine_stages = [mine["stages_ms"][i] for i in (0, 1, 3)] if mine else []
        row += [" / ".join(map(number, mine_stages)), stages(eager), stages(graph)]
        rows.append(row)
    head = ["chunk", "context", "Syrinx p50", "p99", "eager p50", "p99", "graph p50", "p99", "eager / Syrinx", "graph / Syrinx"]
    head += ["pitch / units / voice: Syrinx", "eager", "graph"]
    errors = ", ".join(f"{name} {error:.1e}" for name, error in torch["errors_without_tf32"].items())
    about = f"PyTorch {torch['torch']} on {torch['device']}, TF32 {'on' if torch['tf32'] else 'off'}, {torch['count']} chunks each"
    note = "the same seeded weights from the same files; no index on either side; PyTorch's chunk has no join. Times in ms."
    return f"## Beside PyTorch, {by}\n\n{about}; {note}\nOff the reference's recordings, without TF32: {errors}.\n\n" + table(head, rows)


def streams(part: str, by: str) -> str:
    names = ["streams", "chunk_ms", "context_ms", "p50_ms", "p95_ms", "p99_ms", "max_ms", "late", "count"]
    rows = figures(part + ".json").get("rows", [])
    if not rows:
        told = [ROW.search(re.sub(r"\x1b\[\d*m", "", line)) for line in text(part + ".log").splitlines()]
        rows = [dict(zip(names, map(float, found.group(1).split()))) for found in told if found]
        rows = [{**row, "held": None, "kept_up": row["late"] * 100 <= row["count"]} for row in rows if len(row) == len(names)]
    if not rows:
        return ""
    most = max((int(row["streams"]) for row in rows if row["kept_up"]), default=0)
    body = [[number(row[name]) for name in names] + memory(row["held"]) for row in rows]
    head = ["streams", "chunk", "context", "p50", "p95", "p99", "max", "late", "of", "process, MB", "since", "GPU, MB", "since"]
    note = "Chunks come in real time; ms from a chunk's last sample to its audio, waiting included."
    return f"## Streams at once, {by}: {most} kept up\n\n{note}\n\n" + table(head, body)


def launches() -> str:
    count = lambda name: {key: int(value) for key, value in (line.split() for line in text(name).splitlines())}
    few, many = count("launches-10.txt"), count("launches-40.txt")
    rows = [[name, number((many[name] - few.get(name, 0)) / 30)] for name in many if many[name] > few.get(name, 0)]
    rows.sort(key=lambda row: -float(row[1]))
    note = "What 30 chunks more of 20 ms, 1000 ms of context, asked the driver for."
    return f"## Launches per chunk\n\n{note}\n\n" + table(["call", "per chunk"], rows) if rows else ""


def main() -> None:
    about = text("about.log").splitlines()
    heading = f"# Syrinx {COMMIT} on {about[0] if about else 'an unknown machine'}, {datetime.date.today()}"
    indexed = "full size, 20 000 rows of index"
    if os.environ.get("DRY"):
        heading += ": a dry run on the processor"
        indexed = "the built-in voice in the place of full size"
    told = [
        heading,
        parts(),
        chunks("chunks", f"Chunks, {indexed}"),
        chunks("chunks-reduced", f"Chunks with products of 11 significant bits (TF32), {indexed}"),
        peer("beside", "by our own kernels, TF32 on"),
        peer("beside-full", "by our own kernels, in 32 bits"),
        streams("streams", "by our own kernels, TF32"),
        chunks("chunks-burn", f"Chunks by burn, {indexed}"),
        chunks("soak", f"Soak, {indexed}"),
        launches(),
        proof(),
        held(),
        speed(),
        chunks("chunks-joe", "Chunks, the built-in voice and encoder, its index"),
    ]
    result = "\n\n".join(part for part in told if part) + "\n"
    with open(os.path.join(OUT, "results.md"), "w", encoding="utf8") as file:
        file.write(result)
    names = [name for name in sorted(os.listdir(LOGS)) if name.endswith(".json")]
    with open(os.path.join(OUT, "results.json"), "w", encoding="utf8") as file:
        json.dump({"commit": COMMIT, **{name.removesuffix(".json"): figures(name) for name in names}}, file, indent=1)
    print(result)


if __name__ == "__main__":
    main()
