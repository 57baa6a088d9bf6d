"""The report of a run: `report.html`, one self-contained page, and the same as `report.md`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from genrescope.atomic import write_atomic
from genrescope.errors import RecipeError
from genrescope.evaluation import plots
from genrescope.evaluation.document import (
    Alarm,
    Block,
    Details,
    Heading,
    KeyFigures,
    Matrix,
    Paragraph,
    Picture,
    Table,
    to_html,
    to_markdown,
)
from genrescope.evaluation.formatting import NOTHING, interval, percent
from genrescope.evaluation.metrics import LABELS, confusion, mean_and_deviation
from genrescope.evaluation.predictions import FILE, Predictions, read_predictions
from genrescope.evaluation.published import PublishedFigure, published_figures
from genrescope.evaluation.run_result import RunResult
from genrescope.wording import counted

_KEY_METRICS = ("accuracy", "macro_f1", "top3_accuracy", "roc_auc")
# So many of the wrongly predicted tracks are listed.
_LISTED = 10


@dataclass(frozen=True)
class _Run:
    """Contents of a run folder; `predictions` may be missing."""

    folder: Path
    result: RunResult
    predictions: Predictions | None

    @property
    def title(self) -> str:
        result = self.result
        suffix = " (leaked)" * result.leaked or " (trained on these tracks)" * bool(
            result.tracks_used_in_training
        )
        return result.name + suffix

    def picture(self, name: str) -> Path:
        return self.folder / f"{name}.png"


def write_report(folder: Path) -> tuple[Path, Path]:
    """Write `report.html` and `report.md` of a run, from what its folder holds.

    Only `metrics.json` must exist; what belongs to another missing file is left out.
    `confusion.png`, `reliability.png` and, of several folds, `folds.png` are drawn first where
    matplotlib is installed; `curves.png` is used as training drew it.

    Returns
    -------
    The two pages.

    Raises
    ------
    FileError
        When `metrics.json` is missing, or one of the files is damaged.
    """
    predictions = read_predictions(folder) if (folder / FILE).is_file() else None
    run = _Run(folder, RunResult.read(folder), predictions)
    if find_spec("matplotlib"):
        _draw(run)
    blocks = [block for block in _blocks(run) if not _is_empty(block)]
    pages = folder / "report.html", folder / "report.md"
    for path, page in zip(pages, (to_html, to_markdown), strict=True):
        # A track's name may hold bytes that are not UTF-8.
        write_atomic(path, page(run.title, blocks).encode("utf-8", "replace"))
    return pages


def _draw(run: _Run) -> None:
    """The pictures that are drawn from predictions and scores alone."""
    if (found := run.predictions) is not None:
        counts = confusion(found.truth, found.predicted, len(found.genres))
        plots.confusion(counts, found.genres, run.picture("confusion"))
        plots.reliability(found.truth, found.probabilities, run.picture("reliability"))
    if len(run.result.fold_accuracies) > 1:
        plots.folds(run.result.fold_accuracies, run.picture("folds"))


def _is_empty(block: Block) -> bool:
    match block:
        case Picture(path=path):
            return not path.is_file()
        case Table(rows=rows):
            return not rows
    return False


def _data(result: RunResult) -> str:
    """What was trained and tested on, in a sentence."""
    tracks = result.data.tracks
    count = f"{counted(tracks, 'track')} of " if tracks is not None else ""
    verb = "Tested on" if result.kind != "run" else "Trained and tested on"
    genres = len(result.by_genre)
    return f"{verb} {count}{result.data}, {counted(genres, 'genre')}."


def _blocks(run: _Run) -> Iterator[Block]:
    yield Paragraph(_data(run.result))
    # What a recipe without a published row says of its data may be of other data than this run's.
    description = run.result.settings.get("description")
    if description and run.result.published and run.result.kind == "run":
        yield Paragraph(f"The recipe: {description}")
    if run.result.leaked:
        yield Alarm(
            "LEAKED. Segments of one track are in both the training and the test subset: the model "
            "was tested on tracks that it was trained on. These scores mean nothing."
        )
    if run.result.training_note:
        yield Alarm(
            ("TRAINED ON THESE TRACKS. " if run.result.tracks_used_in_training else "")
            + f"{run.result.training_note}: the scores do not say how the model does on other "
            "music."
        )
    yield from _scores(run.result)
    yield from _published(run.result)
    yield from _genres(run)
    yield from _folds(run)
    if run.picture("curves").is_file():
        yield Heading("Learning curves")
        yield Picture(run.picture("curves"), "Loss and accuracy over the epochs of training")
    if run.picture("reliability").is_file():
        yield Heading("Calibration")
        yield Paragraph(
            "Bars above the line: more often correct than the confidence says. Below: "
            "overconfident."
        )
        yield Picture(run.picture("reliability"), "Accuracy against confidence")
    yield from _confident_errors(run)
    yield from _left_out(run.result)
    yield from _protocol(run.result)


def _scores(result: RunResult) -> Iterator[Block]:
    scores = {
        name: (LABELS[name], percent(value), interval(result.interval.get(name)))
        for name, value in result.scores.items()
    }
    key = [scores[name] for name in _KEY_METRICS]
    yield KeyFigures((*key, ("test tracks", str(result.n), str(result.split or ""))))
    yield Heading("Scores")
    yield Paragraph(
        "Intervals are 95 % bootstrap intervals over tracks"
        + (", all tracks of an artist drawn together." if result.grouped_by_artist else ".")
    )
    yield Table(("Metric", "Value", "95 % interval"), tuple(scores.values()))


def _published(result: RunResult) -> Iterator[Block]:
    """The paper's figures, and ours on the same subset."""
    row = result.comparable_row
    try:
        figures = published_figures(row) if row else []
    except RecipeError:
        figures = []  # a row that is in no paper
    if not row or not figures:
        return
    yield Heading("Comparison with the paper")
    columns = ("Paper", "Its protocol", "System", "Metric", "Published", "Ours", "95 % interval")
    rows = tuple(_compared(result, figure) for figure in figures)
    yield Table((*columns, "Difference"), rows, texts=4)
    tracks = counted(result.n, "track")
    yield Paragraph(f"Our protocol: {result.split or 'see below'}, tested on {tracks}.")
    if row.differs:
        yield Paragraph(f"Other differences: {row.differs}")


