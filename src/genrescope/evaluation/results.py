"""The page of results: all runs compared with the papers, as Markdown and as one picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any

from genrescope.atomic import write_atomic
from genrescope.errors import FileError
from genrescope.evaluation import plots
from genrescope.evaluation.conclusions import conclusions
from genrescope.evaluation.formatting import (
    NOTHING,
    escape_markdown,
    interval,
    markdown_table,
)
from genrescope.evaluation.not_run import confusions, not_run, statements
from genrescope.evaluation.published import PublishedFigure, published_results
from genrescope.evaluation.published_comparison import (
    ComparedFigure,
    LeakedRun,
    PublishedComparison,
)
from genrescope.evaluation.run_result import RunResult

BEGIN, END = "<!-- results -->", "<!-- /results -->"
_RUN_COLUMNS = (
    *("Recipe", "Data", "Split"),
    *("Tested on", "Seed", "Accuracy", "95 % interval", "Macro F1"),
)
_RUN_ALIGNMENT = "lllrrrrr"
_INTRODUCTION = """# Results

The scores of the recipes, compared with those that their papers state. Everything between the two
marks below is written by `genrescope compare --write`.

"""


_CONFUSIONS = (
    "The confusion matrices of the runs whose recalls the paper states: a row for the genre of the "
    "tracks, a column for the predicted one, in percent of the row."
)
_CONCLUSIONS = (
    "A is the system that the paper finds better, or as good. *Holds*: A is better, and McNemar's "
    "exact test on the tracks that both were tested on gives p < 0.05 (where single predictions "
    "were not kept: the 95 % intervals of the accuracies are apart); where the paper finds both "
    "similar, there is no such difference. Which embedding of the leiden paper separates genres "
    "best is measured on the page on geometry."
)


def write_results(
    comparison: PublishedComparison, path: Path, *, everything: bool = False
) -> list[Path]:
    """Write the comparison between the marks of a Markdown page, and the picture next to it.

    A page that is missing is made. With `everything`, published figures without a run are listed
    as well. The picture is drawn where matplotlib is installed and there is something to draw.

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
            raise FileError(path, f"expected one {BEGIN} and below it one {END}")
        before, after = page[: page.index(BEGIN)], page[page.index(END) + len(END) :]
    picture = path.with_suffix(".png")
    drawn = [row for row in comparison.rows if row.figure.subset == "test"]
    draw = bool(drawn) and find_spec("matplotlib") is not None
    # A picture that can't be drawn anew here stays linked.
    shown = picture.name if draw or (drawn and picture.is_file()) else None
    text = to_markdown(comparison, shown, everything=everything)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if draw:
            plots.published_figures(drawn, picture)
        write_atomic(path, f"{before}{BEGIN}\n\n{text}\n{END}{after}".encode("utf-8", "replace"))
    except OSError as error:
        raise FileError(path, f"can't be written: {error.strerror}") from None
    return [path, picture] if draw else [path]


def to_markdown(
    comparison: PublishedComparison, picture: str | None = None, *, everything: bool = False
) -> str:
    """The comparison as Markdown; the same runs give the same text.

    Parameters
    ----------
    picture
        Name of the picture next to the page.
    everything
        List published figures without a run as well.
    """
    blocks = [
        f"{count_runs(comparison)} Intervals are 95 % bootstrap intervals over the test tracks; "
        "differences are ours minus the paper's, in points."
    ]
    if picture:
        blocks.append(f"![Published figures and ours]({picture})")
    for paper, rows in groupby(comparison.listed(everything), lambda row: row.figure.paper):
        blocks.append(f"## The {paper} paper")
        for table, of_table in groupby(rows, lambda row: row.figure.table):
            blocks += [f"### {paper}, {table}", *_published_table(list(of_table))]
    if missing := not_run(comparison.missing):
        blocks += ["## Not run here, and why", missing]
    shown = [run for run in comparison.runs if not run.leaked]
    blocks += ["## Statements other than accuracies", statements(shown)]
    if matrices := confusions(shown):
        blocks += [_CONFUSIONS, *matrices]
    if comparison.runs:
        blocks += ["## Do the papers' conclusions hold here?", _CONCLUSIONS]
        blocks += [conclusions(comparison.runs)]
    if comparison.others:
        blocks += ["## Runs without a published figure", _runs(comparison.others)]
    if comparison.leaks:
        blocks += ["## Leaked runs", *_leaks(comparison.leaks)]
    return "\n\n".join(blocks) + "\n"


