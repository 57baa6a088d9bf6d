"""What was run here, set beside what the papers state.

Conventions
-----------
All figures are in percent. A published figure of the test side stands beside the accuracy on the
tracks judged, with its interval; one of the training or validation side beside the accuracy there,
which has none. A run that leaks never stands beside a published figure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from genrescope.errors import FileError, RecipeError
from genrescope.evaluation.finished import Finished, finished_in
from genrescope.evaluation.published import PublishedFigure, published_results, rows_of

Interval = tuple[float, float]

_MEASURED = {"train": "train_accuracy", "validation": "validation_accuracy", "test": "accuracy"}
_TRACKS = {"gtzan": 1000, "fma_small": 8000}
# Of the kth paper's table 1; no other paper states it.
_HOP = 512
# What two runs have in common that differ in their split alone.
_TWINS = (
    "feature",
    "scale",
    "segments",
    "pool",
    "augmentation",
    "model",
    "training",
    "ensemble",
    "aggregation",
)


@dataclass(frozen=True)
class Row:
    """A published figure and ours.

    Attributes
    ----------
    figure
        The paper's.
    run
        Ours, if there is one.
    ours, interval
        Its figure in percent and the 95 % interval.
    differs
        What differs in the protocols, as far as the run's settings tell.
    why
        What the recipe says of that.
    """

    figure: PublishedFigure
    run: Finished | None = None
    ours: float | None = None
    interval: Interval | None = None
    differs: tuple[str, ...] = ()
    why: str = ""

    @property
    def difference(self) -> float | None:
        """Ours less theirs, in points, to one decimal."""
        if self.ours is None:
            return None
        return round(self.ours - self.figure.value_percent, 1) + 0.0

    @property
    def verdict(self) -> str:
        """Empty where ours is not below; else "below", and whether the interval has theirs.

        Less on the training side is no fault.
        """
        if self.difference is None or self.difference >= 0 or self.figure.side == "train":
            return ""
        within = self.interval and self.interval[1] >= self.figure.value_percent
        return "below, within the interval" if within else "below"


@dataclass(frozen=True)
class Leak:
    """A run that leaks, and one with the same settings and data but an honest split."""

    run: Finished
    honest: Finished | None


@dataclass(frozen=True)
class Results:
    """All that was run, in the order of the papers' tables, then of names.

    Attributes
    ----------
    rows
        Published figures with a run; a figure has a row for each run.
    missing
        Published figures without one.
    others
        Honest runs that no published figure stands beside.
    leaks
        Runs that leak.
    problems
        What could not be used, and why.
    """

    rows: tuple[Row, ...]
    missing: tuple[PublishedFigure, ...]
    others: tuple[Finished, ...]
    leaks: tuple[Leak, ...]
    problems: tuple[FileError | RecipeError, ...]

    def listed(self, everything: bool = False) -> tuple[Row, ...]:
        """The rows; with everything, published figures without a run among them."""
        if not everything:
            return self.rows
        rows = [*self.rows, *map(Row, self.missing)]
        return tuple(sorted(rows, key=lambda row: _order()[row.figure]))


def set_beside(folder: Path) -> Results:
    """Set all finished runs in a folder beside the published figures.

    Raises
    ------
    FileError
        When there is no such folder.
    """
    runs, damaged = finished_in(folder)
    runs.sort(key=lambda run: (run.name, run.folder))
    honest = [run for run in runs if not run.leaked]
    problems: list[FileError | RecipeError] = list(damaged)
    rows, others = [], []
    for run in honest:
        try:
            figures = rows_of(run.published) if run.published else []
        except RecipeError as error:
            problems.append(RecipeError(f"{run.folder}: {error}"))
            figures = []
        found = [row for figure in figures if (row := _row(figure, run))]
        rows += found
        others += [run] * (not found)
    rows.sort(key=lambda row: _order()[row.figure])
    there = {row.figure for row in rows}
    return Results(
        tuple(rows),
        tuple(figure for figure in published_results() if figure not in there),
        tuple(others),
        tuple(Leak(run, _twin(run, honest)) for run in runs if run.leaked),
        tuple(problems),
    )


@cache
def _order() -> dict[PublishedFigure, int]:
    """Place of each figure in the papers' tables."""
    return {figure: place for place, figure in enumerate(published_results())}


def _row(figure: PublishedFigure, run: Finished) -> Row | None:
    measured = _MEASURED[figure.side]
    ours = run.percent(measured)
    if ours is None:
        return None
    why = (run.published or {}).get("differs", "")
    return Row(figure, run, ours, run.interval(measured), differences(figure, run), why)


