"""State that the requests of a service share, and how a file passes through the pool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from genrescope.audio import AUDIO_SUFFIXES
from genrescope.inference import Classifier
from genrescope.library.rows import Entry
from genrescope.service.collection import Collection
from genrescope.service.metrics import Metrics
from genrescope.service.pool import Event, Pool, Work
from genrescope.service.problems import ProblemError
from genrescope.service.settings import ServiceSettings
from genrescope.service.uploads import UploadFolder


class Service:
    """Settings, model, library, pool and the folder of uploads."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self.classifier = Classifier.load(settings.model)
        self.manifest = self.classifier.manifest
        self.metrics = Metrics()
        self.pool = Pool(settings, self.metrics, self.classifier)
        self.collection = Collection(settings.library) if settings.library else None
        self.uploads: UploadFolder | None = None

    def start(self) -> None:
        """Make the folder of uploads and start the pool."""
        self.uploads = UploadFolder()
        self.pool.start()

    def close(self) -> None:
        """Stop the pool and remove the uploads."""
        self.pool.close()
        if self.uploads is not None:
            self.uploads.close()

    @property
    def folder(self) -> UploadFolder:
        """The folder of uploads of a started service."""
        if self.uploads is None:
            raise ProblemError(503, "the service is not started")
        return self.uploads

    @property
    def library(self) -> Collection:
        """The library.

        Raises
        ------
        ProblemError
            404, when the service has none.
        """
        if self.collection is None:
            raise ProblemError(404, "this service has no library: genrescope scan makes one")
        return self.collection

    async def work(self, work: Work) -> AsyncGenerator[Event]:
        """The events of the work on one file; leaving the iteration stops the work."""
        loop, events = asyncio.get_running_loop(), asyncio.Queue[Event]()
        stop = self.pool.submit(work, lambda event: _put(loop, events, event))
        try:
            while True:
                event = await events.get()
                yield event
                if event["event"] in ("done", "failed"):
                    return
        finally:
            stop.cancel()

    async def outcome(self, work: Work, of: str) -> Event:
        """The one event of the work on a file that matters.

        Raises
        ------
        ProblemError
            The work failed.
        """
        found: Event = {}
        async with aclosing(self.work(work)) as events:
            async for event in events:
                if event["event"] == "failed":
                    raise problem_of(event)
                if event["event"] == of:
                    found = event
        return found

    def media(self, track: Entry) -> Path:
        """A track's file.

        Raises
        ------
        ProblemError
            410, when it is gone; 404, when it is at an address.
        """
        if track.is_remote:
            raise ProblemError(404, "the file of this track is at an address, not on this machine")
        file = track.file
        if not file.is_file():
            raise ProblemError(410, "the file of this track is gone")
        if file.resolve().suffix.lower() not in AUDIO_SUFFIXES:
            # A link in the collection may lead anywhere.
            raise ProblemError(404, "the file of this track is not audio")
        return file


def problem_of(event: Event) -> ProblemError:
    """The problem that the last event of failed work reports."""
    return ProblemError(event["status"], event["reason"])


def _put(loop: asyncio.AbstractEventLoop, events: asyncio.Queue[Event], event: Event) -> None:
    try:
        loop.call_soon_threadsafe(events.put_nowait, event)
    except RuntimeError:  # the service has stopped meanwhile
        return
