"""The files of a genre geometry: scores as JSON and CSV, pictures, and pages with all of it."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genrescope.atomic import write_atomic
from genrescope.errors import FileError, GenrescopeError
from genrescope.evaluation.bootstrap import Figure
from genrescope.evaluation.document import (
    Alarm,
    Block,
    Heading,
    Paragraph,
    Picture,
    Table,
    to_html,
    to_markdown,
)
from genrescope.evaluation.formatting import NOTHING
from genrescope.evaluation.geometry import NEIGHBOURS, Cosine, LayerGeometry, LayerScores
from genrescope.evaluation.geometry_tracks import Geometry
from genrescope.evaluation.run_result import FILE as RESULT_FILE
from genrescope.evaluation.run_result import RECIPE_FILE
from genrescope.wording import counted

NEAREST = "By the mean centred cosine, in brackets; – where no other genre has one above 0."
_COSINES: tuple[Cosine, ...] = ("raw", "centred")


def to_dict(geometry: Geometry) -> dict[str, Any]:
    """The geometry as `geometry.json` has it; what is not defined is null."""
    return {
        "model": geometry.model,
        "data": geometry.data,
        "command": geometry.command,
        "split": geometry.split or None,
        "seed": geometry.seed,
        "neighbours": NEIGHBOURS,
        "majority_accuracy": round(geometry.majority_accuracy, 4),
        "tracks": geometry.subsets,
        "artists_known": geometry.tracks.artists_known,
        "alarms": list(geometry.alarms),
        "notes": list(geometry.notes),
        "genres": geometry.tracks.names,
        "layers": [
            {
                "layer": layer.name,
                "size": layer.size,
                "scores": [_scores(one) for one in layer.scores],
                "mean_cosine": {
                    kind: [[_number(x) for x in row] for row in layer.between[kind]]
                    for kind in _COSINES
                },
            }
            for layer in geometry.layers
        ],
    }


def _scores(one: LayerScores) -> dict[str, Any]:
    def score(found: Figure | None) -> dict[str, Any] | None:
        if found is None:
            return None
        low, high = _number(found.low), _number(found.high)
        return {"value": _number(found.value), "interval": [low, high]}

    return {
        "cosine": one.cosine,
        "subset": one.subset,
        "n": one.n,
        "within_genres": _number(one.within),
        "between_genres": _number(one.between),
        "silhouette": score(one.silhouette),
        "knn_accuracy": score(one.knn),
        "knn_accuracy_other_artists": score(one.knn_other_artists),
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 4)


def write_folder(geometry: Geometry, folder: Path) -> Path:
    """Write scores, pictures, `report.html` and `report.md` into a folder; returns the page.

    Raises
    ------
    FileError
        When the folder holds a run, or can't be written.
    """
    for name in (RECIPE_FILE, RESULT_FILE):
        if (folder / name).is_file():
            raise FileError(
                folder, "holds a run, whose report would be lost; choose another folder"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pictures = _write_pictures(geometry, folder, "geometry")
        write_atomic(
            folder / "geometry.json", (json.dumps(to_dict(geometry), indent=1) + "\n").encode()
        )
        write_atomic(folder / "geometry-tracks.csv", _tracks(geometry))
        title = f"Genre geometry of {geometry.model}"
        blocks = [*_blocks(geometry), *pictures]
        for name, page in (("report.html", to_html), ("report.md", to_markdown)):
            write_atomic(folder / name, page(title, blocks).encode("utf-8", "replace"))
    except OSError as error:
        raise FileError(folder, f"can't be written: {error.strerror}") from None
    return folder / "report.html"


def write_page(geometry: Geometry, page: Path) -> list[Path]:
    """Write the scores between the network's marks of a Markdown page, and pictures next to it.

    The marks are `<!-- geometry NAME -->` and `<!-- /geometry NAME -->`, so that one page may hold
    several networks. A page that is missing is made.

    Returns
    -------
    The files written.

    Raises
    ------
    FileError
        When the page has not one pair of the marks, or can't be read or written.
    """
    begin, end = f"<!-- geometry {geometry.model} -->", f"<!-- /geometry {geometry.model} -->"
    try:
        text = page.read_text(encoding="utf-8") if page.exists() else f"{begin}\n{end}\n"
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(page, f"can't be read: {error}") from None
    if [text.count(begin), text.count(end)] != [1, 1] or text.index(end) < text.index(begin):
        raise FileError(page, f"expected one {begin} and below it one {end}")
    before, after = text[: text.index(begin)], text[text.index(end) + len(end) :]
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^\w.-]+", "-", geometry.model)
        stem = f"{page.stem}-{name}"
        pictures = _write_pictures(geometry, page.parent, stem)
        # The page has a title of its own.
        _, _, body = to_markdown("", [*_blocks(geometry), *pictures]).partition("\n\n")
        write_atomic(page, f"{before}{begin}\n\n{body}\n{end}{after}".encode("utf-8", "replace"))
    except OSError as error:
        raise FileError(page, f"can't be written: {error.strerror}") from None
    return [page, *(p.path for p in pictures), page.parent / f"{stem}-pairs.csv"]


def _write_pictures(geometry: Geometry, folder: Path, stem: str) -> list[Picture]:
    """Write the pictures, and the mean cosines as a table."""
    try:
        from genrescope.evaluation import geometry_plots

        maps, raw, around = (
            Picture(folder / f"{stem}-{name}.png", description)
            for name, description in (
                ("tsne", "t-SNE of all layers"),
                ("cosines", "Mean raw cosine of all pairs of genres"),
                ("centred", "Mean centred cosine of all pairs of genres"),
            )
        )
        genres = geometry.tracks.names
        geometry_plots.tsne_maps(geometry.layers, geometry.tracks, maps.path)
        geometry_plots.heat_maps(geometry.layers, genres, "raw", raw.path)
        geometry_plots.heat_maps(geometry.layers, genres, "centred", around.path)
    except ModuleNotFoundError as error:
        needs = f"drawing needs {error.name}: pip install 'genrescope[lab]'"
        raise GenrescopeError(needs) from None
    write_atomic(folder / f"{stem}-pairs.csv", _pairs(geometry))
    return [maps, raw, around]


def _pairs(geometry: Geometry) -> bytes:
    """Mean cosine of every pair of genres in every layer, a row each."""
    genres = geometry.tracks.names
    rows = [
        [layer.name, kind, one, other, f"{layer.between[kind][i, i + j]:.4f}"]
        for layer in geometry.layers
        for kind in _COSINES
        for i, one in enumerate(genres)
        for j, other in enumerate(genres[i:])
    ]
    return _csv(["layer", "cosine", "genre", "other_genre", "mean_cosine"], rows)


def _tracks(geometry: Geometry) -> bytes:
    """The position of each track in each layer's map."""
    tracks = geometry.tracks
    maps = [(layer.name, layer.positions) for layer in geometry.layers]
    drawn = [(name, positions) for name, positions in maps if positions is not None]
    rows = [
        [*about, *(f"{x:.4f}" for _, positions in drawn for x in positions[i])]
        for i, about in enumerate(zip(tracks.ids, tracks.genres, tracks.subsets, strict=True))
    ]
    axes = [f"{name}_{axis}" for name, _ in drawn for axis in "xy"]
    return _csv(["track", "genre", "subset", *axes], rows)


