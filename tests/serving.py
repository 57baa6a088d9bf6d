"""A service on a port of this machine, for the tests of its API and of its page."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def running(**settings: Any) -> Iterator[str]:
    """The address of a service that has loaded its model."""
    import requests
    import uvicorn

    from genrescope.service.app import create_app
    from genrescope.service.settings import ServiceSettings

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = create_app(ServiceSettings(port=port, **settings))
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                if requests.get(f"{address}/readyz", timeout=5).status_code == 200:
                    break
            except requests.ConnectionError:
                pass
            time.sleep(0.1)
        yield address
    finally:
        server.should_exit = True
        thread.join(30)
