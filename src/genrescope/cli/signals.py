"""Signals that ask a command to end: Ctrl-C (SIGINT), SIGTERM and SIGHUP.

The first one raises KeyboardInterrupt: temporary files are removed, and what is finished is kept.
A second Ctrl-C ends the process at once. Nothing is damaged by that, since files appear under their
names only when they are whole; what is left of unfinished ones is removed by the next command.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from typing import Any, NoReturn

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 and the number of the signal."""
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
# Programs such as npm pass a Ctrl-C on to a process that the terminal has sent it to already.
_PASSED_ON_SECONDS = 0.1
_SHOW_CURSOR = b"\x1b[?25h"

_first: tuple[int, float] | None = None


def handle_signals() -> None:
    """Let these signals end the command; those that are ignored, as under nohup, stay so."""
    for number in (getattr(signal, name) for name in _NAMES if hasattr(signal, name)):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _stop)


def is_interrupted() -> bool:
    """Whether one of these signals has come, whatever a library has made of it."""
    return _first is not None


def leave() -> NoReturn:
    """End an interrupted command with 128 and the number of the signal as its exit code.

    What Python does at its end is left out: it waits for threads that are in the middle of a file,
    and a signal that comes meanwhile would be the process's end by that signal.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(INTERRUPTED if _first is None else 128 + _first[0])


def _stop(number: int, _frame: Any) -> None:
    """Raise KeyboardInterrupt once.

    A system that shuts down, or a terminal that closes, may ask again while the command ends.
    """
    global _first
    now = time.monotonic()
    if _first is None:
        _first = number, now
        raise KeyboardInterrupt
    if number == signal.SIGINT and now - _first[1] > _PASSED_ON_SECONDS:
        if sys.stderr.isatty():  # a progress bar hides it
            os.write(sys.stderr.fileno(), _SHOW_CURSOR)
        if "multiprocessing" in sys.modules:
            from multiprocessing import active_children

            for child in active_children():
                child.kill()
        os._exit(128 + number)
