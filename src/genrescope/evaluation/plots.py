"""Pictures of a run, drawn with matplotlib and written as PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genrescope.atomic import write_atomic
from genrescope.evaluation.metrics import confidence_bins, mean_and_deviation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from genrescope.evaluation.published_comparison import ComparedFigure

BLUE = "#2f6fb0"
_ORANGE = "#c2571a"
# More trainings than this are drawn without a legend.
_LEGEND = 10


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, with its size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_atomic(path, buffer.getvalue())


def strip_frame(axes: Any) -> None:
    """Remove the upper and right line of the frame, and draw a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)


def confusion(counts: NDArray[np.intp], genres: Sequence[str], path: Path) -> None:
    """Confusion matrix in two panels, counts and percent of each row; both coloured by the row.

    Parameters
    ----------
    counts
        `[genre, predicted genre]`.
    """
    side = max(4.0, 1.5 + 0.44 * len(genres))
    figure = new_figure(2 * side, side + 0.5)
    figure.set_layout_engine("compressed")  # keeps titles next to panels of a fixed shape
    percent = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    correct, total = int(np.trace(counts)), int(counts.sum())
    titles = (f"tracks: {correct} of {total} correct", "percent of the genre's tracks")
    for axes, values, title in zip(
        np.ravel(figure.subplots(1, 2)), (counts, percent), titles, strict=True
    ):
        axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
        for row, column in np.ndindex(*counts.shape):
            if counts[row, column]:
                dark = percent[row, column] > 50
                axes.text(
                    column,
                    row,
                    f"{values[row, column]:.0f}",
                    ha="center",
                    va="center",
                    color="white" if dark else "black",
                    fontsize=9,
                )
        axes.set_xticks(range(len(genres)), genres, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(genres)), genres)
        # Thin lines between the cells lead the eye along a row.
        axes.set_xticks(np.arange(len(genres) + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(len(genres) + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="#d5dde6", linewidth=0.6)
        axes.tick_params(which="both", length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("predicted genre")
        axes.set_ylabel("genre")
        axes.set_title(title, fontsize=11)
    save(figure, path)


def curves(history: Mapping[str, Sequence[Mapping[str, float]]], path: Path) -> None:
    """Loss and accuracy per epoch of each training; nothing where no training has epochs.

    Parameters
    ----------
    history
        By fold: for each epoch `epoch` and `loss`, and where they were measured
        `accuracy` on held-out tracks and `train_accuracy` on training tracks.
    """
    trainings = {name: epochs for name, epochs in history.items() if epochs}
    if not trainings:
        return
    figure = new_figure(10, 4.2)
    loss_axes, accuracy_axes = figure.subplots(1, 2)
    for number, (name, epochs) in enumerate(trainings.items()):
        style = {"color": f"C{number % 10}", "alpha": 0.9, "linewidth": 1.4}
        _draw(loss_axes, epochs, "loss", 1, label=name, **style)
        _draw(accuracy_axes, epochs, "accuracy", 100, label=name, **style)
        _draw(accuracy_axes, epochs, "train_accuracy", 100, linestyle="--", **style)
    both = any("train_accuracy" in epoch for epochs in trainings.values() for epoch in epochs)
    loss_axes.set_title("loss in training")
    accuracy_axes.set_title(
        "accuracy, %: held-out solid, training dashed" if both else "accuracy on held-out tracks, %"
    )
    for axes in (loss_axes, accuracy_axes):
        strip_frame(axes)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
    if 1 < len(trainings) <= _LEGEND:
        columns = 1 if len(trainings) <= 5 else 2
        loss_axes.legend(fontsize=8, frameon=False, ncols=columns)
    save(figure, path)


def _draw(
    axes: Any, epochs: Sequence[Mapping[str, float]], key: str, factor: float, **style: Any
) -> None:
    """Draw a line over the epochs in which it was measured, with dots where those are few."""
    measured = [epoch for epoch in epochs if key in epoch]
    axes.plot(
        [epoch["epoch"] for epoch in measured],
        [factor * epoch[key] for epoch in measured],
        marker="o" if len(measured) <= 25 else "",
        markersize=3,
        **style,
    )


def folds(accuracies: Mapping[str, float], path: Path) -> None:
    """Accuracy of each fold as a point, with their mean and standard deviation.

    Parameters
    ----------
    accuracies
        By the fold's name, from 0 to 1; two at least.
    """
    mean, deviation = (100 * value for value in mean_and_deviation(list(accuracies.values())))
    figure = new_figure(6.5, max(2.0, 1.1 + 0.28 * len(accuracies)))
    axes: Any = figure.subplots()
    positions = range(len(accuracies))
    axes.axvspan(mean - deviation, mean + deviation, color=BLUE, alpha=0.15, linewidth=0)
    axes.axvline(mean, color=BLUE, linewidth=1.2)
    axes.plot([100 * value for value in accuracies.values()], positions, "o", color=BLUE)
    axes.set_yticks(positions, accuracies)
    axes.invert_yaxis()
    axes.margins(y=max(0.08, 0.5 / len(accuracies)))
    axes.set_xlabel("accuracy, %")
    axes.set_title(f"{mean:.1f} ± {deviation:.1f} % (mean ± standard deviation)", fontsize=11)
    strip_frame(axes)
    save(figure, path)


def reliability(
    truth: NDArray[np.intp], probabilities: NDArray[np.float64], path: Path, bins: int = 10
) -> None:
    """Accuracy against confidence in bins, with the number of tracks in each."""
    figure = new_figure(5.5, 5.2)
    axes: Any = figure.subplots()
    binned = confidence_bins(truth, probabilities, bins)
    axes.plot([0, 100], [0, 100], color="grey", linestyle="--", label="perfectly calibrated")
    filled = binned.n > 0
    n, accuracy = binned.n[filled], 100 * binned.correct[filled] / binned.n[filled]
    centres = 100 * (np.flatnonzero(filled) + 0.5) / bins
    axes.bar(centres, accuracy, 92 / bins, color=BLUE, alpha=0.35)
    confidence = 100 * binned.confidence[filled] / n
    axes.plot(confidence, accuracy, "o", color=BLUE, markersize=5, label="tracks of this model")
    for centre, number in zip(centres, n, strict=True):
        axes.text(centre, 1.5, f"{number:.0f}", ha="center", fontsize=8, color="#333333")
    axes.set_xlabel("confidence, %")
    axes.set_ylabel("correct, %")
    axes.set_title(f"calibration error {100 * binned.error:.1f} %; tracks in each bin", fontsize=11)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 102)
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    strip_frame(axes)
    save(figure, path)


def tuning(
    trials: Sequence[Mapping[str, Any]], importance: Mapping[str, float], path: Path
) -> None:
    """A search for settings: accuracy of each trial, the best so far, and the settings' importance.

    Parameters
    ----------
    trials
        In order, each with `number`, `state` and `value` (None where there is none).
    importance
        Importance of each setting, between 0 and 1; no panel where it is empty.
    """
    figure = new_figure(11.5 if importance else 6.5, 4.2)
    panels = figure.subplots(1, 2 if importance else 1, squeeze=False)[0]
    axes: Any = panels[0]
    done = [t for t in trials if t["state"] == "complete" and t["value"] is not None]
    numbers, values = [t["number"] for t in done], [100 * t["value"] for t in done]
    axes.step(
        [*numbers, trials[-1]["number"]],
        np.maximum.accumulate([*values, values[0]]),
        where="post",
        color=BLUE,
        linewidth=1.2,
        label="best so far",
    )
    axes.plot(numbers, values, "o", color=BLUE, alpha=0.5, markersize=5, label="trial")
    if numbers[0] == 0:
        axes.plot(0, values[0], "s", color="black", markersize=6, label="unchanged recipe")
    pruned = [t["number"] for t in trials if t["state"] == "pruned"]
    if pruned:
        # At the bottom: the accuracy of a part of the training is not comparable.
        axes.plot(
            pruned,
            [0.02] * len(pruned),
            "x",
            color="grey",
            markersize=5,
            transform=axes.get_xaxis_transform(),
            label="pruned",
        )
    axes.margins(y=0.12)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("trial")
    axes.set_ylabel("validation accuracy, %")
    axes.set_title(f"best of {len(trials)} trials: {max(values):.1f} %", fontsize=11)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, fontsize=8, frameon=False)
    strip_frame(axes)
    if importance:
        _importances(panels[1], importance)
    save(figure, path)


def _importances(axes: Any, importance: Mapping[str, float]) -> None:
    """A bar for each setting, the most important on top."""
    names = sorted(importance, key=importance.__getitem__)
    bars = axes.barh(names, [100 * importance[name] for name in names], 0.6, color=BLUE, alpha=0.8)
    axes.bar_label(bars, fmt="%.0f %%", padding=3, fontsize=9)
    axes.margins(x=0.12)
    axes.set_xlabel("share of the variance explained, %")
    axes.set_title("importance of the settings", fontsize=11)
    strip_frame(axes)
    axes.grid(visible=False, axis="y")


def published_figures(rows: Sequence[ComparedFigure], path: Path) -> None:
    """Published figures as diamonds, ours as dots with their intervals, a line for each row.

    Parameters
    ----------
    rows
        With a run, in the order of the papers.
    path
        The PNG.
    """
    positions, ticks, heads, y = [], [], [], 0.0
    for (paper, table), of_table in groupby(rows, lambda row: (row.figure.paper, row.figure.table)):
        group = list(of_table)
        heads.append((y, f"{paper}, {table}"))
        several = len({row.figure.protocol for row in group}) > 1
        for row in group:
            y += 1
            positions.append(y)
            ticks.append(_label(row, several))
        y += 1.6
    figure = new_figure(9.5, 1.2 + 0.2 * y)
    axes: Any = figure.subplots()
    for at, row in zip(positions, rows, strict=True):
        colour = _ORANGE if row.below else BLUE
        if row.interval:
            axes.plot(row.interval, [at, at], color=colour, linewidth=1.6, alpha=0.55)
        axes.plot([row.ours], [at], "o", color=colour, markersize=4.5)
        axes.plot(
            [row.figure.value_percent],
            [at],
            "D",
            markersize=4.5,
            color="white",
            markeredgecolor="#333333",
            zorder=3,
        )
    for at, text in heads:
        axes.text(
            -0.005,
            at,
            text,
            transform=axes.get_yaxis_transform(),
            ha="right",
            va="center",
            fontsize=9,
            fontweight="bold",
        )
    axes.set_yticks(positions, ticks, fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(y - 0.6, -0.8)
    axes.set_xlabel("accuracy on test tracks, %")
    axes.set_xlim(0, 100)
    _published_legend(axes)
    strip_frame(axes)
    save(figure, path)


def _label(row: ComparedFigure, several: bool) -> str:
    parts = [row.figure.features, row.figure.model]
    return ", ".join([*parts, row.figure.protocol] if several else parts)


def _published_legend(axes: Any) -> None:
    from matplotlib.lines import Line2D

    ours: dict[str, Any] = {"marker": "o", "markersize": 4.5, "linewidth": 1.6}
    axes.legend(
        handles=[
            Line2D(
                [],
                [],
                marker="D",
                linestyle="",
                color="white",
                markeredgecolor="#333333",
                markersize=4.5,
                label="published",
            ),
            Line2D([], [], color=BLUE, label="ours, with its 95 % interval", **ours),
            Line2D([], [], color=_ORANGE, label="ours, below the published", **ours),
        ],
        loc="lower center",
        bbox_to_anchor=(0.4, 1.0),
        ncols=3,
        frameon=False,
        fontsize=9,
    )
