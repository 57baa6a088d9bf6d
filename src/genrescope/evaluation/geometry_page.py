"""What `genrescope geometry` writes: figures as JSON and CSV, pictures, and pages around them."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from genrescope.evaluation.geometry import NEIGHBOURS, Cosine, Heard, Layer, Measured

_NOTHING = "–"
_COSINES: tuple[Cosine, ...] = ("raw", "centred")


@dataclass(frozen=True, eq=False)
class Geometry:
    """The geometry of a network's layers, and what it was made of.

    Attributes
    ----------
    model, data
        Names of the network and of the data set.
    command, split, seed
        How to have it again; the split is the run's, in words, empty where it is not known.
    alarms, notes
        What nobody may miss, and what else is to be said.
    """

    model: str
    data: str
    command: str
    split: str
    seed: int
    heard: Heard
    layers: tuple[Layer, ...]
    alarms: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def slug(self) -> str:
        """The network's name as a part of a file's name."""
        return re.sub(r"[^\w.-]+", "-", self.model)

    @property
    def sides(self) -> dict[str, int]:
        """Tracks of each side."""
        return {side: self.heard.sides.count(side) for side in dict.fromkeys(self.heard.sides)}

    @property
    def commonest(self) -> float:
        """Part of the tracks that one is right on who always names the commonest genre."""
        return max(map(self.heard.genres.count, self.heard.names)) / len(self.heard.genres)

    def to_dict(self) -> dict[str, Any]:
        """As `geometry.json` has it; what is not defined is null."""
        return {
            "model": self.model,
            "data": self.data,
            "command": self.command,
            "split": self.split or None,
            "seed": self.seed,
            "neighbours": NEIGHBOURS,
            "commonest_genre": round(self.commonest, 4),
            "tracks": self.sides,
            "artists_known": self.heard.artists_known,
            "alarms": list(self.alarms),
            "notes": list(self.notes),
            "genres": self.heard.names,
            "layers": [
                {
                    "layer": layer.name,
                    "size": layer.size,
                    "figures": [_measured(one) for one in layer.measured],
                    "mean_cosine": {
                        kind: [[_number(x) for x in row] for row in layer.between[kind]]
                        for kind in _COSINES
                    },
                }
                for layer in self.layers
            ],
        }


def _measured(one: Measured) -> dict[str, Any]:
    def figure(found: Figure | None) -> dict[str, Any] | None:
        if found is None:
            return None
        low, high = _number(found.low), _number(found.high)
        return {"value": _number(found.value), "interval": [low, high]}

    return {
        "cosine": one.cosine,
        "side": one.side,
        "n": one.n,
        "within_genres": _number(one.within),
        "between_genres": _number(one.between),
        "silhouette": figure(one.silhouette),
        "knn_accuracy": figure(one.knn),
        "knn_accuracy_other_artists": figure(one.knn_other_artists),
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 4)


def write_folder(geometry: Geometry, folder: Path) -> Path:
    """Write figures, pictures and `report.html` with its Markdown twin; gives the page.

    Raises
    ------
    FileError
        When the folder holds a run, or can't be written.
    """
    for name in ("recipe.yaml", "metrics.json"):
        if (folder / name).is_file():
            raise FileError(folder, "holds a run, whose report would be lost; name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pictures = _write_parts(geometry, folder, "geometry")
        write_atomic(folder / "geometry.json", _json(geometry))
        write_atomic(folder / "geometry-tracks.csv", _tracks(geometry))
        title = f"Genre geometry of {geometry.model}"
        blocks = [*_blocks(geometry), *pictures]
        for name, page in (("report.html", to_html), ("report.md", to_markdown)):
            write_atomic(folder / name, page(title, blocks).encode("utf-8", "replace"))
    except OSError as error:
        raise FileError(folder, f"can't be written: {error.strerror}") from None
    return folder / "report.html"


def write_page(geometry: Geometry, page: Path) -> list[Path]:
    """Write the figures between the network's marks of a Markdown page, and pictures beside it.

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
        raise FileError(page, f"wanted is one {begin} and below it one {end}")
    before, after = text[: text.index(begin)], text[text.index(end) + len(end) :]
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        stem = f"{page.stem}-{geometry.slug}"
        pictures = _write_parts(geometry, page.parent, stem)
        # The page has a title of its own.
        _, _, body = to_markdown("", [*_blocks(geometry), *pictures]).partition("\n\n")
        write_atomic(page, f"{before}{begin}\n\n{body}\n{end}{after}".encode("utf-8", "replace"))
    except OSError as error:
        raise FileError(page, f"can't be written: {error.strerror}") from None
    return [page, *(p.path for p in pictures), page.parent / f"{stem}-pairs.csv"]


def _json(geometry: Geometry) -> bytes:
    return (json.dumps(geometry.to_dict(), indent=1) + "\n").encode()


def _write_parts(geometry: Geometry, folder: Path, stem: str) -> list[Picture]:
    """The pictures, and the mean cosines as a table."""
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
        genres = geometry.heard.names
        geometry_plots.neighbour_maps(geometry.layers, geometry.heard, maps.path)
        geometry_plots.heat_maps(geometry.layers, genres, "raw", raw.path)
        geometry_plots.heat_maps(geometry.layers, genres, "centred", around.path)
    except ModuleNotFoundError as error:
        needs = f"drawing needs {error.name}: pip install 'genrescope[lab]'"
        raise GenrescopeError(needs) from None
    write_atomic(folder / f"{stem}-pairs.csv", _pairs(geometry))
    return [maps, raw, around]


