"""What a map looks like: a page that needs nothing but itself, and a PNG.

Conventions
-----------
Ten colours are told apart by most eyes; who sees fewer has the four shapes as well: genres of one
shape stay at least 0.15 apart in Oklab to protan, deutan and tritan eyes. The page asks nothing of
the network. Its own rules (a content security policy with the hashes of its script and style) let
the browser run nothing that a title or a file name might smuggle in, and load nothing but local
files.
"""

from __future__ import annotations

import io
import json
import tempfile
from base64 import b64encode
from hashlib import sha256
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np

from genrescope.atomic import write_atomic
from genrescope.errors import FileError
from genrescope.library.map import Map, Positions
from genrescope.library.rows import Entry

COLOURS = (
    *("#1ab4f0", "#a669fd", "#f26a3d", "#e0408f", "#499629"),
    *("#934f16", "#3162bb", "#d9a916", "#8a3a80", "#3fcb90"),
)
SHAPES = ("circle", "square", "triangle", "diamond")
_MARKERS = {"circle": "o", "square": "s", "triangle": "^", "diamond": "D"}
_LAYERS = 8


def check_writable(path: Path) -> None:
    """Find out whether a map can be written to a file, before it is drawn; nothing is left there.

    Raises
    ------
    FileError
        When it can't.
    """
    try:
        if path.is_dir():
            raise FileError(path, "a folder, not a file")
        if not path.parent.is_dir():
            raise FileError(path, "there is no such folder")
        if path.is_file() or not path.exists():  # nothing is tried on /dev/stdout and pipes
            tempfile.TemporaryFile(dir=path.resolve().parent).close()
    except OSError as error:
        raise FileError(path, f"can't be written: {error.strerror or error}") from None


def write_page(drawn: Map, path: Path) -> None:
    """Write a map as one HTML file.

    Raises
    ------
    FileError
        When it can't be written.
    """
    _write(path, _page(drawn).encode())


def write_picture(drawn: Map, path: Path) -> None:
    """Write a map as PNG.

    Raises
    ------
    FileError
        When it can't be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7.5), dpi=150, layout="constrained")
    axes = figure.subplots()
    positions, _ = _within_one(drawn.positions)
    genre = np.array([drawn.genres.index(entry.genre or "") for entry in drawn.entries])
    sure = np.array([entry.confidence for entry in drawn.entries])
    size = np.clip(9000 / len(genre), 9, 110) * (0.25 + sure)
    # Layers of all genres, so that the last one does not cover the others.
    layers = np.array_split(np.random.default_rng(0).permutation(len(genre)), _LAYERS)
    for layer in layers:
        for number in np.unique(genre[layer]):
            of_it = layer[genre[layer] == number]
            colour, shape = _look(number)
            axes.scatter(
                positions[of_it, 0],
                positions[of_it, 1],
                s=size[of_it] * (0.8 if shape == "diamond" else 1),
                c=colour,
                marker=_MARKERS[shape],
                edgecolors="white",
                linewidths=0.4,
                alpha=0.92,
            )
    for number in np.unique(genre):
        colour, shape = _look(number)
        label = f"{drawn.genres[number]}  {np.count_nonzero(genre == number)}"
        axes.scatter([], [], s=55, c=colour, marker=_MARKERS[shape], label=label)
    axes.set_aspect("equal")
    axes.margins(0.04)
    axes.set_axis_off()
    axes.set_title(f"{_title(drawn)}, by {drawn.method.label}", loc="left", fontsize=13)
    axes.legend(
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        frameon=False,
        labelspacing=0.7,
        title="large: sure, small: unsure\n",
        title_fontsize=9,
        alignment="left",
    )
    buffer = io.BytesIO()
    figure.savefig(
        buffer, format="png", metadata={"Software": None}, bbox_inches="tight", pad_inches=0.25
    )
    _write(path, buffer.getvalue())


def _write(path: Path, content: bytes) -> None:
    try:
        write_atomic(path, content)
    except OSError as error:
        raise FileError(path, f"can't be written: {error.strerror or error}") from None


def _page(drawn: Map) -> str:
    here = files("genrescope.library")
    template, style, script = (
        here.joinpath(f"map.{kind}").read_text("utf-8") for kind in ("html", "css", "js")
    )
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "media-src file:; img-src data:; base-uri 'none'; form-action 'none'"
    )
    return Template(template).substitute(
        policy=policy,
        title=escape(_title(drawn)),
        subtitle=escape(f"Near means alike. By {drawn.method.label}."),
        style=style,
        script=script,
        data=_data(drawn),
    )


def _data(drawn: Map) -> str:
    """The tracks as JSON that can stand within a page's script element."""
    positions, extent = _within_one(drawn.positions)
    roots = sorted({entry.root for entry in drawn.entries})
    place = {root: number for number, root in enumerate(roots)}
    tracks = [
        [
            *(round(float(value), 5) for value in position),
            drawn.genres.index(entry.genre or ""),
            round(entry.confidence, 3),
            place[entry.root],
            entry.path,
            entry.name,
            _besides(entry),
        ]
        for entry, position in zip(drawn.entries, positions, strict=True)
    ]
    data = {
        "genres": [
            {"name": genre, **dict(zip(("colour", "shape"), _look(number), strict=True))}
            for number, genre in enumerate(drawn.genres)
        ],
        "roots": [{"path": root, "address": Path(root).as_uri().rstrip("/")} for root in roots],
        "extent": extent,
        "tracks": tracks,
    }
    # An element ends at the first "</script", whatever quotes stand around it.
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _besides(entry: Entry) -> str:
    """What the tags say besides artist and title."""
    said = [entry.album, str(entry.year) if entry.year else None]
    if entry.artist and not entry.title:
        said.insert(0, entry.artist)
    return ", ".join(each for each in said if each)


def _within_one(positions: Positions) -> tuple[Positions, list[float]]:
    """Positions around 0 whose larger extent is -1 to 1, and how far they reach in x and y."""
    low, high = positions.min(axis=0), positions.max(axis=0)
    half = (high - low) / 2
    scale = max(float(half.max()), 1e-12)
    return (positions - (low + high) / 2) / scale, [round(float(each), 5) for each in half / scale]


def _look(genre: int) -> tuple[str, str]:
    """A genre's colour and shape, by its place among the model's genres."""
    return COLOURS[genre % len(COLOURS)], SHAPES[genre % len(SHAPES)]


def _title(drawn: Map) -> str:
    count = len(drawn.entries)
    return f"{count:,} track{'' if count == 1 else 's'}"


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