def _twin(leaked: Finished, honest: Sequence[Finished]) -> Finished | None:
    """The honest run that differs from a leaked one in its split alone."""
    for run in honest:
        # Older runs do not know the newer of these settings.
        same = all((run.recipe.get(k) or None) == (leaked.recipe.get(k) or None) for k in _TWINS)
        if same and run.recipe and run.data == leaked.data:
            return run
    return None


def differences(figure: PublishedFigure, run: Finished) -> tuple[str, ...]:
    """What differs between a paper's protocol and a run's, as far as the run's settings tell."""
    texts = (
        _tracks(figure, run),
        "" if _letters(run.data_name) == _letters(figure.dataset) else f"data: {run.data_name}",
        _splitting(figure, run),
        *_hearing(figure, run),
        f"{count} networks averaged" if (count := len(run.recipe.get("ensemble") or [])) else "",
    )
    return tuple(text for text in texts if text)


def _letters(text: str) -> str:
    return re.sub(r"\(.*\)|[^a-z0-9]", "", text.casefold())


def _tracks(figure: PublishedFigure, run: Finished) -> str:
    stated = re.search(r"(\d+)[ -]track", figure.dataset)
    theirs = int(stated[1]) if stated else _TRACKS.get(figure.dataset)
    if run.elsewhere:
        return f"{run.n} other tracks" + (f" instead of its {theirs}" if theirs else "")
    total = run.data.get("tracks")
    if theirs is None or not isinstance(total, int):
        return ""
    ours = total - len(run.metrics.get("left_out") or [])
    return "" if ours == theirs else f"{ours} of {theirs} tracks"


def _splitting(figure: PublishedFigure, run: Finished) -> str:
    """How the splits differ."""
    split = run.split
    if not split or (split.get("kind") == "official" and "official" in figure.protocol):
        return ""
    stated = re.search(r"\d+(/\d+)+", figure.protocol)
    if split.get("kind") == "random" and stated and stated[0] == parts_of(split):
        return "all tracks of an artist on one side" if split.get("by_artist") else ""
    return split_in_words(split) + (
        "" if stated else " (the paper does not say how large its parts are)"
    )


def _hearing(figure: PublishedFigure, run: Finished) -> list[str]:
    """How what the models see differs."""
    feature, segments = run.recipe.get("feature") or {}, run.recipe.get("segments") or {}
    if feature.get("kind") == "stored":
        return [f"stored vectors ({feature.get('name', 'unnamed')})"]
    texts = []
    if (hop := feature.get("hop_length", _HOP)) != _HOP:
        texts.append(f"hop of {hop} samples" + (f", not {_HOP}" if figure.paper == "kth" else ""))
    if bins := feature.get("n_bins"):
        texts.append(f"{bins} of {feature.get('n_fft', 2048) // 2 + 1} frequency bins")
    stated = re.search(r"(\d+) s\b", figure.protocol)
    seconds = segments.get("seconds")
    # Half a second of a clip is lost where clips are not all of one length.
    if stated and seconds and abs(seconds - int(stated[1])) > 0.05 * int(stated[1]):
        texts.append(f"segments of {seconds:g} s")
    if "mode of" in figure.protocol and run.recipe.get("aggregation", "majority") != "majority":
        texts.append(f"aggregation by {run.recipe['aggregation']}")
    return texts


def parts_of(split: Mapping[str, Any]) -> str:
    """The parts of a random split, as in 60/20/20."""
    return "/".join(f"{100 * split.get(side, 0):.0f}" for side in _MEASURED)


def judged_how(run: Finished) -> str:
    """A run's split in words; of an evaluation, what it judged."""
    if run.known:
        return "all is judged, also what it learned from"
    return split_in_words(run.split) or "all is judged"


def split_in_words(split: Mapping[str, Any]) -> str:
    """A split's settings in words; empty where there was none."""
    by = "by artist" if split.get("by_artist") else "by track"
    kind = str(split.get("kind", ""))
    match kind:
        case "random":
            return f"random {parts_of(split)} {by}"
        case "by_segment":
            return f"random {parts_of(split)} by segment, which leaks"
        case "folds":
            times = int(split.get("repeats", 1))
            return f"{split.get('folds')} folds {by}" + f", dealt {times} times" * (times > 1)
        case "official":
            return "the data set's own split"
        case "lists":
            return "given lists of tracks"
        case _:
            return kind
