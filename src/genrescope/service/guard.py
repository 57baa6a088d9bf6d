"""Checks of every request: host, origin, key, size, and free capacity."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from contextlib import suppress
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from genrescope.service.links import is_signed
from genrescope.service.metrics import Metrics
from genrescope.service.pool import Pool
from genrescope.service.problems import MEDIA_TYPE, ProblemError, encoded
from genrescope.service.settings import ServiceSettings

COOKIE = "genrescope"
_UPLOADS = ("/v1/classify", "/v1/similar")
_LINKED = re.compile(r"/v1/tracks/[^/]+/audio")
_HOST = re.compile(r"(\[[^\]]*\]|[^:@/]*)(?::[0-9]{1,5})?")
_JSON_BYTES = 2**20
_LEAST_RATE = 3000.0  # bytes a second that a client has to send
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
_PAIRS = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]


def session_of(key: str) -> str:
    """The value of the cookie that a browser gets for an API key."""
    return hmac.new(key.encode(), b"genrescope session", hashlib.sha256).hexdigest()


class Guard:
    """Middleware that refuses what is not for this service, and limits what is.

    Uploads are refused before their content is read if there is no capacity for them.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings, pool: Pool) -> None:
        self.app, self.settings, self.room, self.metrics = app, settings, pool.room, pool.metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with a problem."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        answer, is_read = _Answer(send, self.metrics), False

        async def received() -> Message:
            nonlocal is_read
            message = await receive()
            is_read = not message.get("more_body", False)
            return message

        texts = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        try:
            self._check_source(texts)
            self._check_key(scope, texts)
            is_upload = scope["method"] == "POST" and scope["path"] in _UPLOADS
            largest = self.settings.max_bytes if is_upload else _JSON_BYTES
            limited = self._limited(received, texts, largest)
            if not is_upload:
                await self.app(scope, limited, answer.send)
                return
            with self.room.one():
                await self.app(scope, limited, answer.send)
        except ProblemError as problem:
            if not answer.is_started:
                is_over = is_read or _is_read_on(scope, texts)
                await answer_problem(answer.send, problem, None if is_over else received)
        except asyncio.CancelledError:  # the service stops, and has waited for this request
            if not answer.is_started:
                stopping = ProblemError(503, "the service is stopping")
                await answer_problem(answer.send, stopping, None)

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
        if not declared.isdecimal() or int(declared) > largest:
            raise too_large
        total, is_whole = 0, declared == "0" and "transfer-encoding" not in headers
        idle, now = self.settings.max_idle_seconds, asyncio.get_running_loop().time
        begun = now()

        async def next_message() -> Message:
            nonlocal total, is_whole
            if is_whole:  # waits for the client to leave
                return await receive()
            try:
                # A client that sends only a byte now and then would block capacity.
                async with asyncio.timeout_at(min(now(), begun + total / _LEAST_RATE) + idle):
                    message = await receive()
            except TimeoutError:
                detail = "the upload paused for too long, or was too slow"
                raise ProblemError(408, detail, Connection="close") from None
            total += len(message.get("body", b""))
            if total > largest:
                raise too_large
            is_whole = not message.get("more_body", False)
            return message

        return next_message


class _Answer:
    """What is sent to a client: counted, with the headers of all answers.

    An error that Starlette writes as text becomes a problem document.
    """

    def __init__(self, send: Send, metrics: Metrics) -> None:
        self._send, self._metrics = send, metrics
        self._problem: bytes | None = None
        self.is_started = self._is_over = False

    async def send(self, message: Message) -> None:
        """Send a message of ASGI."""
        if message["type"] == "http.response.start":
            self.is_started = True
            status, headers = message["status"], [*message.get("headers", [])]
            self._metrics.answered(status)
            if status >= 400 and dict(headers).get(b"content-type", b"").startswith(b"text/plain"):
                self._problem = encoded(status, HTTPStatus(status).phrase)
                length = str(len(self._problem)).encode()
                own = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", length)]
                headers = [pair for pair in headers if pair[0] not in dict(own)] + own
            names = {name.lower() for name, _ in headers}
            headers += [pair for pair in _PAIRS if pair[0] not in names]
            message = {**message, "headers": headers}
        elif self._problem is not None:
            if self._is_over:
                return
            self._is_over = True
            message = {"type": "http.response.body", "body": self._problem}
        await self._send(message)


async def answer_problem(send: Send, problem: ProblemError, receive: Receive | None) -> None:
    """Answer a request with a problem.

    Parameters
    ----------
    send
        Sends messages of ASGI.
    problem
        The answer.
    receive
        Receives what is left of the request, before the connection is closed; None where nothing
        is left, or the server reads it.
    """
    body = encoded(problem.status, problem.detail)
    headers = {
        "content-type": MEDIA_TYPE,
        "content-length": str(len(body)),
        **({} if receive is None else {"connection": "close"}),
        **{name.lower(): value for name, value in problem.headers.items()},
    }
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body, "more_body": receive is not None})
    if receive is not None:
        await _discard(receive)
        await send({"type": "http.response.body", "body": b""})


def _is_read_on(scope: Scope, headers: dict[str, str]) -> bool:
    """Whether the server reads the rest of a refused request, and then the next one.

    uvicorn does so on a connection that stays open, which costs less than a new one. It has to be
    sure that the rest comes, and that it is not much.
    """
    length = headers.get("content-length", "0")
    return (
        scope["http_version"] == "1.1"
        and "close" not in headers.get("connection", "").lower()
        and not {"transfer-encoding", "expect"} & headers.keys()
        and length.isdecimal()
        and int(length) <= _DISCARD_BYTES
    )


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
