"""Threads that work on files, their bounded queue, and the limits on the work for a file."""

from __future__ import annotations

import heapq
import io
import logging
import math
import threading
import time
import wave
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import numpy as np

from genrescope import audio
from genrescope.errors import CancelledError, FileError, TooLongError
from genrescope.inference import Classifier
from genrescope.service.metrics import Metrics
from genrescope.service.problems import ProblemError, full_disk
from genrescope.service.settings import ServiceSettings

_log = logging.getLogger(__name__)
# The longest that a decoder may take for half a minute of sound.
_BLOCK_SECONDS = 30.0
_LONGEST_WAIT = 60.0  # that a refused client is told
_MOST_EXPECTED = 1000

Event = dict[str, Any]
Report = Callable[[Event], None]


class Stop:
    """Set when the work on a file should end: cancelled, over its time, or the service stops."""

    def __init__(self, closing: threading.Event, seconds: float) -> None:
        self._closing, self._seconds = closing, seconds
        self._cancelled = threading.Event()
        self._deadline = math.inf

    def begin(self) -> None:
        """Start the clock."""
        self._deadline = time.monotonic() + self._seconds

    def cancel(self) -> None:
        """Nobody waits for the result any more."""
        self._cancelled.set()

    @property
    def is_overdue(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() > self._deadline

    def is_set(self) -> bool:
        """Whether the work should end."""
        return self._cancelled.is_set() or self._closing.is_set() or self.is_overdue


Work = Callable[[Stop, Report], None]


class Pool:
    """Threads that work on a file each; they decode in the processes of `audio.safely`.

    `room` limits how many requests may wait.
    """

    def __init__(self, settings: ServiceSettings, metrics: Metrics, classifier: Classifier) -> None:
        self.settings, self.metrics, self.classifier = settings, metrics, classifier
        self.room = Room(settings, metrics)
        self._threads = ThreadPoolExecutor(settings.workers, thread_name_prefix="worker")
        self._decoders = ExitStack()
        self._closing, self._ready = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._waiting = 0

    @property
    def is_ready(self) -> bool:
        """Whether a file can be decoded and classified without further preparation."""
        return self._ready.is_set()

    @property
    def waiting(self) -> int:
        """Number of files that no thread works on yet."""
        return self._waiting

    def start(self) -> None:
        """Start threads and decoders, without waiting for them."""
        settings = self.settings
        decoders = audio.safely(
            settings.workers,
            memory=settings.max_decoder_bytes,
            seconds=min(_BLOCK_SECONDS, settings.max_work_seconds),
            longest=settings.max_seconds,
            total=settings.max_work_seconds,
        )
        pool = self._decoders.enter_context(decoders)
        self.metrics.count_lost_decoders(lambda: pool.lost)
        for _ in range(settings.workers):
            self._threads.submit(self._warm_up)

    def close(self) -> None:
        """End the work in hand at the next half minute of a track, and stop the processes."""
        self._closing.set()
        self._threads.shutdown()
        self._decoders.close()

    def submit(self, work: Work, report: Report) -> Stop:
        """Hand work to the next free thread.

        Parameters
        ----------
        work
            Called with an event that stops it, and with `report`.
        report
            Called with each event, from another thread; the last one is `done` or `failed`.
        """
        stop = Stop(self._closing, self.settings.max_work_seconds)
        with self._lock:
            self._waiting += 1
        try:
            self._threads.submit(self._do, work, stop, report)
        except RuntimeError:  # the threads have been shut down
            report(_failed("the service is stopping", 503))
        return stop

    def _do(self, work: Work, stop: Stop, report: Report) -> None:
        with self._lock:
            self._waiting -= 1
        stop.begin()
        started = time.monotonic()
        try:
            if stop.is_set():
                raise CancelledError("cancelled")
            work(stop, report)
        except TooLongError:
            minutes = self.settings.max_seconds / 60
            last = _failed(f"longer than {minutes:g} minutes", 413)
        except FileError as error:
            last = _failed(error.reason, 422)
        except CancelledError:
            seconds = self.settings.max_work_seconds
            last = (
                _failed(f"takes longer than {seconds:g} s", 422)
                if stop.is_overdue
                else _failed("the service is stopping", 503)
            )
        except MemoryError:
            last = _failed("it takes too much memory", 413)
        except Exception as error:  # one file must not end the thread
            full = full_disk(error) if isinstance(error, OSError) else None
            if full is None and not stop.is_set():  # else what it read may have been closed
                _log.exception("unexpected error at a file")
            last = _failed(f"it can't be read ({type(error).__name__})", 422)
            if full is not None:
                last = _failed(full.detail, full.status)
        else:
            last = {"event": "done"}
        if stop.is_overdue or not stop.is_set():
            self.metrics.worked(time.monotonic() - started)
        report(last)

    def _warm_up(self) -> None:
        """Start a decoder, and import what libraries import at their first use."""
        noise = np.random.default_rng(0).integers(-3000, 3000, 44100).astype(np.int16)
        content = io.BytesIO()
        with wave.open(content, "wb") as file:
            file.setparams((1, 2, 22050, len(noise), "NONE", ""))
            file.writeframes(noise.tobytes())
        with suppress(Exception):  # which then is told about at the first file
            self.classifier.predict(content.getvalue())
        self._ready.set()


class Room:
    """How many requests may have work done or waiting at the same time.

    Used on the event loop alone.
    """

    def __init__(self, settings: ServiceSettings, metrics: Metrics) -> None:
        self.workers, self.most = settings.workers, settings.workers + settings.queue
        self.metrics = metrics
        self.taken = 0
        # A heap of times at which clients that were refused come back, as they were told.
        self._expected: list[float] = []

    @contextmanager
    def one(self) -> Iterator[None]:
        """Take the room of one request.

        Raises
        ------
        ProblemError
            503, when there is none left.
        """
        if self.taken >= self.most:
            wait = str(self._wait())
            raise ProblemError(503, "too many requests: try again later", Retry_After=wait)
        self.taken += 1
        self.metrics.working(self.taken)
        try:
            yield
        finally:
            self.taken -= 1
            self.metrics.working(self.taken)

    def _wait(self) -> int:
        """Seconds until there is room for a client that is refused now.

        Those that were refused before it come back, too: were each told the same second, the more
        clients there are the more time would go into refusing them.
        """
        now = time.monotonic()
        while self._expected and self._expected[0] <= now:
            heapq.heappop(self._expected)
        ahead = self.taken + len(self._expected)
        seconds = min(self.metrics.mean_seconds * ahead / self.workers, _LONGEST_WAIT)
        wait = max(1, math.ceil(seconds))
        if len(self._expected) < _MOST_EXPECTED:
            heapq.heappush(self._expected, now + wait)
        return wait


def _failed(reason: str, status: int) -> Event:
    return {"event": "failed", "reason": reason, "status": status}
