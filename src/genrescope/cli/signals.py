"""Signals that ask a command to end: Ctrl-C (SIGINT), SIGTERM and SIGHUP.

The first one raises KeyboardInterrupt: temporary files are removed, and what is finished is kept.
Where that is lost in a destructor, in which Python drops every exception, it is raised again.
A second Ctrl-C ends the process at once. Nothing is damaged by that, since files appear under their
names only when they are whole; what is left of unfinished ones is removed by the next command.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import Any, NoReturn

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 and the number of the signal."""
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
# Programs such as npm pass a Ctrl-C on to a process that the terminal has sent it to already.
_PASSED_ON_SECONDS = 0.1
_AGAIN_SECONDS = 0.05
_SHOW_CURSOR = b"\x1b[?25h"

_first: tuple[int, float] | None = None
_is_lost = False


def handle_signals() -> None:
    """Let these signals end the command; those that are ignored, as under nohup, stay so."""
    for number in (getattr(signal, name) for name in _NAMES if hasattr(signal, name)):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _stop)
    sys.unraisablehook = _unraisable


def is_interrupted() -> bool:
    """Whether one of these signals has come, even if a library dropped the exception."""
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
    global _first, _is_lost
    now = time.monotonic()
    if _first is None or _is_lost:
        _first, _is_lost = _first or (number, now), False
        raise KeyboardInterrupt
    if number == signal.SIGINT and now - _first[1] > _PASSED_ON_SECONDS:
        if sys.stderr.isatty():  # a progress bar hides it
            os.write(sys.stderr.fileno(), _SHOW_CURSOR)
        if "multiprocessing" in sys.modules:
            from multiprocessing import active_children

            for child in active_children():
                child.kill()
        os._exit(128 + number)


def _unraisable(lost: Any) -> None:
    """Ask again a moment later where Python drops the KeyboardInterrupt."""
    global _is_lost
    if lost.exc_type is not KeyboardInterrupt or _first is None:
        sys.__unraisablehook__(lost)
        return
    _is_lost = True
    again = threading.Timer(_AGAIN_SECONDS, os.kill, (os.getpid(), _first[0]))
    again.daemon = True
    again.start()
