"""`genrescope compare`: runs compared with the papers' figures, or two runs with each other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.text import Text

from genrescope.cli.files import not_music
from genrescope.cli.terminal import PageFormat, error_line, plain_table, printable
from genrescope.errors import FileError
from genrescope.wording import counted

if TYPE_CHECKING:
    from genrescope.evaluation.published_comparison import ComparedFigure, PublishedComparison
    from genrescope.evaluation.run_result import RunResult


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
        callback=not_music,
        help="Write the comparison into this Markdown page, and a picture next to it.",
    ),
) -> None:
    """Compare runs with the figures of the papers, or two runs with each other.

    All finished runs in the folder are found, and the results of `genrescope evaluate --out`.
    Differences are ours minus the paper's, in points; intervals are 95 % bootstrap intervals over
    test tracks. Fewer than 30 tracks are too few to tell whether a figure is lower. A run that
    leaks is never compared with a published figure.

    Two runs are compared on the tracks that both were tested on, with McNemar's test, or by artist
    where artists are known.

    --write replaces the text between <!-- results --> and <!-- /results -->. The results are stored
    next to the page, too (.jsonl): rows whose runs are gone by then stay, and say where the recipe
    has changed since.

    Examples:

      genrescope compare

      genrescope compare runs --all --format json

      genrescope compare --write docs/results.md

      genrescope compare runs/kth-table4/lstm/mfcc runs/kth-table4/cnn/mfcc
    """
    if len(runs or []) > 2:
        raise typer.BadParameter("expected one folder of runs, or two runs")
    if runs and len(runs) == 2:
        if everything or write:
            raise typer.BadParameter("--all and --write are for a folder of runs, not for two runs")
        _compare_two(runs[0], runs[1], format)
        return
    from genrescope.evaluation.published_comparison import compare_with_published
    from genrescope.evaluation.records import read_records, records_of, write_records
    from genrescope.evaluation.results import to_markdown, write_results
    from genrescope.training.recipe_changes import outdated

    folder = runs[0] if runs else Path("runs")
    records = read_records(records_of(write)) if write else []
    comparison = compare_with_published(folder, records=records, outdated=outdated)
    for problem in comparison.problems:
        error_line(str(problem))
    if not (comparison.rows or comparison.others or comparison.leaks or everything):
        raise FileError(folder, "holds no finished run")
    if write is not None:
        for path in write_results(comparison, write, everything=everything):
            typer.echo(printable(str(path)))
        write_records(records_of(write), comparison.runs, folder)
        typer.echo(printable(str(records_of(write))))
    elif format is PageFormat.json:
        typer.echo(json.dumps(comparison.to_dict(everything), indent=1))
    elif format is PageFormat.markdown:
        typer.echo(to_markdown(comparison, everything=everything), nl=False)
    else:
        _show(comparison, everything)


def _compare_two(a: Path, b: Path, format: PageFormat) -> None:
    from genrescope.evaluation.run_result import RunResult
    from genrescope.evaluation.significance import compare as compare_runs

    leaked = [str(run) for run in (a, b) if RunResult.read(run).leaked]
    comparison = compare_runs(a, b)
    if format is PageFormat.json:
        fields = {"a": printable(str(a)), "b": printable(str(b)), "leaked": leaked}
        typer.echo(json.dumps({**fields, **asdict(comparison), "p": comparison.p}, indent=1))
        return
    for run in leaked:
        error_line(f"{run}: LEAKED, its scores mean nothing")
    for line in comparison.describe(str(a), str(b)):
        typer.echo("- " * (format is PageFormat.markdown) + printable(line))


def _show(comparison: PublishedComparison, everything: bool) -> None:
    from genrescope.evaluation.results import count_runs

    console = Console(highlight=False)
    console.print(Text(count_runs(comparison)))
    rows = comparison.listed(everything)
    for (paper, table), group in groupby(rows, lambda row: (row.figure.paper, row.figure.table)):
        console.print()
        console.print(Text(f"{paper}, {table}", style="bold"))
        _show_published(console, list(group))
    if any(row.within_interval for row in rows):
        console.print(Text("* The published figure is within our 95 % interval."))
    if any(row.below and not row.interval for row in rows):
        console.print(Text("Validation figures have no interval."))
    if comparison.others:
        console.print(Text("\nRuns without a published figure", style="bold"))
        _show_runs(console, [("", run) for run in comparison.others])
    if comparison.leaks:
        title = "\nLeaked runs, and the same configuration with a leak-free split"
        console.print(Text(title, style="bold red"))
        pairs = [(("LEAKED", leak.run), ("leak-free", leak.leak_free)) for leak in comparison.leaks]
        _show_runs(console, [(mark, run) for pair in pairs for mark, run in pair if run])


def _show_published(console: Console, rows: Sequence[ComparedFigure]) -> None:
    """A published table; below it differences and commands, by the number of the run."""
    from genrescope.evaluation.formatting import NOTHING
    from genrescope.evaluation.results import SharedDifferences, group_lines

    protocols = list(dict.fromkeys(row.figure.protocol for row in rows))
    several, shared = len(protocols) > 1, SharedDifferences.of(rows)
    protocol = [] if several else protocols
    console.print(Text(", ".join([f"The paper: {rows[0].figure.dataset}", *protocol])))
    numbers: dict[Path | None, tuple[int, ComparedFigure]] = {}
    for line in group_lines(rows):
        if (run := line[0].run) and run.folder not in numbers:
            numbers[run.folder] = len(numbers) + 1, line[0]
    table = plain_table("System", "Subset", figures=("Paper", "Ours", "95 %", "Diff."))
    table.add_column("")
    table.add_column("Run", justify="right")
    for line in group_lines(rows):
        figure = line[0].figure
        system = ", ".join([figure.features, figure.model, *[figure.protocol] * several])
        of_run = str(numbers[line[0].run.folder][0]) if line[0].run else NOTHING
        for row in line:
            table.add_row(Text(system if row is line[0] else ""), *_cells(row), of_run)
    console.print(table)
    for where, texts in [("all", shared.everywhere), *shared.by_features.items()]:
        if texts:
            console.print(Text(f"Differences, {where}: {'; '.join(texts)}"))
    for number, row in numbers.values():
        if row.run:
            facts = [counted(row.run.n, "track"), f"seed {_seed(row.run)}", *shared.others(row)]
            _show_command(console, number, row.run, facts)


def _cells(row: ComparedFigure) -> list[str | Text]:
    """Subset, published, ours, interval, difference, verdict."""
    from genrescope.evaluation.formatting import NOTHING
    from genrescope.evaluation.results import accuracy_interval

    theirs = f"{row.figure.value_percent:.1f}"
    if row.run is None:
        return [row.figure.subset, theirs, *[NOTHING] * 3, ""]
    # A star where the published figure is within our interval.
    verdict = Text("below*" if row.within_interval else row.verdict, style="yellow")
    interval = accuracy_interval(row.run, " - ") if row.interval else NOTHING
    return [
        row.figure.subset,
        theirs,
        f"{row.ours:.1f}",
        interval,
        f"{row.difference:+.1f}",
        verdict,
    ]


def _seed(run: RunResult) -> str:
    return "not known" if run.seed is None else str(run.seed)


def _show_runs(console: Console, runs: Sequence[tuple[str, RunResult]]) -> None:
    """Runs with a mark before each; below the table data, split, seed and command."""
    from genrescope.evaluation.formatting import NOTHING
    from genrescope.evaluation.results import accuracy_interval, run_title

    marked = any(mark for mark, _ in runs)
    figures = ("Tested on", "Accuracy", "95 %", "Macro F1", "Run")
    table = plain_table(*["Mark"] * marked, "Recipe", figures=figures)
    for number, (mark, run) in enumerate(runs, 1):
        f1 = run.percent("macro_f1")
        table.add_row(
            *[Text(mark, style="bold red" if run.leaked else "")] * marked,
            Text(printable(run_title(run))),
            f"{run.n} {'segments' if run.leaked else 'tracks'}",
            f"{run.percent('accuracy'):.1f}",
            accuracy_interval(run, " - "),
            NOTHING if f1 is None else f"{f1:.1f}",
            str(number),
        )
    console.print(table)
    for number, (_, run) in enumerate(runs, 1):
        _show_command(console, number, run, [str(run.data), run.protocol, f"seed {_seed(run)}"])


def _show_command(console: Console, number: int, run: RunResult, facts: Sequence[str]) -> None:
    console.print(Text(printable(f"{number:>3}  {run.command}   ({'; '.join(facts)})")))
