"""Worker processes and their one bounded queue."""

from __future__ import annotations

import json
import multiprocessing
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from genrescope.errors import GenrescopeError
from genrescope.service import worker
from genrescope.service.metrics import Metrics
from genrescope.service.settings import ServiceSettings

_START_SECONDS = 120.0
_PATIENCE_SECONDS = 2.0
_TICK = 0.1

Event = dict[str, Any]


@dataclass(eq=False)
class Task:
    """A file for a worker.

    Attributes
    ----------
    request
        As `worker.main` reads it.
    report
        Called with each event, from another thread; the last one is `done` or `failed`.
    cancelled
        Set it to stop the work.
    """

    request: dict[str, Any]
    report: Callable[[Event], None]
    cancelled: threading.Event = field(default_factory=threading.Event)


def classify_request(
    file: Path,
    max_seconds: float,
    *,
    timeline: bool = False,
    styles: bool = True,
    content: bool = False,
    picture: bool = False,
) -> dict[str, Any]:
    """The request to classify a file."""
    return {
        "kind": "classify",
        "file": str(file),
        "max_seconds": max_seconds,
        "timeline": timeline,
        "styles": styles,
        "content": content,
        "picture": picture,
    }


class Pool:
    """Workers that are replaced when they die, take too long, or do not stop when asked to.

    How many tasks may wait is limited by who calls `submit`, see `guard.Guard`.
    """

    def __init__(self, settings: ServiceSettings, metrics: Metrics) -> None:
        self.settings, self.metrics = settings, metrics
        self._tasks: queue.Queue[Task | None] = queue.Queue()
        self._ready = threading.Event()
        self._closing = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, name=f"worker-{number}", daemon=True)
            for number in range(settings.workers)
        ]

    @property
    def is_ready(self) -> bool:
        """Whether at least one worker has loaded the model."""
        return self._ready.is_set()

    @property
    def waiting(self) -> int:
        """Number of tasks that no worker has taken yet."""
        return self._tasks.qsize()

    def start(self) -> None:
        """Start the workers, without waiting for them."""
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        """Wait until a worker is ready.

        Raises
        ------
        GenrescopeError
            When none becomes ready.
        """
        if not self._ready.wait(_START_SECONDS):
            raise GenrescopeError("the worker process did not start")

    def close(self) -> None:
        """Stop the workers; each finishes the file it has in hand."""
        self._closing.set()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join(self.settings.max_work_seconds)

    def submit(self, task: Task) -> None:
        """Hand a file to the next free worker."""
        if self._closing.is_set():
            task.report({"event": "failed", "reason": "the service is stopping", "status": 503})
            return
        self._tasks.put(task)

    def _work(self) -> None:
        """The life of one worker's thread."""
        process = self._started()
        while (task := self._tasks.get()) is not None:
            if task.cancelled.is_set():
                task.report({"event": "failed", "reason": "cancelled"})
                continue
            if process is None or not process.is_alive:
                process = self._started()
            if process is None:
                task.report(_broken("no worker process can be started", 503))
                continue
            started = time.monotonic()
            last = process.run(task, self.settings.max_work_seconds)
            self.metrics.worked(time.monotonic() - started)
            if not process.is_alive:
                self.metrics.restarted()
                task.report(last)
                process = self._started()
            else:
                task.report(last)
        if process is not None:
            process.close()

    def _started(self) -> _Process | None:
        if self._closing.is_set():
            return None
        process = _Process(self.settings.model, self.settings.max_worker_bytes)
        if process.is_alive:
            self._ready.set()
            return process
        return None


class _Process:
    """A worker process, ready for work."""

    def __init__(self, model: str, max_bytes: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe: Connection
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(
            target=worker.main, args=(theirs, model, max_bytes), daemon=True
        )
        self.process.start()
        theirs.close()
        self.is_alive = True
        if self._next(time.monotonic() + _START_SECONDS) is None:
            self.kill()

    def run(self, task: Task, seconds: float) -> Event:
        """Pass the events of a task on; return its last one."""
        deadline = time.monotonic() + seconds
        asked_to_stop = False
        try:
            self.pipe.send_bytes(json.dumps(task.request).encode())
            while True:
                event = self._next(time.monotonic() + _TICK)
                if event is None and not self.is_alive:
                    reason = "it can't be decoded: the decoder stopped at it"
                    return _broken(reason, 422)
                if event is not None:
                    if event["event"] in ("done", "failed"):
                        return event
                    task.report(event)
                if time.monotonic() > deadline:
                    self.kill()
                    if asked_to_stop:
                        return _broken("cancelled", 503)
                    return _broken(f"decoding it takes longer than {seconds:g} seconds", 422)
                if task.cancelled.is_set() and not asked_to_stop:
                    asked_to_stop = True
                    deadline = min(deadline, time.monotonic() + _PATIENCE_SECONDS)
                    self.pipe.send_bytes(b'{"cancel": true}')
        except (OSError, ValueError, KeyError, TypeError):
            self.kill()
            return _broken("it can't be decoded: the decoder stopped at it", 422)

    def _next(self, deadline: float) -> Event | None:
        """The next event; None at the deadline, or when the process has died."""
        try:
            if not self.pipe.poll(max(0.0, deadline - time.monotonic())):
                self.is_alive = self.process.is_alive()
                return None
            event: Event = json.loads(self.pipe.recv_bytes())
        except (EOFError, OSError):
            self.kill()
            return None
        return event

    def kill(self) -> None:
        """End the process at once."""
        self.is_alive = False
        self.process.kill()
        self.process.join()
        self.pipe.close()

    def close(self) -> None:
        """Let the process end."""
        self.pipe.close()
        self.process.join(_PATIENCE_SECONDS)
        if self.process.is_alive():
            self.kill()


def _broken(reason: str, status: int) -> Event:
    return {"event": "failed", "reason": reason, "status": status}
