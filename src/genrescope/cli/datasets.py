"""`genrescope datasets`: which data sets are known, and what is in one."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from genrescope.cli.signals import INTERRUPTED
from genrescope.cli.terminal import Format, notice, printable, progress
from genrescope.datasets import LAYOUTS, Dataset, Layout, read_dataset
from genrescope.datasets.check import Report, check_dataset, is_table
from genrescope.datasets.dataset import first_names
from genrescope.datasets.layouts import layout
from genrescope.datasets.splits import SUBSETS
from genrescope.wording import counted

app = typer.Typer(no_args_is_help=True, help="List the known data sets; check one for faults.")

_NAMED = 4
_FORMAT = typer.Option(Format.table, "--format", "-f", help="Output as tables or as JSON.")


@app.callback()
def _root() -> None:
    """List the known data sets; check one for faults."""


@app.command("list")
def list_layouts(format: Format = _FORMAT) -> None:
    """List the data sets and layouts that are recognised.

    Examples:

      genrescope datasets list

      genrescope datasets list --format json
    """
    layouts = {name: layout(name) for name in LAYOUTS.names()}
    if format is Format.json:
        typer.echo(json.dumps([_about(name, each) for name, each in layouts.items()], indent=1))
        return
    table = Table("Name", "Data set", "Files")
    for name, each in sorted(layouts.items(), key=lambda item: (item[1].generic, item[0])):
        table.add_row(name, Text(each.about.title), Text(each.about.files))
    Console(highlight=False).print(table)


@app.command("info")
def info(
    name: str = typer.Argument(..., help="Name of a data set, see: genrescope datasets list."),
    format: Format = _FORMAT,
) -> None:
    """Show what is known of a data set: makers, licence, how to get it, layout, faults.

    Examples:

      genrescope datasets info gtzan
    """
    fields = _about(name, layout(name))
    if format is Format.json:
        typer.echo(json.dumps(fields, indent=1))
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for key, value in fields.items():
        text = _words(value)
        if text:
            table.add_row(Text(key.replace("_", " ").capitalize(), style="bold"), Text(text))
    Console(highlight=False).print(table)


def _about(name: str, known: Layout) -> dict[str, object]:
    return {
        "name": name,
        **asdict(known.about),
        "tracks": sum(known.about.genres.values()) or None,
        "subsets": list(known.subsets),
        "known_repeats": [list(ids) for ids in known.repeats],
        "known_faults": dict(known.faults),
    }


def _words(value: object) -> str:
    """A value of `_about` on as many lines as it has entries."""
    if isinstance(value, dict):
        return "\n".join(f"{key}: {entry}" for key, entry in value.items())
    if isinstance(value, list):
        return ", ".join(" = ".join(entry) if isinstance(entry, list) else entry for entry in value)
    return "" if value is None else str(value)


@app.command()
def check(
    path: Path = typer.Argument(
        ..., help="GTZAN, FMA, a folder of genre folders, or a CSV of path, genre, artist, split."
    ),
    subset: str | None = typer.Option(
        None, "--subset", help="Of FMA: small, medium, large or full."
    ),
    artists: Path | None = typer.Option(
        None, "--artists", help="CSV with the columns track and artist; else from the files' tags."
    ),
    format: Format = _FORMAT,
    jobs: int | None = typer.Option(
        None, "--jobs", "-j", min=1, help="Files decoded at once; as many as cores by default."
    ),
) -> None:
    """Report what is in a data set, and what is corrupt, missing, repeated or odd.

    Every file is decoded to its end.

    Exit code 0: no problems. 1: there are problems. 2: there is no data set.

    Examples:

      genrescope datasets check gtzan

      genrescope datasets check fma/fma_small --format json

      genrescope datasets check my-music/tracks.csv --jobs 2
    """
    dataset = read_dataset(path, subset=subset, artists=artists)
    with progress("files") as bar:
        task = bar.add_task("Decoding", total=len(dataset.tracks))
        try:
            report = check_dataset(
                dataset,
                jobs=jobs,
                report=lambda done, total: bar.update(task, completed=done, total=total),
            )
        except KeyboardInterrupt:
            notice("interrupted")
            raise typer.Exit(INTERRUPTED) from None
    for note in dataset.notes:
        notice(note)
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
        "content": dataset.content,
        "tracks": len(dataset.tracks),
        "genres": dict(sorted(Counter(t.genre for t in dataset.tracks).items())),
        "splits": dict(Counter(t.split for t in dataset.tracks if t.split)),
        "artists": len({t.artist for t in dataset.tracks if t.artist}),
        "without_artist": sum(t.artist is None for t in dataset.tracks),
        "lengths": [asdict(lengths) for lengths in report.lengths],
        "sample_rates": report.sample_rates,
        "channels": report.channels,
        "left_out": [{"track": left.id, "reason": left.reason} for left in dataset.left_out],
        "notes": list(dataset.notes),
        "problems": [asdict(problem) for problem in report.problems],
    }


def _show(path: Path, report: Report) -> None:
    console = Console(highlight=False)
    dataset = report.dataset
    title = printable(f"{dataset.name}: {counted(len(dataset.tracks), 'track')} ({path})")
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
            str(len(problem.tracks) or ""),
            Text(printable(first_names(problem.tracks, _NAMED))),
            Text(printable(problem.detail)),
        )
    console.print(table)


def _genres(dataset: Dataset) -> Table:
    """Number of tracks of each genre, and of those in each subset of the official split."""
    counts = Counter(track.genre for track in dataset.tracks)
    of_subset = Counter((track.genre, track.split) for track in dataset.tracks)
    subsets = [name for name in SUBSETS if any(track.split == name for track in dataset.tracks)]
    table = Table("Genre", "Tracks", *subsets)
    for column in table.columns[1:]:
        column.justify = "right"
    for genre in sorted(counts):
        of_genre = (str(of_subset[genre, subset]) for subset in subsets)
        table.add_row(Text(printable(genre)), str(counts[genre]), *of_genre)
    return table


def _facts(report: Report) -> list[str]:
    lines = []
    for lengths in report.lengths:
        what = "audio files" if lengths.unit == "s" else f"stored {report.dataset.content}"
        lines.append(
            f"{lengths.files} {what}: median {lengths.median:.4g} {lengths.unit}, "
            f"from {lengths.shortest:.4g} to {lengths.longest:.4g} {lengths.unit}"
        )
    if report.sample_rates:
        rates = ", ".join(f"{rate} Hz ({n})" for rate, n in report.sample_rates.items())
        channels = ", ".join(f"{count} ({n})" for count, n in report.channels.items())
        lines.append(f"sample rates: {rates}; channels: {channels}")
    tracks = report.dataset.tracks
    artists = {track.artist for track in tracks if track.artist}
    unknown = sum(track.artist is None for track in tracks)
    note = f" ({counted(unknown, 'track')} without)" if artists and unknown else ""
    lines.append(f"artists: {len(artists) or 'not known'}{note}")
    if all(is_table(track.path) for track in tracks):
        lines.append("no files to decode: the tracks are known from a table alone")
    elif not report.lengths:
        lines.append("nothing could be decoded: see below")
    return lines
