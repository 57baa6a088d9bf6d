"""Work on many tracks in threads, which can be cancelled."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Protocol, TypeVar

from genrescope.audio import source_name
from genrescope.errors import CancelledError, FileError
from genrescope.parallel import available_cores

Item = TypeVar("Item")
Result = TypeVar("Result")


class CancelEvent(Protocol):
    """Anything with `is_set`, such as a `threading.Event`."""

    def is_set(self) -> bool:
        """Whether the work should stop."""


def check(stop: CancelEvent) -> None:
    """Raise `CancelledError` when the event is set."""
    if stop.is_set():
        raise CancelledError("cancelled")


def until(stop: CancelEvent, items: Iterator[Item]) -> Iterator[Item]:
    """Yield items until the event is set.

    Raises
    ------
    CancelledError
        When it is.
    """
    check(stop)
    for item in items:
        check(stop)
        yield item


class _Either:
    """An event that is set when one of two others is."""

    def __init__(self, one: CancelEvent, other: CancelEvent) -> None:
        self.events = one, other

    def is_set(self) -> bool:
        return any(event.is_set() for event in self.events)


def in_threads(
    function: Callable[[Item, CancelEvent], Result],
    sources: Iterable[Item],
    jobs: int | None,
    cancel: CancelEvent | None,
) -> Generator[Result | FileError, None, None]:
    """Results of `function` for each source, in their order; it gets an event that stops it."""
    jobs = jobs or available_cores()
    waiting: deque[Future[Result | FileError]] = deque()
    pool = ThreadPoolExecutor(jobs, thread_name_prefix="genrescope")
    # Python waits for its threads when it exits; they stop at once when this event is set.
    closed = Event()
    stop = closed if cancel is None else _Either(closed, cancel)
    try:
        for source in sources:
            waiting.append(pool.submit(_attempt, function, source, stop))
            # Some results wait, so that all cores stay busy while one long file is decoded.
            if len(waiting) >= 4 * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        closed.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _attempt(
    function: Callable[[Item, CancelEvent], Result], source: Item, stop: CancelEvent
) -> Result | FileError:
    try:
        return function(source, stop)
    except FileError as error:
        return error
    except CancelledError:
        raise
    except Exception as error:  # whatever a decoder raises, the other files are still processed
        failure = FileError(source_name(source), f"unexpected {type(error).__name__}: {error}")
        failure.__cause__ = error
        return failure
