"""A music file before it is classified: its path, its content and its tags.

Conventions
-----------
A file's *content* is the hash of its coded audio, not decoded, without tags and pictures: it is the
same in a renamed file, in a copy, and in one whose tags were changed.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genrescope.audio.addresses import stamp_of
from genrescope.audio.files import FoundAudio, find_audio
from genrescope.errors import FileError, TagError
from genrescope.library.rows import LABELS, Entry, inode_of
from genrescope.library.tag_containers import read_texts
from genrescope.library.tags import read_genre
from genrescope.wording import is_text, valid_text

if TYPE_CHECKING:
    from genrescope.inference import Prediction

# ID3, then the names of Vorbis comments, APEv2 and ASF, and MP4.
_NAMES = {
    "title": ("tit2", "title", "\xa9nam"),
    "artist": ("tpe1", "artist", "author", "\xa9art"),
    "album": ("talb", "album", "wm/albumtitle", "\xa9alb"),
    "album_artist": (
        *("tpe2", "albumartist", "album artist", "wm/albumartist", "aart"),
        *("txxx:albumartist", "txxx:album artist"),
    ),
    "year": ("tdrc", "date", "year", "wm/year", "\xa9day"),
}


@dataclass(frozen=True)
class Found:
    """A music file on disk, or at an address.

    Attributes
    ----------
    file
        Its absolute path, as `Entry.file`.
    size, mtime_ns
        In bytes, and in nanoseconds since 1970; see `Entry`.
    inode
        Its number on its disk; None where the file system has none.
    address
        Where it is, if not on a disk.
    """

    file: Path
    size: int
    mtime_ns: int
    inode: int | None
    address: str = ""

    @classmethod
    def of(cls, file: Path, status: os.stat_result | None = None) -> Found:
        """Look at a file; `status` is its own, where it is known already."""
        status = status or file.stat()
        return cls(file, status.st_size, status.st_mtime_ns, inode_of(status))


@dataclass(frozen=True)
class Tags:
    """A file's own tags; None where they are missing, for the album artist "", see `Entry`."""

    title: str | None = None
    artist: str | None = None
    album: str | None = None
    album_artist: str = ""
    year: int | None = None
    genre_tag: str | None = None


def music_in(folder: Path) -> tuple[list[Found], FoundAudio]:
    """The music files in a folder and all folders below it, sorted.

    Returns
    -------
    list of Found
        The files.
    FoundAudio
        The search, with what can't be read, and what was passed over.
    """
    # Which of several hard links stays is decided by what the library knows.
    searched = find_audio(folder, hard_links=True)
    found: list[Found] = []
    for file in searched.files:
        try:
            status = file.stat()
        except OSError as error:
            searched.errors.append(FileError(file, f"not readable: {error.strerror}"))
            continue
        if not is_text(str(file)):
            encoding = sys.getfilesystemencoding()
            reason = "its name is not valid UTF-8: rename it"
            if encoding != "utf-8":
                reason = f"this locale ({encoding}) can't read its name: set LC_ALL=C.UTF-8"
            searched.errors.append(FileError(file, reason))
        else:
            found.append(Found.of(file, status))
    return found, searched


def is_missing(file: Path) -> bool:
    """Whether a file is gone, even as a link; False where its folder can't be read."""
    try:
        file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        pass
    return False


def has_files(folder: str) -> bool:
    """Whether a folder exists, and holds something."""
    try:
        return any(Path(folder).iterdir())
    except OSError:
        return False


def is_as_found(found: Found) -> bool:
    """Whether a file is still what it was when the folder was searched."""
    if found.address:
        return (stamp_of(found.address) or [0, 0]) == [found.size, found.mtime_ns]
    try:
        status = found.file.stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (found.size, found.mtime_ns)


def album_artist_of(file: Path) -> str | None:
    """The album artist in a file's tags, as `tags_of` reads it; None where it can't be read now."""
    try:
        return _texts_of(file)["album_artist"] or ""
    except Exception as error:
        causes = [error, error.__cause__, error.__context__, *error.args]
        return None if any(map(_is_of_disk, causes)) else ""


def _is_of_disk(cause: object) -> bool:
    """Whether an error says that a file can't be read now, and nothing of its content."""
    # To seek to a place before the beginning of a damaged file is EINVAL.
    return isinstance(cause, OSError) and cause.errno not in (None, errno.EINVAL)


def _texts_of(file: Path) -> dict[str, str | None]:
    """A file's tags by the fields of `_NAMES`; mutagen lets all errors through on damaged files."""
    held = read_texts(file)
    return {
        field: next((held[name] for name in names if is_text(held.get(name, "\udc00"))), None)
        for field, names in _NAMES.items()
    }


def tags_of(file: Path) -> Tags:
    """Read a file's tags; those that are damaged count as missing."""
    try:
        texts = _texts_of(file)
    except Exception:
        return Tags()
    try:
        genre = read_genre(file)
    except TagError:
        genre = None
    year = re.search(r"\d{4}", texts["year"] or "")
    return Tags(
        title=texts["title"],
        artist=texts["artist"],
        album=texts["album"],
        album_artist=texts["album_artist"] or "",
        year=int(year[0]) if year else None,
        genre_tag=genre,
    )


def described(
    found: Found, root: Path | str, content: str, tags: Tags | None = None
) -> dict[str, Any]:
    """The fields of an `Entry` that are known before a file is classified."""
    is_at_root = found.address.startswith(f"{root}/")  # as a path it would lose a double slash
    below = found.address.removeprefix(f"{root}/") if is_at_root else found.file.relative_to(root)
    return {
        "root": str(root),
        "path": str(below),
        "content": content,
        "size": found.size,
        "mtime_ns": found.mtime_ns,
        "inode": found.inode,
        **asdict(tags or tags_of(found.file)),
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
        warnings=[valid_text(warning) for warning in prediction.warnings],
        listen=prediction.listen,
        **_labelled(prediction),
    )


def _labelled(prediction: Prediction) -> dict[str, Any]:
    """Kind and labels of a prediction as an `Entry` has them."""
    tags = prediction.labels
    if tags is None:
        return {}
    return {"kind": tags.kind, **{group: dict(getattr(tags, group)) for group in LABELS}}
