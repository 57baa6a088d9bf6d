"""What is known of a music file before it is classified: its path, its content and its tags.

Conventions
-----------
A file's *content* is the hash of its coded audio, not decoded, without tags and pictures: it is the
same in a renamed file, in a copy, and in one whose tags were changed.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mutagen
import numpy as np

from genrescope.audio.files import find_audio
from genrescope.audio.packets import coded_audio
from genrescope.errors import AudioError, FileError, TagError
from genrescope.library.rows import Entry, inode_of
from genrescope.library.tags import read_genre

if TYPE_CHECKING:
    from genrescope.inference import Prediction

# ID3, then mutagen's plain names and Vorbis comments, MP4, APEv2, ASF.
_NAMES = {
    "title": ("TIT2", "title", "\xa9nam", "Title"),
    "artist": ("TPE1", "artist", "\xa9ART", "Artist", "Author"),
    "album": ("TALB", "album", "\xa9alb", "Album", "WM/AlbumTitle"),
    "year": ("TDRC", "date", "year", "\xa9day", "Year", "WM/Year"),
}


@dataclass(frozen=True)
class Found:
    """A music file on disk.

    Attributes
    ----------
    file
        Its absolute path.
    size, mtime_ns
        In bytes, and in nanoseconds since 1970.
    inode
        Its number on its disk; None where the file system has none.
    """

    file: Path
    size: int
    mtime_ns: int
    inode: int | None

    @classmethod
    def of(cls, file: Path, status: os.stat_result | None = None) -> Found:
        """Look at a file; `status` is its own, where it is known already."""
        status = status or file.stat()
        return cls(file, status.st_size, status.st_mtime_ns, inode_of(status))


@dataclass(frozen=True)
class Tags:
    """A file's own tags; None where they are missing."""

    title: str | None = None
    artist: str | None = None
    album: str | None = None
    year: int | None = None
    genre_tag: str | None = None


def music_in(folder: Path) -> tuple[list[Found], list[FileError]]:
    """The music files in a folder and all folders below it, sorted, and those it can't look at.

    See `genrescope.audio.files.find_audio` for what is passed over.
    """
    searched = find_audio(folder)
    found: list[Found] = []
    errors = list(searched.errors)
    for file in searched.files:
        try:
            status = file.stat()
        except OSError as error:
            errors.append(FileError(file, f"not readable: {error.strerror}"))
            continue
        if not is_text(str(file)):
            errors.append(FileError(file, "its name is not valid UTF-8: rename it"))
        else:
            found.append(Found.of(file, status))
    return found, errors


def content_of(file: Path) -> str:
    """SHA-256 of a file's coded audio; of all its bytes where no audio is found in it.

    Raises
    ------
    FileError
        When it can't be read.
    """
    try:
        digest = hashlib.sha256()
        try:
            for packet in coded_audio(file):
                digest.update(packet)
        except AudioError:
            with file.open("rb") as whole:
                digest = hashlib.file_digest(whole, "sha256")
    except OSError as error:
        raise FileError(file, f"not readable: {error.strerror}") from error
    return digest.hexdigest()


def tags_of(file: Path) -> Tags:
    """Read a file's tags; those that are damaged count as missing."""
    try:
        audio = mutagen.File(file)
        held = None if audio is None else audio.tags
        texts = {field: _first(held, names) for field, names in _NAMES.items()}
    except Exception:  # mutagen lets all kinds of errors through on damaged files
        return Tags()
    try:
        genre = read_genre(file)
    except TagError:
        genre = None
    year = re.search(r"\d{4}", texts["year"] or "")
    return Tags(
        texts["title"], texts["artist"], texts["album"], int(year[0]) if year else None, genre
    )


def described(found: Found, root: Path, content: str) -> dict[str, Any]:
    """The fields of an `Entry` that are known before a file is classified."""
    return {
        "root": str(root),
        "path": str(found.file.relative_to(root)),
        "content": content,
        "size": found.size,
        "mtime_ns": found.mtime_ns,
        "inode": found.inode,
        **asdict(tags_of(found.file)),
    }


def classified(fields: dict[str, Any], prediction: Prediction, genres: Sequence[str]) -> Entry:
    """The row of a classified file; `fields` are those of `described`."""
    probabilities = prediction.probabilities
    values = [probabilities[genre] if prediction.genre else 0.0 for genre in genres]
    return Entry(
        **fields,
        probabilities=np.array(values, np.float32),
        embedding=prediction.embedding,
        genre=prediction.genre,
        confidence=prediction.confidence,
        duration=prediction.duration,
        warnings=[as_text(warning) for warning in prediction.warnings],
    )


def is_text(name: str) -> bool:
    """Whether a name is valid text, which LanceDB can store."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_text(text: str) -> str:
    """A text that can be stored, whatever file names it quotes."""
    return text.encode(errors="backslashreplace").decode()


def _first(held: Any, names: tuple[str, ...]) -> str | None:
    """The first text that a tag has under one of these names."""
    for name in names if held is not None else ():
        try:
            value = held[name]
        except (KeyError, ValueError):  # Vorbis comments and APEv2 refuse names like ©nam
            continue
        first = next(iter(getattr(value, "text", value)), "") if value else ""
        if isinstance(value, str):
            first = value
        text = str(first).strip()
        if text and is_text(text):
            return text
    return None