def count_runs(comparison: PublishedComparison) -> str:
    """How many of the published figures have a run, in a sentence."""
    total = len(published_results())
    return f"{total - len(comparison.missing)} of the {total} published figures have a run."


@dataclass(frozen=True)
class SharedDifferences:
    """Differences that many rows of a table have in common, so that they are listed once.

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
    def of(cls, rows: Sequence[ComparedFigure]) -> SharedDifferences:
        """Find those of the rows of one published table."""
        everywhere = _shared(rows)
        by_features = {}
        for features in dict.fromkeys(row.figure.features for row in rows):
            shared = _shared([row for row in rows if row.figure.features == features])
            if rest := tuple(text for text in shared if text not in everywhere):
                by_features[features] = rest
        return cls(everywhere, by_features)

    def others(self, row: ComparedFigure) -> list[str]:
        """The differences of a row that are not shared."""
        shared = {*self.everywhere, *self.by_features.get(row.figure.features, ())}
        return [text for text in _all_of(row) if text not in shared]


def _all_of(row: ComparedFigure) -> tuple[str, ...]:
    return (*row.differences, *[row.explanation] * bool(row.explanation))


def _shared(rows: Sequence[ComparedFigure]) -> tuple[str, ...]:
    """The differences that all rows have; none for a single run, which has a row of its own."""
    rows = [row for row in rows if row.run]
    if len(group_lines(rows)) < 2:
        return ()
    return tuple(text for text in _all_of(rows[0]) if all(text in _all_of(row) for row in rows))


def group_lines(rows: Iterable[ComparedFigure]) -> list[list[ComparedFigure]]:
    """Rows of one system and one run together: its training, validation and test figures."""
    lines: dict[Any, list[ComparedFigure]] = {}
    for row in rows:
        lines.setdefault((row.figure.row, row.run and row.run.folder), []).append(row)
    return list(lines.values())


def _published_table(rows: list[ComparedFigure]) -> Iterator[str]:
    """The protocol of a paper's table, how ours differs, and the table itself."""
    protocols = list(dict.fromkeys(row.figure.protocol for row in rows))
    several, shared = len(protocols) > 1, SharedDifferences.of(rows)
    lines = group_lines(rows)
    protocol = [f"The paper: {rows[0].figure.dataset}", *protocols[: not several]]
    yield escape_markdown(", ".join(protocol)) + "."
    notes = _notes(shared)
    yield from [notes] * bool(notes)
    subsets = [s for s in ("train", "validation") if any(r.figure.subset == s for r in rows)]
    differs = any(_differences(line, shared) for line in lines)
    below = any(row.below for row in rows)
    head = ["Features", "Model", *["Protocol"] * several]
    figures = [f"{subset.capitalize()}: paper, ours" for subset in subsets]
    figures += ["Paper", "Ours", "95 % interval", "Difference", "Tracks", "Seed"]
    heading = "Other differences" if notes else "Differences"
    tail = [*[heading] * differs, *["Explanation"] * below, "Command"]
    cells = [
        [
            *_system(line[0].figure, several),
            *_figures(line, subsets),
            *[escape_markdown("; ".join(_differences(line, shared)))] * differs,
            *[_explanation(line)] * below,
            _code(line[0].run.command) if line[0].run else NOTHING,
        ]
        for line in lines
    ]
    alignment = "l" * len(head) + "r" * len(figures) + "l" * len(tail)
    yield markdown_table((*head, *figures, *tail), alignment, cells)


def _notes(shared: SharedDifferences) -> str:
    """The shared differences as a list above a table."""
    notes = [("in all rows", shared.everywhere), *shared.by_features.items()]
    lines = [
        f"- {escape_markdown(where)}: {escape_markdown('; '.join(texts))}"
        for where, texts in notes
        if texts
    ]
    return "\n".join(["Differences of our protocol:", "", *lines]) if lines else ""


def _system(figure: PublishedFigure, several: bool) -> list[str]:
    texts = (figure.features, figure.model, *[figure.protocol] * several)
    return [escape_markdown(text) for text in texts]


