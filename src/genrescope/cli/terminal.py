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
from functools import cache
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from genrescope.errors import printable as printable
from genrescope.redaction import redacted_text

# rich takes a twentieth of a cold start to import, and what goes into a pipe needs none of it.
if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID
    from rich.table import Table
    from rich.text import Text

    stdout: Console
    stderr: Console

# Settings by which rich takes any stream for a terminal.
_TERMINAL_SETTINGS = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")


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


def __getattr__(name: str) -> Any:
    """Give the consoles `stdout` and `stderr`, which are made when they are first asked for."""
    if name not in ("stdout", "stderr"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _console(name)


@cache
def _console(name: str) -> Console:
    from rich.console import Console

    return Console(stderr=name == "stderr", highlight=False, soft_wrap=True)


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


def is_plain(stream: TextIO) -> bool:
    """Whether a stream gets text without colours, for which rich is not needed."""
    return not (stream.isatty() or any(os.environ.get(name) for name in _TERMINAL_SETTINGS))


def error_line(text: str) -> None:
    """Print a line on stderr, `genrescope: …`."""
    shown = printable(redacted_text(text))
    message("bold red", ("genrescope: ", ""), (shown, "default not bold"))


def notice(text: str) -> None:
    """Print a quiet line on stderr."""
    message("dim", (printable(redacted_text(text)), ""))


def message(style: str, *parts: tuple[str, str]) -> None:
    """Print a line on stderr, in a style of rich's, of texts that add styles of their own."""
    if is_plain(sys.stderr):
        sys.stderr.write("".join(text for text, _ in parts) + "\n")
        sys.stderr.flush()  # as rich does, so that the order stays where both streams are one
    else:
        _console("stderr").print(styled(style, *parts))


def styled(style: str, *parts: tuple[str, str]) -> Text:
    """Texts, each with its style, as one text of rich's that has a style, too."""
    from rich.text import Text

    line = Text(style=style)
    for text, own in parts:
        line.append(text, own or None)
    return line


def plain_table(*columns: str, figures: Sequence[str] = (), wrap: bool = False) -> Table:
    """A table with a rule below its head alone, for `columns` of words and then of figures.

    Figures of a wide table may `wrap`; its columns are closer, too.
    """
    from rich import box
    from rich.table import Table

    padding = (0, 1 if wrap else 2, 0, 0)
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, padding=padding)
    for column in table.columns:
        column.overflow = "fold"
    for name in figures:
        table.add_column(name, justify="right", no_wrap=not wrap, overflow="fold")
    return table


class NoBar:
    """Takes what a progress bar takes, and shows nothing."""

    def __enter__(self) -> NoBar:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def add_task(self, *_: object, **__: object) -> TaskID:
        """Begin nothing."""
        return cast("TaskID", 0)

    def update(self, *_: object, **__: object) -> None:
        """Show nothing."""

    def advance(self, *_: object) -> None:
        """Show nothing."""

    def stop(self) -> None:
        """End nothing."""


def progress(unit: str) -> Progress | NoBar:
    """A progress bar with rate and time left; nothing where stderr is not a terminal.

    Where results go to the same terminal, it shares their console, so that they are printed above
    the bar and not into it.
    """
    if not sys.stderr.isatty():
        return NoBar()
    from rich import progress as bars
    from rich.text import Text

    class Rate(bars.ProgressColumn):
        """Steps per second."""

        def render(self, task: bars.Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:.1f} {unit}/s", style="cyan")

    return bars.Progress(
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        Rate(),
        bars.TimeRemainingColumn(),
        console=_console("stdout" if sys.stdout.isatty() else "stderr"),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    )
