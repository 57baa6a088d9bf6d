"""The page of results: all that was run beside the papers, as Markdown and as one picture."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any

from genrescope.atomic import write_atomic
from genrescope.errors import FileError
from genrescope.evaluation import plots
from genrescope.evaluation.beside import Leak, Results, Row, judged_how
from genrescope.evaluation.finished import Finished
from genrescope.evaluation.published import PublishedFigure, published_results

BEGIN, END = "<!-- results -->", "<!-- /results -->"
_NOTHING = "–"
_OTHERS = (
    ("Recipe", "Data", "Split", "Judged", "Seed", "Accuracy", "95 % interval", "Macro F1"),
    "lllrrrrr",
)
_INTRODUCTION = """# Results

What the recipes reach here, beside what their papers state. All between the two marks below is
written by `genrescope compare --write`.

"""


def write_results(results: Results, path: Path, *, everything: bool = False) -> list[Path]:
    """Write the results between the marks of a Markdown page, and the picture beside it.

    A page that is missing is made. With everything, published figures without a run are listed as
    well. The picture is drawn where matplotlib is installed and there is
    something to draw.

    Returns
    -------
    The files written.

    Raises
    ------
    FileError
        When the page has not one pair of marks, or can't be read or written.
    """
    try:
        page = path.read_text(encoding="utf-8") if path.exists() else None
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(path, f"can't be read: {error}") from None
    before, after = _INTRODUCTION, "\n"
    if page is not None:
        if [page.count(BEGIN), page.count(END)] != [1, 1] or page.index(END) < page.index(BEGIN):
            raise FileError(path, f"wanted is one {BEGIN} and below it one {END}")
        before, after = page[: page.index(BEGIN)], page[page.index(END) + len(END) :]
    picture = path.with_suffix(".png")
    drawn = [row for row in results.rows if row.figure.side == "test"]
    draw = bool(drawn) and find_spec("matplotlib") is not None
    # A picture that can't be drawn anew here stays linked.
    shown = picture.name if draw or (drawn and picture.is_file()) else None
    text = to_markdown(results, shown, everything=everything)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if draw:
            draw_beside(drawn, picture)
        write_atomic(path, f"{before}{BEGIN}\n\n{text}\n{END}{after}".encode("utf-8", "replace"))
    except OSError as error:
        raise FileError(path, f"can't be written: {error.strerror}") from None
    return [path, picture] if draw else [path]


def to_markdown(results: Results, picture: str | None = None, *, everything: bool = False) -> str:
    """All results as Markdown; the same results give the same text.

    Parameters
    ----------
    picture
        Name of the picture beside the page.
    everything
        List published figures without a run as well.
    """
    blocks = [
        f"{counted(results)} Intervals are 95 % bootstrap intervals over the tracks judged; "
        "differences are ours less theirs, in points."
    ]
    if picture:
        blocks.append(f"![Published figures and ours]({picture})")
    for paper, rows in groupby(results.listed(everything), lambda row: row.figure.paper):
        blocks.append(f"## The {paper} paper")
        for table, of_table in groupby(rows, lambda row: row.figure.table):
            blocks += [f"### {paper}, {table}", *_published_table(list(of_table))]
    if results.others:
        blocks += ["## Runs beside no published figure", _runs(results.others)]
    if results.leaks:
        blocks += ["## Leaked runs beside their honest twins", *_leaks(results.leaks)]
    return "\n\n".join(blocks) + "\n"


def counted(results: Results) -> str:
    """How many of the published figures have a run."""
    total = len(published_results())
    return f"{total - len(results.missing)} of the {total} published figures have a run."


@dataclass(frozen=True)
class Notes:
    """What differs in many rows of a table alike, and need not be said in each.

    Attributes
    ----------
    everywhere
        In all of them.
    by_features
        In all rows of the same features.
    """

    everywhere: tuple[str, ...]
    by_features: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Notes:
        """Notes of the rows of one published table."""
        everywhere = _shared(rows)
        by_features = {}
        for features in dict.fromkeys(row.figure.features for row in rows):
            shared = _shared([row for row in rows if row.figure.features == features])
            if rest := tuple(text for text in shared if text not in everywhere):
                by_features[features] = rest
        return cls(everywhere, by_features)

    def rest(self, row: Row) -> list[str]:
        """What they leave to be said of a row."""
        said = {*self.everywhere, *self.by_features.get(row.figure.features, ())}
        return [text for text in _all_of(row) if text not in said]


def _all_of(row: Row) -> tuple[str, ...]:
    return (*row.differs, *[row.why] * bool(row.why))


def _shared(rows: Sequence[Row]) -> tuple[str, ...]:
    """What differs in all rows; nothing for a single run, of which its row tells."""
    rows = [row for row in rows if row.run]
    if len(lines_of(rows)) < 2:
        return ()
    return tuple(text for text in _all_of(rows[0]) if all(text in _all_of(row) for row in rows))


def lines_of(rows: Iterable[Row]) -> list[list[Row]]:
    """Rows of one system and one run together: its training, validation and test side."""
    lines: dict[Any, list[Row]] = {}
    for row in rows:
        lines.setdefault((row.figure.row, row.run and row.run.folder), []).append(row)
    return list(lines.values())


def _published_table(rows: list[Row]) -> Iterator[str]:
    """What a table's protocol is, what differs in ours, and the table itself."""
    protocols = list(dict.fromkeys(row.figure.protocol for row in rows))
    several, notes = len(protocols) > 1, Notes.of(rows)
    lines = lines_of(rows)
    yield (
        _text(", ".join([f"The paper: {rows[0].figure.dataset}", *protocols[: not several]])) + "."
    )
    if said := _said(notes):
        yield said
    sides = [side for side in ("train", "validation") if any(r.figure.side == side for r in rows)]
    differs = any(_differs(line, notes) for line in lines)
    below = any(row.verdict for row in rows)
    head = ["Features", "Model", *["Protocol"] * several]
    figures = [f"{side.capitalize()}: paper, ours" for side in sides]
    figures += ["Paper", "Ours", "95 % interval", "Difference", "Tracks", "Seed"]
    tail = [*["What differs"] * differs, *["Why below"] * below, "Command"]
    yield _table(
        [*head, *figures, *tail],
        "l" * len(head) + "r" * len(figures) + "l" * len(tail),
        [
            [
                *_system(line[0].figure, several),
                *_figures(line, sides),
                *[_text("; ".join(_differs(line, notes)))] * differs,
                *[_why(line)] * below,
                _code(line[0].run.command) if line[0].run else _NOTHING,
            ]
            for line in lines
        ],
    )


