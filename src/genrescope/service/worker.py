"""The process that decodes and classifies uploads, with limits on its memory.

It gets requests and sends events as JSON over a pipe. Nothing is pickled: a process that has
decoded a hostile file is not trusted.
"""

from __future__ import annotations

import json
import signal
import time
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from genrescope.aggregation import aggregate
from genrescope.audio import info, load
from genrescope.errors import CancelledError, FileError
from genrescope.inference import Classifier, SegmentPrediction
from genrescope.service.picture import draw

_WINDOW_SECONDS = 30.0
_LARGEST_FILE = 2**30
_PLAYED_RATE = 44100
_OPEN_FILES = 64


class TooLongError(Exception):
    """The audio is longer than the limit."""


class _Limit:
    """Set when the request was cancelled, or the audio is longer than the limit.

    A prediction looks at it for each half minute of a track.
    """

    def __init__(self, pipe: Connection, max_seconds: float) -> None:
        self.pipe, self.left = pipe, max_seconds
        self.is_too_long = False

    def is_set(self) -> bool:
        # The first look comes before the first half minute.
        self.left -= _WINDOW_SECONDS
        self.is_too_long = self.left < -2 * _WINDOW_SECONDS
        return self.is_too_long or self.pipe.poll(0)


def main(pipe: Connection, model: str, max_bytes: int) -> None:
    """Answer requests until the pipe is closed.

    Parameters
    ----------
    pipe
        Requests come from it, events go into it.
    model
        As `Classifier.load` takes it.
    max_bytes
        Memory that may be taken in addition to that of the loaded model.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the service ends its workers itself
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    classifier = Classifier.load(model)
    with suppress(Exception):  # what libraries load at their first use is no file's fault
        classifier.predict((np.random.default_rng(0).uniform(-0.1, 0.1, 44100), 22050))
    _confine(max_bytes)
    _send(pipe, event="ready")
    while True:
        try:
            request = json.loads(pipe.recv_bytes())
        except (EOFError, OSError):
            return
        if "cancel" in request:
            continue
        try:
            _answer(pipe, classifier, request)
        except FileError as error:
            _send(pipe, event="failed", reason=error.reason)
        except TooLongError:
            reason = f"longer than {request['max_seconds'] / 60:g} minutes"
            _send(pipe, event="failed", reason=reason, limit=True)
        except CancelledError:
            _send(pipe, event="failed", reason="cancelled")
        except MemoryError:
            _send(pipe, event="failed", reason="decoding it takes too much memory", limit=True)
        except (EOFError, BrokenPipeError):
            return
        except Exception as error:  # a decoder raises whatever it likes on a damaged file
            kind = type(error).__name__
            _send(pipe, event="failed", reason=f"it can't be decoded ({kind})")


def _answer(pipe: Connection, classifier: Classifier, request: dict[str, Any]) -> None:
    file = Path(request["file"])
    if request["kind"] == "wav":
        _write_wav(file, Path(request["target"]), request["max_seconds"])
        _send(pipe, event="done")
        return
    if request["kind"] == "picture":
        _send(pipe, event="picture", **draw(file))
        _send(pipe, event="done")
        return
    header = info(file)
    if header.duration > request["max_seconds"]:
        raise TooLongError
    _send(pipe, event="sound", duration=round(header.duration, 3))
    limit = _Limit(pipe, request["max_seconds"])
    rows: list[list[float]] = []

    def show(new: list[SegmentPrediction]) -> None:
        rows.extend([*segment.probabilities.values()] for segment in new)
        so_far = aggregate(np.array(rows), classifier.manifest.aggregation)
        _send(
            pipe,
            event="segments",
            segments=[asdict(segment) | {"genre": segment.genre} for segment in new],
            probabilities=dict(zip(classifier.genres, map(float, so_far), strict=True)),
        )

    started = time.perf_counter()
    try:
        prediction = classifier.predict(file, cancel=limit, progress=show)
    except CancelledError:
        if limit.is_too_long:
            raise TooLongError from None
        raise
    result = prediction.to_dict(timeline=request["timeline"])
    if not request["styles"] and prediction.labels is not None:
        for name in ("answer", *prediction.labels.to_dict()):
            result.pop(name, None)
    _send(
        pipe,
        event="prediction",
        prediction=result,
        embedding=[float(value) for value in prediction.embedding],
        content=_content(file) if request["content"] else "",
        seconds=round(time.perf_counter() - started, 4),
    )
    if request["picture"]:
        _send(pipe, event="picture", **draw(file))
    _send(pipe, event="done")


def _content(file: Path) -> str:
    from genrescope.library.content import content_of

    return content_of(file)


def _write_wav(file: Path, target: Path, max_seconds: float) -> None:
    """Write a file that browsers play, of one that they may not."""
    import soundfile

    waveform = load(file, sample_rate=_PLAYED_RATE, duration=max_seconds)
    soundfile.write(target, waveform.samples, _PLAYED_RATE, "PCM_16", format="WAV")


def _confine(max_bytes: int) -> None:
    """Limit this process, where the system can: memory, open files, size of what it writes."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limits = {
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_FSIZE: _LARGEST_FILE,
        resource.RLIMIT_CORE: 0,
    }
    pages = Path("/proc/self/statm")
    if pages.exists():
        taken = int(pages.read_text("ascii").split()[0]) * resource.getpagesize()
        limits[resource.RLIMIT_AS] = taken + max_bytes
    for limit, value in limits.items():
        with suppress(ValueError, OSError):  # the system allows even less
            resource.setrlimit(limit, (value, value))


def _send(pipe: Connection, **fields: Any) -> None:
    pipe.send_bytes(json.dumps(fields).encode())
