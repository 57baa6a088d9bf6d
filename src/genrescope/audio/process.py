"""A process that decodes, as the process that asks it sees it; see `genrescope.audio.workers`."""

from __future__ import annotations

import gc
import io
import json
import math
import os
import signal
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from threading import active_count
from time import monotonic, sleep
from typing import IO, Any, cast

BEGUN, HEADER, BLOCK, WARNING, FAILED, UNREADABLE, END = (
    b"S",
    b"H",
    b"B",
    b"W",
    b"F",
    b"U",
    b"E",
)
KINDS = frozenset((BEGUN, HEADER, BLOCK, WARNING, FAILED, UNREADABLE, END))
"""What a message is: its first byte."""
MEMORY = 2**31
"""Address space of a process in bytes, unless it is told another."""
_PROGRAM = "import sys; from genrescope.audio.worker import main; main(int(sys.argv[1]))"
_SIGKILL = 9
_LONGEST_MESSAGE = 2**27  # half a minute of sound at 1 MHz, the longest message


class DecoderProcess:
    """A process that decodes, and what it says.

    Parameters
    ----------
    memory
        The most address space that it may take, in bytes.
    process
        A process that was begun before and says the same; by default one is started.
    """

    def __init__(self, memory: int, process: subprocess.Popen[bytes] | _Fork | None = None) -> None:
        self.memory = memory
        self.process = process or _started(memory)
        # Both are there: they were asked for.
        self._input = cast(IO[bytes], self.process.stdin)
        self._output = cast(io.FileIO, self.process.stdout)
        self.busy = False
        self.request: dict[str, Any] | None = None
        """What it was asked last."""
        self.deadline = float("inf")
        self.overdue = False
        self.computed = 0.0
        """Seconds of a core that it took for an answer which never came."""

    def ask(self, request: dict[str, Any], *, is_last: bool = False) -> None:
        """Send a request; OSError where the process has ended.

        After the last one it ends by itself, while this process goes on: that takes 10 ms.
        """
        self.busy = True
        self.request = request
        self._input.write(json.dumps(request).encode() + b"\n")
        if is_last:
            self._input.close()

    def takes_requests(self) -> bool:
        """Whether it runs, and was not sent its last request."""
        return not self._input.closed and self.process.poll() is None

    def core_seconds(self) -> float:
        """How long it has computed; 0 where the system does not tell."""
        try:
            status = Path(f"/proc/{self.process.pid}/stat").read_text("utf-8", "replace")
            user, system = status.rpartition(")")[2].split()[11:13]
            return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError):
            return 0.0

    def read(self) -> tuple[bytes, bytearray] | None:
        """The next message; None when the process has ended, or says what is none."""
        head = self._exactly(5)
        if head is None:
            return None
        kind, length = bytes(head[:1]), int.from_bytes(head[1:], "little")
        if kind not in KINDS or length > _LONGEST_MESSAGE:
            return None
        content = self._exactly(length)
        return None if content is None else (kind, content)

    def _exactly(self, length: int) -> bytearray | None:
        content = bytearray(length)
        rest = memoryview(content)
        while rest:
            count = self._output.readinto(rest)
            if not count:
                return None
            rest = rest[count:]
        return content

    def kill(self) -> None:
        """End it, by asking where it is idle."""
        if self.process.poll() is None and not self.busy:
            with suppress(OSError):
                self._input.close()  # it ends by itself
            try:
                self.process.wait(1)
            except subprocess.TimeoutExpired:  # a process forked from this one holds the pipe, too
                self.process.kill()
        else:
            self.process.kill()
        self.process.wait()
        for pipe in (self._input, self._output):
            with suppress(OSError):
                pipe.close()


def _started(memory: int) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(_import_folders()),
        # The arenas of further threads would count as memory.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    return subprocess.Popen(  # noqa: S603 - our own program
        # -P: modules are not imported from the current folder, which may hold anybody's files.
        [sys.executable, "-P", "-c", _PROGRAM, str(memory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        env=environment,
    )


def _import_folders() -> list[str]:
    """Where a process finds modules: as this one, without the current folder."""
    here, package = os.getcwd(), Path(__file__).resolve().parents[2]  # noqa: PTH109
    folders = [place for place in sys.path if place and os.path.realpath(place) != here]
    return [str(package), *folders]


class _Fork:
    """A process forked from this one: what is used here of `subprocess.Popen`."""

    def __init__(self, pid: int, stdin: int, stdout: int) -> None:
        self.pid = pid
        self.stdin = os.fdopen(stdin, "wb", buffering=0)
        self.stdout = os.fdopen(stdout, "rb", buffering=0)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self.returncode

    def wait(self, timeout: float = math.inf) -> int:
        """Its exit code, once it has ended."""
        end = monotonic() + timeout
        while (code := self.poll()) is None:
            if monotonic() > end:
                raise subprocess.TimeoutExpired("decoder", timeout)
            sleep(0.001)
        return code

    def kill(self) -> None:
        """End it at once."""
        if self.poll() is None:
            os.kill(self.pid, _SIGKILL)


def _forked(memory: int) -> _Fork | None:
    """A process that decodes, forked from this one; None where that is not safe.

    That costs a twentieth of a new process. It is for a command that has just begun: there are no
    threads yet, nothing is open, and what a decoder imports first is imported here, too.
    """
    fork = getattr(os, "fork", None)
    if fork is None or sys.platform != "linux" or active_count() > 1:
        return None
    worker = import_module("genrescope.audio.worker")  # which imports this module, too
    requests, answers = os.pipe(), os.pipe()
    pid = fork()
    if pid:
        os.close(requests[0])
        os.close(answers[1])
        return _Fork(pid, requests[1], answers[0])
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        gc.enable()
        os.dup2(requests[0], 0)
        os.dup2(answers[1], 1)
        os.closerange(3, max(*requests, *answers) + 1)
        worker.main(memory)
    finally:
        os._exit(1)  # whatever happens, this is not the command


_early: list[DecoderProcess] = []


def start_early() -> None:
    """Start a process for one file, while this process still imports what classifies it.

    It ends with this process, also where nothing is decoded.
    """
    process = _forked(MEMORY)
    if process is not None:
        _early.append(DecoderProcess(MEMORY, process))


def is_early() -> bool:
    """Whether a process was started early and not taken yet."""
    return bool(_early)


def ask_early(request: dict[str, Any]) -> None:
    """Send the process that was started early its one request, which is asked for later."""
    for process in _early:
        with suppress(OSError):
            process.ask(request, is_last=True)


def take_process(memory: int, request: dict[str, Any]) -> DecoderProcess:
    """The process that was started early, unless it has other work; or a new one."""
    if _early and memory == MEMORY:
        process = _early.pop()
        if process.request in (None, request):
            return process
        process.kill()
    return DecoderProcess(memory)
