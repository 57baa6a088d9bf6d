"""Music files at addresses: they are fetched, and their bytes read as those of a file on a disk."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import mkstemp
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from genrescope.audio.addresses import open_source, suffix_of
from genrescope.errors import AudioError, FileError, UnreadableError
from genrescope.features import StreamInfo
from genrescope.inference import Classifier, Prediction
from genrescope.inference.listening import Listen
from genrescope.inference.ray_engine import Piece, PredictionPipeline, RayEngine
from genrescope.inference.threads import CancelEvent, in_threads
from genrescope.library.content import content_of
from genrescope.library.files import Tags, tags_of
from genrescope.locks import scratch_folder
from genrescope.wording import size_in_words

if TYPE_CHECKING:
    from genrescope.inference.bundle import Bundle

_PIECE = 2**20
_LARGEST = 2**34
"""Bytes; a server may never end."""
_NOTHING = np.zeros(0)


@dataclass(frozen=True)
class Read:
    """What the bytes of a file tell: its content, its tags, and its prediction.

    Attributes
    ----------
    content
        See `genrescope.library.content`.
    tags
        Its own.
    result
        An `AudioError` where it can't be decoded.
    """

    content: str
    tags: Tags
    result: Prediction | FileError


ReadMany = Callable[[Classifier, Iterable[str]], Iterator[Read | FileError]]
"""A function that reads files at addresses in their order, such as `read_on_ray`."""


@contextmanager
def fetched(address: str, folder: Path) -> Iterator[Path]:
    """A copy of the file at an address, which is removed afterwards.

    Raises
    ------
    UnreadableError
        When it can't be fetched.
    """
    handle, name = mkstemp(suffix_of(address), dir=folder)
    try:
        with os.fdopen(handle, "wb") as copy:
            _fetch(address, copy)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _fetch(address: str, copy: BinaryIO) -> None:
    try:
        with open_source(address) as opened:
            if not isinstance(opened, Path):
                while piece := opened.read(_PIECE):
                    copy.write(piece)
                    if copy.tell() > _LARGEST:
                        raise UnreadableError(address, f"larger than {size_in_words(_LARGEST)}")
    except FileError as error:
        raise UnreadableError(address, error.reason) from None
    except Exception as error:  # each protocol has errors of its own
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UnreadableError(address, f"can't be fetched: {reason}") from None


def read_here(
    classifier: Classifier, addresses: Iterable[str], *, jobs: int | None, listen: Listen
) -> Generator[Read | FileError, None, None]:
    """Read files at addresses in threads of this process."""
    with scratch_folder("fetch") as folder:

        def read(address: str, stop: CancelEvent) -> Read | FileError:
            try:
                with fetched(address, folder) as file:
                    content, tags = content_of(file), tags_of(file)
                    try:
                        prediction = classifier.predict(file, cancel=stop, listen=listen)
                    except FileError as error:
                        return Read(content, tags, type(error)(address, error.reason))
                    return Read(content, tags, prediction)
            except FileError as error:
                return UnreadableError(address, error.reason)

        yield from in_threads(read, addresses, jobs, None)


def read_on_ray(
    engine: RayEngine, classifier: Classifier, addresses: Iterable[str]
) -> Generator[Read | FileError, None, None]:
    """Read files at addresses on a cluster, whose nodes fetch them."""
    yield from engine.results(_LibraryPipeline(classifier.bundle), addresses)


class _LibraryPipeline:
    """Predictions of fetched files, with notes of their content and tags.

    A note is a piece without segments, whose starts are JSON.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.predictions = PredictionPipeline(bundle)

    def __reduce__(self) -> tuple[type[_LibraryPipeline], tuple[Bundle]]:
        return type(self), (self.predictions.bundle,)

    def read(self, source: str, info: StreamInfo) -> Iterator[Piece]:
        """See `genrescope.inference.ray_engine.Pipeline`."""
        with scratch_folder("fetch") as folder, fetched(source, folder) as file:
            yield _note({"content": content_of(file), "tags": asdict(tags_of(file))})
            try:
                yield from self.predictions.read(str(file), info)
            except UnreadableError:
                raise
            except AudioError as error:
                yield _note({"reason": error.reason})

    def run(self, values: NDArray[Any]) -> list[NDArray[Any]]:
        """See `genrescope.inference.ray_engine.Pipeline`."""
        return self.predictions.run(values) if values.size else []

    def result(self, source: str, info: StreamInfo, outputs: list[list[NDArray[Any]]], /) -> Read:
        """See `genrescope.inference.ray_engine.Pipeline`."""
        told: dict[str, Any] = {}
        pieces = []
        for piece in outputs:
            if len(piece) == 2:
                told |= json.loads(piece[0].tobytes())
            else:
                pieces.append(piece)
        result: Prediction | FileError
        if "reason" in told:
            result = AudioError(source, told["reason"])
        else:
            result = self.predictions.result(source, info, pieces)
        return Read(told["content"], Tags(**told["tags"]), result)


def _note(fields: dict[str, Any]) -> Piece:
    return Piece(_NOTHING, np.frombuffer(json.dumps(fields).encode(), np.uint8), _NOTHING)
