"""`genrescope evaluate`: how well a model does on a folder of genre folders."""

from __future__ import annotations

import json
from contextlib import closing
from enum import StrEnum
from pathlib import Path

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from genrescope.cli.terminal import error_line, notice, progress
from genrescope.datasets import scan
from genrescope.errors import DatasetError, FileError
from genrescope.evaluation.metrics import METRICS, Judgement, judge
from genrescope.inference import Classifier


class Format(StrEnum):
    """How the figures are written."""

    table = "table"
    json = "json"


def evaluate(
    model: str = typer.Argument(..., help="A shipped model (default), a run folder or a bundle."),
    data: Path = typer.Option(
        ..., "--data", help="Folder of genre folders: audio or stored spectrograms."
    ),
    format: Format = typer.Option(
        Format.table, "--format", "-f", help="How the figures are written."
    ),
    jobs: int | None = typer.Option(
        None, "--jobs", "-j", min=1, help="Files heard at once; as many as cores."
    ),
) -> None:
    """Judge a model on music whose genres are known.

    Intervals are 95 % bootstrap intervals over tracks.

    Only folders named as genres of the model are heard.

    Whether the model has learned from these very tracks is for you to know.

    Examples:

      genrescope evaluate default --data gtzan/genres

      genrescope evaluate runs/default-random --data my-music --format json
    """
    classifier = Classifier.load(model)
    tracks = scan(data)
    unknown = sorted({track.genre for track in tracks} - set(classifier.genres))
    tracks = [track for track in tracks if track.genre in classifier.genres]
    if not tracks:
        raise DatasetError(
            f"{data}: none of its folders is a genre of the model: {', '.join(classifier.genres)}"
        )
    if unknown:
        notice(f"left out, not genres of the model: {', '.join(unknown)}")
    truth, rows, failures = [], [], []
    listening = closing(classifier.predict_many((track.path for track in tracks), jobs=jobs))
    with progress("tracks") as bar, listening as results:
        task = bar.add_task("Listening", total=len(tracks))
        for track, result in zip(tracks, results, strict=True):
            if isinstance(result, FileError):
                failures.append(result)
            elif result.genre is None:
                failures.append(FileError(track.path, result.warnings[-1]))
            else:
                truth.append(classifier.genres.index(track.genre))
                rows.append([result.probabilities[genre] for genre in classifier.genres])
            bar.advance(task)
    for failure in failures:
        error_line(str(failure))
    if not rows:
        raise DatasetError(f"{data}: none of its {len(tracks)} tracks could be heard")
    judgement = judge(np.array(truth), np.array(rows), classifier.genres)
    if format is Format.json:
        fields = {"model": classifier.manifest.name, "data": str(data), **judgement.to_dict()}
        fields["failed"] = [{"path": f.path, "reason": f.reason} for f in failures]
        typer.echo(json.dumps(fields, indent=1))
    else:
        show(judgement)
    if failures:
        raise typer.Exit(1)


def show(judgement: Judgement) -> None:
    """Print the figures as two tables."""
    console = Console(highlight=False)
    table = Table("Metric", "Value", "95 % interval", title=f"{judgement.n} tracks")
    for name in METRICS:
        low, high = judgement.intervals[name]
        table.add_row(
            name.replace("_", " "),
            f"{100 * judgement.values[name]:.1f} %",
            f"{100 * low:.1f} - {100 * high:.1f} %",
        )
    console.print(table)
    table = Table("Genre", "Tracks", "Precision", "Recall", "95 % interval", "F1")
    for genre, figures in judgement.genres.items():
        low, high = figures["recall_interval"]
        table.add_row(
            Text(genre),
            str(figures["n"]),
            *(f"{100 * figures[name]:.0f} %" for name in ("precision", "recall")),
            f"{100 * low:.0f} - {100 * high:.0f} %",
            f"{100 * figures['f1']:.0f} %",
        )
    console.print(table)
