"""What all commands show on a terminal: error lines and progress bars, both on stderr."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text


class Format(StrEnum):
    """How results are written: for people, or for machines."""

    table = "table"
    json = "json"


class PageFormat(StrEnum):
    """As `Format`, and as Markdown for a page."""

    table = "table"
    json = "json"
    markdown = "markdown"


stdout = Console(highlight=False, soft_wrap=True)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)


def printable(text: str) -> str:
    """A file's name as one printable line, whatever bytes it is made of."""
    safe = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in safe)


def error_line(text: str) -> None:
    """One line on stderr, `genrescope: …`."""
    line = Text("genrescope: ", style="bold red")
    line.append(printable(text), style="default not bold")
    stderr.print(line)


def notice(text: str) -> None:
    """One quiet line on stderr."""
    stderr.print(Text(printable(text), style="dim"))


class _Rate(ProgressColumn):
    """Steps per second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} {self.unit}/s", style="cyan")


def plain_table(*columns: str, figures: Sequence[str] = (), wrap: bool = False) -> Table:
    """A table with a rule below its head alone, for `columns` of words and then of figures.

    Figures of a wide table may `wrap`; its columns are closer, too.
    """
    padding = (0, 1 if wrap else 2, 0, 0)
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, padding=padding)
    for column in table.columns:
        column.overflow = "fold"
    for name in figures:
        table.add_column(name, justify="right", no_wrap=not wrap, overflow="fold")
    return table


def progress(unit: str) -> Progress:
    """A progress bar with rate and time left; silent where stderr is not a terminal.

    Where results go to the same terminal, it shares their console, so that they are printed above
    the bar and not into it.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(unit),
        TimeRemainingColumn(),
        console=stdout if sys.stdout.isatty() else stderr,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
        disable=not sys.stderr.isatty(),
    )