def _said(notes: Notes) -> str:
    """The notes above a table."""
    said = [("in all rows", notes.everywhere), *notes.by_features.items()]
    lines = [f"- {_text(where)}: {_text('; '.join(texts))}" for where, texts in said if texts]
    return "\n".join(["What differs in ours:", "", *lines]) if lines else ""


def _system(figure: PublishedFigure, several: bool) -> list[str]:
    return [_text(t) for t in (figure.features, figure.model, *[figure.protocol] * several)]


def _figures(line: Sequence[Row], sides: Sequence[str]) -> list[str]:
    """Training and validation side where the table has them, test side, tracks and seed."""
    of: dict[str, Row] = {row.figure.side: row for row in line}
    run = line[0].run
    ends = [str(run.n), _seed(run)] if run else [_NOTHING] * 2
    return [*(_pair(of.get(side)) for side in sides), *_test(of.get("test")), *ends]


def _differs(line: Sequence[Row], notes: Notes) -> list[str]:
    """What the notes leave to be said; the recipe's words stand under why, where ours is below."""
    below = any(row.verdict for row in line)
    return [text for text in notes.rest(line[0]) if not (below and text == line[0].why)]


def _why(line: Sequence[Row]) -> str:
    """Why ours is below, where it is."""
    return _text(line[0].why or "not explained") if any(row.verdict for row in line) else ""


def _pair(row: Row | None) -> str:
    if row is None:
        return _NOTHING
    ours = _NOTHING if row.ours is None else f"{row.ours:.1f}"
    return f"{row.figure.value_percent:.1f}, {ours}" + " **below**" * bool(row.verdict)


