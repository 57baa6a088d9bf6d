"""What is known of a music file before it is heard: where it is, what it holds, what its tags say.

Conventions
-----------
A file's *content* is its coded audio, not decoded, without tags and pictures: it is the same in a
renamed file, in a copy, and in one whose tags were changed.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mutagen

from genrescope.audio.files import find_audio
from genrescope.audio.packets import coded_audio
from genrescope.errors import AudioError, FileError, TagError
from genrescope.library.tags import read_genre

# ID3, then mutagen's plain names and Vorbis comments, MP4, APEv2, ASF.
_NAMES = {
    "title": ("TIT2", "title", "\xa9nam", "Title"),
    "artist": ("TPE1", "artist", "\xa9ART", "Artist", "Author"),
    "album": ("TALB", "album", "\xa9alb", "Album", "WM/AlbumTitle"),
    "year": ("TDRC", "date", "year", "\xa9day", "Year", "WM/Year"),
}


@dataclass(frozen=True)
class Found:
    """A music file on disk: its absolute path, bytes, and time of change in ns since 1970."""

    file: Path
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Tags:
    """What a file's own tags say; None where they say nothing."""

    title: str | None = None
    artist: str | None = None
    album: str | None = None
    year: int | None = None
    genre_tag: str | None = None


def music_in(folder: Path) -> tuple[list[Found], list[FileError]]:
    """The music files in a folder and all folders below it, sorted, and what can't be looked at.

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
        if not _is_text(str(file)):
            errors.append(FileError(file, "its name is not valid UTF-8: rename it"))
        else:
            found.append(Found(file, status.st_size, status.st_mtime_ns))
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
    """Read a file's tags; what is damaged says nothing."""
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
        if text and _is_text(text):
            return text
    return None


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
