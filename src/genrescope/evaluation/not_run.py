"""Sections of the page of results that no run fills by its accuracy.

Published figures that were not measured, with the reason, and statements of the papers about single
genres next to the recalls of the runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from genrescope.evaluation.formatting import NOTHING, escape_markdown, markdown_table
from genrescope.evaluation.published import (
    PublishedFigure,
    PublishedStatement,
    published_statements,
)
from genrescope.evaluation.run_result import RunResult

_NOT_YET = "the recipe is ready but has no run yet"
_ENCODERS = {
    "vgg16": "VGG16",
    "inception_v3": "InceptionV3",
    "xception": "Xception",
}


def not_run(missing: Iterable[PublishedFigure]) -> str:
    """A table of the published figures without a run, grouped by the reason; empty without any."""
    counts: dict[tuple[str, str, str, str], int] = {}
    for figure in missing:
        features = "FMA descriptors" if figure.table == "fig 8" else figure.features
        key = (f"{figure.paper}, {figure.table}", features, *_reason(figure))
        counts[key] = counts.get(key, 0) + 1
    lines = [
        [
            escape_markdown(table),
            escape_markdown(features),
            str(count),
            escape_markdown(reason),
            f"`{recipe}`" if recipe else NOTHING,
        ]
        for (table, features, reason, recipe), count in counts.items()
    ]
    columns = ("Table", "Features", "Figures", "Why there is no run", "Recipe")
    return markdown_table(columns, "llrll", lines) if lines else ""


def _reason(figure: PublishedFigure) -> tuple[str, str]:
    """Why a figure has no run, and the recipe that measures it."""
    name = _ENCODERS.get(figure.model)
    match figure.paper, figure.table:
        case "leiden", table:
            recipe = f"leiden-{table.replace(' ', '')}/{figure.model}"
            return (f"needs the ImageNet weights of {name}" if name else _NOT_YET), recipe
        case "deepsound", _ if "vggish" in figure.features:
            return "needs GTZAN's audio and VGGish's weights", "deepsound-vggish"
        case "berkeley", "fig 7":
            return "needs FMA-small's audio and VGGish's weights", "berkeley-fig7"
        case "berkeley", "fig 8":
            return (
                "needs FMA's features.csv and FMA-small's audio",
                "berkeley-fig8-table",
            )
    return _NOT_YET, ""


def statements(runs: Sequence[RunResult]) -> str:
    """A table of the papers' statements other than accuracies, with our recalls where runs exist.

    Parameters
    ----------
    runs
        Finished runs without a leak.
    """
    lines = []
    for statement in published_statements():
        own = [(run, _measured(statement, run, runs)) for run in runs if _same_row(statement, run)]
        found = [(run, value) for run, value in own if value is not None]
        system = ", ".join(filter(None, (statement.features, statement.model)))
        metric = " of ".join(filter(None, (statement.metric, statement.genre)))
        head = [f"{statement.paper}, {statement.table}", system, statement.protocol, metric]
        for run, value in found:
            holds = "yes" if statement.includes(value) else "no"
            text = (
                f"{value:.4f} nats" if statement.unit == "nats" else f"{value:.1f} {statement.unit}"
            )
            lines.append([*head, statement.stated, text, holds, run.name])
        if not found:
            lines.append([*head, statement.stated, *[NOTHING] * 3])
    columns = ("Table", "System", "Protocol", "Measured", "Paper", "Ours", "In its range", "Run")
    return markdown_table(columns, "llllrrll", [list(map(escape_markdown, row)) for row in lines])


def confusions(runs: Sequence[RunResult]) -> list[str]:
    """Confusion matrices of the runs whose recalls the papers state, each below its name.

    Rows are the genres of the tracks, columns those that were predicted, in percent of the row.
    """
    found: list[str] = []
    systems = {
        (s.paper, s.table, s.features, s.model)
        for s in published_statements()
        if s.metric == "recall"
    }
    for run in runs:
        row = run.comparable_row
        genres = list(run.by_genre)
        known = row and (row.paper, row.table, row.features, row.model) in systems
        if not known or run.outdated or len(genres) != len(run.confusion):
            continue
        lines = [
            [escape_markdown(genre), *(f"{100 * n / max(1, sum(counts)):.0f}" for n in counts)]
            for genre, counts in zip(genres, run.confusion, strict=True)
        ]
        columns = ("", *(escape_markdown(genre) for genre in genres))
        found += [f"`{run.name}`:", markdown_table(columns, "l" + "r" * len(genres), lines)]
    return found


def _measured(
    statement: PublishedStatement, run: RunResult, runs: Sequence[RunResult]
) -> float | None:
    """Ours in the statement's unit; None where it was not measured."""
    if statement.metric == "test loss":
        return run.log_loss
    if statement.unit == "points":
        whole = _whole_clips(run, runs)
        return None if whole is None else 100 * (run.accuracy - whole.accuracy)
    return _recall(statement, run)


def _whole_clips(run: RunResult, runs: Sequence[RunResult]) -> RunResult | None:
    """The run of the same network on whole clean clips."""
    name = re.sub(r"/(10|5)s-clean", "/30s-clean", run.name)
    return next((other for other in runs if other.name == name), None)


def _same_row(statement: PublishedStatement, run: RunResult) -> bool:
    if statement.unit == "points":
        return f"/{statement.protocol.split()[0]}s-clean" in run.name and run.name.startswith(
            statement.paper
        )
    row = run.comparable_row
    return row is not None and (row.paper, row.table, row.features, row.model) == (
        statement.paper,
        statement.table,
        statement.features,
        statement.model,
    )


def _recall(statement: PublishedStatement, run: RunResult) -> float | None:
    """The recall of the statement's genre in percent, the lowest one where it is every genre."""
    recalls = {genre: 100 * scores.recall for genre, scores in run.by_genre.items()}
    if statement.metric != "recall" or not recalls:
        return None
    return (
        min(recalls.values()) if statement.genre == "every genre" else recalls.get(statement.genre)
    )
