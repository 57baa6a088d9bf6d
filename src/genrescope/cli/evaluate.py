"""`genrescope evaluate`: the scores of a model on a data set."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from genrescope.cli.info import note_outdated
from genrescope.cli.terminal import Format, error_line, notice, printable, progress, stderr
from genrescope.errors import DatasetError
from genrescope.wording import counted

if TYPE_CHECKING:
    from genrescope.evaluation.run_result import RunResult


def evaluate(
    model: str = typer.Argument(..., help="A shipped model (default), a run folder or a bundle."),
    data: Path = typer.Option(
        ...,
        "--data",
        help="Path of a data set (genrescope datasets list), a folder of genre folders, or a CSV.",
    ),
    format: Format = typer.Option(
        Format.table, "--format", "-f", help="How the scores are written."
    ),
    jobs: int | None = typer.Option(
        None, "--jobs", "-j", min=1, help="Files decoded at once; as many as cores by default."
    ),
    genre_map: list[str] = typer.Option(
        [],
        "--genre-map",
        metavar="THEIRS=OURS",
        help="A genre of the data counts as that genre of the model; may be repeated.",
    ),
    closed_set: bool = typer.Option(
        False, "--closed-set", help="The model chooses among the genres of the data only."
    ),
    out: Path | None = typer.Option(
        None,
        "--out",
        "--output",
        "-o",
        help="Folder for metrics.json, predictions.csv, pictures, report.html and report.md.",
    ),
) -> None:
    """Evaluate a model on music whose genres are known.

    Intervals are 95 % bootstrap intervals over tracks; the tracks of an artist are drawn together
    where artists are known.

    Only tracks of the model's genres are used, and those of genres mapped to one of them with
    --genre-map. The model may predict any of its genres, also where the music has only some,
    unless --closed-set is given. A track that the model takes for no music counts as wrong.

    Scores on tracks that the model was trained on say little about other music. Such tracks are
    recognised by fingerprints of their sound where the bundle lists them, and counted.

    Exit code 1: some tracks could not be decoded. 2: nothing was evaluated.

    Examples:

      genrescope evaluate default --data path/to/gtzan

      genrescope evaluate runs/default-random --data my-music --format json

      genrescope evaluate default --data other --genre-map hip-hop=hiphop --out runs/on-other
    """
    # Imported here: it would take a fifth of the time of every other command.
    from genrescope.datasets import read_dataset
    from genrescope.evaluation.evaluate import evaluate as evaluate_model

    note_outdated(model)
    mapping = _genre_map(genre_map)
    dataset = read_dataset(data)
    for line in dataset.notices():
        notice(line)
    with progress("tracks") as bar:
        task = bar.add_task("Evaluating")
        result = evaluate_model(
            model,
            dataset,
            genre_map=mapping,
            closed_set=closed_set,
            jobs=jobs,
            folder=out,
            command=_command_line(model, data, genre_map, closed_set=closed_set),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if result.unknown_genres:
        names = ", ".join(result.unknown_genres)
        notice(f"left out, not genres of the model: {names} (--genre-map THEIRS=OURS maps them)")
    for track in result.left_out:
        error_line(str(track))
    if out is not None:
        stderr.print(f"Report: {out / 'report.html'}", markup=False)
    if format is Format.json:
        typer.echo(json.dumps(result.to_dict(), indent=1))
    else:
        show(result)
    if result.left_out:
        raise typer.Exit(1)


def _genre_map(pairs: list[str]) -> dict[str, str]:
    """The genre of the model that each genre of the data counts as."""
    mapping = {}
    for pair in pairs:
        theirs, sign, ours = pair.rpartition("=")
        if not (sign and theirs and ours):
            raise DatasetError(f"--genre-map {pair}: expected THEIRS=OURS, as in hip-hop=hiphop")
        mapping[theirs] = ours
    return mapping


def _command_line(model: str, data: Path, genre_map: list[str], *, closed_set: bool) -> str:
    """The command, for whoever reads the scores; without where files lie on this machine."""
    named = Path(model).name if Path(model).is_absolute() else model
    words = ["genrescope", "evaluate", named, "--data", data.resolve().name]
    for pair in genre_map:
        words += ["--genre-map", pair]
    return shlex.join(words + ["--closed-set"] * closed_set)


def show(result: RunResult) -> None:
    """Print the scores as two tables."""
    from genrescope.evaluation.formatting import interval, percent
    from genrescope.evaluation.metrics import LABELS

    console = Console(highlight=False)
    if result.training_note:
        note = f"{result.training_note}: the scores do not say how it does on other music"
        console.print(Text(note, style="bold red"))
    table = Table("Metric", "Value", "95 % interval", title=counted(result.n, "track"))
    for name, value in result.scores.items():
        row = (LABELS[name], percent(value), interval(result.interval.get(name), " - "))
        table.add_row(*row)
    console.print(table)
    table = Table("Genre", "Tracks", "Precision", "Recall", "95 % interval", "F1")
    for genre, scores in result.by_genre.items():
        table.add_row(
            Text(printable(genre)),
            str(scores.n),
            percent(scores.precision, digits=0),
            percent(scores.recall, digits=0),
            interval(scores.recall_interval, " - ", digits=0),
            percent(scores.f1, digits=0),
        )
    console.print(table)
