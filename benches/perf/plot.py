"""The rows as a picture: how much of what is allowed each figure takes."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def share(figure) -> float:
    """The figure over its stricter limit; 1 is the limit, less is better."""
    limits = [limit for limit in (figure.target, figure.ours) if limit is not None]
    if figure.above:
        return max(limits) / max(figure.value, 1e-9)
    return max(figure.value, 0.0) / min(limits)


def draw(rows: list, path: Path) -> None:
    limited = lambda figure: figure.target is not None or figure.ours is not None
    bars = [(row, figure) for row in rows for figure in row.figures if limited(figure)]
    names = [f"{row.number}  {row.name}" + (f", {figure.name}" if len(row.figures) > 1 else "") for row, figure in bars]
    shares = [max(share(figure), 1e-3) for _, figure in bars]
    values = [f"{figure.value:.3g} {figure.unit}".rstrip() for _, figure in bars]
    colours = ["#2a7f62" if figure.holds() else "#b3402a" for _, figure in bars]
    figure, axes = plt.subplots(figsize=(9, 0.28 * len(bars) + 1.2), layout="constrained")
    axes.barh(names, shares, color=colours, height=0.7)
    for place, (length, value) in enumerate(zip(shares, values)):
        axes.text(length * 1.1, place, value, va="center", fontsize=8)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlim(1e-3, max(10, 3 * max(shares, default=1)))
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=8)
    axes.set_xlabel("share of what is allowed (the stricter of target and ours); less is better")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
