"""Finished runs compared with the figures that the papers state.

Conventions
-----------
All figures are in percent; differences are ours minus the paper's, in points. A published figure on
the test subset is compared with the accuracy on the test tracks, which has an interval; one on the
validation subset with the accuracy there, and one on the training subset with the accuracy of the
last epoch's segments while they were trained on, which have none. A run that leaks is never
compared with a published figure. A figure of fewer than 30 tracks is called neither lower nor in
agreement.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from genrescope.errors import FileError, RecipeError
from genrescope.evaluation.published import PublishedFigure, published_figures, published_results
from genrescope.evaluation.records import joined_with_runs, with_correct_tracks
from genrescope.evaluation.run_result import RunResult, changed_settings, find_runs
from genrescope.wording import counted, valid_text

Interval = tuple[float, float]

# The kth paper's training accuracies are those that Keras shows: of segments, with dropout active.
_MEASURED = {
    "train": ("segment_train_accuracy", "train_accuracy"),
    "validation": ("validation_accuracy",),
    "test": ("accuracy",),
}
# The berkeley paper used 7,994 of the 8,000 clips of FMA-small; six were damaged.
_TRACKS = {"gtzan": 1000, "fma_small": 7994}
# Of fewer tracks than these a 95 % interval is wider than 30 points around a middling accuracy.
_FEWEST_TRACKS = 30
# Of the kth paper's table 1; no other paper states it.
_HOP_LENGTH = 512
# What two runs have in common that differ in their split alone.
_CONFIGURATION = (
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
class ComparedFigure:
    """A published figure and the same figure of one of our runs.

    Attributes
    ----------
    figure
        The paper's.
    run
        Ours, if there is one.
    ours, interval
        Its figure in percent and the 95 % interval.
    differences
        How the protocols differ, as far as the run's settings show.
    explanation
        Further differences, in the words of the recipe; where settings were changed, which ones,
        because the recipe's words need not hold for them.
    """

    figure: PublishedFigure
    run: RunResult | None = None
    ours: float | None = None
    interval: Interval | None = None
    differences: tuple[str, ...] = ()
    explanation: str = ""

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's, in points, to one decimal."""
        if self.ours is None:
            return None
        return round(self.ours - self.figure.value_percent, 1) + 0.0

    @property
    def verdict(self) -> str:
        """Empty where ours is not below; else "below", and whether the interval contains theirs.

        A lower training accuracy is not a fault. With few tracks the verdict is always "too few
        tracks".
        """
        if self.run is None or self.difference is None or self.figure.subset == "train":
            return ""
        tracks = self.run.n if self.figure.subset == "test" else self.run.validation_tracks
        if tracks and tracks < _FEWEST_TRACKS:
            return "too few tracks"
        if self.difference >= 0:
            return ""
        within = self.interval and self.interval[1] >= self.figure.value_percent
        return "below, within the interval" if within else "below"

    @property
    def below(self) -> bool:
        """Whether ours is below the paper's, on enough tracks to say so."""
        return self.verdict.startswith("below")

    @property
    def within_interval(self) -> bool:
        """Whether ours is below, and the interval of ours contains the paper's figure."""
        return self.below and "," in self.verdict

    def to_dict(self) -> dict[str, Any]:
        """As `genrescope compare --format json` prints it."""
        return {
            **asdict(self.figure),
            "ours_percent": None if self.ours is None else round(self.ours, 4),
            "interval_percent": self.interval and [round(value, 4) for value in self.interval],
            "difference": self.difference,
            "verdict": self.verdict or None,
            "differences": list(self.differences),
            "explanation": self.explanation or None,
            "run": self.run and _summary(self.run),
        }


@dataclass(frozen=True)
class LeakedRun:
    """A run that leaks, and one of the same configuration and data with a leak-free split."""

    run: RunResult
    leak_free: RunResult | None