def _csv(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    # A file's name may hold bytes that are not UTF-8.
    return text.getvalue().encode("utf-8", "surrogateescape")


def describe(geometry: Geometry) -> list[str]:
    """The measurement and its tracks, in sentences."""
    subsets = ", ".join(
        f"{counted(n, 'track')} ({subset})" for subset, n in geometry.subsets.items()
    )
    split = f"; split: {geometry.split}" if geometry.split else ""
    sizes = ", ".join(f"{layer.name} {layer.size:,}" for layer in geometry.layers)
    together = others = ""
    if geometry.tracks.artists_known:
        together = ", all tracks of an artist together"
        others = "; other artists: among tracks by other artists alone, without known copies"
    return [
        f"{geometry.model} on {geometry.data}: {subsets}{split}; seed {geometry.seed}.",
        f"Dimensions: {sizes}. Within and between genres: mean cosine over all pairs of tracks. In "
        f"brackets: 95 % intervals of a bootstrap over tracks{together}. k-NN: accuracy of the "
        f"{NEIGHBOURS} nearest neighbours{others}. Always predicting the most frequent genre has "
        f"an accuracy of {100 * geometry.majority_accuracy:.1f} %.",
    ]


def _blocks(geometry: Geometry) -> Iterator[Block]:
    yield from map(Alarm, geometry.alarms)
    yield from map(Paragraph, [*describe(geometry), *geometry.notes])
    yield Paragraph(f"Command: {geometry.command}")
    columns, rows = scores_table(geometry)
    yield Table(columns, rows, texts=2 + (len(geometry.subsets) > 1))
    yield Heading("Nearest genres")
    yield Paragraph(NEAREST)
    yield Table(*nearest_table(geometry), texts=1 + len(geometry.layers))
    yield Heading("Pictures")


def scores_table(
    geometry: Geometry, *, subset: str | None = None
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Columns and rows of the scores: a row for each layer, cosine and subset.

    Those of one subset alone are short enough for a terminal.
    """
    whole, artists = subset is None, geometry.tracks.artists_known
    several, digits = whole and len(geometry.subsets) > 1, int(whole)
    separator = " to " if whole else ", "
    columns = ["Layer", "Cosine", *["Subset"] * several, *["n"] * whole, "Within", "Between"]
    columns += ["Silhouette", "k-NN, %", *["Other artists, %"] * artists]
    rows = [
        (
            layer.name,
            one.cosine,
            *[one.subset] * several,
            *[str(one.n)] * whole,
            f"{one.within:.2f}",
            f"{one.between:.2f}",
            _score(one.silhouette, 1, 2, separator),
            _score(one.knn, 100, digits, separator),
            *[_score(one.knn_other_artists, 100, digits, separator)] * artists,
        )
        for layer in geometry.layers
        for one in layer.scores
        if subset in (None, one.subset)
    ]
    return tuple(columns), tuple(rows)


def _score(score: Figure | None, factor: int, digits: int, separator: str) -> str:
    if score is None:
        return NOTHING
    value, low, high = (f"{factor * x:.{digits}f}" for x in (score.value, score.low, score.high))
    return f"{value} ({low}{separator}{high})"


def nearest_table(geometry: Geometry) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Columns and rows: for each genre and layer the nearest other genre."""
    genres = geometry.tracks.names
    rows = [
        (genre, *(_nearest(layer, i, genres) for layer in geometry.layers))
        for i, genre in enumerate(genres)
    ]
    return ("Genre", *(layer.name for layer in geometry.layers)), tuple(rows)


def _nearest(layer: LayerGeometry, genre: int, genres: Sequence[str]) -> str:
    row = layer.between["centred"][genre].copy()
    row[genre] = -np.inf
    best = int(row.argmax())
    return f"{genres[best]} ({row[best]:.2f})" if row[best] > 0 else NOTHING
