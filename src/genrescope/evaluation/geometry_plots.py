"""Pictures of genre geometry: heat maps of mean cosines, and t-SNE maps of all layers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from genrescope.evaluation import plots
from genrescope.evaluation.geometry import Cosine, EmbeddedTracks, Floats, LayerGeometry

# Ten colours that are distinguishable on white, also with most kinds of colour blindness; further
# genres repeat them with another marker.
_COLOURS = (
    *("#1f77b4", "#e6a000", "#2a9d5c", "#d1495b", "#7b4ea3"),
    *("#8c564b", "#222222", "#e377c2", "#7aa61b", "#17a2b8"),
)
_MARKS = "osD^v"


def heat_maps(
    layers: Sequence[LayerGeometry], genres: Sequence[str], kind: Cosine, path: Path
) -> None:
    """Mean cosines of all pairs of genres, a row a layer: on one scale, and on the layer's own.

    Raw cosines are shown from 0 to 1, as in the paper; centred ones may be negative and are shown
    from -1 to 1.
    """
    width = max(2.4, 0.8 + 0.31 * len(genres))
    figure = plots.new_figure(2 * width + 2.2, (width + 0.5) * len(layers) + 0.4)
    figure.set_layout_engine("compressed")  # no gaps around panels of a fixed shape
    what = "raw" if kind == "raw" else "around the mean of all tracks"
    figure.suptitle(f"Mean cosine of all pairs of tracks of two genres, {what}", fontsize=11)
    panels = figure.subplots(len(layers), 2, squeeze=False)
    ends, colours = ((0, 1), "YlGnBu") if kind == "raw" else ((-1, 1), "RdBu_r")
    for (absolute, relative), layer in zip(panels, layers, strict=True):
        values = layer.between[kind]
        shown = _heat(absolute, values, genres, colours, *ends)
        absolute.set_title(_signed(f"{layer.name}: absolute, {ends[0]} to {ends[1]}"), fontsize=10)
        absolute.set_yticks(range(len(genres)), genres)
        _write(absolute, values, shown)
        _scale(figure, absolute, shown)
        least, most = float(np.nanmin(values)), float(np.nanmax(values))
        shown = _heat(relative, values, genres, "YlGnBu", least, most)
        title = f"{layer.name}: relative, {least:.2f} to {most:.2f}"
        relative.set_title(_signed(title), fontsize=10)
        relative.set_yticks([])
        _scale(figure, relative, shown)
    plots.save(figure, path)


def _heat(
    axes: Any, values: Floats, genres: Sequence[str], colours: str, low: float, high: float
) -> Any:
    # Without any difference there is still a scale.
    shown = axes.imshow(values, cmap=colours, vmin=low, vmax=max(high, low + 1e-6))
    axes.set_xticks(range(len(genres)), genres, rotation=45, ha="right", rotation_mode="anchor")
    axes.tick_params(length=0, labelsize=8)
    axes.spines[:].set_visible(False)
    return shown


def _scale(figure: Any, axes: Any, shown: Any) -> None:
    bar = figure.colorbar(shown, ax=axes, shrink=0.8, aspect=30)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7, length=2)


def _signed(text: str) -> str:
    """With minus signs in place of hyphens."""
    return text.replace("-", "−")


def _write(axes: Any, values: Floats, shown: Any) -> None:
    """Write each cell's cosine into it, in black or white, whichever is more legible."""
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            red, green, blue, _ = shown.cmap(shown.norm(value))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
            text = _signed(f"{value:.2f}".replace("0.", "."))
            axes.text(
                column,
                row,
                text,
                ha="center",
                va="center",
                fontsize=6.5,
                color="white" if dark else "black",
            )