def _compared(result: RunResult, figure: PublishedFigure) -> tuple[str, ...]:
    on_test = figure.subset == "test"
    ours = result.percent("accuracy" if on_test else f"{figure.subset}_accuracy")
    return (
        f"{figure.paper}, {figure.table}",
        figure.protocol,
        f"{figure.features}, {figure.model}",
        figure.metric,
        f"{figure.value_percent:.1f} %",
        NOTHING if ours is None else f"{ours:.1f} %",
        interval(result.interval.get("accuracy")) if on_test else NOTHING,
        NOTHING if ours is None else f"{ours - figure.value_percent:+.1f}",
    )


def _genres(run: _Run) -> Iterator[Block]:
    by_genre = run.result.by_genre
    if by_genre:
        yield Heading("Genres")
        columns = ("Genre", "Tracks", "Precision", "Recall", "95 % interval of recall", "F1")
        rows = (
            (
                genre,
                str(scores.n),
                percent(scores.precision),
                percent(scores.recall),
                interval(scores.recall_interval),
                percent(scores.f1),
            )
            for genre, scores in by_genre.items()
        )
        yield Table(columns, tuple(rows))
    genres = run.predictions.genres if run.predictions else tuple(by_genre)
    counts = np.array(run.result.confusion, dtype=np.intp)
    if genres and counts.shape == (len(genres), len(genres)):
        yield Heading("Confusion matrix")
        absent = [genre for genre in genres if genre not in by_genre]
        yield Paragraph(
            "Rows are true genres, columns predicted genres."
            + f" There is no track of {', '.join(absent)}, but the model may predict it."
            * bool(absent)
        )
        yield Matrix(genres, counts, run.picture("confusion"))


