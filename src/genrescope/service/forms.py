"""Multipart forms with audio files, read without keeping the files in memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import Any

from python_multipart.exceptions import FormParserError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from genrescope.errors import printable
from genrescope.registry import did_you_mean
from genrescope.service.problems import ProblemError, full_disk

_LONGEST_NAME = 200


@dataclass
class Form:
    """The files and the fields of a form."""

    files: list[UploadFile]
    fields: dict[str, str]
    data: FormData

    def flag(self, name: str, default: bool = False) -> bool:
        """A field that is true or false.

        Raises
        ------
        ProblemError
            422, when it is something else.
        """
        text = self._text(name, ("true", "false").__contains__, "true or false")
        return default if text is None else text == "true"

    def number(self, name: str, default: int | None, low: int, high: int) -> int | None:
        """A field that is a whole number from `low` to `high`.

        Raises
        ------
        ProblemError
            422, when it is something else.
        """

        def is_valid(text: str) -> bool:
            return bool(re.fullmatch("[0-9]{1,9}", text)) and low <= int(text) <= high

        text = self._text(name, is_valid, f"a whole number from {low} to {high}")
        return default if text is None else int(text)

    def minutes(self, name: str) -> float | None:
        """A field that is a length in minutes; None where it is not there.

        Raises
        ------
        ProblemError
            422, when it is something else.
        """
        minutes = re.compile(r"[0-9]{1,9}([.][0-9]{1,9})?")
        text = self._text(name, minutes.fullmatch, "a number of minutes")
        return None if text is None else float(text)

    def _text(self, name: str, is_valid: Callable[[str], object], expected: str) -> str | None:
        """The text of a field, if it is valid; None where the field is not there."""
        text = self.fields.get(name)
        if text is not None and not is_valid(text):
            raise ProblemError(422, f"{name} has to be {expected}")
        return text


def check_names(names: Iterable[str], known: Collection[str]) -> None:
    """Refuse fields that an operation does not have; it would silently do something else.

    Raises
    ------
    ProblemError
        422, when there is one.
    """
    for name in names:
        if name and name not in known:
            shown = printable(name)[:_LONGEST_NAME]
            raise ProblemError(422, f"{shown}: no such field{did_you_mean(shown, known)}")


async def read_form(request: Request, max_files: int) -> Form:
    """Read a multipart form; larger files are on the disk, without a name.

    Raises
    ------
    ProblemError
        415 or 422, when it is none, has too many files, or a field that the operation does not
        have; 507, when the disk is full; those of `guard` for its size.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise ProblemError(415, "expected multipart/form-data with a field called file")
    try:
        data = await request.form(max_files=max_files, max_fields=32, max_part_size=2**16)
    except ProblemError:
        raise
    except HTTPException as error:
        raise ProblemError(422, f"not a valid form: {error.detail}") from None
    except (FormParserError, KeyError, UnicodeDecodeError, ValueError) as error:
        raise ProblemError(422, f"not a valid form ({type(error).__name__})") from None
    except OSError as error:
        raise full_disk(error) or error from None
    files, fields = [], {}
    for name, value in data.multi_items():
        if isinstance(value, UploadFile):
            if name != "file":
                raise ProblemError(422, "a file has to be in a field called file")
            files.append(value)
        elif name == "file":
            raise ProblemError(422, "the field file has to be a file")
        elif name in fields:
            raise ProblemError(422, f"the field {name} is there more than once")
        else:
            fields[name] = value
    body = request.scope["route"].openapi_extra["requestBody"]
    try:
        check_names(fields, body["content"]["multipart/form-data"]["schema"]["properties"])
    except ProblemError:
        await data.close()
        raise
    return Form(files, fields, data)


def name_of(upload: UploadFile) -> str:
    """The last part of the name that a client gave a file; only shown, never used as a path."""
    name = PureWindowsPath((upload.filename or "").replace("\x00", "")).name
    return printable(name)[:_LONGEST_NAME] or "upload"


def form_schema(**fields: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI's description of a form's fields."""
    needed = [name for name, field in fields.items() if field.pop("required", False)]
    schema: dict[str, Any] = {"type": "object", "properties": fields, "required": needed}
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }
