"""A page as a list of blocks, rendered as HTML and as Markdown.

Both are made from the same blocks, so they say the same. The HTML is one file that loads nothing
from the network: its style and its pictures are in it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genrescope.evaluation.formatting import escape_markdown, markdown_table
from genrescope.templating import render


@dataclass(frozen=True)
class Heading:
    """The heading of a section."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """Some sentences."""

    text: str


@dataclass(frozen=True)
class Alarm:
    """A warning in colour that nobody may miss."""

    text: str


@dataclass(frozen=True)
class KeyFigures:
    """The few figures that come first: (name, value, note) each."""

    items: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Table:
    """Rows under columns; the first `texts` columns hold words, the others figures."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: int = 1


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix, counts `[genre, predicted genre]`, shown as counts and as percent.

    HTML colours its cells. Markdown can't, and links the picture as well where there is one.
    """

    genres: tuple[str, ...]
    counts: NDArray[np.intp]
    picture: Path

    def shares(self) -> list[list[float]]:
        """The fraction of each row that is in each cell."""
        shares: list[list[float]] = (
            self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1)
        ).tolist()
        return shares

    def panels(self) -> dict[str, list[list[str]]]:
        """The texts of the cells, as counts and as percent, by the captions of the panels."""
        return {
            "tracks": [[str(count) for count in row] for row in self.counts],
            "percent of the row": [[f"{100 * x:.0f}" for x in row] for row in self.shares()],
        }


@dataclass(frozen=True)
class Picture:
    """A PNG next to the page."""

    path: Path
    description: str

    def data_url(self) -> str:
        """The picture as a part of the page."""
        return f"data:image/png;base64,{base64.b64encode(self.path.read_bytes()).decode()}"

    def narrowest(self) -> int:
        """Width in pixels below which its words can't be read; on a phone it is scrolled."""
        with self.path.open("rb") as file:
            header = file.read(20)
        # The width stands at byte 16 of a PNG.
        return int.from_bytes(header[16:20]) * 45 // 100


@dataclass(frozen=True)
class Details:
    """A long text that is folded until the reader opens it."""

    title: str
    text: str


Block = Heading | Paragraph | Alarm | KeyFigures | Table | Matrix | Picture | Details


def to_html(title: str, blocks: Sequence[Block]) -> str:
    """The page as one self-contained HTML file.

    Raises
    ------
    OSError
        When a picture can't be read.
    """
    named = [(type(block).__name__, block) for block in blocks]
    return render("document.html", title=title, blocks=named)


def to_markdown(title: str, blocks: Sequence[Block]) -> str:
    """The page as Markdown, with its pictures linked by their names."""
    return "\n\n".join([f"# {escape_markdown(title)}", *map(_markdown, blocks)]) + "\n"


@singledispatch
def _markdown(block: Block) -> str:
    raise TypeError(f"{block!r} is not a block")


@_markdown.register
def _(block: Heading) -> str:
    return f"## {escape_markdown(block.text)}"


@_markdown.register
def _(block: Paragraph) -> str:
    return escape_markdown(block.text)


@_markdown.register
def _(block: Alarm) -> str:
    return f"> [!CAUTION]\n> **{escape_markdown(block.text)}**"


@_markdown.register
def _(block: KeyFigures) -> str:
    return "\n".join(
        f"- {escape_markdown(name)}: **{escape_markdown(value)}**"
        + (f" ({escape_markdown(note)})" if note else "")
        for name, value, note in block.items
    )


@_markdown.register
def _(block: Table) -> str:
    alignment = "l" * block.texts + "r" * (len(block.columns) - block.texts)
    columns, *rows = (list(map(escape_markdown, line)) for line in (block.columns, *block.rows))
    return markdown_table(columns, alignment, rows)


@_markdown.register
def _(block: Matrix) -> str:
    tables = [
        _markdown(
            Table(
                (f"{caption.split()[0]}: genre ↓ predicted →", *block.genres),
                tuple((genre, *row) for genre, row in zip(block.genres, rows, strict=True)),
            )
        )
        for caption, rows in block.panels().items()
    ]
    if block.picture.is_file():
        tables.insert(0, _markdown(Picture(block.picture, "Confusion matrix")))
    return "\n\n".join(tables)


@_markdown.register
def _(block: Picture) -> str:
    return f"![{escape_markdown(block.description)}]({block.path.name})"


@_markdown.register
def _(block: Details) -> str:
    # A fence is closed by one as long as itself.
    longest = max((len(run) for run in re.findall("`+", block.text)), default=0)
    fence = "`" * max(3, longest + 1)
    return (
        f"<details><summary>{escape_markdown(block.title)}</summary>\n\n"
        f"{fence}\n{block.text.rstrip()}\n{fence}\n\n</details>"
    )
