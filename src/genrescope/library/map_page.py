"""A map as a page that needs no other files, and as a PNG.

Conventions
-----------
Genres have ten colours and four shapes: genres of one shape are at least 0.15 apart in Oklab, also
for protan, deutan and tritan eyes. The page makes no network requests. Its content security policy,
with the hashes of its script and style, lets the browser run no code from a title or a file name,
and load nothing but local files.
"""

from __future__ import annotations

import io
import json
import tempfile
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

import numpy as np
from markupsafe import Markup

from genrescope.atomic import write_atomic
from genrescope.audio.addresses import is_address
from genrescope.errors import FileError
from genrescope.library.map import Map, Positions
from genrescope.library.rows import Entry
from genrescope.templating import render

COLOURS = (
    *("#1ab4f0", "#a669fd", "#f26a3d", "#e0408f", "#499629"),
    *("#934f16", "#3162bb", "#d9a916", "#8a3a80", "#3fcb90"),
)
SHAPES = ("circle", "square", "triangle", "diamond")
_MARKERS = {"circle": "o", "square": "s", "triangle": "^", "diamond": "D"}
_LAYERS = 8
_LABELS_SHOWN = 3


def check_writable(path: Path) -> None:
    """Check that a map can be written to a file, before it is drawn; nothing is left there.

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


def _number(drawn: Map, entry: Entry) -> int:
    """The number of a track's genre among those of a map."""
    # A track may have been corrected to a genre of a model that classified it before.
    known = entry.effective_genre in drawn.genres
    return drawn.genres.index((entry.effective_genre if known else entry.genre) or "")


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
    positions, _ = within_one(drawn.positions)
    genre = np.array([_number(drawn, entry) for entry in drawn.entries])
    confidence = np.array([entry.confidence for entry in drawn.entries])
    size = np.clip(9000 / len(genre), 9, 110) * (0.25 + confidence)
    # Layers of all genres, so that the last one does not cover the others.
    layers = np.array_split(np.random.default_rng(0).permutation(len(genre)), _LAYERS)
    for layer in layers:
        for number in np.unique(genre[layer]):
            tracks = layer[genre[layer] == number]
            colour, shape = look(number)
            axes.scatter(
                positions[tracks, 0],
                positions[tracks, 1],
                s=size[tracks] * (0.8 if shape == "diamond" else 1),
                c=colour,
                marker=_MARKERS[shape],
                edgecolors="white",
                linewidths=0.4,
                alpha=0.92,
            )
    for number in np.unique(genre):
        colour, shape = look(number)
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
        title="large: certain, small: uncertain\n",
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
    folder = files("genrescope") / "templates"
    names = ("map.css", "map-drawing.js", "map.js")
    style, drawing, control = (folder.joinpath(name).read_text("utf-8") for name in names)
    script = drawing + control
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "media-src file:; img-src data:; base-uri 'none'; form-action 'none'"
    )
    # The files of this package stand in the page as they are, so that their hashes fit, and so
    # does the JSON, in which `_data` escapes what HTML could misread.
    return render(
        "map.html",
        policy=Markup(policy),  # noqa: S704
        title=_title(drawn),
        subtitle=f"Similar tracks lie close together. Positions by {drawn.method.label}.",
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        data=Markup(_data(drawn)),  # noqa: S704
    )


def _data(drawn: Map) -> str:
    """The tracks as JSON that can stand in a script element."""
    positions, extent = within_one(drawn.positions)
    roots = sorted({entry.root for entry in drawn.entries})
    number_of = {root: number for number, root in enumerate(roots)}
    tracks = [
        [
            *(round(float(value), 5) for value in position),
            _number(drawn, entry),
            round(entry.confidence, 3),
            number_of[entry.root],
            entry.path,
            entry.name,
            _album(entry),
            _labels(entry),
        ]
        for entry, position in zip(drawn.entries, positions, strict=True)
    ]
    data = {
        "genres": [
            {"name": genre, **dict(zip(("colour", "shape"), look(number), strict=True))}
            for number, genre in enumerate(drawn.genres)
        ],
        "roots": [
            {
                "path": root,
                "address": root if is_address(root) else Path(root).as_uri().rstrip("/"),
            }
            for root in roots
        ],
        "extent": extent,
        "tracks": tracks,
    }
    # The element would end at the first "</script", even within a JSON string.
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _album(entry: Entry) -> str:
    """Album and year, and the artist if there is no title."""
    parts = [entry.album, str(entry.year) if entry.year else None]
    if entry.artist and not entry.title:
        parts.insert(0, entry.artist)
    return ", ".join(each for each in parts if each)


def _labels(entry: Entry) -> str:
    """Styles, instruments and moods, a few of each."""
    groups = (entry.styles, entry.instruments, entry.moods)
    return " · ".join(", ".join(list(group)[:_LABELS_SHOWN]) for group in groups if group)


def within_one(positions: Positions) -> tuple[Positions, list[float]]:
    """Positions centred on 0, the larger extent scaled to ±1; and the extents in x and y."""
    low, high = positions.min(axis=0), positions.max(axis=0)
    half = (high - low) / 2
    scale = max(float(half.max()), 1e-12)
    return (positions - (low + high) / 2) / scale, [round(float(each), 5) for each in half / scale]


def look(genre: int) -> tuple[str, str]:
    """A genre's colour and shape, by its index among the model's genres."""
    return COLOURS[genre % len(COLOURS)], SHAPES[genre % len(SHAPES)]


def _title(drawn: Map) -> str:
    count = len(drawn.entries)
    return f"{count:,} track{'' if count == 1 else 's'}"


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
