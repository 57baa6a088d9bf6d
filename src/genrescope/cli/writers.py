"""The formats in which predictions are written, one after another.

The output is complete and valid once the writer is closed, also after an interruption.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO, cast

from genrescope.atomic import open_atomic
from genrescope.cli.terminal import drop_stdout, is_plain, printable, styled
from genrescope.errors import FileError, GenrescopeError
from genrescope.inference import Prediction
from genrescope.inference.labels import SoundLabels
from genrescope.wording import confidence_percent, valid_text

if TYPE_CHECKING:
    from rich.console import Console

_DETAILS = 4  # names of each group in the table
# A line of the table: its style, and texts with styles of their own, see `terminal.styled`.
_Line = tuple[str, list[tuple[str, str]]]
_LABELS = ("answer", "kind", "music", "styles", "instruments", "moods", "uses")


@contextmanager
def output(path: Path | None) -> Iterator[TextIO]:
    """Stdout, or a file that appears under its name only once it is complete.

    Names of files need not be valid text; their bytes are written as they are.

    Raises
    ------
    FileError
        When the file can't be written.
    """
    if path is None:
        try:
            yield sys.stdout
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            drop_stdout()
            raise FileError("stdout", f"can't be written: {error.strerror or error}") from None
        return
    try:
        with open_atomic(path) as file:
            text = text_stream(file)
            yield text
            text.flush()
            text.detach()
    except OSError as error:
        raise FileError(path, f"can't be written: {error.strerror or error}") from None


def text_stream(file: BinaryIO) -> io.TextIOWrapper:
    """Text for a file of results, in which the bytes of file names stay as they are."""
    return io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="")


class Writer(ABC):
    """Base of all formats: the stream, the genres, and how much is written of a prediction."""

    def __init__(self, stream: TextIO, genres: Sequence[str], *, top: int, timeline: bool) -> None:
        self.stream, self.genres, self.top, self.timeline = stream, genres, top, timeline
        self.open()

    def open(self) -> None:  # noqa: B027 - not all formats have a beginning
        """Write the beginning."""

    @abstractmethod
    def row(self, prediction: Prediction) -> str:
        """One prediction as text."""

    def write_row(self, row: str) -> None:
        """Write what `row` gave."""
        self.stream.write(row)

    def write(self, prediction: Prediction) -> None:
        """Write one prediction."""
        self.write_row(self.row(prediction))

    def close(self) -> None:  # noqa: B027 - nor an end
        """Write the end."""

    def fields(self, prediction: Prediction) -> dict[str, Any]:
        """The prediction for JSON, with `top` where more than one genre was requested."""
        fields = prediction.to_dict()
        if self.top > 1:
            fields["top"] = [
                {"genre": genre, "probability": round(value, 6)}
                for genre, value in prediction.top(self.top)
            ]
        return fields


class Table(Writer):
    """Lines for people: genre, a bar of confidence, the file."""

    def open(self) -> None:
        """Prepare; the heading is printed with the first prediction."""
        self.console = None if is_plain(self.stream) else self._console()
        # Room for an answer of two genres, "country or classical".
        longest = sorted(map(len, self.genres))[-2:]
        self.width = max(sum(longest) + len(" or "), len("Genre"))
        self.has_heading = False

    def _console(self) -> Console:
        from rich.console import Console

        from genrescope.cli.terminal import stdout

        if self.stream.isatty():
            return stdout
        return Console(file=self.stream, highlight=False, soft_wrap=True)

    def row(self, prediction: Prediction) -> str:
        """A line, more with `--top` and `--timeline`."""
        if self.console is None:
            return "".join(map(_plain, self._lines(prediction)))
        with self.console.capture() as captured:
            for line in self._lines(prediction):
                self._print(line)
        return captured.get()

    def write_row(self, row: str) -> None:
        """Write what `row` gave."""
        self._print_heading()
        self.stream.write(row)

    def write(self, prediction: Prediction) -> None:
        """Print a row at once: on a terminal it goes above the progress bar."""
        self._print_heading()
        for line in self._lines(prediction):
            self._print(line)

    def _print_heading(self) -> None:
        if not self.has_heading:
            self._print(("bold", [(f"{'Genre':{self.width}} {'Confidence':15} File", "")]))
            self.has_heading = True

    def _print(self, line: _Line) -> None:
        if self.console is None:
            self.stream.write(_plain(line))
        else:
            self.console.print(styled(line[0], *line[1]))

    def _lines(self, prediction: Prediction) -> Iterator[_Line]:
        has_words = prediction.labels is not None or prediction.genre is None
        answer = prediction.answer if has_words else prediction.top(1)[0][0]
        confidence = None if prediction.genre is None else prediction.confidence
        yield self._line(answer, confidence, printable(prediction.path or ""))
        if prediction.labels is not None and (details := _details(prediction.labels)):
            yield "dim", [(f"  {details}", "")]
        for genre, value in prediction.top(self.top)[1:]:
            yield self._line(genre, value, "", style="dim")
        for warning in prediction.warnings:
            yield "yellow", [(f"  {printable(warning)}", "")]
        if not self.timeline:
            return
        shares = prediction.shares()
        if len(shares) > 1:
            text = ", ".join(_share(value, genre) for genre, value in shares.items())
            yield "", [(f"  {text}", "")]
        sections = prediction.sections()
        if sections:
            yield "dim", [("  sections, each with the mean probability of its segments:", "")]
        for section in sections:
            times = f"  {_clock(section.start)} - {_clock(section.end)}"
            yield self._line(section.genre, section.probability, times, style="dim")

    def _line(self, genre: str, value: float | None, rest: str, style: str = "") -> _Line:
        parts = [(f"{genre:{self.width}} ", "")]
        if value is None:  # there is no genre to be confident of
            parts.append((" " * 16, ""))
        else:
            full = round(value * 10)
            parts.append(("█" * full + "·" * (10 - full), "cyan"))
            parts.append((f" {confidence_percent(value):>4} ", style or "default"))
        return style or "bold", [*parts, (rest, style or "not bold")]


def _plain(line: _Line) -> str:
    return "".join(text for text, _ in line[1]) + "\n"


def _details(labels: SoundLabels) -> str:
    """Styles, instruments and moods of a track in a line; empty where the model knows none."""
    groups = {"styles": labels.styles, "instruments": labels.instruments, "moods": labels.moods}
    return "; ".join(
        f"{name}: {', '.join(list(group)[:_DETAILS])}" for name, group in groups.items() if group
    )


def _share(value: float, genre: str) -> str:
    return f"{confidence_percent(value) if value >= 0.01 else '<1%'} {genre}"


class Json(Writer):
    """One JSON list."""

    def open(self) -> None:
        """Open the list."""
        self.separator = "[\n"

    def row(self, prediction: Prediction) -> str:
        """An element."""
        return json.dumps(self.fields(prediction))

    def write_row(self, row: str) -> None:
        """Write an element."""
        self.stream.write(self.separator + row)
        self.separator = ",\n"

    def close(self) -> None:
        """Close the list."""
        self.stream.write("[]\n" if self.separator == "[\n" else "\n]\n")


class JsonLines(Writer):
    """A JSON object a line."""

    def row(self, prediction: Prediction) -> str:
        """A line."""
        return json.dumps(self.fields(prediction)) + "\n"

    def write_row(self, row: str) -> None:
        """Write a line, for readers that wait for it."""
        self.stream.write(row)
        self.stream.flush()


class Csv(Writer):
    """A row a file, with a column for each genre's probability."""

    def open(self) -> None:
        """Write the heading."""
        heading = ["path", "genre", "confidence", "duration", "warnings", *self.genres]
        self.stream.write(_csv_line([*heading, *_LABELS]))

    def row(self, prediction: Prediction) -> str:
        """A row."""
        fields = prediction.to_dict(timeline=False)
        return _csv_line(
            [
                fields["path"],
                fields["genre"] or "",
                fields["confidence"],
                fields["duration"],
                "; ".join(prediction.warnings),
                *(fields["probabilities"][genre] for genre in self.genres),
                *(_cell(fields.get(name, "")) for name in _LABELS),
            ]
        )


class Parquet(Writer):
    """A row a file as in CSV, but with probabilities as they are, and a list of warnings."""

    group = 4096
    """Rows that are held in memory."""

    def open(self) -> None:
        """Prepare; the file is begun with the first rows."""
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            missing = f"Parquet needs {error.name}: pip install 'genrescope[ray]', or write .csv"
            raise GenrescopeError(missing) from None
        text, number = pyarrow.string(), pyarrow.float64()
        columns = [("path", text), ("genre", text), ("confidence", number), ("duration", number)]
        columns += [("warnings", pyarrow.list_(text)), *((name, number) for name in self.genres)]
        columns += [(name, text) for name in _LABELS]
        self.arrow, self.schema = pyarrow, pyarrow.schema(columns)
        self.table: Any = None
        self.waiting: list[dict[str, Any]] = []

    def row(self, prediction: Prediction) -> str:
        """A row as JSON, which keeps numbers as they are."""
        labels = prediction.labels.to_dict() if prediction.labels is not None else {}
        if prediction.labels is not None:
            labels["answer"] = prediction.answer
        row = {
            # A name need not be valid text, which Parquet demands.
            "path": valid_text(prediction.path or ""),
            "genre": prediction.genre,
            "confidence": prediction.confidence,
            "duration": prediction.duration,
            "warnings": prediction.warnings,
            **prediction.probabilities,
            **{name: str(_cell(labels[name])) for name in _LABELS if name in labels},
        }
        return json.dumps(row)

    def write_row(self, row: str) -> None:
        """Write what `row` gave, some thousand at a time."""
        self.waiting.append(json.loads(row))
        if len(self.waiting) >= self.group:
            self._flush()

    def close(self) -> None:
        """Write the rest, and the index at the end."""
        self._flush()
        self.table.close()

    def _flush(self) -> None:
        if self.table is None:
            # The text stream is a layer over the file.
            file = cast("io.TextIOWrapper", self.stream).buffer
            self.table = self.arrow.parquet.ParquetWriter(file, self.schema)
        self.table.write_table(self.arrow.Table.from_pylist(self.waiting, schema=self.schema))
        self.waiting = []


def _csv_line(cells: Sequence[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def _cell(value: Any) -> Any:
    """Names in a cell of a table, the most probable first."""
    return "; ".join(value) if isinstance(value, dict) else value


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


WRITERS: dict[str, type[Writer]] = {
    "table": Table,
    "json": Json,
    "jsonl": JsonLines,
    "csv": Csv,
    "parquet": Parquet,
}
