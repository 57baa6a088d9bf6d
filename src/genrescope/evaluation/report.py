"""A run folder as a page to read: `report.html`, self-contained, and `report.md`, its twin."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from genrescope.atomic import write_atomic
from genrescope.errors import FileError, RecipeError
from genrescope.evaluation import plots
from genrescope.evaluation.beside import split_in_words
from genrescope.evaluation.document import (
    Alarm,
    Block,
    Figures,
    Folded,
    Heading,
    Matrix,
    Paragraph,
    Picture,
    Table,
    to_html,
    to_markdown,
)
from genrescope.evaluation.finished import row_beside
from genrescope.evaluation.metrics import LABELS, METRICS, confusion, mean_and_deviation
from genrescope.evaluation.predictions import FILE, Predictions, read_predictions
from genrescope.evaluation.published import PublishedFigure, rows_of

SURELY_WRONG = 10
_NOTHING = "–"


@dataclass(frozen=True)
class _Run:
    """What a run folder holds; `recipe` and `predictions` may be missing."""

    folder: Path
    metrics: dict[str, Any]
    recipe: dict[str, Any]
    predictions: Predictions | None

    @property
    def title(self) -> str:
        """The recipe's name, or the model's and what it heard."""
        if "recipe" in self.metrics:
            return str(self.metrics["recipe"]) + " (leaked)" * bool(self.metrics.get("leaked"))
        if "model" in self.metrics:
            return f"{self.metrics['model']} on {self.metrics.get('data', 'other music')}"
        return self.folder.resolve().name

    @property
    def folds(self) -> dict[str, float]:
        """Accuracy of each part, by its name."""
        parts = self.metrics.get("parts") or {}
        return {name: part["accuracy"] for name, part in parts.items() if "accuracy" in part}


def write_report(folder: Path) -> tuple[Path, Path]:
    """Write `report.html` and `report.md` of a run, from what its folder holds.

    Only `metrics.json` has to be there; what else is missing is left away. `confusion.png`,
    `reliability.png` and, of several folds, `folds.png` are drawn first where matplotlib is
    installed; `curves.png` is taken as training drew it.

    Returns
    -------
    The two pages.

    Raises
    ------
    FileError
        When `metrics.json` is missing, or one of the files is damaged.
    """
    run = _read(folder)
    if find_spec("matplotlib"):
        _draw(run)
    blocks = [block for block in _blocks(run) if not _missing(block)]
    pages = folder / "report.html", folder / "report.md"
    for path, page in zip(pages, (to_html, to_markdown), strict=True):
        # A track's name may hold bytes that are no UTF-8.
        write_atomic(path, page(run.title, blocks).encode("utf-8", "replace"))
    return pages


def _draw(run: _Run) -> None:
    """The pictures that come from predictions and metrics alone."""
    if (said := run.predictions) is not None:
        counts = confusion(said.truth, said.named, len(said.genres))
        plots.confusion(counts, said.genres, run.folder / "confusion.png")
        plots.reliability(said.truth, said.probabilities, run.folder / "reliability.png")
    if len(run.folds) > 1:
        plots.folds(run.folds, run.folder / "folds.png")


def _read(folder: Path) -> _Run:
    path = folder / "metrics.json"
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(metrics, dict):
            raise ValueError("not an object")
        path = folder / "recipe.yaml"
        recipe = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if not isinstance(recipe, dict):
            raise ValueError("wanted are settings as `name: value`")
    except FileNotFoundError:
        raise FileError(folder, f"no finished run: it has no {path.name}") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise FileError(path, f"can't be read: {' '.join(str(error).split())}") from None
    there = (folder / FILE).is_file()
    return _Run(folder, metrics, recipe, read_predictions(folder) if there else None)


def _missing(block: Block) -> bool:
    match block:
        case Picture(path=path):
            return not path.is_file()
        case Table(rows=rows):
            return not rows
    return False


def _blocks(run: _Run) -> Iterator[Block]:
    if description := (run.recipe.get("recipe") or {}).get("description"):
        yield Paragraph(str(description))
    if run.metrics.get("leaked"):
        yield Alarm(
            "LEAKED. Segments of one track are on both sides of this split: the model was tested "
            "on tracks that it had learned. These figures mean nothing."
        )
    yield from _figures(run)
    yield from _published(run)
    yield from _genres(run)
    yield from _folds(run)
    if (run.folder / "curves.png").is_file():
        yield Heading("Learning curves")
        yield Picture(run.folder / "curves.png", "Loss and accuracy over the epochs of training")
    if (run.folder / "reliability.png").is_file():
        yield Heading("Is it as sure as it is right?")
        yield Paragraph(
            "Bars above the line: more often right than it says. Below: surer than it should be."
        )
        yield Picture(run.folder / "reliability.png", "Accuracy against confidence")
    yield from _surely_wrong(run)
    yield from _left_out(run)
    yield from _protocol(run)


def _figures(run: _Run) -> Iterator[Block]:
    metrics, there = run.metrics, [name for name in METRICS if name in run.metrics]
    first = [n for n in ("accuracy", "macro_f1", "top3_accuracy", "roc_auc") if n in there]
    yield Figures(
        (
            *((LABELS[name], _percent(metrics[name]), _interval(metrics, name)) for name in first),
            ("tracks judged", str(metrics.get("n", _NOTHING)), _split_of(metrics)),
        )
    )
    yield Heading("Figures")
    yield Paragraph(
        "Intervals are 95 % bootstrap intervals over tracks"
        + (", all tracks of an artist drawn together." if _by_artist(metrics) else ".")
    )
    yield Table(
        ("Metric", "Value", "95 % interval"),
        tuple((LABELS[name], _percent(metrics[name]), _interval(metrics, name)) for name in there),
    )


def _published(run: _Run) -> Iterator[Block]:
    """The paper's figures; ours beside those that were measured on test tracks as ours are."""
    published = row_beside(run.metrics)
    try:
        rows = rows_of(published) if published else []
    except RecipeError:
        rows = []  # a row of one's own
    if not rows:
        return
    yield Heading("Beside the paper")
    columns = ("Paper", "Its protocol", "System", "Metric", "Published", "Ours", "95 % interval")
    table = tuple(_beside(run.metrics, row) for row in rows)
    yield Table((*columns, "Difference"), table, texts=4)
    protocol = _split_of(run.metrics)
    yield Paragraph(
        f"Our protocol: {protocol or 'see below'}, {run.metrics.get('n', '?')} tracks judged."
    )
    if published and published.get("differs"):
        yield Paragraph(f"What differs: {published['differs']}")


