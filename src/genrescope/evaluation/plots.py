"""Pictures of a run, drawn with matplotlib and written as PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genrescope.atomic import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def _save(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    # Without the date in it the same run draws the same file.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_atomic(path, buffer.getvalue())


def confusion(counts: NDArray[np.intp], genres: Sequence[str], path: Path) -> None:
    """Confusion matrix: counts written, percent of each row coloured."""
    figure = _figure(7, 6)
    axes: Any = figure.subplots()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(100 * share, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.ndindex(*counts.shape):
        if counts[row, column]:
            dark = share[row, column] > 0.5
            axes.text(
                column,
                row,
                str(counts[row, column]),
                ha="center",
                va="center",
                color="white" if dark else "black",
            )
    axes.set_xticks(range(len(genres)), genres, rotation=45, ha="right")
    axes.set_yticks(range(len(genres)), genres)
    axes.set_xlabel("named as")
    axes.set_ylabel("genre")
    right = int(np.trace(counts))
    axes.set_title(f"{right} of {counts.sum()} tracks named right")
    figure.colorbar(image, label="percent of the genre's tracks")
    _save(figure, path)


def curves(history: Mapping[str, Sequence[Mapping[str, float]]], path: Path) -> None:
    """Loss per epoch of each training, and accuracy on the tracks it did not see."""
    figure = _figure(9, 4)
    loss_axes, accuracy_axes = figure.subplots(1, 2)
    for part, epochs in history.items():
        loss_axes.plot([e["epoch"] for e in epochs], [e["loss"] for e in epochs], label=part)
        watched = [e for e in epochs if "accuracy" in e]
        if not watched:
            continue
        accuracy_axes.plot(
            [e["epoch"] for e in watched],
            [100 * e["accuracy"] for e in watched],
            marker="o",
            markersize=3,
            label=part,
        )
    loss_axes.set_ylabel("training loss")
    accuracy_axes.set_ylabel("accuracy on one segment of unseen tracks, %")
    for axes in (loss_axes, accuracy_axes):
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=8)
    _save(figure, path)


def reliability(
    truth: NDArray[np.intp], probabilities: NDArray[np.float64], path: Path, bins: int = 10
) -> None:
    """Accuracy against confidence in bins, with the number of tracks in each."""
    figure = _figure(5, 5)
    axes: Any = figure.subplots()
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", label="perfectly calibrated")
    for b in np.unique(place):
        inside = place == b
        axes.bar((b + 0.5) / bins, right[inside].mean(), 0.9 / bins, color="tab:blue", alpha=0.7)
        axes.text((b + 0.5) / bins, 0.02, str(inside.sum()), ha="center", fontsize=8)
    axes.set_xlabel("confidence")
    axes.set_ylabel("part of the tracks named right")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.legend(loc="upper left")
    _save(figure, path)
