"""Errors as problem documents (RFC 9457)."""

from __future__ import annotations

import errno
import json
import logging
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from genrescope.errors import FileError, GenrescopeError
from genrescope.library.places import LibraryError

_log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """A problem document."""

    type: str = Field("about:blank", description="Always so: the status tells the type.")
    title: str = Field(description="The name of the status.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What is wrong, in one sentence.")


class ProblemError(HTTPException):
    """An answer other than success.

    FastAPI would answer status 400 for any other kind of exception while it reads a JSON body.

    Attributes
    ----------
    status
        The HTTP status.
    detail
        What is wrong, in one sentence without a path.
    headers
        Further headers of the response; status 503 always has `Retry-After`.
    """

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if status == 503:
            named.setdefault("Retry-After", "5")
        super().__init__(status, detail)
        self.status = status
        self.headers: dict[str, str] = named


def full_disk(error: OSError) -> ProblemError | None:
    """The problem of a disk or a quota without room for an upload; None for other errors."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ProblemError(507, "no room left for uploads on the disk of the service")
    return None


def problem_of_error(error: GenrescopeError) -> ProblemError:
    """The problem of an error whose message may name files of the service's disk."""
    if isinstance(error, LibraryError):
        _log.error("%s", error)
        return ProblemError(503, "the library can't be read or written; see the service's log")
    # The message of a FileError begins with a path.
    return ProblemError(422, error.reason if isinstance(error, FileError) else str(error))


def document(status: int, detail: str) -> dict[str, Any]:
    """The fields of a problem document."""
    title = HTTPStatus(status).phrase
    return {"type": "about:blank", "title": title, "status": status, "detail": detail}


def encoded(status: int, detail: str) -> bytes:
    """A problem document as JSON."""
    return json.dumps(document(status, detail)).encode()


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of the problems of an operation."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted({400, 401, 403, 421, 422, *statuses})
    }