def _figures(line: Sequence[ComparedFigure], subsets: Sequence[str]) -> list[str]:
    """Training and validation figures where the table has them, test figures, tracks and seed."""
    of: dict[str, ComparedFigure] = {row.figure.subset: row for row in line}
    run = line[0].run
    ends = [str(run.n), _seed(run)] if run else [NOTHING] * 2
    return [*(_pair(of.get(subset)) for subset in subsets), *_test(of.get("test")), *ends]


def _differences(line: Sequence[ComparedFigure], shared: SharedDifferences) -> list[str]:
    """Those that are not shared; the recipe's words are the explanation where ours is below."""
    below = any(row.below for row in line)
    return [text for text in shared.others(line[0]) if not (below and text == line[0].explanation)]


def _explanation(line: Sequence[ComparedFigure]) -> str:
    """Why ours is below, where it is."""
    if not any(row.below for row in line):
        return ""
    return escape_markdown(line[0].explanation or "not explained")


def _pair(row: ComparedFigure | None) -> str:
    if row is None:
        return NOTHING
    ours = NOTHING if row.ours is None else f"{row.ours:.1f}"
    return f"{row.figure.value_percent:.1f}, {ours}" + f" {_marked(row)}" * bool(row.verdict)


def _marked(row: ComparedFigure) -> str:
    """The verdict, with the word below in bold."""
    return row.verdict.replace("below", "**below**")


def _test(row: ComparedFigure | None) -> list[str]:
    """Published, ours, interval and difference."""
    if row is None:
        return [NOTHING] * 4
    theirs = f"{row.figure.value_percent:.1f}"
    if row.ours is None or row.run is None:
        return [theirs, *[NOTHING] * 3]
    difference = " ".join([f"{row.difference:+.1f}", *[_marked(row)] * bool(row.verdict)])
    return [theirs, f"{row.ours:.1f}", accuracy_interval(row.run), difference]


def accuracy_interval(run: RunResult, separator: str = " to ") -> str:
    """The interval of a run's accuracy in percent, without the unit."""
    return interval(run.interval.get("accuracy"), separator, unit="")


def _runs(runs: Sequence[RunResult]) -> str:
    noted = any(run.outdated for run in runs)
    lines = [
        [*_facts(run), *[escape_markdown(run.outdated)] * noted, _code(run.command)] for run in runs
    ]
    columns = (*_RUN_COLUMNS, *["Note"] * noted, "Command")
    return markdown_table(columns, f"{_RUN_ALIGNMENT}{'l' * noted}l", lines)


def _leaks(leaks: Iterable[LeakedRun]) -> Iterator[str]:
    yield (
        "In these runs segments of one track are in both the training and the test subset, on "
        "purpose: they were tested on music that they were trained on, and their scores mean "
        "nothing. Each is followed by a run of the same configuration with a leak-free split."
    )
    lines = []
    for leak in leaks:
        lines.append(["**LEAKED**", *_facts(leak.run, "segments"), _code(leak.run.command)])
        if leak.leak_free:
            run = leak.leak_free
            lines.append(["leak-free", *_facts(run), _code(run.command)])
        else:
            lines.append(["leak-free", "no such run", *[""] * len(_RUN_COLUMNS)])
    yield markdown_table(("", *_RUN_COLUMNS, "Command"), f"l{_RUN_ALIGNMENT}l", lines)


def _facts(run: RunResult, unit: str = "tracks") -> list[str]:
    """Recipe, data, split, number, seed, accuracy, interval, macro F1."""
    f1 = run.percent("macro_f1")
    return [
        escape_markdown(run_title(run)),
        escape_markdown(str(run.data)),
        run.protocol,
        f"{run.n} {unit}",
        _seed(run),
        f"{100 * run.accuracy:.1f}",
        accuracy_interval(run),
        NOTHING if f1 is None else f"{f1:.1f}",
    ]


def run_title(run: RunResult) -> str:
    """A run's name, and its folder's where that is another: one recipe may have many runs."""
    if run.folder is None or run.kind == "evaluation" or run.folder.as_posix().endswith(run.name):
        return run.name
    return f"{run.name} ({run.folder.name})"


def _seed(run: RunResult) -> str:
    return NOTHING if run.seed is None else str(run.seed)


def _code(text: str) -> str:
    """A command as code; a bar would end its cell."""
    return "`" + " ".join(text.split()).replace("`", "'").replace("|", "\\|") + "`"