@dataclass(frozen=True)
class PublishedComparison:
    """All runs of a folder, in the order of the papers' tables, then of names.

    Attributes
    ----------
    rows
        Published figures with a run; a figure has a row for each run.
    missing
        Published figures without one.
    others
        Runs without a leak that no published figure can be compared with.
    leaks
        Runs that leak.
    problems
        What could not be used, and why.
    runs
        All of them.
    """

    rows: tuple[ComparedFigure, ...]
    missing: tuple[PublishedFigure, ...]
    others: tuple[RunResult, ...]
    leaks: tuple[LeakedRun, ...]
    problems: tuple[FileError | RecipeError, ...]
    runs: tuple[RunResult, ...] = ()

    def listed(self, everything: bool = False) -> tuple[ComparedFigure, ...]:
        """The rows; with `everything`, also published figures without a run."""
        if not everything:
            return self.rows
        rows = [*self.rows, *map(ComparedFigure, self.missing)]
        return tuple(sorted(rows, key=lambda row: _order()[row.figure]))

    def to_dict(self, everything: bool = False) -> dict[str, Any]:
        """As `genrescope compare --format json` prints it."""
        total = len(published_results())
        return {
            "published_figures": total,
            "with_a_run": total - len(self.missing),
            "rows": [row.to_dict() for row in self.listed(everything)],
            "other_runs": [_summary(run) for run in self.others],
            "leaked": [
                {**_summary(leak.run), "leak_free": leak.leak_free and _summary(leak.leak_free)}
                for leak in self.leaks
            ],
            "problems": [_text(problem) for problem in self.problems],
        }


def compare_with_published(
    folder: Path,
    *,
    records: Sequence[RunResult] = (),
    outdated: Callable[[RunResult], str] = lambda _: "",
) -> PublishedComparison:
    """Compare all finished runs in a folder with the published figures.

    Parameters
    ----------
    folder
        In which runs are looked for.
    records
        Results of earlier runs, for command lines that no run in the folder has.
    outdated
        Tells how the recipe of a run differs by now from the one that was carried out; empty where
        it does not. A run's row says so.

    Raises
    ------
    FileError
        When there is no such folder.
    """
    found, damaged = find_runs(folder)
    runs = [
        run.model_copy(update={"outdated": outdated(run)})
        for run in joined_with_runs(records, [*map(with_correct_tracks, found)])
    ]
    runs.sort(key=lambda run: (run.name, run.folder))
    leak_free = [run for run in runs if not run.leaked]
    problems: list[FileError | RecipeError] = list(damaged)
    rows, others = [], []
    for run in leak_free:
        try:
            published = run.comparable_row
            figures = published_figures(published) if published else []
        except RecipeError as error:
            problems.append(RecipeError(f"{run.folder}: {error}"))
            figures = []
        compared = [row for figure in figures if (row := _compared(figure, run))]
        rows += compared
        others += [run] * (not compared)
    rows.sort(key=lambda row: _order()[row.figure])
    with_run = {row.figure for row in rows}
    return PublishedComparison(
        tuple(rows),
        tuple(figure for figure in published_results() if figure not in with_run),
        tuple(others),
        tuple(LeakedRun(run, _leak_free(run, leak_free)) for run in runs if run.leaked),
        tuple(problems),
        tuple(runs),
    )


@cache
def _order() -> dict[PublishedFigure, int]:
    """Position of each figure in the papers' tables."""
    return {figure: position for position, figure in enumerate(published_results())}


def _compared(figure: PublishedFigure, run: RunResult) -> ComparedFigure | None:
    found = [name for name in _MEASURED[figure.subset] if run.percent(name) is not None]
    if not found:
        return None
    measured = found[0]
    ours = run.percent(measured)
    interval = run.interval_percent(measured)
    return ComparedFigure(figure, run, ours, interval, differences(figure, run), _explanation(run))


def _explanation(run: RunResult) -> str:
    """The recipe's words, unless the command line changed other settings than seed and split."""
    changes = [
        change
        for change in changed_settings(run.command)
        if not re.match(r"seed=|split[.=]|name=|description=", change)
    ]
    if changes:
        return f"changed with --set {' '.join(changes)}; what its recipe states need not hold"
    return run.published.differs if run.published else ""


