"""Cost as the work grows: length and number of tracks, and the size of a library.

    python benchmarks/growth.py CLIP... [--tracks] [--library TRACKS...] [--write]

measures the processor time and the peak memory of classifying longer and more tracks, made from
CLIPs, and the processor time of a search in libraries of synthetic tracks, of any number of TRACKS.
--write puts the tables into docs/benchmarks.md and draws all that are there into a picture next to
it. Both axes of each plot are logarithmic, so that a power law is a straight line; its exponent is
that of the least squares of the logarithms.
"""

from __future__ import annotations

import argparse
import math
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib as mpl
import numpy as np
import soundfile
from formats import PAGE, RUNS, cost, make_formats
from library import build
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from pages import write_between

from genrescope.library.index import refresh
from genrescope.library.similar import Space
from genrescope.library.store import Library

PICTURE = PAGE.with_name("benchmarks-growth.svg")
# Heading of a table's first column: title and axis of its plot, and what is left out of the fit.
PLOTS = {
    "length of a track": ("One track", "seconds of music", 60),
    "files of 10 s": ("Many tracks of 10 s", "tracks", 50),
    "tracks in a library": ("A library", "tracks", 0),
}

CLASSIFY = """
import resource, sys
from genrescope import audio, load
from genrescope.heap import keep_freed_memory
keep_freed_memory()
classifier = load()
before = resource.getrusage(resource.RUSAGE_SELF)
for _ in classifier.predict_many(sys.argv[2:] * int(sys.argv[1]), jobs=2):
    pass
after = resource.getrusage(resource.RUSAGE_SELF)
print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, after.ru_maxrss / 1024)
"""


def measured(paths: list[Path]) -> tuple[float, float]:
    """Processor time of classifying, without the start, and peak memory in MB."""
    command = [sys.executable, "-c", CLASSIFY, str(len(paths)), str(paths[0])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, peak = map(float, done.stdout.split())
    return seconds, peak


def exponent(sizes: list[int], costs: list[float]) -> float:
    """Of the power law through the points (least squares of the logarithms)."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def growth_tables(files: dict[str, Path], folder: Path) -> list[str]:
    """Processor time and memory as length and number of files grow."""
    minute, rate = soundfile.read(files["flac"], dtype="int16")
    lengths = [10, 60, 600, 3600, 10800]
    lines = ["| length of a track | processor time | peak memory |", "|---|--:|--:|"]
    costs = []
    for seconds in lengths:
        path = folder / "long.flac"
        with soundfile.SoundFile(path, "w", rate, 2) as file:
            for _ in range(math.ceil(seconds / 60)):
                file.write(minute[: seconds * rate])
        runs = [measured([path]) for _ in range(5 if seconds <= 600 else 1)]
        costs.append(statistics.median(run[0] for run in runs))
        peak = max(run[1] for run in runs)
        lines.append(f"| {seconds} s | {costs[-1]:.2f} s | {peak:.0f} MB |")
    lines += ["", f"Fitted from 60 s on: time ~ length^{exponent(lengths[1:], costs[1:]):.2f}.", ""]
    short = folder / "short.flac"
    soundfile.write(short, minute[: 10 * rate], rate)
    counts, costs = [10, 50, 250, 1000, 5000, 20000], []
    lines += ["| files of 10 s | processor time | peak memory |", "|---|--:|--:|"]
    for count in counts:
        runs = [measured([short] * count) for _ in range(5 if count <= 50 else 1)]
        costs.append(statistics.median(run[0] for run in runs))
        lines.append(f"| {count} | {costs[-1]:.2f} s | {max(run[1] for run in runs):.0f} MB |")
    lines += ["", f"Fitted from 50 on: time ~ number^{exponent(counts[1:], costs[1:]):.2f}.", ""]
    lines.append("Five runs each up to 600 s and 50 files, of which the median; one above.")
    return lines


def library_table(sizes: list[int], folder: Path) -> list[str]:
    """Processor time of a search as a library of synthetic tracks grows; see `library.py`."""
    lines = ["| tracks in a library | open it and search once | a search |", "|---|--:|--:|"]
    firsts, later = [], []
    for size in sizes:
        refresh(build(folder / str(size), size))

        def first(place: Path = folder / str(size)) -> None:
            opened = Space(Library.open(place))
            opened.nearest(opened.find("0.mp3"), 10)

        firsts.append(statistics.median(cost(first) for _ in range(RUNS)))
        space = Space(Library.open(folder / str(size)))
        found = [space.find(f"{number}.mp3") for number in range(0, size, size // 50)]
        space.nearest(found[0], 10)
        later.append(cost(lambda: [space.nearest(each, 10) for each in found]) / len(found))  # noqa: B023
        lines.append(f"| {size} | {firsts[-1]:.3f} s | {later[-1]:.4f} s |")
        shutil.rmtree(folder / str(size))
    lines += [
        "",
        f"Fitted: opening ~ tracks^{exponent(sizes, firsts):.2f}, "
        f"searching ~ tracks^{exponent(sizes, later):.2f}. From 100,000 tracks on by an index.",
    ]
    return lines


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


def draw_all() -> None:
    """Draw the tables of the page."""
    mpl.rcParams["svg.hashsalt"] = "genrescope"  # the same picture from the same figures
    text = PAGE.read_text(encoding="utf-8")
    found = tables("\n".join(re.findall(r"<!-- (?:growth|library) -->.*?<!-- /", text, re.DOTALL)))
    drawn = [name for name in PLOTS if name in found]
    figure = Figure(figsize=(4 * len(drawn), 3.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn, strict=True):
        draw(axes, name, *found[name])
    figure.axes[0].set_ylabel("processor time in seconds")
    figure.savefig(PICTURE, metadata={"Date": None})


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path, nargs="*", help="audio files for the tracks")
    parser.add_argument("--tracks", action="store_true", help="longer and more tracks")
    parser.add_argument("--library", type=int, nargs="+", metavar="TRACKS", help="libraries")
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.name}, and draw")
    arguments = parser.parse_args()
    sections: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.tracks:
            files = make_formats(arguments.clips, folder)
            sections["growth"] = growth_tables(files, folder)
        if arguments.library:
            sections["library"] = library_table(arguments.library, folder)
    for section, lines in sections.items():
        print(*lines, "", sep="\n", flush=True)
        if arguments.write:
            write_between(PAGE, section, lines)
    if arguments.write:
        draw_all()


if __name__ == "__main__":
    main()
