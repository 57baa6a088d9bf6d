"""Checks of every request: host, origin, key, size, and free capacity."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from genrescope.service.links import is_signed
from genrescope.service.pool import Pool
from genrescope.service.problems import MEDIA_TYPE, ProblemError, encoded
from genrescope.service.settings import ServiceSettings

COOKIE = "genrescope"
_UPLOADS = ("/v1/classify", "/v1/similar")
_LINKED = re.compile(r"/v1/tracks/[^/]+/audio")
_HOST = re.compile(r"(\[[^\]]*\]|[^:@/]*)(?::[0-9]{1,5})?")
_JSON_BYTES = 2**20
_DISCARD_SECONDS = 2.0
_DISCARD_BYTES = 2**24
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; media-src 'self' blob:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
    "cache-control": "no-store",
}


def session_of(key: str) -> str:
    """The value of the cookie that a browser gets for an API key."""
    return hmac.new(key.encode(), b"genrescope session", hashlib.sha256).hexdigest()


class Guard:
    """Middleware that refuses what is not for this service, and limits what is.

    Uploads for which there is no room are refused before their content is read.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings, pool: Pool) -> None:
        self.app, self.settings, self.room, self.metrics = app, settings, pool.room, pool.metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with a problem."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        started = is_read = False

        async def received() -> Message:
            nonlocal is_read
            message = await receive()
            is_read = not message.get("more_body", False)
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self.metrics.answered(message["status"])
                own = {name.lower() for name, _ in message.get("headers", [])}
                message["headers"] = [
                    *message.get("headers", []),
                    *(
                        (name.encode(), value.encode())
                        for name, value in _HEADERS.items()
                        if name.encode() not in own
                    ),
                ]
            await send(message)

        try:
            headers = {name.decode("latin-1"): value for name, value in scope["headers"]}
            texts = {name: value.decode("latin-1") for name, value in headers.items()}
            self._check_source(texts)
            self._check_key(scope, texts)
            is_upload = scope["method"] == "POST" and scope["path"] in _UPLOADS
            largest = self.settings.max_bytes if is_upload else _JSON_BYTES
            limited = self._limited(received, texts, largest)
            if not is_upload:
                await self.app(scope, limited, send_with_headers)
                return
            with self.room.one():
                await self.app(scope, limited, send_with_headers)
        except ProblemError as problem:
            if not started:
                await _answer(send_with_headers, problem, None if is_read else received)

    def _check_source(self, headers: dict[str, str]) -> None:
        """Refuse other names for this machine (DNS rebinding) and requests of other pages."""
        host = headers.get("host", "").lower()
        if _without_port(host) not in self.settings.hosts:
            raise ProblemError(421, "this service does not answer to that host name")
        origin = headers.get("origin")
        if origin is not None and _netloc(origin) != host:
            raise ProblemError(403, "requests from other pages are refused")
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and (
            headers.get("sec-fetch-mode") != "navigate"
        ):
            raise ProblemError(403, "requests from other pages are refused")

    def _check_key(self, scope: Scope, headers: dict[str, str]) -> None:
        key, path = self.settings.api_key, scope["path"]
        is_open = not path.startswith(("/v1/", "/metrics", "/openapi")) or path == "/v1/session"
        if key is None or is_open:
            return
        sent = headers.get("x-api-key") or ""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            sent = token.strip()
        if hmac.compare_digest(sent.encode(), key.encode()):
            return
        if hmac.compare_digest(_cookie(headers.get("cookie", "")), session_of(key)):
            return
        if scope["method"] in ("GET", "HEAD") and _LINKED.fullmatch(path):
            query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
            if is_signed(path, query, key):
                return
        raise ProblemError(401, "an API key is needed", WWW_Authenticate="Bearer")

    def _limited(self, receive: Receive, headers: dict[str, str], largest: int) -> Receive:
        """`receive`, which refuses bodies that are too large or come too slowly."""
        too_large = ProblemError(413, f"larger than {largest / 2**20:g} MB")
        declared = headers.get("content-length", "0")
        if not declared.isdigit() or int(declared) > largest:
            raise too_large
        total, is_whole = 0, False

        async def next_message() -> Message:
            nonlocal total, is_whole
            if is_whole:  # waits for the client to leave
                return await receive()
            try:
                async with asyncio.timeout(self.settings.max_idle_seconds):
                    message = await receive()
            except TimeoutError:
                raise ProblemError(408, "the upload paused for too long") from None
            total += len(message.get("body", b""))
            if total > largest:
                raise too_large
            is_whole = not message.get("more_body", False)
            return message

        return next_message


async def _answer(send: Any, problem: ProblemError, receive: Receive | None) -> None:
    """Answer with a problem; `receive` is what is left of the request, None for nothing."""
    body = encoded(problem.status, problem.detail)
    headers = {
        "content-type": MEDIA_TYPE,
        "content-length": str(len(body)),
        "connection": "close",
        **{name.lower(): value for name, value in problem.headers.items()},
    }
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    if receive is not None:
        await _discard(receive)
    await send({"type": "http.response.body", "body": b""})


async def _discard(receive: Receive) -> None:
    """Read on for a moment, up to a bound, for a client that is still sending.

    To close a connection with unread data resets it, and the client may lose the response.
    """
    size = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_SECONDS):
            while size < _DISCARD_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


def _netloc(origin: str) -> str | None:
    """Host and port of an origin; None where it is malformed."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts.netloc.lower() if parts.scheme in ("http", "https") else None


def _without_port(host: str) -> str | None:
    """The name in a `Host`; None where it is malformed."""
    found = _HOST.fullmatch(host)
    return found and found[1]


def _cookie(header: str) -> str:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found and found.value.isascii() else ""
