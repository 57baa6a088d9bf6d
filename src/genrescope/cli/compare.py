"""`genrescope compare`: runs beside what the papers state, or two runs beside each other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from genrescope.cli.terminal import PageFormat, error_line, printable
from genrescope.errors import FileError

if TYPE_CHECKING:
    from genrescope.evaluation.beside import Results, Row
    from genrescope.evaluation.finished import Finished
    from genrescope.evaluation.significance import Comparison

_NOTHING = "–"
# Of McNemar's test: from here on a difference is called one.
_SURE = 0.05


def compare(
    runs: list[Path] = typer.Argument(
        None, help="A folder of runs (runs by default), or two runs to compare with each other."
    ),
    format: PageFormat = typer.Option(
        PageFormat.table, "--format", "-f", help="How the comparison is written."
    ),
    everything: bool = typer.Option(
        False, "--all", help="List the published figures without a run as well."
    ),
    write: Path | None = typer.Option(
        None,
        "--write",
        metavar="FILE",
        help="Write the comparison into this Markdown page, and a picture beside it.",
    ),
) -> None:
    """Set runs beside the figures of the papers, or two runs beside each other.

    All finished runs in the folder are looked for, and what `genrescope evaluate --out` wrote.
    Differences are ours less theirs, in points; intervals are 95 % bootstrap intervals over
    tracks. A run that leaks never stands beside a published figure.

    Two runs are compared on the tracks that both judged, with McNemar's test.

    --write replaces what stands between <!-- results --> and <!-- /results -->.

    Examples:

      genrescope compare

      genrescope compare runs --all --format json

      genrescope compare --write docs/results.md

      genrescope compare runs/kth-table4/lstm/mfcc runs/kth-table4/cnn/mfcc
    """
    if len(runs or []) > 2:
        raise typer.BadParameter("wanted is one folder of runs, or two runs")
    if runs and len(runs) == 2:
        if everything or write:
            raise typer.BadParameter("--all and --write are for a folder of runs, not for two runs")
        _compare_two(runs[0], runs[1], format)
        return
    from genrescope.evaluation.beside import set_beside
    from genrescope.evaluation.results import to_markdown, write_results

    folder = runs[0] if runs else Path("runs")
    results = set_beside(folder)
    for problem in results.problems:
        error_line(str(problem))
    if not (results.rows or results.others or results.leaks or everything):
        raise FileError(folder, "holds no finished run")
    if write is not None:
        for path in write_results(results, write, everything=everything):
            typer.echo(printable(str(path)))
    elif format is PageFormat.json:
        typer.echo(json.dumps(_fields(results, everything), indent=1))
    elif format is PageFormat.markdown:
        typer.echo(to_markdown(results, everything=everything), nl=False)
    else:
        _show(results, everything)


def _fields(results: Results, everything: bool) -> dict[str, Any]:
    from genrescope.evaluation.published import published_results

    total = len(published_results())
    return {
        "published_figures": total,
        "with_a_run": total - len(results.missing),
        "rows": [_row_fields(row) for row in results.listed(everything)],
        "other_runs": [_run_fields(run) for run in results.others],
        "leaked": [
            {**_run_fields(leak.run), "honest": leak.honest and _run_fields(leak.honest)}
            for leak in results.leaks
        ],
        "problems": [printable(str(problem)) for problem in results.problems],
    }


def _row_fields(row: Row) -> dict[str, Any]:
    return {
        **asdict(row.figure),
        "ours_percent": None if row.ours is None else round(row.ours, 4),
        "interval_percent": row.interval and [round(value, 4) for value in row.interval],
        "difference": row.difference,
        "verdict": row.verdict or None,
        "differs": list(row.differs),
        "why": row.why or None,
        "run": row.run and _run_fields(row.run),
    }


def _run_fields(run: Finished) -> dict[str, Any]:
    from genrescope.evaluation.beside import split_in_words

    return {
        "name": run.name,
        "folder": printable(str(run.folder)),
        "data": dict(run.data),
        "split": split_in_words(run.split) or None,
        "leaked": run.leaked,
        "n": run.n,
        "seed": run.seed,
        "accuracy": run.metrics["accuracy"],
        "interval": (run.metrics.get("interval") or {}).get("accuracy"),
        "macro_f1": run.metrics.get("macro_f1"),
        "command": run.command,
    }


def _show(results: Results, everything: bool) -> None:
    from genrescope.evaluation.results import counted

    console = Console(highlight=False)
    console.print(Text(counted(results)))
    rows = results.listed(everything)
    for (paper, table), group in groupby(rows, lambda row: (row.figure.paper, row.figure.table)):
        console.print()
        console.print(Text(f"{paper}, {table}", style="bold"))
        _show_published(console, list(group))
    if any("," in row.verdict for row in rows):
        console.print(Text("* The published figure lies within our 95 % interval."))
    if results.others:
        console.print(Text("\nRuns beside no published figure", style="bold"))
        _show_runs(console, [("", run) for run in results.others])
    if results.leaks:
        console.print(Text("\nLeaked runs beside their honest twins", style="bold red"))
        pairs = [(("LEAKED", leak.run), ("honest", leak.honest)) for leak in results.leaks]
        _show_runs(console, [(mark, run) for pair in pairs for mark, run in pair if run])


def _show_published(console: Console, rows: Sequence[Row]) -> None:
    """A published table; below it what differs and the commands, by the number of the run."""
    from genrescope.evaluation.results import Notes, lines_of

    protocols = list(dict.fromkeys(row.figure.protocol for row in rows))
    several, notes = len(protocols) > 1, Notes.of(rows)
    protocol = [] if several else protocols
    console.print(Text(", ".join([f"The paper: {rows[0].figure.dataset}", *protocol])))
    numbers: dict[Path, tuple[int, Row]] = {}
    for line in lines_of(rows):
        if (run := line[0].run) and run.folder not in numbers:
            numbers[run.folder] = len(numbers) + 1, line[0]
    table = _table("System", "Of")
    for column in ("Paper", "Ours", "95 %", "Diff."):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("")
    table.add_column("Run", justify="right")
    for line in lines_of(rows):
        figure = line[0].figure
        system = ", ".join([figure.features, figure.model, *[figure.protocol] * several])
        place = str(numbers[line[0].run.folder][0]) if line[0].run else _NOTHING
        for row in line:
            table.add_row(Text(system if row is line[0] else ""), *_cells(row), place)
    console.print(table)
    for where, texts in [("all", notes.everywhere), *notes.by_features.items()]:
        if texts:
            console.print(Text(f"What differs, {where}: {'; '.join(texts)}"))
    for count, row in numbers.values():
        if row.run:
            said = [f"{row.run.n} tracks", f"seed {_seed(row.run)}", *notes.rest(row)]
            text = f"{count:>3}  {row.run.command}   ({'; '.join(said)})"
            console.print(Text(printable(text)))


def _cells(row: Row) -> list[str | Text]:
    """Side, published, ours, interval, difference, verdict."""
    theirs = f"{row.figure.value_percent:.1f}"
    if row.run is None:
        return [row.figure.side, theirs, *[_NOTHING] * 3, ""]
    # A star where the published figure lies within our interval.
    verdict = Text("below" + "*" * ("," in row.verdict) if row.verdict else "", style="yellow")
    difference, interval = f"{row.difference:+.1f}", _range(row.interval)
    return [row.figure.side, theirs, f"{row.ours:.1f}", interval, difference, verdict]


def _seed(run: Finished) -> str:
    return "not known" if run.seed is None else str(run.seed)


def _range(interval: tuple[float, float] | None) -> str:
    return _NOTHING if interval is None else f"{interval[0]:.1f} - {interval[1]:.1f}"


def _show_runs(console: Console, runs: Sequence[tuple[str, Finished]]) -> None:
    """Runs with a mark before each; below the table data, split, seed and command."""
    from genrescope.evaluation.beside import judged_how

    table = _table(*["Mark"] * any(mark for mark, _ in runs), "Recipe")
    for column in ("Judged", "Accuracy", "95 %", "Macro F1", "Run"):
        table.add_column(column, justify="right", no_wrap=True)
    for count, (mark, run) in enumerate(runs, 1):
        f1 = run.percent("macro_f1")
        marks = [Text(mark, style="bold red" if run.leaked else "")] * (len(table.columns) == 7)
        table.add_row(
            *marks,
            Text(printable(run.title)),
            f"{run.n} {'segments' if run.leaked else 'tracks'}",
            f"{run.percent('accuracy'):.1f}",
            _range(run.interval("accuracy")),
            _NOTHING if f1 is None else f"{f1:.1f}",
            str(count),
        )
    console.print(table)
    for count, (_, run) in enumerate(runs, 1):
        said = [run.data_name, judged_how(run), f"seed {_seed(run)}"]
        console.print(Text(printable(f"{count:>3}  {run.command}   ({'; '.join(said)})")))


def _table(*words: str) -> Table:
    table = Table(*words, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    for column in table.columns:
        column.overflow = "fold"
    return table


def _compare_two(a: Path, b: Path, format: PageFormat) -> None:
    from genrescope.evaluation.finished import read_finished
    from genrescope.evaluation.significance import compare_predictions

    leaked = [str(run) for run in (a, b) if read_finished(run).leaked]
    comparison = compare_predictions(a, b)
    if format is PageFormat.json:
        fields = {"a": printable(str(a)), "b": printable(str(b)), "leaked": leaked}
        typer.echo(json.dumps({**fields, **asdict(comparison)}, indent=1))
        return
    for run in leaked:
        error_line(f"{run}: LEAKED, its figures mean nothing")
    for line in _in_words(str(a), str(b), comparison):
        typer.echo(("- " if format is PageFormat.markdown else "") + printable(line))


def _in_words(a: str, b: str, comparison: Comparison) -> list[str]:
    """The two accuracies, their difference, the test, and what that means."""
    test, n = comparison.mcnemar, comparison.n
    low, high = (100 * value for value in comparison.interval)
    better = a if comparison.difference < 0 else b
    if test.p < _SURE:
        verdict = f"{better} is better: so uneven a pair would be rare by chance."
    else:
        verdict = "That may well be chance: these tracks do not tell which is better."
    return [
        f"{n} tracks were judged by both.",
        f"A, {a}: {comparison.accuracy_a * n:.0f} right, {100 * comparison.accuracy_a:.1f} %",
        f"B, {b}: {comparison.accuracy_b * n:.0f} right, {100 * comparison.accuracy_b:.1f} %",
        f"B less A: {100 * comparison.difference:+.1f} points, 95 % interval {low:+.1f} to "
        f"{high:+.1f}",
        f"Only A is right on {test.only_a}, only B on {test.only_b}; McNemar's exact test gives "
        f"{_p(test.p)}",
        verdict,
    ]


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
