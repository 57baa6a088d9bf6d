"""A page as a list of blocks, and what it looks like as HTML and as Markdown.

Both are made from the same blocks, so that one can't say what the other doesn't. The HTML is one
file that asks nothing of the network: its style is in it, and so are its pictures.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


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
    """What nobody may miss."""

    text: str


@dataclass(frozen=True)
class Figures:
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
    """A confusion matrix, counts `[genre, named as]`, shown as counts and as percent of a row.

    HTML colours its cells. Markdown can't, and links the picture as well where there is one.
    """

    genres: tuple[str, ...]
    counts: NDArray[np.intp]
    picture: Path


@dataclass(frozen=True)
class Picture:
    """A PNG beside the page."""

    path: Path
    description: str


@dataclass(frozen=True)
class Folded:
    """A long text that is opened by whoever wants it."""

    title: str
    text: str


Block = Heading | Paragraph | Alarm | Figures | Table | Matrix | Picture | Folded

_STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1c2733; --quiet: #5b6876; --line: #dde3ea;
  --card: #f5f7fa; --alarm: #b3001b; --heat: 47, 111, 176; }
@media (prefers-color-scheme: dark) { :root { --page: #14181d; --ink: #e4e9ef; --quiet: #98a5b3;
  --line: #2d3640; --card: #1c2229; --alarm: #d01c36; --heat: 82, 156, 228; }
  img { filter: invert(0.92) hue-rotate(180deg); } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; background: var(--page);
  color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; }
p { margin: .4rem 0 .8rem; max-width: 46rem; overflow-wrap: anywhere; }
.alarm { background: var(--alarm); color: #fff; font-size: 1.1rem; font-weight: 700;
  padding: 1rem 1.2rem; border-radius: .5rem; margin: 1rem 0; max-width: none; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .7rem;
  margin: 1.2rem 0; }
.figures div { background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: .7rem .9rem; }
.figures b { display: block; font-size: 1.6rem; line-height: 1.3; }
.figures span { display: block; color: var(--quiet); font-size: .85rem; }
.wide { overflow-x: auto; margin: .4rem 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .93rem; }
th, td { text-align: right; padding: .3rem .7rem; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { color: var(--quiet); font-weight: 600; vertical-align: bottom; }
.word { text-align: left; white-space: normal; min-width: 4.5rem; max-width: 24rem;
  overflow-wrap: break-word; }
.pair { display: flex; flex-wrap: wrap; gap: 1rem 2rem; }
.pair > div { min-width: 0; max-width: 100%; }
.heat { font-size: .8rem; }
.heat th, .heat td { padding: .25rem .15rem; min-width: 2.1rem; text-align: center; }
.heat td { border: 1px solid var(--line); }
.heat tbody th { text-align: right; padding-right: .5rem; border: 0; }
.heat thead th { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left;
  padding: .3rem .15rem; border: 0; }
.heat caption { text-align: left; color: var(--quiet); padding-bottom: .3rem; font-size: .9rem; }
.strong { color: #fff; }
img { display: block; max-width: 100%; height: auto; border-radius: .3rem; }
details { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .9rem;
  background: var(--card); margin: .6rem 0; }
summary { cursor: pointer; font-weight: 600; }
pre { overflow-x: auto; font-size: .85rem; }
@media (max-width: 32rem) { th, td { padding: .3rem .4rem; } table { font-size: .88rem; }
  .heat th, .heat td { min-width: 1.6rem; padding: .2rem .1rem; } .heat { font-size: .72rem; } }
"""


def to_html(title: str, blocks: Sequence[Block]) -> str:
    """The page as one self-contained HTML file.

    Raises
    ------
    OSError
        When a picture can't be read.
    """
    body = "\n".join(_html(block) for block in blocks)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def to_markdown(title: str, blocks: Sequence[Block]) -> str:
    """The page as Markdown, with its pictures linked by their names."""
    return "\n\n".join([f"# {_plain(title)}", *(_markdown(block) for block in blocks)]) + "\n"


@singledispatch
def _html(block: Block) -> str:
    raise TypeError(f"{block!r} is no block")


@singledispatch
def _markdown(block: Block) -> str:
    raise TypeError(f"{block!r} is no block")


def _plain(text: str) -> str:
    """Text that Markdown takes for nothing but text, on one line."""
    one_line = " ".join(text.split())
    return re.sub(r"([\\`*\[\]<>|&#~]|\b_|_\b)", r"\\\1", one_line)


@_html.register
def _(block: Heading) -> str:
    return f"<h2>{escape(block.text)}</h2>"


@_markdown.register
def _(block: Heading) -> str:
    return f"## {_plain(block.text)}"