def tsne_maps(layers: Sequence[LayerGeometry], tracks: EmbeddedTracks, path: Path) -> None:
    """t-SNE of all layers, coloured by genre; the size of the dots shows the subset."""
    columns = min(2, len(layers))
    rows = -(-len(layers) // columns)
    figure = plots.new_figure(5.2 * columns, 4.9 * rows + 0.7)
    panels = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for axes, layer in zip(panels, layers, strict=False):
        _map(axes, layer, tracks)
    for axes in panels[len(layers) :]:
        axes.set_visible(False)
    subsets = list(dict.fromkeys(tracks.subsets))
    handles = [*_legend(tracks.names), *(_subset_legend(subsets) if len(subsets) > 1 else [])]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(len(handles), 5 * columns if columns > 1 else 4),
        frameon=False,
        fontsize=9,
        handletextpad=0.2,
        columnspacing=1.2,
    )
    plots.save(figure, path)


def _map(axes: Any, layer: LayerGeometry, tracks: EmbeddedTracks) -> None:
    from matplotlib.patheffects import withStroke

    positions, labels = layer.positions, tracks.labels
    assert positions is not None  # noqa: S101
    first = np.array(tracks.subsets) == tracks.subsets[0]
    small = ~first if len(set(tracks.subsets)) > 1 else np.zeros(len(labels), bool)
    for genre in range(len(tracks.names)):
        look = {"color": _colour(genre), "marker": _mark(genre), "linestyle": ""}
        own = labels == genre
        axes.plot(*positions[own & small].T, markersize=3, alpha=0.3, markeredgewidth=0, **look)
        axes.plot(
            *positions[own & ~small].T, markersize=5.5, alpha=0.9, **look, markeredgecolor="w"
        )
    labelled = zip(tracks.names, _label_positions(layer, tracks), strict=True)
    for genre, (name, position) in enumerate(labelled):
        axes.text(
            *position,
            name,
            ha="center",
            va="center",
            fontsize=8.5,
            fontweight="bold",
            color=_colour(genre),
            path_effects=[withStroke(linewidth=2.5, foreground="white", alpha=0.85)],
        )
    title = f"{layer.name}: {layer.size:,} dimensions"
    for scores in layer.scores:
        if scores.cosine == "centred" and scores.subset == tracks.subsets[0]:
            silhouette = _signed(f"{scores.silhouette.value:.2f}")
            title += f"\nsilhouette {silhouette}, k-NN accuracy {100 * scores.knn.value:.0f} %"
    axes.set_title(title, fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal", "datalim")
    axes.spines[:].set_color("#d5dde6")


def _label_positions(layer: LayerGeometry, tracks: EmbeddedTracks) -> Floats:
    """Where to write each genre's name: amid its tracks, and not over another name."""
    found = np.zeros((len(tracks.names), 2))
    assert layer.positions is not None  # noqa: S101
    for genre in range(len(tracks.names)):
        own = layer.positions[tracks.labels == genre]
        # At the medoid of its tracks: their mean may lie among other genres.
        found[genre] = own[np.abs(own[:, None] - own[None, :]).sum(axis=(1, 2)).argmin()]
    # The fraction of a panel's width and height that a name takes.
    room = np.array([0.16, 0.04]) * np.ptp(layer.positions, axis=0).max()
    for _ in range(100):
        for one, other in combinations(range(len(found)), 2):
            apart = found[other] - found[one]
            if (np.abs(apart) < room).all():
                push = 0.5 * (room[1] - abs(apart[1])) * (1 if apart[1] >= 0 else -1)
                found[one, 1] -= push
                found[other, 1] += push
    return found


def _colour(genre: int) -> str:
    return _COLOURS[genre % len(_COLOURS)]


def _mark(genre: int) -> str:
    return _MARKS[genre // len(_COLOURS) % len(_MARKS)]


def _legend(genres: Sequence[str]) -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=_colour(n), marker=_mark(n), linestyle="", markersize=6, label=genre)
        for n, genre in enumerate(genres)
    ]


def _subset_legend(subsets: Sequence[str]) -> list[Any]:
    from matplotlib.lines import Line2D

    large: dict[str, Any] = {"markersize": 6, "alpha": 0.9}
    small: dict[str, Any] = {"markersize": 3, "alpha": 0.4}
    return [
        Line2D([], [], color="#333333", marker="o", linestyle="", label=name, **look)
        for name, look in zip(subsets, (large, small), strict=True)
    ]
