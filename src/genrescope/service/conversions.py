"""Tracks in formats that browsers can't play, as WAV."""

from __future__ import annotations

import asyncio
from pathlib import Path

from genrescope.service.problems import ProblemError
from genrescope.service.state import Service
from genrescope.service.work import Convert

_SECONDS = 600.0
# A browser asks for pieces of a file, again at each jump. Ten minutes take 53 MB.
_KEPT = 4

_Key = tuple[Path, int, int]


class Conversions:
    """Converts tracks, and keeps the last ones. Used on the event loop alone."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._tasks: dict[_Key, asyncio.Task[Path]] = {}

    async def wav_of(self, file: Path) -> Path:
        """The first ten minutes of a file as WAV.

        The conversion goes on when the client that asked first is gone, for browsers end a request
        and make another.

        Raises
        ------
        ProblemError
            The file can't be decoded, is gone, or there is no room for a further request.
        """
        try:
            status = file.stat()
        except OSError:
            raise ProblemError(410, "the file of this track is gone") from None
        key = (file, status.st_mtime_ns, status.st_size)
        task = self._tasks.pop(key, None)
        if task is None:
            task = asyncio.create_task(self._convert(file))
            task.add_done_callback(lambda done: self._finished(key, done))
        self._tasks[key] = task  # the last one in the order of use
        return await asyncio.shield(task)

    async def _convert(self, file: Path) -> Path:
        target = self._service.folder.new(".wav")
        try:
            with self._service.pool.room.one():
                await self._service.outcome(Convert(file, target, _SECONDS), "done")
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        return target

    def _finished(self, key: _Key, task: asyncio.Task[Path]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._tasks.pop(key, None)
        done = [key for key, each in self._tasks.items() if each.done()]
        for old in done[:-_KEPT]:
            self._tasks.pop(old).result().unlink(missing_ok=True)
