"""`genrescope geometry`: how the genres are separated, layer by layer of a network."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from genrescope.cli.files import not_music
from genrescope.cli.laboratory import ARTISTS
from genrescope.cli.terminal import (
    Format,
    error_line,
    notice,
    plain_table,
    printable,
    progress,
    stderr,
)
from genrescope.datasets import read_dataset
from genrescope.wording import counted

if TYPE_CHECKING:
    from genrescope.evaluation.geometry_tracks import Geometry


class Tracks(StrEnum):
    """Which tracks of a run are used."""

    test = "test"
    all = "all"


def geometry(
    model: str = typer.Argument(
        ..., metavar="RUN-OR-BUNDLE", help="A run folder, a bundle, or a shipped model (default)."
    ),
    data: Path = typer.Option(
        ...,
        "--data",
        help="Path of a data set (genrescope datasets list), a folder of genre folders, or a CSV.",
    ),
    artists: Path | None = ARTISTS,
    layer: list[str] = typer.Option(
        [], "--layer", metavar="NAME", help="Only this layer; may be repeated."
    ),
    tracks: Tracks | None = typer.Option(
        None,
        "--tracks",
        help="Of a run: the tracks that it was tested on (test, by default), or all of them.",
    ),
    out: Path | None = typer.Option(
        None, "--out", "--output", "-o", help="Folder for report.html, pictures, CSV and JSON."
    ),
    write: Path | None = typer.Option(
        None,
        "--write",
        metavar="FILE",
        callback=not_music,
        help="Write it into this Markdown page, with pictures next to it.",
    ),
    seed: int = typer.Option(0, "--seed", help="Of t-SNE and of the bootstrap."),
    format: Format = typer.Option(
        Format.table, "--format", "-f", help="How the scores are written."
    ),
) -> None:
    """Measure how a network separates the genres: which are similar, and at what depth.

    Every track is embedded in every layer (fine-tuned networks have none, immediate, deep and
    shallow). The results are mean cosines of all pairs of genres, raw and centred around the mean
    of all tracks, silhouettes, the accuracy of the five nearest neighbours, and, with --out or
    --write, heat maps and t-SNE.

    Of a run only its test tracks are used: tracks that a network was trained on form clusters
    because it memorised them. A bundle by itself does not list its tracks, so all are used.

    --write replaces the text between <!-- geometry NAME --> and <!-- /geometry NAME -->, where NAME
    is the network's.

    Exit code 1: some tracks could not be decoded. 2: nothing was done.

    Examples:

      genrescope geometry runs/leiden-table2/mobilenet_v2/30s-clean/learning --data path/to/gtzan

      genrescope geometry runs/mine --data path/to/gtzan --tracks all --out geometry

      genrescope geometry default --data my-music --format json
    """
    from genrescope.evaluation.geometry_page import to_dict, write_folder, write_page
    from genrescope.evaluation.geometry_tracks import compute_geometry

    dataset = read_dataset(data, artists=artists)
    for line in dataset.notices():
        notice(line)
    with progress("tracks") as bar:
        task = bar.add_task("Embedding")
        found, failures = compute_geometry(
            model,
            dataset,
            layers=layer,
            subset=tracks.value if tracks else None,
            maps=out is not None or write is not None,
            seed=seed,
            command=_command_line(model, data, artists, layer, tracks, seed),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    for failure in failures:
        error_line(str(failure))
    # Files first: whoever reads the tables may stop early.
    if out is not None:
        stderr.print(f"Report: {write_folder(found, out)}", markup=False)
    if write is not None:
        for path in write_page(found, write):
            notice(str(path))
    if format is Format.json:
        typer.echo(json.dumps(to_dict(found), indent=1))
    else:
        _show(found)
    if failures:
        raise typer.Exit(1)


def _command_line(
    model: str,
    data: Path,
    artists: Path | None,
    layers: Sequence[str],
    tracks: Tracks | None,
    seed: int,
) -> str:
    """The command, for whoever reads the scores; without where files lie on this machine."""
    from genrescope.evaluation.run_result import FILE, RECIPE_FILE, RunResult

    folder, named = Path(model), Path(model).name
    if (folder / RECIPE_FILE).is_file() and (folder / FILE).is_file():
        named = f"runs/{RunResult.read(folder).recipe}"
    words = ["genrescope", "geometry", named, "--data", data.resolve().name]
    words += ["--artists", artists.name] if artists else []
    for name in layers:
        words += ["--layer", name]
    words += ["--tracks", tracks.value] if tracks else []
    return shlex.join([*words, "--seed", str(seed)])


def _show(found: Geometry) -> None:
    from genrescope.evaluation.geometry_page import (
        NEAREST,
        describe,
        nearest_table,
        scores_table,
    )

    console = Console(highlight=False)
    for alarm in found.alarms:
        console.print(Text(printable(alarm), style="bold red"))
    for line in [*describe(found), *found.notes]:
        console.print(Text(printable(line)))
    for subset, n in found.subsets.items():
        console.print(Text(f"\n{counted(n, 'track')} ({subset})", style="bold"))
        columns, rows = scores_table(found, subset=subset)
        if rows:
            console.print(_table(columns, rows, 2))
        else:
            console.print(Text("Scores need two genres, and two tracks of one of them."))
    console.print(Text("Nearest genres", style="bold"))
    console.print(Text(NEAREST))
    console.print(_table(*nearest_table(found), 1))


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> Table:
    table = plain_table(*columns[:texts], figures=columns[texts:], wrap=True)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table
