"""The socket and the HTTP server in front of the application."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from genrescope.errors import GenrescopeError
from genrescope.service.guard import answer_problem
from genrescope.service.problems import ProblemError

_LOOK_SECONDS = 15.0
_STALLED_SECONDS = 60.0
# Of the kernel, which takes more only once a third of it is free again: with its own buffer of some
# megabytes, a client that reads as fast as music plays would seem to stand still for minutes.
_SEND_BUFFER = 2**17
_LEAST_BYTES = 2**14  # that a client reads meanwhile, where a response waits for it
_MOST_CONNECTIONS = 500


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens; at a free port for port 0.

    Raises
    ------
    GenrescopeError
        When the port is in use, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), port), family=family)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise GenrescopeError(f"can't listen at {host}, port {port}: {reason}") from None


def run(app: ASGIApp, listening: socket.socket) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP; requests in work get half a minute to finish then."""
    config = uvicorn.Config(
        app,
        http=TimeoutProtocol,
        ws="none",
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        access_log=False,
        timeout_graceful_shutdown=30,
        timeout_keep_alive=15,
        h11_max_incomplete_event_size=2**16,
    )
    _Server(config).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Ends on SIGHUP, too; a second Ctrl-C ends it at once."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals; uvicorn's own raises them again in the end, with a traceback."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
        numbers = [signal.Signals[name] for name in names]
        before = {n: signal.signal(n, self.handle_exit) for n in numbers if not _is_ignored(n)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


async def _refuse(_: Scope, receive: Receive, send: Send) -> None:
    problem = ProblemError(503, "too many connections: try again later", Retry_After="15")
    await answer_problem(send, problem, receive)


def _is_ignored(number: signal.Signals) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN


class TimeoutProtocol(H11Protocol):
    """HTTP/1.1, closing connections of clients that do nothing, or read too slowly.

    Without it, clients that send a header or read a response a byte at a time would keep their
    connections, and what is kept for them, for ever. A connection on which no request begins ends
    after 15 to 30 seconds. One whose client reads less than about three kilobytes a second of what
    waits for it is reset: in a minute the kernel has to ask for more at least once. A browser whose
    player pauses asks for the rest of the file when it needs it.
    """

    _seen: Any = None
    _was_idle = False
    _stalled: asyncio.TimerHandle | None = None
    _unsent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to look at the connection from time to time."""
        super().connection_made(transport)
        if len(self.connections) > _MOST_CONNECTIONS:
            self.app = _refuse
        # asyncio does so only for sockets that were made with the number of the protocol. Without
        # it, each response on a kept connection waits 40 ms for the client's acknowledgement.
        with suppress(OSError, AttributeError):
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self._looking = self.loop.call_later(_LOOK_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop looking."""
        self._looking.cancel()
        if self._stalled is not None:
            self._stalled.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for the client to read, but not for ever."""
        super().pause_writing()
        self._watch_reading()

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _watch_reading(self) -> None:
        if self._stalled is None:
            self._unsent = self.transport.get_write_buffer_size()
            self._stalled = self.loop.call_later(_STALLED_SECONDS, self._check_reading)

    def _check_reading(self) -> None:
        before, unsent = self._unsent, self.transport.get_write_buffer_size()
        self._stalled = None
        if unsent and before - unsent < _LEAST_BYTES:
            self.transport.abort()  # to close it would wait for the client to read
        elif unsent:
            self._watch_reading()

    def _look(self) -> None:
        is_idle = self.cycle is None or self.cycle.response_complete
        if is_idle and self._was_idle and self._seen is self.cycle:
            if self.transport.get_write_buffer_size():
                self._watch_reading()
            else:
                self.transport.close()
        self._seen, self._was_idle = self.cycle, is_idle
        self._looking = self.loop.call_later(_LOOK_SECONDS, self._look)