def _pairs(geometry: Geometry) -> bytes:
    """Mean cosine of every pair of genres in every layer, a row each."""
    genres = geometry.heard.names
    rows = [
        [layer.name, kind, one, other, f"{layer.between[kind][i, i + j]:.4f}"]
        for layer in geometry.layers
        for kind in _COSINES
        for i, one in enumerate(genres)
        for j, other in enumerate(genres[i:])
    ]
    return _csv(["layer", "cosine", "genre", "other_genre", "mean_cosine"], rows)


def _tracks(geometry: Geometry) -> bytes:
    """Where each track lies in each layer's map."""
    heard = geometry.heard
    maps = [(layer.name, layer.places) for layer in geometry.layers if layer.places is not None]
    rows = [
        [*about, *(f"{x:.4f}" for _, places in maps for x in places[place])]
        for place, about in enumerate(zip(heard.ids, heard.genres, heard.sides, strict=True))
    ]
    axes = [f"{name}_{axis}" for name, _ in maps for axis in "xy"]
    return _csv(["track", "genre", "side", *axes], rows)


def _csv(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    # A file's name may hold bytes that are no UTF-8.
    return text.getvalue().encode("utf-8", "surrogateescape")


def said(geometry: Geometry) -> list[str]:
    """What was heard, and what the figures are, in sentences."""
    sides = ", ".join(f"{n} tracks ({side})" for side, n in geometry.sides.items())
    split = f"; split: {geometry.split}" if geometry.split else ""
    sizes = ", ".join(f"{layer.name} {layer.size:,}" for layer in geometry.layers)
    together = ", one artist’s together" if geometry.heard.artists_known else ""
    others = (
        "; other artists’: tracks of the same artist, and known copies, are not asked"
        if geometry.heard.artists_known
        else ""
    )
    return [
        f"{geometry.model} on {geometry.data}: {sides}{split}; seed {geometry.seed}.",
        f"Numbers a track: {sizes}. Within and between genres: mean cosine over all pairs of "
        f"tracks. In brackets: 95 % intervals of a bootstrap over tracks{together}. "
        f"Neighbours: part of the tracks that the vote of their {NEIGHBOURS} nearest others names "
        f"right{others}. Always naming the commonest genre is right on "
        f"{100 * geometry.commonest:.1f} %.",
    ]


def _blocks(geometry: Geometry) -> Iterator[Block]:
    yield from map(Alarm, geometry.alarms)
    yield from map(Paragraph, [*said(geometry), *geometry.notes])
    yield Paragraph(f"Command: {geometry.command}")
    columns, rows = figures_table(geometry)
    yield Table(columns, rows, texts=2 + (len(geometry.sides) > 1))
    yield Heading("Which genre is next to each")
    yield Paragraph("By the mean centred cosine, in brackets; – where no other is nearer than 0.")
    yield Table(*nearest_table(geometry), texts=1 + len(geometry.layers))
    yield Heading("Pictures")


def figures_table(
    geometry: Geometry, *, side: str | None = None
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Columns and rows of the figures: a row for each layer, cosine and side.

    Those of one side alone are short enough for a terminal.
    """
    several, artists = side is None and len(geometry.sides) > 1, geometry.heard.artists_known
    counted, digits = side is None, 1 if side is None else 0
    to = " to " if side is None else ", "
    columns = ["Layer", "Cosine", *["Side"] * several, *["n"] * counted, "Within", "Between"]
    columns += ["Silhouette", "Neighbours, %", *["Other artists’, %"] * artists]
    rows = [
        (
            layer.name,
            one.cosine,
            *[one.side] * several,
            *[str(one.n)] * counted,
            f"{one.within:.2f}",
            f"{one.between:.2f}",
            _figure(one.silhouette, 1, 2, to),
            _figure(one.knn, 100, digits, to),
            *[_figure(one.knn_other_artists, 100, digits, to)] * artists,
        )
        for layer in geometry.layers
        for one in layer.measured
        if side in (None, one.side)
    ]
    return tuple(columns), tuple(rows)


def _figure(figure: Figure | None, factor: int, digits: int, to: str) -> str:
    if figure is None:
        return _NOTHING
    value, low, high = (f"{factor * x:.{digits}f}" for x in (figure.value, figure.low, figure.high))
    return f"{value} ({low}{to}{high})"


def nearest_table(geometry: Geometry) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Columns and rows: for each genre and layer the genre next to it."""
    genres = geometry.heard.names
    rows = [
        (genre, *(_nearest(layer, place, genres) for layer in geometry.layers))
        for place, genre in enumerate(genres)
    ]
    return ("Genre", *(layer.name for layer in geometry.layers)), tuple(rows)


def _nearest(layer: Layer, place: int, genres: Sequence[str]) -> str:
    row = layer.between["centred"][place].copy()
    row[place] = -np.inf
    best = int(row.argmax())
    return f"{genres[best]} ({row[best]:.2f})" if row[best] > 0 else _NOTHING
