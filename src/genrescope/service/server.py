"""The socket and the HTTP server in front of the application."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from genrescope.errors import GenrescopeError

_HEAD_SECONDS = 15.0
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
        http=HeadTimeout,
        ws="none",
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=30,
        timeout_keep_alive=15,
        h11_max_incomplete_event_size=2**16,
    )
    _Server(config).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Ends on SIGHUP, too; a second signal ends it at once."""

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


def _is_ignored(number: signal.Signals) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN


class HeadTimeout(H11Protocol):
    """HTTP/1.1, closing connections on which no request begins for 15 to 30 seconds.

    Without it, clients that send a header a byte at a time would keep their connections for ever.
    """

    _seen: Any = None
    _was_idle = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to look at the connection from time to time."""
        super().connection_made(transport)
        self.loop.call_later(_HEAD_SECONDS, self._look)

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        is_idle = self.cycle is None or self.cycle.response_complete
        if is_idle and self._was_idle and self._seen is self.cycle:
            self.transport.close()
            return
        self._seen, self._was_idle = self.cycle, is_idle
        self.loop.call_later(_HEAD_SECONDS, self._look)