def _beside(metrics: Mapping[str, Any], figure: PublishedFigure) -> tuple[str, ...]:
    ours = metrics.get("accuracy" if figure.side == "test" else f"{figure.side}_accuracy")
    return (
        f"{figure.paper}, {figure.table}",
        figure.protocol,
        f"{figure.features}, {figure.model}",
        figure.metric,
        f"{figure.value_percent:.1f} %",
        _percent(ours),
        _interval(metrics, "accuracy") if figure.side == "test" else _NOTHING,
        _NOTHING if ours is None else f"{100 * ours - figure.value_percent:+.1f}",
    )


def _genres(run: _Run) -> Iterator[Block]:
    by_genre = run.metrics.get("by_genre") or {}
    if by_genre:
        yield Heading("By genre")
        rows = [
            (
                genre,
                str(f["n"]),
                _percent(f["precision"]),
                _percent(f["recall"]),
                _range(f.get("recall_interval")),
                _percent(f["f1"]),
            )
            for genre, f in by_genre.items()
        ]
        yield Table(
            ("Genre", "Tracks", "Precision", "Recall", "95 % interval of recall", "F1"), tuple(rows)
        )
    genres = run.predictions.genres if run.predictions else tuple(by_genre)
    counts = np.array(run.metrics.get("confusion") or [], dtype=np.intp)
    if genres and counts.shape == (len(genres), len(genres)):
        yield Heading("What was taken for what")
        unheard = [genre for genre in genres if genre not in by_genre]
        yield Paragraph(
            "A row is a genre, a column what its tracks were named as."
            + f" There is no track of {', '.join(unheard)}, but the model may name it."
            * bool(unheard)
        )
        yield Matrix(genres, counts, run.folder / "confusion.png")


def _folds(run: _Run) -> Iterator[Block]:
    if len(run.folds) < 2:
        return
    mean, deviation = mean_and_deviation(list(run.folds.values()))
    yield Heading("Folds")
    yield Paragraph(
        f"Accuracy over {len(run.folds)} folds: {100 * mean:.1f} ± {100 * deviation:.1f} % (mean "
        "and standard deviation). That is how far folds differ, not how sure the mean is."
    )
    yield Picture(run.folder / "folds.png", "Accuracy of each fold")
    rows = [
        (name, str(part.get("train", _NOTHING)), str(part.get("test", _NOTHING)), _percent(value))
        for (name, value), part in (
            ((name, run.folds[name]), run.metrics["parts"][name]) for name in run.folds
        )
    ]
    yield Table(("Fold", "Trained on", "Judged on", "Accuracy"), tuple(rows))