def _leak_free(leaked: RunResult, runs: Sequence[RunResult]) -> RunResult | None:
    """The run without a leak that differs from a leaked one in its split alone."""
    for run in runs:
        # Older runs lack the newer of these settings.
        same = all(
            (run.settings.get(key) or None) == (leaked.settings.get(key) or None)
            for key in _CONFIGURATION
        )
        if same and run.settings and run.data == leaked.data:
            return run
    return None


def _summary(run: RunResult) -> dict[str, Any]:
    return {
        "name": run.name,
        "folder": _text(run.folder),
        "data": run.data.model_dump(exclude_none=True),
        "split": str(run.split or "") or None,
        "leaked": run.leaked,
        "n": run.n,
        "seed": run.seed,
        "accuracy": run.accuracy,
        "interval": run.interval.get("accuracy"),
        "macro_f1": run.macro_f1,
        "command": run.command,
    }


def _text(value: object) -> str:
    """A path or an error as text; a file's name may hold bytes that are not UTF-8."""
    return valid_text(str(value))


def differences(figure: PublishedFigure, run: RunResult) -> tuple[str, ...]:
    """How a run's protocol differs from a paper's, as far as the run's settings show."""
    networks = len(run.settings.get("ensemble") or [])
    texts = (
        run.outdated,
        _tracks(figure, run),
        "" if _letters(str(run.data)) == _letters(figure.dataset) else f"data: {run.data}",
        _split(figure, run),
        *_input(figure, run),
        f"{counted(networks, 'network')} averaged" if networks else "",
    )
    return tuple(text for text in texts if text)


def _letters(text: str) -> str:
    return re.sub(r"\(.*\)|[^a-z0-9]", "", text.casefold())


def _tracks(figure: PublishedFigure, run: RunResult) -> str:
    stated = re.search(r"(\d+)[ -]track", figure.dataset)
    theirs = int(stated[1]) if stated else _TRACKS.get(figure.dataset)
    if run.kind == "evaluation":
        return counted(run.n, "other track") + (f" instead of its {theirs}" if theirs else "")
    if theirs is None or run.data.tracks is None:
        return ""
    ours = run.data.tracks - len(run.left_out)
    return "" if ours == theirs else f"{ours} of {theirs} tracks"


def _split(figure: PublishedFigure, run: RunResult) -> str:
    """How the splits differ."""
    split = run.split
    if split is None or (split.kind == "official" and "official" in figure.protocol):
        return ""
    stated = re.search(r"\d+(/\d+)+", figure.protocol)
    if split.kind == "random" and stated and stated[0] == split.fractions:
        return "all tracks of an artist in one subset" if split.by_artist else ""
    return str(split) + ("" if stated else " (the paper does not state the sizes of its subsets)")


def _input(figure: PublishedFigure, run: RunResult) -> list[str]:
    """How the models' input and the aggregation differ."""
    feature, segments = run.settings.get("feature") or {}, run.settings.get("segments") or {}
    if feature.get("kind") == "stored":
        return [f"stored vectors ({feature.get('name', 'unnamed')})"]
    texts = []
    if (hop := feature.get("hop_length", _HOP_LENGTH)) != _HOP_LENGTH:
        theirs = f", not {_HOP_LENGTH}" if figure.paper == "kth" else ""
        texts.append(f"hop of {hop} samples{theirs}")
    if bins := feature.get("n_bins"):
        texts.append(f"{bins} of {feature.get('n_fft', 2048) // 2 + 1} frequency bins")
    stated = re.search(r"(\d+) s\b", figure.protocol)
    seconds = segments.get("seconds")
    # Half a second of a clip is lost where clips are not all of one length.
    if stated and seconds and abs(seconds - int(stated[1])) > 0.05 * int(stated[1]):
        texts.append(f"segments of {seconds:g} s")
    aggregation = run.settings.get("aggregation", "majority")
    if "mode of" in figure.protocol and aggregation != "majority":
        texts.append(f"aggregation by {aggregation}")
    return texts