@_html.register
def _(block: Paragraph) -> str:
    return f"<p>{escape(block.text)}</p>"


@_markdown.register
def _(block: Paragraph) -> str:
    return _plain(block.text)


@_html.register
def _(block: Alarm) -> str:
    return f'<p class="alarm" role="alert">{escape(block.text)}</p>'


@_markdown.register
def _(block: Alarm) -> str:
    return f"> [!CAUTION]\n> **{_plain(block.text)}**"


@_html.register
def _(block: Figures) -> str:
    items = (
        f"<div><span>{escape(name)}</span><b>{escape(value)}</b><span>{escape(note)}</span></div>"
        for name, value, note in block.items
    )
    return f'<div class="figures">{"".join(items)}</div>'


@_markdown.register
def _(block: Figures) -> str:
    return "\n".join(
        f"- {_plain(name)}: **{_plain(value)}**" + (f" ({_plain(note)})" if note else "")
        for name, value, note in block.items
    )


@_html.register
def _(block: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=word' if place < block.texts else ''}>{escape(cell)}</{tag}>"
            for place, cell in enumerate(cells)
        )

    head = f"<thead><tr>{row(block.columns, 'th')}</tr></thead>" if any(block.columns) else ""
    rows = "\n".join(f"<tr>{row(cells, 'td')}</tr>" for cells in block.rows)
    return f'<div class="wide"><table>{head}<tbody>\n{rows}\n</tbody></table></div>'


@_markdown.register
def _(block: Table) -> str:
    lines = [block.columns, *block.rows]
    rule = ["---" if place < block.texts else "---:" for place in range(len(block.columns))]
    head, *rows = (" | ".join(map(_plain, line)) for line in lines)
    return "\n".join(f"| {line} |" for line in (head, " | ".join(rule), *rows))


@_html.register
def _(block: Matrix) -> str:
    shares = block.counts / np.maximum(block.counts.sum(axis=1, keepdims=True), 1)
    panels = (
        _heat(block, shares, values, caption)
        for values, caption in ((block.counts, "tracks"), (100 * shares, "percent of the row"))
    )
    return f'<div class="pair">{"".join(panels)}</div>'


def _heat(
    block: Matrix, shares: NDArray[np.floating], values: NDArray[np.generic], caption: str
) -> str:
    head = "".join(f"<th>{escape(genre)}</th>" for genre in block.genres)
    rows = []
    for genre, row, line in zip(block.genres, shares, values, strict=True):
        cells = "".join(
            f"<td{' class=strong' if share > 0.5 else ''}"
            f' style="background:rgba(var(--heat),{share:.2f})">{value:.0f}</td>'
            if share
            else "<td></td>"
            for share, value in zip(row, line, strict=True)
        )
        rows.append(f"<tr><th>{escape(genre)}</th>{cells}</tr>")
    return (
        f'<div class="wide"><table class="heat"><caption>{caption}</caption>'
        f"<thead><tr><th></th>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


@_markdown.register
def _(block: Matrix) -> str:
    percent = 100 * block.counts / np.maximum(block.counts.sum(axis=1, keepdims=True), 1)
    tables = [
        _markdown(
            Table(
                (f"{name} ↓ named as →", *block.genres),
                tuple(
                    (genre, *(f"{value:.0f}" for value in row))
                    for genre, row in zip(block.genres, values, strict=True)
                ),
            )
        )
        for name, values in (("tracks", block.counts), ("percent", percent))
    ]
    if block.picture.is_file():
        tables.insert(0, _markdown(Picture(block.picture, "Confusion matrix")))
    return "\n\n".join(tables)


@_html.register
def _(block: Picture) -> str:
    png = block.path.read_bytes()
    # A PNG's width stands at byte 16. Narrower than this its words can't be read: a phone scrolls.
    narrowest = int.from_bytes(png[16:20]) * 45 // 100
    return (
        f'<div class="wide"><img style="min-width:{narrowest}px" alt="{escape(block.description)}"'
        f' src="data:image/png;base64,{base64.b64encode(png).decode()}"></div>'
    )


@_markdown.register
def _(block: Picture) -> str:
    return f"![{_plain(block.description)}]({block.path.name})"


@_html.register
def _(block: Folded) -> str:
    return (
        f"<details><summary>{escape(block.title)}</summary>"
        f"<pre>{escape(block.text)}</pre></details>"
    )


@_markdown.register
def _(block: Folded) -> str:
    # A fence is closed by one as long as itself.
    longest = max((len(run) for run in re.findall("`+", block.text)), default=0)
    fence = "`" * max(3, longest + 1)
    return (
        f"<details><summary>{escape(block.title)}</summary>\n\n"
        f"{fence}\n{block.text.rstrip()}\n{fence}\n\n</details>"
    )