def _test(row: Row | None) -> list[str]:
    """Published, ours, interval and difference."""
    if row is None:
        return [_NOTHING] * 4
    theirs = f"{row.figure.value_percent:.1f}"
    if row.ours is None:
        return [theirs, *[_NOTHING] * 3]
    verdict = row.verdict.replace("below", "**below**")
    difference = " ".join([f"{row.difference:+.1f}", *[verdict] * bool(verdict)])
    return [theirs, f"{row.ours:.1f}", _range(row.interval), difference]


def _runs(runs: Iterable[Finished]) -> str:
    columns, kinds = _OTHERS
    lines = [[*_facts(run), _code(run.command)] for run in runs]
    return _table([*columns, "Command"], kinds + "l", lines)


def _leaks(leaks: Iterable[Leak]) -> Iterator[str]:
    yield (
        "These runs have segments of one track on both sides of their split, on purpose: they were "
        "tested on music that they had learned, and their figures mean nothing. Below each stands "
        "a run that differs in its split alone."
    )
    columns, kinds = _OTHERS
    lines = []
    for leak in leaks:
        lines.append(["**LEAKED**", *_facts(leak.run, "segments"), _code(leak.run.command)])
        if leak.honest:
            lines.append(["honest", *_facts(leak.honest), _code(leak.honest.command)])
        else:
            lines.append(["honest", "no such run", *[""] * len(columns)])
    yield _table(["", *columns, "Command"], f"l{kinds}l", lines)


def _facts(run: Finished, unit: str = "tracks") -> list[str]:
    """Recipe, data, split, number, seed, accuracy, interval, macro F1."""
    f1 = run.percent("macro_f1")
    return [
        _text(run.title),
        _text(run.data_name),
        judged_how(run),
        f"{run.n} {unit}",
        _seed(run),
        f"{run.percent('accuracy'):.1f}",
        _range(run.interval("accuracy")),
        _NOTHING if f1 is None else f"{f1:.1f}",
    ]


def _seed(run: Finished) -> str:
    return _NOTHING if run.seed is None else str(run.seed)


def _range(interval: tuple[float, float] | None) -> str:
    return _NOTHING if interval is None else f"{interval[0]:.1f} to {interval[1]:.1f}"


def _table(columns: Sequence[str], kinds: str, lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a kind is "l" or "r" for each column."""
    rule = ["---:" if kind == "r" else "---" for kind in kinds]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, rule, *lines))


def _text(text: str) -> str:
    """Text that Markdown takes for nothing but text."""
    return re.sub(r"([\\`*\[\]<>|~]|\b_|_\b)", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """A command as code; a bar would end its cell."""
    return "`" + " ".join(text.split()).replace("`", "'").replace("|", "\\|") + "`"


def draw_beside(rows: Sequence[Row], path: Path) -> None:
    """A line for each row: the published figure as a diamond, ours as a dot with its interval.

    Parameters
    ----------
    rows
        With a run, in the order of the papers.
    path
        The PNG.
    """
    places, ticks, heads, place = [], [], [], 0.0
    for (paper, table), of_table in groupby(rows, lambda row: (row.figure.paper, row.figure.table)):
        group = list(of_table)
        heads.append((place, f"{paper}, {table}"))
        several = len({row.figure.protocol for row in group}) > 1
        for row in group:
            place += 1
            places.append(place)
            ticks.append(_label(row, several))
        place += 1.6
    figure = plots._figure(9.5, 1.2 + 0.2 * place)
    axes: Any = figure.subplots()
    for at, row in zip(places, rows, strict=True):
        colour = "#c2571a" if row.verdict else plots._BLUE
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
    axes.set_yticks(places, ticks, fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(place - 0.6, -0.8)
    axes.set_xlabel("accuracy on test tracks, %")
    axes.set_xlim(0, 100)
    _legend(axes)
    plots._plain(axes)
    plots._save(figure, path)


def _label(row: Row, several: bool) -> str:
    parts = [row.figure.features, row.figure.model]
    return ", ".join([*parts, row.figure.protocol] if several else parts)


def _legend(axes: Any) -> None:
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
            Line2D([], [], color=plots._BLUE, label="ours, with its 95 % interval", **ours),
            Line2D([], [], color="#c2571a", label="ours, below the published", **ours),
        ],
        loc="lower center",
        bbox_to_anchor=(0.4, 1.0),
        ncols=3,
        frameon=False,
        fontsize=9,
    )
