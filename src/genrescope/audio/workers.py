"""Decoding in processes of their own.

A decoder that crashes, hangs or takes all memory then costs the file that it was reading, and
nothing else. And several files are decoded on as many cores: in one process the threads of FFmpeg's
callers wait for each other between any two packets.

>>> from genrescope import audio, load
>>> with audio.safely(seconds=20, longest=3600):
...     prediction = load().predict("walking-bass.flac")
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from threading import Condition, Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from genrescope.audio.files import Readable, open_regular, source_name
from genrescope.audio.process import (
    END,
    FAILED,
    MEMORY,
    UNREADABLE,
    WARNING,
    DecoderProcess,
    ask_early,
    is_early,
    take_process,
)
from genrescope.errors import AudioError, TooLongError, UnreadableError
from genrescope.parallel import available_cores

if TYPE_CHECKING:
    from genrescope.audio.waveform import Samples

_WORTH_PROCESSES = 12  # files; a process takes as long to start as two or three do to decode
_SIGKILL = 9


class DecoderPool:
    """Processes that decode, with limits; see `safely`, which has the parameters."""

    def __init__(
        self,
        processes: int | None = None,
        *,
        memory: int = MEMORY,
        seconds: float = 120.0,
        longest: float | None = None,
        total: float | None = None,
    ) -> None:
        self.processes = processes or available_cores()
        self.memory = memory
        self.seconds = seconds
        self.longest = longest
        self.total = total
        self.lost = 0
        """Processes that crashed or had to be stopped."""
        self._lock = Lock()
        self._idle: list[DecoderProcess] = []
        self._watch = _Watch()

    def info(self, path: Readable) -> tuple[float, int, int, str, bool]:
        """What `AudioInfo` has of a file."""
        duration, rate, channels, container, seekable = self._header(path, {"kind": "info"})
        return float(duration), int(rate), int(channels), str(container), bool(seekable)

    def audio_digest(self, path: Readable, size: int | None) -> str:
        """As `genrescope.audio.packets.audio_digest`."""
        return str(self._header(path, {"kind": "digest", "size": size}))

    def stream(
        self,
        path: Readable,
        sample_rate: int | None,
        offset: float,
        duration: float | None,
        warnings: list[str],
    ) -> Iterator[Any]:
        """As `genrescope.audio.decode.open_stream`: the rate, then blocks of half a minute."""
        messages = self._ask(path, _stream_request(sample_rate, offset, duration), warnings)
        try:
            rate = json.loads(next(messages))
            yield rate
            total = 0
            for content in messages:
                block: Samples = np.frombuffer(content, np.float32)
                total += len(block)
                if self.longest is not None and total > self.longest * rate:
                    raise TooLongError(source_name(path), f"longer than {self.longest:g} s")
                yield block
        finally:
            messages.close()

    def close(self) -> None:
        """End the processes that are not at work; those that are end with their file."""
        with self._lock:
            idle, self._idle, self.processes = self._idle, [], 0
        for worker in idle:
            worker.kill()
        self._watch.close()

    def _header(self, path: Readable, request: dict[str, Any]) -> Any:
        """The one message with which such a request is answered."""
        messages = self._ask(path, request, [])
        header = json.loads(next(messages))
        for _ in messages:  # up to the end, after which the process is free again
            pass
        return header

    def _ask(
        self, path: Readable, request: dict[str, Any], warnings: list[str]
    ) -> Generator[bytearray, None, None]:
        """Send a request; yield the content of the header and of each block of the answer."""
        with _named(path) as file_name:
            name = source_name(path)
            worker = self._begin(name, {"path": file_name, **request})
            try:
                yield from self._answer(worker, name, warnings)
            finally:
                self._give_back(worker)

    def _begin(self, name: str, request: dict[str, Any]) -> DecoderProcess:
        """A process that has begun with a request.

        One that ended while it was idle, or before it read the request, is replaced once: the file
        is no reason for that.
        """
        for is_last in (False, True):
            worker = self._take(request)
            with suppress(OSError):
                if not worker.busy:  # or it was asked early
                    worker.ask(request)
                with self._watch.over(worker, self.seconds):
                    if worker.read() is not None:
                        return worker
            if is_last or worker.overdue:
                break
            worker.kill()
            self.lost += 1
        # A decoder that can't start says nothing of the file.
        raise UnreadableError(name, self._end(name, worker).reason)

    def _answer(
        self, worker: DecoderProcess, name: str, warnings: list[str]
    ) -> Generator[bytearray, None, None]:
        end = float("inf") if self.total is None else monotonic() + self.total
        while True:
            seconds = min(self.seconds, max(0.0, end - monotonic()))
            with self._watch.over(worker, seconds):
                message = worker.read()
            if message is None:
                raise self._end(name, worker, monotonic() >= end)
            kind, content = message
            if kind in (END, FAILED, UNREADABLE):
                worker.busy = False
            if kind == END:
                return
            if kind in (FAILED, UNREADABLE):
                kind_of_error = AudioError if kind == FAILED else UnreadableError
                raise kind_of_error(name, content.decode())
            if kind == WARNING:
                warnings.append(content.decode())
            else:
                yield content

    def _end(self, name: str, worker: DecoderProcess, is_over: bool = False) -> AudioError:
        """Stop a process, and say of a file why nothing more came."""
        worker.kill()
        self.lost += 1
        if worker.overdue and is_over and self.total is not None:
            return UnreadableError(name, f"takes longer than {self.total:g} s")
        if worker.overdue:
            reason = f"the decoder was stopped: no result in {self.seconds:g} s"
            # One that computed for most of the time always will; another waited for the disk, or
            # for a core.
            is_of_file = worker.computed > self.seconds / 2
            return (AudioError if is_of_file else UnreadableError)(name, reason)
        # Killed by the system for want of memory, perhaps: that need not be the file's fault.
        was_killed = worker.process.returncode == -_SIGKILL
        reason = f"the decoder crashed (exit code {worker.process.returncode})"
        return (UnreadableError if was_killed else AudioError)(name, reason)

    def _take(self, request: dict[str, Any]) -> DecoderProcess:
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.takes_requests():
                    return worker
                worker.kill()
        return take_process(self.memory, request)

    def _give_back(self, worker: DecoderProcess) -> None:
        # One that still has something to say, because its reader stopped, is of no use any more.
        if not worker.busy:
            with self._lock:
                # One more than decode at the same time: another thread may read headers meanwhile.
                if len(self._idle) <= self.processes > 0:
                    self._idle.append(worker)
                    return
        worker.kill()


class _Watch:
    """A thread that kills processes whose answer is overdue.

    After `close` it runs on as long as anyone waits for an answer: threads that still decode then
    would otherwise wait for a process that hangs, and Python for them.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._waiting: set[DecoderProcess] = set()
        self._thread: Thread | None = None
        self._closed = False

    @contextmanager
    def over(self, worker: DecoderProcess, seconds: float) -> Iterator[None]:
        with self._changed:
            worker.deadline = monotonic() + seconds
            worker.computed = -worker.core_seconds()
            self._waiting.add(worker)
            if self._thread is None:
                self._thread = Thread(target=self._run, name="genrescope decoders", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._waiting.discard(worker)

    def _run(self) -> None:
        with self._changed:
            while self._waiting or not self._closed:
                now = monotonic()
                for worker in [*self._waiting]:
                    if worker.deadline <= now:
                        self._waiting.discard(worker)
                        worker.overdue = True
                        worker.computed += worker.core_seconds()
                        worker.process.kill()
                self._changed.wait(0.2)
            self._thread = None  # the next one to wait starts another

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()


_pools: list[DecoderPool] = []


def current_pool() -> DecoderPool | None:
    """The pool of the innermost `safely`; None outside."""
    return _pools[-1] if _pools else None


@contextmanager
def safely(
    processes: int | None = None,
    *,
    memory: int = MEMORY,
    seconds: float = 120.0,
    longest: float | None = None,
    total: float | None = None,
) -> Iterator[DecoderPool]:
    """Within it, `load`, `stream` and `info` decode in processes of their own, in all threads.

    They return the same samples, and raise `AudioError` also for a file on which the decoder
    crashed, hung or needed too much; a new process takes the place of one that ended. Processes are
    started when they are needed, one for each file that is decoded at the same time, and end with
    the `with` block.

    Parameters
    ----------
    processes
        How many are kept for the next file; as many as there are cores by default.
    memory
        Address space of a process in bytes, Python and its libraries included (which take about
        half a gigabyte); not limited on Windows.
    seconds
        The longest that half a minute of sound may take to decode.
    longest
        The most seconds of sound that are decoded of a file; no limit by default.
    total
        The longest that a file may take from its first block to its last, with what the reader
        does in between; no limit by default.

    Examples
    --------
    >>> from genrescope import audio
    >>> with audio.safely(longest=600):
    ...     audio.load("walking-bass.flac")
    Waveform(12.00 s, 22050 Hz)
    """
    pool = DecoderPool(processes, memory=memory, seconds=seconds, longest=longest, total=total)
    _pools.append(pool)
    try:
        yield pool
    finally:
        _pools.remove(pool)
        pool.close()


def safely_for(
    files: int, processes: int | None = None
) -> AbstractContextManager[DecoderPool | None]:
    """`safely` for a number of files that is worth the start of processes, else nothing.

    One file is, where a process was started early (`genrescope.audio.process.start_early`).
    """
    worth = files >= _WORTH_PROCESSES or (files == 1 and is_early())
    return safely(processes) if worth else nullcontext()


def read_early(path: str | os.PathLike[str], sample_rate: int) -> None:
    """Let the process that was started early, if there is one, decode a whole file already."""
    with _named(path) as name:
        ask_early({"path": name, **_stream_request(sample_rate, 0.0, None)})


def _stream_request(
    sample_rate: int | None, offset: float, duration: float | None
) -> dict[str, Any]:
    return {
        "kind": "stream",
        "sample_rate": sample_rate,
        "offset": offset,
        "duration": duration,
    }


@contextmanager
def _named(path: Readable) -> Iterator[str]:
    """A name by which another process finds the file; content gets a file for the time."""
    if isinstance(path, str | os.PathLike):
        name = os.fsdecode(path)
        # The process keeps the folder that was current when it was started.
        yield os.path.abspath(name) if name and not os.path.isabs(name) else name  # noqa: PTH100, PTH117
        return
    with open_regular(path) as (file, _), tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, "content")  # noqa: PTH118
        try:
            with open(copy, "wb") as target:  # noqa: PTH123
                shutil.copyfileobj(file, target)
        except OSError as fault:
            raise UnreadableError(source_name(path), f"not readable: {fault.strerror}") from fault
        yield copy
