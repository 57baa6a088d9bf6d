"""The map of a library that other programs write to: one drawing at a time, in the background."""

from __future__ import annotations

import threading
from concurrent.futures import Future

from genrescope.library.map import Map, draw_map
from genrescope.library.store import Library
from genrescope.service.problems import ProblemError

_PATIENCE = 10.0  # seconds for the first map
_PATIENCE_FOR_NEW = 2.0  # where there is one of before


class Maps:
    """The last map that was drawn, and the one that is being drawn."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._drawing: Future[Map] = Future()
        self._version: int | None = None  # of the library, in that drawing
        self._last: Map | None = None

    def drawn(self, library: Library, version: int) -> Map:
        """The map of a library, or of what it was before while that takes long.

        Parameters
        ----------
        library
            It has tracks that can be drawn.
        version
            The library's, as it is known; another one than before is drawn anew.

        Raises
        ------
        ProblemError
            503, while the first map of a large library is being drawn.
        GenrescopeError
            When it can't be drawn.
        """
        with self._lock:
            is_done = self._drawing.done()
            if self._version is None or (is_done and self._version != version):
                if is_done and self._drawing.exception() is None:
                    self._last = self._drawing.result()
                # One at a time, however often a scan writes to the library.
                self._drawing, self._version = Future(), version
                start = (library, self._drawing)
                # A thread that does not delay the end.
                threading.Thread(target=_draw, args=start, name="map", daemon=True).start()
            drawing, last = self._drawing, self._last
        try:
            return drawing.result(_PATIENCE if last is None else _PATIENCE_FOR_NEW)
        except TimeoutError:
            if last is not None:
                return last
            detail = "the map is being drawn: try again later"
            raise ProblemError(503, detail) from None
        except BaseException:
            with self._lock:
                if drawing is self._drawing:
                    self._version = None  # the next request tries again
            raise


def _draw(library: Library, drawn: Future[Map]) -> None:
    try:
        drawn.set_result(draw_map(library))
    except BaseException as error:
        drawn.set_exception(error)
