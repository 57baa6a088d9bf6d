"""Audio files at addresses: `s3://`, `gs://`, `https://` and whatever else fsspec knows.

S3 and Google Cloud Storage are read by pyarrow's own file systems, so that no client library is
needed; their keys, regions and endpoints come from the usual environment variables.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote, unquote, urlsplit

from genrescope.audio.kinds import AUDIO_SUFFIXES
from genrescope.errors import AudioError, FileError, GenrescopeError

if TYPE_CHECKING:
    from genrescope.audio.files import PassedOver

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_BY_PYARROW = ("s3", "gs", "gcs")
_RETRIES = "retry_limit_seconds=30"
# What servers and object stores tell of a file's version.
_VERSION = ("ETag", "Content-MD5", "Digest", "Last-Modified", "mtime", "LastModified", "updated")


def is_address(name: str) -> bool:
    """Whether a name is an address, not a path."""
    return _ADDRESS.match(name) is not None


def audio_at(address: str, passed_over: PassedOver | None = None) -> list[str]:
    """The audio files below an address, sorted, or the address itself where it is a file.

    Parameters
    ----------
    address
        Of a file or of a folder. A folder of a web server has to list its files as HTML.
    passed_over
        Counts the files that the system keeps for itself (`._song.mp3`).

    Raises
    ------
    FileError
        When there is no such file or folder, no audio in it, or it can't be reached.
    """
    return list(stamped_audio_at(address, passed_over))


def stamped_audio_at(
    address: str, passed_over: PassedOver | None = None
) -> dict[str, list[int] | None]:
    """As `audio_at`, each with its `stamp_of` where the listing tells it; None otherwise.

    Raises
    ------
    FileError
        When there is no such file or folder, no audio in it, or it can't be reached.
    """
    try:
        files, path, prefix = _file_system(address)
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
    return {
        name if is_address(name) else prefix + name: _stamp(listed[name]) or None for name in found
    }


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
        files, path, _ = _file_system(source)
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
    """Numbers that change with what is at an address; empty where nothing is known of it.

    They are the size in bytes, and a hash of what the server tells of the file's version: its ETag,
    its checksum or the time of its last change.
    """
    try:
        files, path, _ = _file_system(address)
        return _stamp(files.info(path))
    except Exception:  # each protocol has errors of its own; reading it will say why
        return []


def _stamp(known: Mapping[str, Any]) -> list[int]:
    version = [f"{name}={known[name]}" for name in _VERSION if known.get(name)]
    if known.get("size") is None and not version:
        return []
    digest = hashlib.sha256("\n".join(version).encode()).digest()
    return [int(known.get("size") or 0), int.from_bytes(digest[:7], "big") if version else 0]


def is_audio(name: str) -> bool:
    """Whether an address, or a path of its file system, is named as an audio file is."""
    # The address of a web server may end in a signature: song.mp3?Expires=…
    if name.lower().startswith(("http://", "https://")):
        name = unquote(urlsplit(name).path)
    return Path(name).suffix.lower() in AUDIO_SUFFIXES


def _file_system(address: str) -> tuple[Any, str, str]:
    """The file system of an address, the path on it, and what makes an address of a path."""
    try:
        from fsspec.core import url_to_fs
        from fsspec.implementations.arrow import ArrowFSWrapper
        from pyarrow import fs
    except ImportError as error:
        missing = f"addresses need {error.name}: pip install 'genrescope[ray]'"
        raise GenrescopeError(missing) from None
    scheme = address.partition("://")[0].lower()
    if scheme in _BY_PYARROW:
        # What pyarrow takes is a URI, with its own options behind a question mark.
        place, mark, options = address.partition("?")
        if scheme != "s3" and "retry_limit_seconds" not in options:
            # Without keys it would try for a quarter of an hour.
            mark, options = "?", "&".join(filter(None, (options, _RETRIES)))
        opened, path = fs.FileSystem.from_uri(quote(place, safe="/:@") + mark + options)
        return ArrowFSWrapper(opened), path, f"{scheme}://"
    files, path = url_to_fs(address)
    return files, path, f"{scheme}://"


def _line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
