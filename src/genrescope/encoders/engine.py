"""The one engine that computes embeddings: for Python, recipes and `genrescope embed`.

Threads read sources ahead of the network, in pieces of at least a minute. A batch may have segments
of several sources; batches are computed in threads where the network allows it. Apart from the
embeddings, memory does not depend on the length of a source.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from os import PathLike
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from genrescope.encoders.store import Embedding, Store, Times
from genrescope.errors import FileError, GenrescopeError
from genrescope.features.spectrogram import FloatArray
from genrescope.parallel import available_cores

MAX_JOBS = 8
BATCH_SIZE = 32

Source = TypeVar("Source")
Run = Callable[[FloatArray], FloatArray]


class Segments(NamedTuple):
    """Segments of a source, or of a piece of it.

    Attributes
    ----------
    values
        float32 `[n, size, frames]`, as a network sees them.
    starts, ends
        float64 `[n]`, seconds from the beginning of the source.
    padded
        Whether the source is shorter than a segment and was padded with silence.
    """

    values: FloatArray
    starts: Times
    ends: Times
    padded: bool = False


@dataclass(frozen=True)
class EmbeddingModel(Generic[Source]):
    """A layer of an encoder, a bundle or a recipe, as the engine needs it.

    Attributes
    ----------
    read
        From a source to its segments, piece by piece. It may be called from several threads.
    load
        Loads the network and returns a function from segments `[n, size, frames]` to embeddings
        `[n, …]`. It is called when the first source has to be computed.
    key
        Everything else that an embedding depends on, as text.
    parallel
        Whether that function may be called from several threads at once.
    store
        Store for embeddings of files; None turns it off.
    """

    read: Callable[[Source], Iterable[Segments]]
    load: Callable[[], Run]
    key: str
    parallel: bool = True
    store: Store | None = None


def embed(
    model: EmbeddingModel[Source],
    sources: Iterable[Source],
    *,
    batch_size: int = BATCH_SIZE,
    jobs: int | None = None,
) -> Generator[Embedding | FileError, None, None]:
    """The embeddings of many sources, in their order.

    Parameters
    ----------
    model
        The model that computes the embeddings.
    sources
        Files, or other sources that `model.read` takes; consumed only as fast as they are computed.
    batch_size
        Segments that the network sees at once, of one source or of several.
    jobs
        Threads; as many as there are cores by default, at most 8.

    Yields
    ------
    Embedding, or the FileError of a source that can't be read

    Raises
    ------
    ValueError
        When `batch_size` or `jobs` is not positive.
    """
    for name, value in (("batch_size", batch_size), ("jobs", jobs)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    return _Engine(model, batch_size, jobs or min(MAX_JOBS, available_cores())).run(sources)


@dataclass
class _Track(Generic[Source]):
    """A source in the order of the sources, and how far it is computed."""

    source: Source
    pieces: Iterator[Segments]
    piece: Future[Segments | Embedding | FileError | None]
    outcome: Embedding | FileError | None = None
    read: list[Segments] = field(default_factory=list)  # without their values
    values: list[FloatArray] = field(default_factory=list)
    missing: int = 0  # segments that the network has not given yet
    complete: bool = False  # all is read


class _Engine(Generic[Source]):
    def __init__(self, model: EmbeddingModel[Source], batch_size: int, jobs: int) -> None:
        self.model, self.batch_size, self.jobs = model, batch_size, jobs
        self.reading = ThreadPoolExecutor(jobs)
        # Where the network may run in several threads, each computes a batch and reads files in
        # between. Otherwise the network itself uses all cores for one batch.
        self.computing = self.reading if model.parallel else ThreadPoolExecutor(1)
        self.at_once = jobs if model.parallel else 1
        self.network: Run | None = None
        self.line: deque[_Track[Source]] = deque()
        self.waiting: list[FloatArray] = []  # segments that are not yet a batch
        self.running: deque[Future[FloatArray]] = deque()
        self.results: deque[FloatArray] = deque()

    def run(self, sources: Iterable[Source]) -> Generator[Embedding | FileError, None, None]:
        try:
            for track in self._opened(sources):
                self.line.append(track)
                while not track.complete:
                    self._take(track)
                    yield from self._finished()
            self._compute_rest()
            yield from self._finished(wait=True)
        finally:
            for pool in {self.reading, self.computing}:
                pool.shutdown(cancel_futures=True)

    def _opened(self, sources: Iterable[Source]) -> Iterator[_Track[Source]]:
        """The sources, the first pieces of a few of them being read ahead."""
        rest = iter(sources)
        ahead = deque(self._open(source) for source in islice(rest, 2 * self.jobs))
        while ahead:
            yield ahead.popleft()
            ahead.extend(self._open(source) for source in islice(rest, 1))

    def _open(self, source: Source) -> _Track[Source]:
        pieces = iter(_reading(self.model, source))
        return _Track(source, pieces, self.reading.submit(self._first, source, pieces))

    def _first(
        self, source: Source, pieces: Iterator[Segments]
    ) -> Segments | Embedding | FileError | None:
        """The stored embedding of a file, or its first piece."""
        store = self.model.store
        if store is not None and isinstance(source, str | PathLike):
            try:
                kept = store.get(source)
            except FileError as error:
                return error
            if kept is not None:
                return kept
        return _next(source, pieces)

    def _take(self, track: _Track[Source]) -> None:
        """Wait for a track's next piece, have the one after it read, and give it to the network."""
        piece = track.piece.result()
        if not isinstance(piece, Segments):
            track.complete, track.outcome = True, piece
            return
        track.piece = self.reading.submit(_next, track.source, track.pieces)
        track.read.append(piece._replace(values=piece.values[:0]))
        track.missing += len(piece.values)
        if len(piece.values):
            self.waiting.append(piece.values)
        self._compute_batches()

    def _compute_batches(self) -> None:
        count = sum(map(len, self.waiting))
        if count >= self.batch_size:
            segments = np.concatenate(self.waiting)
            whole = count - count % self.batch_size
            for start in range(0, whole, self.batch_size):
                self._submit(segments[start : start + self.batch_size])
            self.waiting = [segments[whole:]]

    def _compute_rest(self) -> None:
        """The remaining segments, divided among the threads."""
        if self.waiting:
            for batch in np.array_split(np.concatenate(self.waiting), self.at_once):
                if len(batch):
                    self._submit(batch)
            self.waiting = []

    def _submit(self, batch: FloatArray) -> None:
        if self.network is None:
            self.network = self.model.load()
        self.running.append(self.computing.submit(self.network, batch))
        while len(self.running) > self.at_once + 1:
            self.results.append(self.running.popleft().result())

    def _finished(self, *, wait: bool = False) -> Iterator[Embedding | FileError]:
        """The tracks at the front of the line that are complete."""
        while self.running and (wait or self.running[0].done()):
            self.results.append(self.running.popleft().result())
        while self.line:
            track = self.line[0]
            while track.missing and self.results:
                found = self.results.popleft()
                track.values.append(found[: track.missing])
                if len(found) > track.missing:
                    self.results.appendleft(found[track.missing :])
                track.missing -= len(track.values[-1])
            if track.missing or not track.complete:
                return
            yield self._outcome(self.line.popleft())

    def _outcome(self, track: _Track[Source]) -> Embedding | FileError:
        if track.outcome is not None:
            return track.outcome
        embedding = Embedding(
            np.concatenate(track.values or [np.zeros((0, 0), np.float32)]),
            np.concatenate([piece.starts for piece in track.read] or [np.zeros(0)]),
            np.concatenate([piece.ends for piece in track.read] or [np.zeros(0)]),
            any(piece.padded for piece in track.read),
        )
        store = self.model.store
        if store is None or not isinstance(track.source, str | PathLike):
            return embedding
        try:
            return store.put(track.source, embedding)
        except FileError as error:  # it was there when it was read
            return error


def _reading(model: EmbeddingModel[Source], source: Source) -> Iterator[Segments]:
    """The pieces of a source; nothing is opened before the first is asked for."""
    yield from model.read(source)


def _next(source: Any, pieces: Iterator[Segments]) -> Segments | FileError | None:
    """The next piece, None after the last, or the error of a source that can't be read."""
    try:
        return next(pieces, None)
    except FileError as error:
        return error
    except GenrescopeError:
        raise
    except Exception as error:  # the rest of the work continues, whatever a decoder raises
        name = source if isinstance(source, str | PathLike) else type(source).__name__
        failure = FileError(name, f"unexpected {type(error).__name__}: {error}")
        failure.__cause__ = error
        return failure
