"""Measures what the service does with real voices and real text to speech, and whether it is as fast as promised.

Usage: python perf.py [--syrinx PROGRAM] [--rows 1 6 a ..] [--results FOLDER]
Prints the table of all rows; with --results writes it there as Markdown, JSON and a plot, under names of date and machine.
Exits with 1 if a row fails.
"""

import argparse
import dataclasses
import datetime
import json
import os
import re
import sys
import tempfile
import time
import traceback
from pathlib import Path

import psutil

import fixtures
from plot import draw
from rows import ROWS, Bench, Figure
from service import piper

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "syrinx" / "perf"


@dataclasses.dataclass
class Row:
    """What came of a row."""

    number: str
    name: str
    how: str
    figures: list[Figure]
    seconds: float
    # Share of the processors that other programs used meanwhile.
    others: float
    error: str | None = None

    def passes(self) -> bool:
        return self.error is None and all(figure.holds() for figure in self.figures)


def processor_seconds() -> tuple[float, float]:
    """Processor time of the whole machine and of this program with all that it has started."""
    whole = psutil.cpu_times()
    busy = whole.user + whole.nice + whole.system + whole.irq + whole.softirq
    own = 0.0
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        own += times.user + times.system + times.children_user + times.children_system
    return busy, own


def measure(number: str, bench: Bench) -> Row:
    name, row = ROWS[number]
    how = " ".join((row.__doc__ or "").split())
    began, (busy, own) = time.perf_counter(), processor_seconds()
    figures, error = [], None
    try:
        figures = row(bench)
    except Exception:
        # A row that cannot be measured fails; the others are measured all the same.
        error = traceback.format_exc()
        print(error, file=sys.stderr)
    seconds, (busy_after, own_after) = time.perf_counter() - began, processor_seconds()
    others = max(busy_after - busy - (own_after - own), 0.0) / seconds / psutil.cpu_count()
    return Row(number, name, how, figures, seconds, others, error)


def machine() -> str:
    """As `epyc-avx512`."""
    text = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", text)[1].lower()
    brand = next((word for word in re.findall(r"[a-z]+", model) if word not in ("amd", "intel", "r", "tm", "genuine")), "cpu")
    return f"{brand}-{'avx512' if 'avx512f' in text else 'avx2' if 'avx2' in text else 'portable'}"


def shown(value: float | None, unit: str, sign: str = "") -> str:
    return "" if value is None else f"{sign}{value:.3g} {unit}".rstrip()


def lines(rows: list[Row]) -> list[str]:
    """The table, a line a figure."""
    table = ["| # | test | target | ours | measured | pass |", "|---|---|---:|---:|---:|---|"]
    for row in rows:
        if row.error:
            table.append(f"| {row.number} | {row.name} | | | could not be measured | **no** |")
        for figure in row.figures:
            name = f"{row.name}: {figure.name}" if len(row.figures) > 1 else row.name
            limits = [shown(limit, figure.unit, ">= " if figure.above else "< ") for limit in (figure.target, figure.ours)]
            told = "" if limits == ["", ""] else "yes" if figure.holds() else "**no**"
            table.append(f"| {row.number} | {name} | {' | '.join(limits)} | {shown(figure.value, figure.unit)} | {told} |")
    return table


def page(rows: list[Row], now: datetime.datetime) -> str:
    """The results as Markdown."""
    busiest = max(rows, key=lambda row: row.others)
    text = [f"# {now:%-d %B %Y}, the service, {machine()}, {psutil.cpu_count()} cores", ""]
    text += ["`make perf`: `syrinx serve` as it is released, the voice inside (`joe`), wyoming-piper and espeak-ng. Other programs"]
    text += [f"used at most {100 * busiest.others:.0f} % of the processors, during row {busiest.number}.", ""]
    text += [*lines(rows), "", "## What is measured", ""]
    return "\n".join([*text, *(f"- **{row.number}, {row.name}.** {row.how}" for row in rows)]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--syrinx", type=Path, default=fixtures.ROOT / "target" / "release" / "syrinx")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--results", type=Path)
    args = parser.parse_args()
    speech, voices = fixtures.speech(CACHE), fixtures.voices(CACHE, 3)
    rows = []
    with tempfile.TemporaryDirectory() as folder, piper() as port:
        bench = Bench(args.syrinx, speech, voices, port, Path(folder))
        for number in args.rows:
            rows.append(measure(number, bench))
            told = ", ".join(f"{figure.name} {shown(figure.value, figure.unit)}" for figure in rows[-1].figures)
            print(f"{number:>2} {rows[-1].name}: {told} ({rows[-1].seconds:.1f} s)", file=sys.stderr, flush=True)
    print("\n".join(lines(rows)))
    if args.results:
        now = datetime.datetime.now(datetime.timezone.utc)
        place = args.results / f"{now:%Y-%m-%d}-service-{machine()}"
        place.with_suffix(".md").write_text(page(rows, now))
        place.with_suffix(".json").write_text(json.dumps([dataclasses.asdict(row) for row in rows], indent=1) + "\n")
        draw(rows, place.with_suffix(".png"))
    failed = [row.number for row in rows if not row.passes()]
    if failed:
        print(f"rows that fail: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
