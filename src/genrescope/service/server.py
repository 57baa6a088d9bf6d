"""The socket and the HTTP server in front of the application."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
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
    """Serve until SIGINT or SIGTERM; requests in work get half a minute to finish then."""
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
    # Once it has stopped, uvicorn raises the signal again, for who may wait for it.
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])


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
