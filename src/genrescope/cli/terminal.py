"""Output of all commands: results, error lines and progress bars.

Streams in other encodings than UTF-8 get ASCII for what they can't encode, and a closed stream
takes what is written to it, so that no command fails because of where its output goes.
"""

from __future__ import annotations

import codecs
import os
import shlex
import sys
from collections.abc import Sequence
from enum import StrEnum
from io import TextIOWrapper
from pathlib import Path

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

from genrescope.errors import printable as printable
from genrescope.redaction import redacted_text


class Format(StrEnum):
    """How results are written: for people, or for other programs."""

    table = "table"
    json = "json"


class RowFormat(StrEnum):
    """How results are written that come one by one."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    parquet = "parquet"


class PageFormat(StrEnum):
    """How a comparison is written."""

    table = "table"
    json = "json"
    markdown = "markdown"


stdout = Console(highlight=False, soft_wrap=True)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)

_ASCII = str.maketrans(
    {
        "█": "#",
        "·": ".",
        "–": "-",
        "—": "-",
        "…": "...",
        "×": "x",
        "±": "+-",
        "→": "->",
        "’": "'",
        "‘": "'",
        "“": '"',
        "”": '"',
        "≥": ">=",
        "≤": "<=",
        "−": "-",
        "✓": "x",
        **dict.fromkeys("─━═╌┄╶╴╸╺", "-"),
        **dict.fromkeys("│┃║", "|"),
        **dict.fromkeys("┌┐└┘├┤┬┴┼┏┓┗┛┡┩╇╈┠┨╭╮╰╯╔╗╚╝╟╢╞╪╡┳┻╋", "+"),
        "\xa0": " ",
        "\u2009": " ",
        "\u202f": " ",
    }
)


def _ascii(error: UnicodeError) -> tuple[str | bytes, int]:
    """Encode in ASCII what a stream can't encode; bytes of file names go out as they came in."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    if all("\udc80" <= character <= "\udcff" for character in text):
        return text.encode("utf-8", "surrogateescape"), error.end
    return text.translate(_ASCII).encode("ascii", "backslashreplace").decode(), error.end


codecs.register_error("genrescope-ascii", _ascii)


def prepare_streams() -> None:
    """Make standard streams of any encoding writable; replace closed ones."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
        elif mode == "w" and isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="genrescope-ascii")


def drop_stdout() -> None:
    """Forget what could not be written, or Python would try again, and fail again, at its end."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115


def echo(text: object = "") -> None:
    """Print a line of results."""
    sys.stdout.write(f"{text}\n")


def argument(value: str | Path) -> str:
    """A path or a name within a command that is shown, quoted so that it can be pasted."""
    return shlex.quote(printable(str(value)))


def error_line(text: str) -> None:
    """Print a line on stderr, `genrescope: …`."""
    line = Text("genrescope: ", style="bold red")
    line.append(printable(redacted_text(text)), style="default not bold")
    stderr.print(line)


def notice(text: str) -> None:
    """Print a quiet line on stderr."""
    stderr.print(Text(printable(redacted_text(text)), style="dim"))


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
    """A progress bar with rate and time left; nothing where stderr is not a terminal.

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
