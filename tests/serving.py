"""A service on a port of this machine, for the tests of its API and of its page."""

from __future__ import annotations

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
    from genrescope.service.server import TimeoutProtocol, bind
    from genrescope.service.settings import ServiceSettings

    app, listening = create_app(ServiceSettings(**settings)), bind("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, http=TimeoutProtocol, log_level="error"))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        until = time.monotonic() + 600
        while time.monotonic() < until:
            try:
                if requests.get(f"{address}/readyz", timeout=600).status_code == 200:
                    break
            except requests.ConnectionError:
                pass
            time.sleep(0.1)
        else:
            raise TimeoutError(f"no service at {address}")
        yield address
    finally:
        server.should_exit = True
        thread.join(600)
