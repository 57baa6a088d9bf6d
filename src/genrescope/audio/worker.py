"""The process in which `genrescope.audio.workers` has files decoded.

It reads requests from stdin, one JSON object a line, and answers each on stdout by messages: a byte
that says what follows, its length as four bytes, and the content. It ends with its input.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from dataclasses import astuple
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from genrescope.audio.decode import BLOCK_SECONDS, info, open_stream
from genrescope.audio.packets import audio_digest
from genrescope.audio.process import BEGUN, BLOCK, END, FAILED, HEADER, UNREADABLE, WARNING
from genrescope.errors import AudioError, UnreadableError
from genrescope.heap import keep_freed_memory

_OPEN_FILES = 64
LENGTH = struct.Struct("<cI")


def main(memory: int) -> None:
    """Answer requests until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    keep_freed_memory()
    _limit(memory)
    # Nearly all files need it: imported now, while this process waits for the first.
    import_module("genrescope.audio.compressed")
    # What a decoder prints must not come between the messages.
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    try:
        for line in sys.stdin.buffer:
            request = json.loads(line)
            _send(out, BEGUN, b"")  # from here on it is the file's fault if this process ends
            _answer(request, out)
    except BrokenPipeError:
        pass  # nobody waits for the answer
    os._exit(0)  # nothing is left to be written, and who asked waits for the end


def _limit(memory: int) -> None:
    """No more address space than `memory` bytes, few open files, none written, no core dumps."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for kind, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        try:
            resource.setrlimit(kind, (most, hard))
        except (ValueError, OSError):
            continue  # a system that does not limit this


def _answer(request: dict[str, Any], out: BinaryIO) -> None:
    path = request.pop("path")
    warnings: list[str] = []
    try:
        kind = request.pop("kind")
        if kind == "info":
            found = info(path)
            _send(out, HEADER, json.dumps(astuple(found)).encode())
        elif kind == "digest":
            _send(out, HEADER, json.dumps(audio_digest(path, **request)).encode())
        else:
            blocks = open_stream(path, block_seconds=BLOCK_SECONDS, warnings=warnings, **request)
            rate = next(blocks)
            _send(out, HEADER, json.dumps(rate).encode())
            for block in blocks:
                _send_warnings(out, warnings)
                _send(out, BLOCK, memoryview(block).cast("B"))
            _send_warnings(out, warnings)
    except AudioError as error:
        _send_warnings(out, warnings)
        kind = UNREADABLE if isinstance(error, UnreadableError) else FAILED
        _send(out, kind, error.reason.encode())
    except BrokenPipeError:
        raise
    except OSError as error:
        _send(out, UNREADABLE, f"not readable: {error.strerror}".encode())
    except MemoryError:
        _send(out, FAILED, b"it needs more memory than one file may have")
    else:
        _send(out, END, b"")


def _send_warnings(out: BinaryIO, warnings: list[str]) -> None:
    for warning in warnings:
        _send(out, WARNING, warning.encode())
    warnings.clear()


def _send(out: BinaryIO, kind: bytes, content: bytes | memoryview) -> None:
    for part in (LENGTH.pack(kind, len(content)), content):
        rest = memoryview(part)
        while rest:
            rest = rest[out.write(rest) :]
