"""Pictures of a run, drawn with matplotlib and written as PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genrescope.atomic import write_atomic
from genrescope.evaluation.metrics import confidence_bins, mean_and_deviation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BLUE = "#2f6fb0"
_LEGEND = 10  # more trainings than this are drawn without names


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def _save(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    # Without the date in it the same run draws the same file.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_atomic(path, buffer.getvalue())


def _plain(axes: Any) -> None:
    """Leave away what says nothing: the frame's upper and right side."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)


def confusion(counts: NDArray[np.intp], genres: Sequence[str], path: Path) -> None:
    """Confusion matrix in two panels, counts and percent of each row; both coloured by the row.

    Parameters
    ----------
    counts
        `[genre, named as]`.
    """
    side = max(4.0, 1.5 + 0.44 * len(genres))
    figure = _figure(2 * side, side + 0.5)
    figure.set_layout_engine("compressed")  # what keeps titles beside panels of a fixed shape
    percent = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    right, total = int(np.trace(counts)), int(counts.sum())
    titles = (f"tracks: {right} of {total} named right", "percent of the genre's tracks")
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
        axes.set_xlabel("named as")
        axes.set_ylabel("genre")
        axes.set_title(title, fontsize=11)
    _save(figure, path)


def curves(history: Mapping[str, Sequence[Mapping[str, float]]], path: Path) -> None:
    """Loss and accuracy per epoch of each training; nothing where no training has epochs.

    Parameters
    ----------
    history
        By part of the run: for each epoch `epoch` and `loss`, and where they were measured
        `accuracy` on the tracks that were not trained on and `train_accuracy` on those that were.
    """
    trainings = {part: epochs for part, epochs in history.items() if epochs}
    if not trainings:
        return
    figure = _figure(10, 4.2)
    loss_axes, accuracy_axes = figure.subplots(1, 2)
    for number, (part, epochs) in enumerate(trainings.items()):
        style = {"color": f"C{number % 10}", "alpha": 0.9, "linewidth": 1.4}
        _draw(loss_axes, epochs, "loss", 1, label=part, **style)
        _draw(accuracy_axes, epochs, "accuracy", 100, label=part, **style)
        _draw(accuracy_axes, epochs, "train_accuracy", 100, linestyle="--", **style)
    seen = any("train_accuracy" in epoch for epochs in trainings.values() for epoch in epochs)
    loss_axes.set_title("loss in training")
    accuracy_axes.set_title(
        "accuracy, %: unseen tracks solid, training dashed"
        if seen
        else "accuracy on unseen tracks, %"
    )
    for axes in (loss_axes, accuracy_axes):
        _plain(axes)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
    if 1 < len(trainings) <= _LEGEND:
        columns = 1 if len(trainings) <= 5 else 2
        loss_axes.legend(fontsize=8, frameon=False, ncols=columns)
    _save(figure, path)


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
    figure = _figure(6.5, max(2.0, 1.1 + 0.28 * len(accuracies)))
    axes: Any = figure.subplots()
    places = range(len(accuracies))
    axes.axvspan(mean - deviation, mean + deviation, color=_BLUE, alpha=0.15, linewidth=0)
    axes.axvline(mean, color=_BLUE, linewidth=1.2)
    axes.plot([100 * value for value in accuracies.values()], places, "o", color=_BLUE)
    axes.set_yticks(places, accuracies)
    axes.invert_yaxis()
    axes.margins(y=max(0.08, 0.5 / len(accuracies)))
    axes.set_xlabel("accuracy, %")
    axes.set_title(f"{mean:.1f} ± {deviation:.1f} % (mean ± standard deviation)", fontsize=11)
    _plain(axes)
    _save(figure, path)


def reliability(
    truth: NDArray[np.intp], probabilities: NDArray[np.float64], path: Path, bins: int = 10
) -> None:
    """Accuracy against confidence in bins, with the number of tracks in each."""
    figure = _figure(5.5, 5.2)
    axes: Any = figure.subplots()
    held = confidence_bins(truth, probabilities, bins)
    axes.plot([0, 100], [0, 100], color="grey", linestyle="--", label="perfectly calibrated")
    filled = held.n > 0
    n, accuracy = held.n[filled], 100 * held.right[filled] / held.n[filled]
    places = 100 * (np.flatnonzero(filled) + 0.5) / bins
    axes.bar(places, accuracy, 92 / bins, color=_BLUE, alpha=0.35)
    confidence = 100 * held.confidence[filled] / n
    axes.plot(confidence, accuracy, "o", color=_BLUE, markersize=5, label="tracks of this model")
    for place, number in zip(places, n, strict=True):
        axes.text(place, 1.5, f"{number:.0f}", ha="center", fontsize=8, color="#333333")
    axes.set_xlabel("confidence, %")
    axes.set_ylabel("named right, %")
    axes.set_title(f"calibration error {100 * held.error:.1f} %; tracks in each bin", fontsize=11)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 102)
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    _plain(axes)
    _save(figure, path)


def tuning(
    trials: Sequence[Mapping[str, Any]], importance: Mapping[str, float], path: Path
) -> None:
    """What a search found: accuracy trial by trial and its best so far, and what mattered.

    Parameters
    ----------
    trials
        In order, each with `number`, `state` and `value` (None where there is none).
    importance
        Of each setting, between 0 and 1; no panel where it is empty.
    """
    figure = _figure(11.5 if importance else 6.5, 4.2)
    panels = figure.subplots(1, 2 if importance else 1, squeeze=False)[0]
    axes: Any = panels[0]
    done = [t for t in trials if t["state"] == "complete" and t["value"] is not None]
    numbers, values = [t["number"] for t in done], [100 * t["value"] for t in done]
    axes.step(
        [*numbers, trials[-1]["number"]],
        np.maximum.accumulate([*values, values[0]]),
        where="post",
        color=_BLUE,
        linewidth=1.2,
        label="best so far",
    )
    axes.plot(numbers, values, "o", color=_BLUE, alpha=0.5, markersize=5, label="trial")
    if numbers[0] == 0:
        axes.plot(0, values[0], "s", color="black", markersize=6, label="recipe as it was")
    given_up = [t["number"] for t in trials if t["state"] == "pruned"]
    if given_up:
        # At the foot: how far they came says nothing of what they would have come to.
        axes.plot(
            given_up,
            [0.02] * len(given_up),
            "x",
            color="grey",
            markersize=5,
            transform=axes.get_xaxis_transform(),
            label="given up early",
        )
    axes.margins(y=0.12)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("trial")
    axes.set_ylabel("validation accuracy, %")
    axes.set_title(f"best of {len(trials)} trials: {max(values):.1f} %", fontsize=11)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, fontsize=8, frameon=False)
    _plain(axes)
    if importance:
        _importances(panels[1], importance)
    _save(figure, path)


def _importances(axes: Any, importance: Mapping[str, float]) -> None:
    """A bar for each setting, the one that mattered most on top."""
    names = sorted(importance, key=importance.__getitem__)
    bars = axes.barh(names, [100 * importance[name] for name in names], 0.6, color=_BLUE, alpha=0.8)
    axes.bar_label(bars, fmt="%.0f %%", padding=3, fontsize=9)
    axes.margins(x=0.12)
    axes.set_xlabel("share of the differences that it explains, %")
    axes.set_title("what mattered", fontsize=11)
    _plain(axes)
    axes.grid(visible=False, axis="y")
