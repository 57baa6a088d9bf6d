"""A real browser for the tests of pages, and how they wait for it however busy the machine is."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CHROMIUM = shutil.which("chromium")
PATIENCE = 180_000  # milliseconds
_STARTS = 4


@contextmanager
def launched(*flags: str) -> Iterator[Any]:
    """Chromium. Its start is beyond our power: on a busy machine it may fail, and is repeated."""
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as started:
        for attempt in range(_STARTS):
            try:
                # In a container the shared memory may be too small for it.
                chromium = started.chromium.launch(
                    executable_path=CHROMIUM,
                    args=["--disable-dev-shm-usage", *flags],
                    timeout=PATIENCE / _STARTS,
                )
                break
            except Error:
                if attempt == _STARTS - 1:
                    raise
                time.sleep(attempt)
        yield chromium
        chromium.close()


def until(page: Any, expression: str) -> None:
    """Wait for an expression to hold; a page's policy may forbid the browser to poll it itself."""
    end = time.monotonic() + PATIENCE / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)
