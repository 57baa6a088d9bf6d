"""Embeddings of many files in one table; an interrupted call continues where it stopped.

While a table is computed, what is done lies in parts in a folder next to it, `NAME.partial`. In the
end the parts become the table, and the folder is removed. Called again, a table that is there is
brought up to date: files that did not change since are not computed again.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from filelock import BaseFileLock, Timeout

from genrescope.atomic import open_atomic, write_atomic
from genrescope.audio.addresses import names_address, stamp_of
from genrescope.encoders import engine
from genrescope.encoders.engine import BATCH_SIZE, EmbeddingModel
from genrescope.encoders.store import Embedding
from genrescope.encoders.tables import (
    Heading,
    TrackRows,
    check_format,
    read_heading,
    read_table,
    write_table,
)
from genrescope.errors import FileError, GenrescopeError, UnknownNameError
from genrescope.locks import acquire
from genrescope.redaction import redacted
from genrescope.registry import no_such
from genrescope.untrusted import open_npz
from genrescope.wording import valid_text

EmbedMany = Callable[..., Generator[Embedding | FileError, None, None]]
"""A function that embeds files in their order, given a `batch_size`: `RayEngine.embed_many`."""
Pool = Literal["none", "mean", "mean_std_max"]
POOLS: Final = ("none", "mean", "mean_std_max")

_PART_BYTES = 2**25
_PART_SECONDS = 10.0


@dataclass(frozen=True)
class EmbedReport:
    """Result of `embed_files`.

    Attributes
    ----------
    tracks, rows
        In the table.
    computed
        Tracks that were computed by this call.
    failures
        Files that could not be embedded.
    """

    tracks: int
    rows: int
    computed: int
    failures: list[FileError] = field(default_factory=list)


def embed_files(
    paths: Iterable[str | PathLike[str]],
    out: str | PathLike[str],
    model: EmbeddingModel[Any],
    *,
    pool: Pool = "none",
    batch_size: int = BATCH_SIZE,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    failed: Callable[[FileError], None] | None = None,
    embed_many: EmbedMany | None = None,
) -> EmbedReport:
    """Write the embeddings of files into one table, Parquet or `.npz`.

    Rows are in the order of `paths`; a file that is named twice is embedded once. Files that can't
    be embedded are left out and tried again by the next call.

    Parameters
    ----------
    paths
        Files of audio; addresses as text, for an `embed_many` that reads them. In the table they
        stand without secrets.
    out
        The table; its name ends in `.parquet` or `.npz`.
    model
        A layer of an encoder (`encoder_layer`) or of a bundle (`inference.bundle_layer`).
    pool
        "none": a row for each segment. "mean": a row for each track, the mean of its segments.
        "mean_std_max": mean, standard deviation and maximum, one after the other.
    batch_size, jobs
        As for `genrescope.encoders.engine.embed`.
    progress
        Called with how many files are done, and how many there are.
    failed
        Called with each file that can't be embedded, when that is known.
    embed_many
        What embeds the files; by default threads of this process, `encoders.engine.embed`.

    Returns
    -------
    EmbedReport
        Without any track nothing is written.

    Raises
    ------
    UnknownNameError
        When there is no such pool.
    GenrescopeError
        When the table can't be written, holds other embeddings, or another process writes it.
    """
    out, tell = Path(out), progress or (lambda _done, _total: None)
    fail = failed or (lambda _failure: None)
    if pool not in POOLS:
        raise UnknownNameError(no_such("no pool", pool, POOLS))
    check_format(out)
    if not out.parent.is_dir():
        raise GenrescopeError(f"{out}: there is no folder {out.parent}")
    files = _distinct(paths)
    heading = Heading(model.key, pool)
    if out.exists() and read_heading(out).settings != heading.settings:
        raise GenrescopeError(
            f"{out}: holds embeddings with other settings; choose another name, or remove it"
        )
    try:
        with _Parts(out, heading) as parts:
            embed_many = embed_many or partial(engine.embed, replace(model, store=None), jobs=jobs)
            return _embed(files, parts, embed_many, batch_size, tell, fail)
    except OSError as error:
        raise GenrescopeError(f"{error.filename or out}: {error.strerror or error}") from None


def _embed(
    files: dict[str, Path | str],
    parts: _Parts,
    embed_many: EmbedMany,
    batch_size: int,
    tell: Callable[[int, int], None],
    fail: Callable[[FileError], None],
) -> EmbedReport:
    stamps = {name: _stamp(path) for name, path in files.items()}
    if parts.is_current(stamps):
        tell(len(files), len(files))
        return EmbedReport(len(files), parts.table_rows, 0)
    parts.collect(stamps)
    missing = [name for name in files if name not in parts.done]
    done = len(files) - len(missing)
    tell(done, len(files))
    failures = []
    found = embed_many((files[n] for n in missing), batch_size=batch_size)
    with closing(found):
        for number, (name, result) in enumerate(zip(missing, found, strict=True), done + 1):
            if isinstance(result, Embedding) and not len(result.values):
                result = FileError(files[name], "digital silence: no segment to embed")
            if isinstance(result, FileError):
                failures.append(result)
                fail(result)
            else:
                parts.add(_rows(name, stamps[name], result, parts.heading.pool))
            tell(number, len(files))
    heading = parts.finish([name for name in files if name in parts.done])
    return EmbedReport(len(heading.tracks), heading.rows, len(missing) - len(failures), failures)


def pooled(embedding: Embedding, pool: str) -> Embedding:
    """The segments of a track as `pool` says, see `embed_files`."""
    if pool == "none":
        return embedding
    values = embedding.values.astype(np.float64)
    row = values.mean(axis=0)
    if pool == "mean_std_max":
        row = np.concatenate([row, values.std(axis=0), values.max(axis=0)])
    return Embedding(
        row[None].astype(np.float32), embedding.starts[:1], embedding.ends[-1:], embedding.padded
    )


class _Parts:
    """The parts of a table that is being computed.

    Attributes
    ----------
    done
        For each track that is in a part: the part, its position there, its rows and stamp.
    table_rows
        Rows of the table that is there already.
    """

    def __init__(self, out: Path, heading: Heading) -> None:
        self.out, self.heading = out, heading
        self.folder = out.with_name(f"{out.name}.partial")
        self.done: dict[str, tuple[int, int, int, tuple[int, int]]] = {}
        self.table_rows = 0
        self._fresh: list[TrackRows] = []
        self._number, self._since = 0, time.monotonic()
        self._lock: BaseFileLock | None = None
        self._open: tuple[int, dict[str, Any]] = (-1, {})

    def __enter__(self) -> _Parts:
        self.folder.mkdir(exist_ok=True)
        try:
            self._lock = acquire(self.folder / "lock")
        except Timeout:
            raise GenrescopeError(f"{self.out}: another process is writing it") from None
        settings = self.folder / "settings.json"
        own = {"key": self.heading.key, "pool": self.heading.pool}
        if not settings.exists():
            write_atomic(settings, json.dumps(own).encode())
        elif json.loads(settings.read_bytes()) != own:
            self._release()
            raise GenrescopeError(
                f"{self.folder}: an unfinished table with other settings; "
                "give the command that began it, or remove the folder"
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self.folder.exists():
            self._flush()
        self._release()
        if self.done or not self.folder.exists():
            return
        shutil.rmtree(self.folder, ignore_errors=True)  # nothing was done: nothing to keep

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def is_current(self, stamps: dict[str, tuple[int, int]]) -> bool:
        """Whether the table is there already with just these files as they are now."""
        if not self.out.exists():
            return False
        heading = read_heading(self.out)
        self.table_rows = heading.rows
        return [*heading.stamps().items()] == [*stamps.items()]

    def collect(self, stamps: dict[str, tuple[int, int]]) -> None:
        """Find what is done of these files: in parts of an earlier call, or in a table."""
        for path in sorted(self.folder.glob("*.npz")):
            self._number = int(path.stem) + 1
            names, counts, sizes, times = (
                self._part(int(path.stem))[each] for each in ("paths", "counts", "sizes", "times")
            )
            first = 0
            for name, count, size, changed in zip(names, counts, sizes, times, strict=True):
                stamp = (int(size), int(changed))
                if stamps.get(str(name)) == stamp:
                    self.done[str(name)] = (int(path.stem), first, int(count), stamp)
                first += int(count)
        if self.out.exists():
            for track in read_table(self.out):
                if track.path not in self.done and stamps.get(track.path) == track.stamp:
                    self.add(track)

    def add(self, track: TrackRows) -> None:
        """Keep a track's rows; every few seconds what is kept goes to disk."""
        first = sum(len(each.values) for each in self._fresh)
        self._fresh.append(track)
        self.done[track.path] = (self._number, first, len(track.values), track.stamp)
        size = sum(each.values.nbytes for each in self._fresh)
        if size > _PART_BYTES or time.monotonic() - self._since > _PART_SECONDS:
            self._flush()

    def finish(self, names: list[str]) -> Heading:
        """Write the table with these tracks, and remove the parts."""
        self._flush()
        tracks = [(name, self.done[name][2], self.done[name][3]) for name in names]
        if not names:
            return self.heading
        size = self._part(self.done[names[0]][0])["values"].shape[1]
        heading = replace(self.heading, size=size, tracks=tracks)
        write_table(self.out, heading, lambda: map(self._rows, names))
        self._open = (-1, {})
        self._release()
        shutil.rmtree(self.folder, ignore_errors=True)
        return heading

    def _flush(self) -> None:
        if not self._fresh:
            return
        with open_atomic(self.folder / f"{self._number:06d}.npz") as file:
            np.savez(
                file,
                paths=np.array([track.path for track in self._fresh]),
                counts=np.array([len(track.values) for track in self._fresh]),
                sizes=np.array([track.stamp[0] for track in self._fresh]),
                times=np.array([track.stamp[1] for track in self._fresh]),
                values=np.concatenate([track.values for track in self._fresh]),
                starts=np.concatenate([track.starts for track in self._fresh]),
                ends=np.concatenate([track.ends for track in self._fresh]),
            )
        self._fresh, self._number, self._since = [], self._number + 1, time.monotonic()

    def _part(self, number: int) -> dict[str, Any]:
        if self._open[0] != number:
            with open_npz(self.folder / f"{number:06d}.npz") as arrays:
                self._open = (number, dict(arrays))
        return self._open[1]

    def _rows(self, name: str) -> TrackRows:
        number, first, count, stamp = self.done[name]
        part, rows = self._part(number), slice(first, first + count)
        return TrackRows(name, stamp, *(part[each][rows] for each in ("values", "starts", "ends")))


def _rows(name: str, stamp: tuple[int, int], embedding: Embedding, pool: str) -> TrackRows:
    found = pooled(embedding, pool)
    return TrackRows(name, stamp, found.values, found.starts, found.ends)


def _distinct(paths: Iterable[str | PathLike[str]]) -> dict[str, Path | str]:
    """Files by their names as text, each once, however it is named.

    Raises
    ------
    FileError
        When two addresses differ only in their secrets, which are removed from names.
    """
    seen: dict[str, tuple[str, Path | str]] = {}
    for path in paths:
        if isinstance(path, str) and names_address(path):
            name = redacted(path)
            if seen.setdefault(name, (name, path))[1] != path:
                raise FileError(path, "named twice with other secrets, which are not stored")
        else:
            seen.setdefault(os.path.realpath(path), (os.fsdecode(path), Path(path)))
    # A name need not be UTF-8, but text in a table has to be.
    return {valid_text(name): path for name, path in seen.values()}


def _stamp(path: Path | str) -> tuple[int, int]:
    if isinstance(path, str):
        size, version = stamp_of(path) or (-1, -1)
        return size, version
    try:
        status = path.stat()
    except (OSError, ValueError):
        return -1, -1  # reading it will say why
    return status.st_size, status.st_mtime_ns
