"""`genrescope datasets check`: what is in a data set, and what is wrong with it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from genrescope.cli.terminal import Format, notice, printable, progress
from genrescope.datasets import Dataset, read_dataset
from genrescope.datasets.check import Report, check_dataset, is_table
from genrescope.datasets.dataset import some

app = typer.Typer(no_args_is_help=True, help="Look at data sets.")

_SIDES = ("train", "validation", "test")
_NAMED = 4


@app.callback()
def _root() -> None:
    """Look at data sets."""


@app.command()
def check(
    path: Path = typer.Argument(
        ..., help="GTZAN, FMA, a folder of genre folders, or a CSV of path, genre, artist, split."
    ),
    subset: str | None = typer.Option(
        None, "--subset", help="Of FMA: small, medium, large or full."
    ),
    format: Format = typer.Option(
        Format.table, "--format", "-f", help="How what was found is written."
    ),
    jobs: int | None = typer.Option(
        None, "--jobs", "-j", min=1, help="Files read at once; as many as cores."
    ),
) -> None:
    """Tell what is in a data set, and what is corrupt, missing, repeated or odd.

    Every file is read to its end.

    Exit code 0: all is fine. 1: there are problems. 2: there is no data set.

    Examples:

      genrescope datasets check gtzan

      genrescope datasets check fma/fma_small --format json

      genrescope datasets check my-music/tracks.csv --jobs 2
    """
    dataset = read_dataset(path, subset=subset)
    with progress("files") as bar:
        task = bar.add_task("Reading", total=len(dataset.tracks))
        try:
            report = check_dataset(
                dataset,
                jobs=jobs,
                report=lambda done, total: bar.update(task, completed=done, total=total),
            )
        except KeyboardInterrupt:
            notice("interrupted")
            raise typer.Exit(130) from None
    if format is Format.json:
        typer.echo(json.dumps(_fields(path, report), indent=1))
    else:
        _show(path, report)
    if report.problems:
        raise typer.Exit(1)


def _fields(path: Path, report: Report) -> dict[str, object]:
    dataset = report.dataset
    return {
        "path": printable(str(path)),
        "name": dataset.name,
        "kind": dataset.kind,
        "tracks": len(dataset.tracks),
        "genres": dict(sorted(Counter(t.genre for t in dataset.tracks).items())),
        "splits": dict(Counter(t.split for t in dataset.tracks if t.split)),
        "artists": len({t.artist for t in dataset.tracks if t.artist}),
        "lengths": [asdict(lengths) for lengths in report.lengths],
        "sample_rates": report.sample_rates,
        "channels": report.channels,
        "left_out": [{"track": name, "reason": reason} for name, reason in dataset.left_out],
        "problems": [asdict(problem) for problem in report.problems],
    }


def _show(path: Path, report: Report) -> None:
    console = Console(highlight=False)
    dataset = report.dataset
    title = printable(f"{dataset.name}: {len(dataset.tracks)} tracks ({path})")
    console.print(Text(title, style="bold"))
    console.print(_genres(dataset))
    for line in _facts(report):
        console.print(Text(line))
    if not report.problems:
        console.print(Text("No problems found.", style="green"))
        return
    table = Table("Problem", "Tracks", "Which", "What", title="Problems", title_justify="left")
    for problem in report.problems:
        table.add_row(
            problem.kind,
            str(len(problem.tracks)),
            Text(printable(some(problem.tracks, _NAMED))),
            Text(printable(problem.detail)),
        )
    console.print(table)


def _genres(dataset: Dataset) -> Table:
    """How many tracks of each genre, and on which official side they are."""
    counts = Counter(track.genre for track in dataset.tracks)
    of_side = Counter((track.genre, track.split) for track in dataset.tracks)
    sides = [side for side in _SIDES if any(track.split == side for track in dataset.tracks)]
    table = Table("Genre", "Tracks", *sides)
    for column in table.columns[1:]:
        column.justify = "right"
    for genre in sorted(counts):
        of_genre = (str(of_side[genre, side]) for side in sides)
        table.add_row(Text(printable(genre)), str(counts[genre]), *of_genre)
    return table


def _facts(report: Report) -> list[str]:
    lines = []
    for lengths in report.lengths:
        what = "audio files" if lengths.unit == "s" else "stored spectrograms"
        lines.append(
            f"{lengths.files} {what}: median {lengths.median:.4g} {lengths.unit}, "
            f"from {lengths.shortest:.4g} to {lengths.longest:.4g} {lengths.unit}"
        )
    if report.sample_rates:
        rates = ", ".join(f"{rate} Hz ({n})" for rate, n in report.sample_rates.items())
        channels = ", ".join(f"{count} ({n})" for count, n in report.channels.items())
        lines.append(f"sample rates: {rates}; channels: {channels}")
    artists = {track.artist for track in report.dataset.tracks if track.artist}
    lines.append(f"artists: {len(artists) or 'not known'}")
    if all(is_table(track.path) for track in report.dataset.tracks):
        lines.append("no files to read: the tracks are known from a table alone")
    elif not report.lengths:
        lines.append("nothing could be read: see below")
    return lines
