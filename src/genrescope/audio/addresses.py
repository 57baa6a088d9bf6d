"""Audio files at addresses: `s3://`, `gs://`, `https://` and whatever else fsspec knows.

S3 and Google Cloud Storage are read by pyarrow's own file systems, so that no client library is
needed; their keys, regions and endpoints come from the usual environment variables.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote, unquote, unquote_to_bytes

from genrescope.audio.kinds import AUDIO_SUFFIXES
from genrescope.errors import AudioError, FileError, GenrescopeError

if TYPE_CHECKING:
    from genrescope.audio.files import PassedOver

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_LOCAL = re.compile(r"file:(//(localhost)?)?(?=/[^/])", re.IGNORECASE)
_BY_PYARROW = ("s3", "gs", "gcs")
_RETRIES = "retry_limit_seconds=30"
# pyarrow's own options behind a question mark; any other one belongs to the name of a file.
_OPTIONS = re.compile(
    r"\?(region|scheme|endpoint_override|tls_ca_file_path|allow_\w+|background_writes|"
    r"retry_limit_seconds|project_id)=.*"
)
_WEB = ("http://", "https://")
_GONE = (404, 410)
# What servers and object stores tell of a file's version.
_VERSION = ("ETag", "Content-MD5", "Digest", "Last-Modified", "mtime", "LastModified", "updated")


def is_address(name: str) -> bool:
    """Whether a name has the form of an address."""
    return _ADDRESS.match(name) is not None


def local_path(name: str) -> str:
    """The path of a URL of a local file (`file:///a%20song.mp3`); any other name as it is.

    So is the name of a file or a folder that exists, whatever it looks like.
    """
    scheme = _LOCAL.match(name)
    if scheme is None or os.path.lexists(name):
        return name
    return os.fsdecode(unquote_to_bytes(os.fsencode(name[scheme.end() :])))


def names_address(name: str) -> bool:
    """Whether a name as it is typed is an address: no file or folder is called `s3:/…`."""
    return is_address(name) and not os.path.lexists(name)


def options_of(address: str) -> str:
    """The part of an address that names no file, from its question mark on; empty if none."""
    if address.lower().startswith(_WEB):
        query = address.partition("#")[0].partition("?")[2]
        return f"?{query}" if query else ""
    found = _OPTIONS.search(address) if _is_by_pyarrow(address) else None
    return found[0] if found else ""


def audio_at(address: str, passed_over: PassedOver | None = None) -> list[str]:
    """The audio files below an address, sorted, or the address itself where it is a file.

    Parameters
    ----------
    address
        Address of a file or a folder. A folder of a web server has to list its files as HTML.
    passed_over
        Counts the files that the system keeps for itself (`._song.mp3`).

    Raises
    ------
    FileError
        When the file or folder does not exist, has no audio in it, or can't be reached.
    """
    return list(stamped_audio_at(address, passed_over))


def stamped_audio_at(
    address: str, passed_over: PassedOver | None = None
) -> dict[str, list[int] | None]:
    """As `audio_at`, each with its `stamp_of` where the listing tells it; None otherwise.

    Raises
    ------
    FileError
        When the file or folder does not exist, has no audio in it, or can't be reached.
    """
    try:
        files, path = _file_system(address)
        if is_audio(path):
            return {address: None}
        listed = {n: each for n, each in files.find(path, detail=True).items() if is_audio(n)}
        names = sorted(listed)
    except GenrescopeError:
        raise
    except Exception as error:  # each protocol has errors of its own
        raise FileError(address, f"can't be listed: {_line(error)}") from None
    found = [name for name in names if not Path(name).name.startswith("._")]
    if passed_over is not None:
        for name in sorted(set(names) - set(found)):
            passed_over.note("files", name)
    if not found:
        raise FileError(address, "no audio files there")
    return {_address_of(name, path, address): _stamp(listed[name]) or None for name in found}


def _address_of(name: str, path: str, address: str) -> str:
    """The address of a file below the one that was listed, from its path on the file system.

    Raises
    ------
    FileError
        When it is not below it.
    """
    options = options_of(address) if _is_by_pyarrow(address) else ""
    above = address.removesuffix(options)
    # A page that is served by https may name its files by http.
    base, listed = (re.sub("^https?://", "", each) for each in (path.rstrip("/") + "/", name))
    if not listed.startswith(base):
        raise FileError(address, f"it lists {name}, which is not below it")
    slash = "" if above.endswith("/") else "/"
    return f"{above}{slash}{listed.removeprefix(base)}{options}"


@contextmanager
def open_source(source: str) -> Iterator[Path | BinaryIO]:
    """The form in which a source is decoded: its path as it is, an address as an open file.

    Raises
    ------
    AudioError
        When the address can't be read.
    """
    if not is_address(source):
        yield Path(source)
        return
    try:
        files, path = _file_system(source)
        opened = files.open(path, "rb")
    except GenrescopeError:
        raise
    except FileNotFoundError:
        raise AudioError(source, "no such file") from None
    except Exception as error:  # each protocol has errors of its own
        raise AudioError(source, f"not readable: {_line(error)}") from None
    with opened as file:
        yield file


def stamp_of(address: str) -> list[int]:
    """Numbers that change with the content at an address; empty where the server states none.

    They are the size in bytes, and a hash of what the server tells of the file's version: its ETag,
    its checksum or the time of its last change.
    """
    try:
        return current_stamp_of(address)
    except Exception:  # each protocol has errors of its own; reading it will say why
        return []


def current_stamp_of(address: str) -> list[int]:
    """As `stamp_of`, where it is told whether the file is gone or can't be asked for.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    FileError
        When the server can't be asked.
    """
    files, path = _file_system(address)
    try:
        return _stamp(files.info(path))
    except Exception as error:  # each protocol has errors of its own
        # To fsspec, every failure of a web server is a missing file.
        cause = error.__cause__ or error
        is_missing = isinstance(cause, FileNotFoundError)
        if is_missing or getattr(cause, "status", None) in _GONE:
            raise FileNotFoundError(address) from None
        raise FileError(address, f"not readable: {_line(cause)}") from None


def _stamp(known: Mapping[str, Any]) -> list[int]:
    version = [f"{name}={known[name]}" for name in _VERSION if known.get(name)]
    if known.get("size") is None and not version:
        return []
    digest = hashlib.sha256("\n".join(version).encode()).digest()
    return [int(known.get("size") or 0), int.from_bytes(digest[:7], "big") if version else 0]


def is_audio(name: str) -> bool:
    """Whether an address, or a path of its file system, is named as an audio file is."""
    return suffix_of(name).lower() in AUDIO_SUFFIXES


def suffix_of(address: str) -> str:
    """The ending of a file's name, as `Path.suffix`."""
    # The address of a web server may end in a signature: song.mp3?Expires=…
    if address.lower().startswith(_WEB):
        # Not by urlsplit, which refuses some hosts: whoever opens the address says what is wrong.
        place = re.split("[?#]", address, maxsplit=1)[0].partition("://")[2]
        return Path(unquote(place.partition("/")[2])).suffix
    return Path(address.removesuffix(options_of(address))).suffix


def _is_by_pyarrow(address: str) -> bool:
    return address.partition("://")[0].lower() in _BY_PYARROW


def _file_system(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path on it."""
    try:
        from fsspec.core import url_to_fs
        from fsspec.implementations.arrow import ArrowFSWrapper
        from pyarrow import fs
    except ImportError as error:
        missing = f"addresses need {error.name}: pip install 'genrescope[ray]'"
        raise GenrescopeError(missing) from None
    if _is_by_pyarrow(address):
        # What pyarrow takes is a URI, with its own options behind a question mark.
        options = options_of(address)
        place = quote(address.removesuffix(options), safe="/:@")
        if not address.lower().startswith("s3://") and "retry_limit_seconds" not in options:
            # Without keys it would try for a quarter of an hour.
            options += ("&" if options else "?") + _RETRIES
        opened, path = fs.FileSystem.from_uri(place + options)
        return ArrowFSWrapper(opened), path
    # User and password of a web server are in ~/.netrc.
    settings = {"client_kwargs": {"trust_env": True}} if address.lower().startswith(_WEB) else {}
    files, path = url_to_fs(address, **settings)
    return files, path


def _line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