def _surely_wrong(run: _Run) -> Iterator[Block]:
    if run.predictions is None:
        return
    said = run.predictions
    confidence = said.probabilities.max(axis=1)
    wrong = np.flatnonzero(said.named != said.truth)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    yield Heading("Most surely wrong")
    if not len(wrong):
        yield Paragraph("No track was named wrong.")
        return
    yield Paragraph(
        f"{len(wrong)} of {len(said.truth)} were named wrong. Of these it was surest; some of "
        "them may be mislabelled."
    )
    # Once each, also where folds were dealt several times.
    surest: dict[tuple[str, int], int] = {}
    for i in wrong:
        surest.setdefault((said.tracks[i], int(said.truth[i])), int(i))
    rows = [
        (
            said.tracks[i],
            said.genres[said.truth[i]],
            said.genres[said.named[i]],
            _percent(confidence[i]),
            _percent(said.probabilities[i, said.truth[i]]),
        )
        for i in list(surest.values())[:SURELY_WRONG]
    ]
    columns = ("Track", "Genre", "Named", "Confidence", "Given to its genre")
    yield Table(columns, tuple(rows), texts=3)


def _left_out(run: _Run) -> Iterator[Block]:
    names = [_name(entry) for key in ("left_out", "failed") for entry in run.metrics.get(key) or []]
    if names:
        yield Heading("Left out")
        yield Paragraph(f"{len(names)} could not be read: {'; '.join(names)}")


def _name(entry: Any) -> str:
    """A track that was left out, or {path, reason}."""
    return ": ".join(map(str, entry.values())) if isinstance(entry, dict) else str(entry)


def _protocol(run: _Run) -> Iterator[Block]:
    data = run.recipe.get("data") or {}
    metrics, teacher = run.metrics, run.recipe.get("teacher") or []
    facts = {
        "Recipe": metrics.get("recipe"),
        "Model": metrics.get("model"),
        "Data": data.get("name", metrics.get("data")),
        "Genres counted as others": ", ".join(
            f"{a} as {b}" for a, b in (metrics.get("genre_map") or {}).items()
        ),
        "Tracks": data.get("tracks"),
        "of which the artist is known": data.get("with_artist"),
        "Fingerprint of the data": data.get("fingerprint"),
        "Split": _split_of(metrics),
        "Seed": metrics.get("seed"),
        ("The last network trained on" if len(run.folds) > 1 else "Trained on"): metrics.get(
            "train"
        ),
        "Validated on": metrics.get("validation") or None,
        "Judged on": metrics.get("n"),
        "of which by artists that it had learned from": metrics.get("by_artists_learned_from"),
        "Left out": len(metrics["left_out"]) if "left_out" in metrics else None,
        "Temperature": metrics.get("temperature"),
        "Tracks with a teacher's targets": len(teacher) or None,
    }
    yield Heading("How it was done")
    rows = tuple((name, str(value)) for name, value in facts.items() if value not in (None, ""))
    yield Table(("", ""), rows, texts=2)
    if recipe := run.recipe.get("recipe"):
        yield Folded("The recipe", _yaml(recipe))
    if provenance := metrics.get("provenance"):
        yield Folded("Where the model comes from", _yaml(provenance))


def _yaml(value: Any) -> str:
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))


def _by_artist(metrics: Mapping[str, Any]) -> bool:
    split = metrics.get("split")
    return bool((split if isinstance(split, dict) else metrics).get("by_artist"))


def _split_of(metrics: Mapping[str, Any]) -> str:
    split = metrics.get("split")
    return split_in_words(split) if isinstance(split, dict) else ""


def _percent(value: float | None) -> str:
    return _NOTHING if value is None else f"{100 * value:.1f} %"


def _interval(metrics: Mapping[str, Any], name: str) -> str:
    return _range((metrics.get("interval") or {}).get(name))


def _range(interval: Sequence[float | None] | None) -> str:
    if interval is None or None in interval:
        return _NOTHING
    low, high = (100 * value for value in interval if value is not None)
    return f"{low:.1f} to {high:.1f} %"
