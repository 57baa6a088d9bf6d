"""Rows of a long command, in a stream or in a file that an interrupted command continues.

Next to an output file `NAME` the finished rows lie in a folder, `NAME.partial`. In the end they
become the file, in the order of the arguments, and the folder is removed. A kill at any moment
loses no more than the files that were being read.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from genrescope import __version__
from genrescope.audio.addresses import names_address, stamp_of
from genrescope.cli.writers import Writer, output, text_stream
from genrescope.errors import FileError
from genrescope.inference import Prediction
from genrescope.locks import acquire
from genrescope.redaction import redacted

Probable = Sequence[tuple[str, float]]
_SECONDS_BETWEEN_SYNCS = 3.0


class StreamRows:
    """Rows that are written at once and not kept."""

    def __init__(self, stream: TextIO, make_writer: Callable[[TextIO], Writer]) -> None:
        self.writer = make_writer(stream)

    def missing(self, files: Iterable[Path | str]) -> Iterator[Path | str]:
        """The files without a row: all."""
        yield from files

    def kept(self, _files: Iterable[Path | str]) -> list[tuple[str, Probable]]:
        """The files that have a row already: none."""
        return []

    def add(self, prediction: Prediction, _probable: Probable) -> None:
        """Write a row."""
        self.writer.write(prediction)

    def finish(self, _files: Iterable[Path | str], *, interrupted: bool) -> None:  # noqa: ARG002
        """Write the end, so that what was written is valid."""
        self.writer.close()


class PartialRows:
    """Rows of an output file that is not complete yet.

    Parameters
    ----------
    path
        The output file.
    settings
        What the rows depend on: the model and the options. Rows of other settings are refused.
    make_writer
        Makes the writer of a stream.

    Raises
    ------
    FileError
        When the folder can't be written, holds rows of other settings, or is in use by another
        process.
    """

    def __init__(
        self, path: Path, settings: dict[str, Any], make_writer: Callable[[TextIO], Writer]
    ) -> None:
        from filelock import Timeout  # most commands write no file

        self.path, self.make_writer = path, make_writer
        self.formatter = make_writer(io.StringIO())
        target = Path(os.path.realpath(path))
        self.folder = target.with_name(f"{target.name}.partial")
        self.folder.mkdir(exist_ok=True)
        try:
            self.lock = acquire(self.folder / "lock")
        except Timeout:
            raise FileError(path, "another process is writing it") from None
        # Of each file its stamp, its genres, and where its row is.
        self.done: dict[str, tuple[list[int], Probable, int]] = {}
        self.taken: dict[str, list[int]] = {}
        self.synced = time.monotonic()
        try:
            self.rows = (self.folder / "rows.jsonl").open("a+b")
            self._read({"version": __version__} | settings)
        except BaseException:
            self.lock.release()
            raise

    def _read(self, settings: dict[str, Any]) -> None:
        """Read the rows of an earlier call, up to the first that was not written completely."""
        self.rows.seek(0)
        header = _parsed(self.rows.readline())
        if header is None:
            self.rows.truncate(0)
            self._append(settings)
            return
        if header != json.loads(json.dumps(settings)):
            names = ", ".join(name for name in settings if header.get(name) != settings[name])
            raise FileError(
                self.folder,
                f"unfinished results of a command with another {names}; give that command again, "
                "or remove the folder",
            )
        while True:
            start = self.rows.tell()
            fields = _parsed(self.rows.readline())
            if fields is None or not {"file", "stamp", "genres", "row"} <= set(fields):
                self.rows.truncate(start)
                return
            probable = [(str(genre), float(value)) for genre, value in fields["genres"]]
            self.done[fields["file"]] = (fields["stamp"], probable, start)

    def missing(self, files: Iterable[Path | str]) -> Iterator[Path | str]:
        """The files that have no row yet, or have changed since."""
        for file in files:
            if not self._has(file):
                # A row of what the file was before is not for this file, even if it can't be read.
                self.done.pop(_name(file), None)
                # Taken before the file is read: if it changes while it is read, it has no row.
                self.taken[_name(file)] = _stamp(file)
                yield file

    def kept(self, files: Iterable[Path | str]) -> list[tuple[str, Probable]]:
        """The files that have a row already, with their most probable genres."""
        return [(_name(file), self.done[_name(file)][1]) for file in files if self._has(file)]

    def add(self, prediction: Prediction, probable: Probable) -> None:
        """Keep the row of a file."""
        name = prediction.path or ""
        start, stamp = self.rows.seek(0, os.SEEK_END), self.taken.pop(name, [])
        row = self.formatter.row(prediction)
        self._append({"file": name, "stamp": stamp, "genres": probable, "row": row})
        self.done[name] = (stamp, probable, start)

    def finish(self, files: Iterable[Path | str], *, interrupted: bool) -> None:
        """Write the output file, and remove the folder; after an interruption keep the rows."""
        if interrupted:
            return
        whole = self.folder / "whole"
        with whole.open("wb") as file:
            stream = text_stream(file)
            writer = self.make_writer(stream)
            for name in map(_name, files):
                if name in self.done:
                    self.rows.seek(self.done[name][2])
                    writer.write_row(json.loads(self.rows.readline())["row"])
            writer.close()
            stream.flush()
            os.fsync(file.fileno())
            stream.detach()
        whole.replace(os.path.realpath(self.path))
        self.done = {}

    def close(self) -> None:
        """Let others continue the file; where there is nothing to continue, remove the folder."""
        self.rows.close()
        if not self.done:  # while nobody else can begin with rows in it
            shutil.rmtree(self.folder, ignore_errors=True)
        self.lock.release()

    def _has(self, file: Path | str) -> bool:
        return _name(file) in self.done and self.done[_name(file)][0] == _stamp(file)

    def _append(self, fields: dict[str, Any]) -> None:
        self.rows.seek(0, os.SEEK_END)
        self.rows.write(json.dumps(fields).encode() + b"\n")
        self.rows.flush()
        if time.monotonic() - self.synced > _SECONDS_BETWEEN_SYNCS:
            os.fsync(self.rows.fileno())
            self.synced = time.monotonic()


@contextmanager
def open_rows(
    path: Path | None, settings: dict[str, Any], make_writer: Callable[[TextIO], Writer]
) -> Iterator[StreamRows | PartialRows]:
    """Rows for stdout, for a device or pipe, or for a file that can be continued.

    Raises
    ------
    FileError
        When they can't be written.
    """
    if path is None or (path.exists() and not path.is_file()):
        with output(path) as stream:
            yield StreamRows(stream, make_writer)
        return
    try:
        rows = PartialRows(path, settings, make_writer)
        try:
            yield rows
        finally:
            rows.close()
    except OSError as error:
        raise FileError(path, f"can't be written: {error.strerror or error}") from None


def _parsed(line: bytes) -> dict[str, Any] | None:
    """A line of the rows; None where it is missing or was not written completely."""
    if not line.endswith(b"\n"):
        return None
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None


def _name(file: Path | str) -> str:
    """What a row says of where its file is."""
    return str(file) if isinstance(file, Path) else redacted(file)


def _stamp(file: Path | str) -> list[int]:
    """A stamp that changes with a file's content; empty for a file that can't be read."""
    if names_address(str(file)):
        return stamp_of(str(file))
    try:
        status = Path(file).stat()
    except (OSError, ValueError):
        return []
    return [status.st_size, status.st_mtime_ns, status.st_ino]
