"""The user's settings: `config.toml` in the configuration folder, and environment variables.

`GENRESCOPE_MODEL`, where it is set, takes precedence over the file.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from genrescope.atomic import write_atomic
from genrescope.errors import FileError
from genrescope.paths import config_folder
from genrescope.wording import valid_text

SHIPPED_MODEL = "default"


def settings_file() -> Path:
    """Where the settings are."""
    return config_folder("config.toml")


def read_settings() -> dict[str, str | bool]:
    """The settings of the file; empty where there is none.

    Raises
    ------
    FileError
        When the file is damaged or has settings that are not known.
    """
    path = settings_file()
    try:
        text = path.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):  # the latter for users without a home
        return {}
    except (OSError, ValueError) as error:
        raise FileError(path, f"can't be read: {error}") from None
    import tomllib  # most users have no such file

    try:
        fields = tomllib.loads(text)
    except ValueError as error:
        raise FileError(path, f"can't be read: {error}") from None
    for name, value in fields.items():
        if name not in _KNOWN or not isinstance(value, _KNOWN[name]):
            known = ", ".join(_KNOWN)
            raise FileError(path, f"unknown or wrong setting {name!r}; known settings: {known}")
    return fields


def write_settings(**changes: str | bool) -> Path:
    """Change settings in the file, and return where it is.

    Raises
    ------
    FileError
        When the file is damaged or can't be written, or a value is not text that it can hold.
    """
    path, fields = settings_file(), read_settings() | changes
    # A string of JSON is one of TOML, and so are `true` and `false`: but for escaped halves of
    # characters, and for DEL, which TOML wants escaped.
    lines = [f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in sorted(fields.items())]
    text = "".join(f"{line}\n" for line in lines).replace("\x7f", r"\u007f")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text.encode())
    except UnicodeEncodeError:
        named = next(v for v in changes.values() if isinstance(v, str) and valid_text(v) != v)
        raise FileError(named, "its name is not valid UTF-8: rename it") from None
    except OSError as error:
        raise FileError(path, f"can't be written: {error.strerror or error}") from None
    return path


def default_model() -> str:
    """The model that is used where none is named: environment, settings, or the shipped one."""
    named = os.environ.get("GENRESCOPE_MODEL") or read_settings().get("model")
    return str(named or SHIPPED_MODEL)


_KNOWN: dict[str, type] = {"model": str, "told_of_audioset": bool}
