"""The forms results are written in, one after another as they come.

Whatever was written is complete once the writer is closed, also when the work was interrupted.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

from genrescope.atomic import open_atomic
from genrescope.cli.terminal import printable, stdout
from genrescope.errors import FileError
from genrescope.inference import Prediction, SegmentPrediction


@contextmanager
def output(path: Path | None) -> Iterator[TextIO]:
    """Stdout, or a file that is there under its name only once it is whole.

    Names of files need not be valid text; they go out as they came in.

    Raises
    ------
    FileError
        When the file can't be written.
    """
    if path is None:
        sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
        try:
            yield sys.stdout
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            # What is still in the buffer would be tried again, and fail again, at the exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise FileError("stdout", f"can't be written: {error.strerror or error}") from None
        return
    try:
        with open_atomic(path) as file:
            text = io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="")
            yield text
            text.flush()
            text.detach()
    except OSError as error:
        raise FileError(path, f"can't be written: {error.strerror or error}") from None


class _Writer:
    """What all forms share: where to, which genres, how much of each prediction."""

    def __init__(self, stream: TextIO, genres: Sequence[str], *, top: int, timeline: bool) -> None:
        self.stream, self.genres, self.top, self.timeline = stream, genres, top, timeline
        self.open()

    def open(self) -> None:
        """Write what comes first."""

    def write(self, prediction: Prediction) -> None:
        """Write one prediction."""

    def close(self) -> None:
        """Write what comes last."""

    def fields(self, prediction: Prediction) -> dict[str, Any]:
        """The prediction for JSON; `top` where more than one genre was asked for."""
        fields = prediction.to_dict()
        if self.top > 1:
            fields["top"] = [
                {"genre": genre, "probability": round(value, 6)}
                for genre, value in prediction.top(self.top)
            ]
        return fields


class Table(_Writer):
    """Lines for people: genre, a bar of confidence, the file."""

    def open(self) -> None:
        """Write the heading."""
        self.console = stdout
        if not self.stream.isatty():
            self.console = Console(file=self.stream, highlight=False, soft_wrap=True)
        self.width = max(map(len, [*self.genres, "Genre"])) + 1
        self.console.print(Text(f"{'Genre':{self.width}} {'Confidence':15} File", style="bold"))

    def write(self, prediction: Prediction) -> None:
        """Write a line, more with `--top` and `--timeline`."""
        self._line(prediction.genre, prediction.confidence, printable(prediction.path or ""))
        for genre, value in prediction.top(self.top)[1:]:
            self._line(genre, value, "", style="dim")
        for warning in prediction.warnings:
            self.console.print(Text(f"  {printable(warning)}", style="yellow"))
        for stretch in _stretches(prediction.timeline) if self.timeline else []:
            genre = stretch[0].genre
            mean = sum(segment.probabilities[genre] for segment in stretch) / len(stretch)
            times = f"  {_clock(stretch[0].start)} - {_clock(stretch[-1].end)}"
            self._line(genre, mean, times, style="dim")

    def _line(self, genre: str | None, value: float, rest: str, style: str = "") -> None:
        full = round(value * 10)
        line = Text(f"{genre or '?':{self.width}} ", style=style or "bold")
        line.append("█" * full + "·" * (10 - full), style="cyan")
        line.append(f" {100 * value:3.0f}% ", style=style or "default")
        line.append(rest, style=style or "not bold")
        self.console.print(line)


def _stretches(timeline: Sequence[SegmentPrediction]) -> list[list[SegmentPrediction]]:
    """Segments without a gap between them that name the same genre, together."""
    stretches: list[list[SegmentPrediction]] = []
    for segment in timeline:
        last = stretches[-1][-1] if stretches else None
        if last and last.genre == segment.genre and segment.start <= last.end:
            stretches[-1].append(segment)
        else:
            stretches.append([segment])
    return stretches


class Json(_Writer):
    """One JSON list."""

    def open(self) -> None:
        """Open the list."""
        self.separator = "[\n"

    def write(self, prediction: Prediction) -> None:
        """Write an element."""
        self.stream.write(self.separator + json.dumps(self.fields(prediction)))
        self.separator = ",\n"

    def close(self) -> None:
        """Close the list."""
        self.stream.write("[]\n" if self.separator == "[\n" else "\n]\n")


class JsonLines(_Writer):
    """A JSON object a line."""

    def write(self, prediction: Prediction) -> None:
        """Write a line."""
        self.stream.write(json.dumps(self.fields(prediction)) + "\n")
        self.stream.flush()


class Csv(_Writer):
    """A row a file, with a column for each genre's probability."""

    def open(self) -> None:
        """Write the heading."""
        self.rows = csv.writer(self.stream, lineterminator="\n")
        self.rows.writerow(["path", "genre", "confidence", "duration", "warnings", *self.genres])

    def write(self, prediction: Prediction) -> None:
        """Write a row."""
        fields = prediction.to_dict(timeline=False)
        self.rows.writerow(
            [
                fields["path"],
                fields["genre"] or "",
                fields["confidence"],
                fields["duration"],
                "; ".join(prediction.warnings),
                *(fields["probabilities"][genre] for genre in self.genres),
            ]
        )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02d}"


WRITERS: dict[str, type[_Writer]] = {
    "table": Table,
    "json": Json,
    "jsonl": JsonLines,
    "csv": Csv,
}
