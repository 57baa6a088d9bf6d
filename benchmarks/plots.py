"""Cost as the work grows, drawn from the tables of docs/benchmarks.md into a picture next to it.

    python benchmarks/plots.py

Both axes of each plot are logarithmic, so that a power law is a straight line; its exponent is that
of the least squares of the logarithms. Nothing is measured here: `benchmarks/formats.py --growth
--library TRACKS... --write` wrote the tables.
"""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
PICTURE = PAGE.with_name("benchmarks-growth.svg")
# Heading of a table's first column: title and axis of its plot, and what is left out of the fit.
PLOTS = {
    "length of a track": ("One track", "seconds of music", 60),
    "files of 10 s": ("Many tracks of 10 s", "tracks", 50),
    "tracks in a library": ("A library", "tracks", 0),
}


def tables(page: str) -> dict[str, tuple[list[str], list[list[float]]]]:
    """Tables of a page: by the heading of their first column the others, and rows of numbers."""
    found = {}
    for block in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        heading, _, *lines = [line.strip("| \n").split("|") for line in block.splitlines()]
        rows = [[float(re.sub(r"[^\d.]", "", cell)) for cell in line] for line in lines]
        names = [name.strip() for name in heading]
        found[names[0]] = names[1:], rows
    return found


def draw(axes: Axes, name: str, columns: list[str], rows: list[list[float]]) -> None:
    """Draw one table: a line of points for each column of times, with the fitted power law."""
    title, label, smallest = PLOTS[name]
    sizes, *series = np.array(rows).T
    for column, values in zip(columns, series, strict=True):
        if "memory" in column:
            continue
        used = sizes >= smallest
        slope, shift = np.polyfit(np.log(sizes[used]), np.log(values[used]), 1)
        (points,) = axes.plot(sizes, values, "o", label=f"{column}: exponent {slope:.2f}")
        axes.plot(sizes[used], np.exp(shift) * sizes[used] ** slope, color=points.get_color())
    axes.set(xscale="log", yscale="log", title=title, xlabel=label)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.grid(which="major", alpha=0.3)
    axes.legend(frameon=False, fontsize=8)


def main() -> None:
    """Draw the tables that are there."""
    mpl.rcParams["svg.hashsalt"] = "genrescope"  # the same picture from the same figures
    text = PAGE.read_text(encoding="utf-8")
    growth = "\n".join(re.findall(r"<!-- (?:growth|library) -->.*?<!-- /", text, re.DOTALL))
    found = tables(growth)
    drawn = [name for name in PLOTS if name in found]
    figure = Figure(figsize=(4 * len(drawn), 3.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn, strict=True):
        draw(axes, name, *found[name])
    figure.axes[0].set_ylabel("processor time in seconds")
    figure.savefig(PICTURE, metadata={"Date": None})


if __name__ == "__main__":
    main()
