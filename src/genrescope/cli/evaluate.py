"""`genrescope evaluate`: how well a model does on a folder of genre folders."""

from __future__ import annotations

import json
import math
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from genrescope.atomic import write_atomic
from genrescope.cli.terminal import Format, error_line, notice, progress, stderr
from genrescope.datasets import map_genres, read_dataset
from genrescope.errors import DatasetError, FileError
from genrescope.evaluation.metrics import LABELS, METRICS, Scores, compute_scores
from genrescope.evaluation.predictions import Predictions, write_predictions
from genrescope.evaluation.report import write_report
from genrescope.inference import Classifier


def evaluate(
    model: str = typer.Argument(..., help="A shipped model (default), a run folder or a bundle."),
    data: Path = typer.Option(
        ...,
        "--data",
        help="A data set: GTZAN, FMA, a folder of genre folders, or a CSV of path, genre.",
    ),
    format: Format = typer.Option(
        Format.table, "--format", "-f", help="How the figures are written."
    ),
    jobs: int | None = typer.Option(
        None, "--jobs", "-j", min=1, help="Files heard at once; as many as cores."
    ),
    genre_map: list[str] = typer.Option(
        [],
        "--genre-map",
        metavar="THEIRS=OURS",
        help="A genre of the data counts as that genre of the model; may be repeated.",
    ),
    out: Path | None = typer.Option(
        None,
        "--out",
        "-o",
        help="Folder for metrics.json, predictions.csv, pictures, report.html and report.md.",
    ),
) -> None:
    """Judge a model on music whose genres are known.

    Intervals are 95 % bootstrap intervals over tracks; an artist's tracks are drawn together where
    artists are known.

    Only genres of the model are heard, and those mapped onto one with --genre-map. The model may
    name any of its genres, also where the music has only some of them.

    Whether the model has learned from these very tracks is for you to know.

    Examples:

      genrescope evaluate default --data gtzan/genres

      genrescope evaluate runs/default-random --data my-music --format json

      genrescope evaluate default --data other --genre-map hip-hop=hiphop --out runs/on-other
    """
    classifier = Classifier.load(model)
    dataset, meant = read_dataset(data), _genre_map(genre_map)
    for line in dataset.notices():
        notice(line)
    tracks, unknown = map_genres(dataset.tracks, meant, classifier.genres)
    if unknown:
        notice(f"left out, not genres of the model: {', '.join(unknown)}")
    heard, rows, failures = [], [], []
    listening = closing(classifier.predict_many((track.path for track in tracks), jobs=jobs))
    with progress("tracks") as bar, listening as results:
        task = bar.add_task("Listening", total=len(tracks))
        for track, result in zip(tracks, results, strict=True):
            if isinstance(result, FileError):
                failures.append(result)
            elif result.genre is None:
                failures.append(FileError(track.path, result.warnings[-1]))
            else:
                heard.append(track)
                rows.append([result.probabilities[genre] for genre in classifier.genres])
            bar.advance(task)
    for failure in failures:
        error_line(str(failure))
    if not rows:
        raise DatasetError(f"{data}: none of its {len(tracks)} tracks could be heard")
    predictions = Predictions(
        genres=tuple(classifier.genres),
        tracks=tuple(track.id for track in heard),
        parts=("only",) * len(heard),
        truth=np.array([classifier.genres.index(track.genre) for track in heard]),
        probabilities=np.array(rows),
    )
    scores = compute_scores(
        predictions.truth,
        predictions.probabilities,
        classifier.genres,
        # Ids may repeat from genre to genre, files do not.
        groups=[f"artist {t.artist}" if t.artist else f"file {t.path}" for t in heard],
    )
    fields = {"model": classifier.manifest.name, "data": str(data), **scores.to_dict()}
    if meant:
        fields["genre_map"] = meant
    fields["failed"] = [{"path": f.path, "reason": f.reason} for f in failures]
    # Written first: whoever reads the tables may stop early.
    if out is not None:
        _write(
            out,
            {
                **fields,
                "data": dataset.name,  # where it lies on this machine is nobody's business
                "command": _spoken(model, data, genre_map),
                "by_artist": any(track.artist for track in heard),
                "provenance": classifier.manifest.provenance,
                "published": classifier.manifest.provenance.get("recipe", {}).get("published"),
            },
            predictions,
        )
    if format is Format.json:
        typer.echo(json.dumps(fields, indent=1))
    else:
        show(scores)
    if failures:
        raise typer.Exit(1)


def _genre_map(pairs: list[str]) -> dict[str, str]:
    """What genre of the model each genre of the data counts as."""
    meant = {}
    for pair in pairs:
        theirs, sign, ours = pair.rpartition("=")
        if not (sign and theirs and ours):
            raise DatasetError(f"--genre-map {pair}: wanted is THEIRS=OURS, as in hip-hop=hiphop")
        meant[theirs] = ours
    return meant


def _spoken(model: str, data: Path, genre_map: list[str]) -> str:
    """The command, for whoever reads the figures; without where files lie on this machine."""
    named = Path(model).name if Path(model).is_absolute() else model
    words = ["genrescope evaluate", named, f"--data {data.resolve().name}"]
    return " ".join([*words, *(f"--genre-map {pair}" for pair in genre_map)])


def _write(out: Path, metrics: dict[str, Any], predictions: Predictions) -> None:
    """A folder that reads like a run's."""
    if (out / "recipe.yaml").is_file():
        raise DatasetError(f"{out}: holds a run, whose figures would be lost; name another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_atomic(out / "metrics.json", json.dumps(metrics, indent=1).encode())
        write_predictions(predictions, out)
        page, _ = write_report(out)
    except OSError as error:
        raise FileError(out, f"can't be written: {error.strerror}") from None
    stderr.print(f"Report: {page}", markup=False)


def _percent(value: float, unit: str = " %") -> str:
    return "undefined" if math.isnan(value) else f"{100 * value:.1f}{unit}"


def show(scores: Scores) -> None:
    """Print the figures as two tables."""
    console = Console(highlight=False)
    table = Table("Metric", "Value", "95 % interval", title=f"{scores.n} tracks")
    for name in METRICS:
        low, high = scores.intervals[name]
        table.add_row(
            LABELS[name],
            _percent(scores.values[name]),
            f"{_percent(low, '')} - {_percent(high)}",
        )
    console.print(table)
    table = Table("Genre", "Tracks", "Precision", "Recall", "95 % interval", "F1")
    for genre, figures in scores.genres.items():
        low, high = figures["recall_interval"]
        table.add_row(
            Text(genre),
            str(figures["n"]),
            *(f"{100 * figures[name]:.0f} %" for name in ("precision", "recall")),
            f"{100 * low:.0f} - {100 * high:.0f} %",
            f"{100 * figures['f1']:.0f} %",
        )
    console.print(table)