def _folds(run: _Run) -> Iterator[Block]:
    accuracies = run.result.fold_accuracies
    if len(accuracies) < 2:
        return
    mean, deviation = mean_and_deviation(list(accuracies.values()))
    yield Heading("Folds")
    yield Paragraph(
        f"Accuracy over {len(accuracies)} folds: {100 * mean:.1f} ± {100 * deviation:.1f} % (mean "
        "and standard deviation). This is the spread of the folds, not the uncertainty of the mean."
    )
    yield Picture(run.picture("folds"), "Accuracy of each fold")
    rows = (
        (name, _count(fold.train_tracks), _count(fold.test_tracks), percent(fold.accuracy))
        for name, fold in run.result.folds.items()
        if name in accuracies
    )
    yield Table(("Fold", "Training tracks", "Test tracks", "Accuracy"), tuple(rows))


def _count(number: int | None) -> str:
    return NOTHING if number is None else str(number)


def _confident_errors(run: _Run) -> Iterator[Block]:
    if run.predictions is None:
        return
    found = run.predictions
    confidence = found.probabilities.max(axis=1)
    wrong = np.flatnonzero(found.predicted != found.truth)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    yield Heading("Most confident errors")
    if not len(wrong):
        yield Paragraph("All predictions are correct.")
        return
    yield Paragraph(
        f"{len(wrong)} of {len(found.truth)} predictions are wrong. These are the ones with the "
        "highest confidence; some of the tracks may be mislabelled."
    )
    # Once each, also where folds were repeated.
    most_confident: dict[tuple[str, int], int] = {}
    for i in wrong:
        most_confident.setdefault((found.tracks[i], int(found.truth[i])), int(i))
    rows = (
        (
            found.tracks[i],
            found.genres[found.truth[i]],
            found.genres[found.predicted[i]],
            percent(confidence[i]),
            percent(found.probabilities[i, found.truth[i]]),
        )
        for i in list(most_confident.values())[:_LISTED]
    )
    columns = ("Track", "Genre", "Predicted", "Confidence", "Probability of its genre")
    yield Table(columns, tuple(rows), texts=3)


def _left_out(result: RunResult) -> Iterator[Block]:
    if names := [str(track) for track in result.left_out]:
        yield Heading("Left out")
        yield Paragraph(f"{len(names)} could not be used: {'; '.join(names)}")


def _protocol(result: RunResult) -> Iterator[Block]:
    """How the scores were measured, and the recipe."""
    several = len(result.fold_accuracies) > 1
    facts: dict[str, Any] = {
        "Recipe": result.recipe,
        "Model": result.model,
        "Data": result.data.name,
        "Genres counted as others": ", ".join(f"{a} as {b}" for a, b in result.genre_map.items()),
        "Genres left out": ", ".join(result.unknown_genres),
        "Tracks": result.data.tracks,
        "of which the artist is known": result.data.with_artist,
        "Fingerprint of the data": result.data.fingerprint,
        "Split": str(result.split or ""),
        "Seed": result.seed,
        "Training tracks of the last network" if several else "Training tracks": (
            result.train_tracks
        ),
        "Validation tracks": result.validation_tracks or None,
        "Test tracks": result.n,
        "of which by artists that are also in the training subset": (
            result.test_tracks_of_training_artists
        ),
        "Left out": len(result.left_out),
        "Temperature": result.temperature,
        "Tracks with a teacher's targets": result.teacher_tracks or None,
    }
    yield Heading("Protocol")
    rows = tuple((name, str(value)) for name, value in facts.items() if value not in (None, ""))
    yield Table(("", ""), rows, texts=2)
    if result.provenance:
        yield Details("Provenance of the model", _yaml(result.provenance.model_dump()))
    elif result.settings:
        yield Details("The recipe", _yaml(result.settings))


def _yaml(value: Any) -> str:
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))
