"""The web server of `faults.py`: weights to download and music to scan, with faults."""

from __future__ import annotations

import html
import http.server
import random
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

FAULTS = (
    "the server answers 500",
    "the server answers 403",
    "the server is slow",
    "the server cuts its answers",
    "the server lists what is gone",
    "the server forgets to list a file",
)
_LASTING = 3
"""Requests that a fault of the server lasts for."""
_SECONDS = 0.7
_WEIGHTS = 1_500_000


def weights() -> bytes:
    """The file that is downloaded."""
    return random.Random(0).randbytes(_WEIGHTS)  # noqa: S311 - any bytes do


class Site:
    """What the server has, and how it fails.

    Attributes
    ----------
    address
        Of the server.
    music
        Folder of the files at `/music`.
    requests
        How many were answered since `fail` was called.
    """

    def __init__(self) -> None:
        self.address, self.music = "", Path()
        self.requests, self._fault, self._at = 0, "", 0
        self._lock = threading.Lock()

    def fail(self, fault: str = "", at: int = 0) -> None:
        """Fail in one of `FAULTS` from a request on; "" to be as a server should."""
        with self._lock:
            self.requests, self._fault, self._at = 0, fault, at

    def fault_of_request(self) -> str:
        """Count a request; how it fails, "" where it does not."""
        with self._lock:
            self.requests += 1
            is_due = self._at <= self.requests < self._at + _LASTING or "list" in self._fault
            return self._fault if is_due else ""

    def listing(self, fault: str) -> bytes:
        """The page of the files."""
        names = sorted(path.name for path in self.music.iterdir())
        if fault.endswith("what is gone"):
            names.append("gone.flac")
        elif fault.endswith("a file"):
            names = names[1:]
        links = [f'<a href="/music/{quote(name)}">{html.escape(name)}</a>' for name in names]
        return "\n".join(links).encode()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, site: Site, *arguments: Any) -> None:
        self.site = site
        super().__init__(*arguments)

    def do_GET(self) -> None:  # the name that http.server calls
        path = unquote(self.path)
        if path.startswith("/weights"):
            self._send(weights(), pause=0.002)
            return
        fault = self.site.fault_of_request()
        if found := re.search(r"\d+$", fault):
            self.send_error(int(found[0]))
            return
        if fault.endswith("slow"):
            time.sleep(_SECONDS)
        file = self.site.music / path.removeprefix("/music").strip("/")
        try:
            if file.is_dir():
                self._send(self.site.listing(fault), kind="text/html")
                return
            status, content = file.stat(), file.read_bytes()
        except OSError:
            self.send_error(404)
            return
        tag = f'"{status.st_size:x}-{status.st_mtime_ns:x}"'
        self._send(content, tag=tag, share=0.5 if fault.startswith("the server cuts") else 1.0)

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    def _send(
        self, content: bytes, *, kind: str = "", tag: str = "", share: float = 1.0, pause: float = 0
    ) -> None:
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first = int(match[1]) if match else 0
        last = min(int(match[2]), len(content) - 1) if match and match[2] else len(content) - 1
        if match and first >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if match else 200)
        self.send_header("Content-Length", str(last + 1 - first))
        self.send_header("Accept-Ranges", "bytes")
        if match:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        for name, value in (("Content-Type", kind), ("ETag", tag)):
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        end = first + int((last + 1 - first) * share)
        try:
            for place in range(first, end, 2**15):
                self.wfile.write(content[place : min(place + 2**15, end)])
                time.sleep(pause)
        except OSError:  # who asked is gone
            self.close_connection = True
        if share < 1:
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that were killed."""


@contextmanager
def server() -> Iterator[Site]:
    """A server on this machine."""
    site = Site()
    found = _Server(("127.0.0.1", 0), partial(_Handler, site))
    threading.Thread(target=found.serve_forever, daemon=True).start()
    site.address = f"http://127.0.0.1:{found.server_port}"
    try:
        yield site
    finally:
        found.shutdown()
