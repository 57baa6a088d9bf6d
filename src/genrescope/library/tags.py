"""Read a music file's genre tag, and write one without harming anything else in the file.

Conventions
-----------
The genre is the first value of ID3 ``TCON`` (mp3, aiff, wav, tta, dsf), of the Vorbis comment
``GENRE`` (flac, ogg, opus), of MP4 ``©gen`` or ``gnre``, of ASF ``WM/Genre`` (wma), or of the APEv2
item ``Genre`` (wavpack, ape, musepack). ID3's numeric codes are spelt out: ``(17)`` is ``Rock``.
A wav file's older ``LIST INFO`` genre is neither read nor changed.

Writing
-------
A file is never edited in place. A copy beside it is tagged, read back, compared with the original
(genre, all other tags, every byte of the coded audio) and only then put in its place in one step,
so that a crash, a full disk or Ctrl-C leaves the old file. Mode, owner and extended attributes
follow where the system lets them. The modification time does not: the file *has* changed, and
backup and indexing programs must see it. Another hard link to the old file keeps the old content.

An ID3v2.3 tag stays 2.3, a 2.4 tag stays 2.4. A file without one gets 2.3, which players and
operating systems have read for longest and in which ``TCON`` says the same as in 2.4; a 2.2 tag
becomes 2.3 too, since mutagen doesn't write 2.2. In an ID3v1 tag at the end of an mp3 only the
genre byte changes, and none is added.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import mutagen
from mutagen._vorbis import VCommentDict
from mutagen.apev2 import APEv2
from mutagen.asf import ASFTags
from mutagen.id3 import ID3, TCON, Encoding
from mutagen.mp4 import MP4Tags

from genrescope.audio.packets import open_container
from genrescope.errors import TagError
from genrescope.taxonomy import taxonomy

_GENRE_KEYS = {"tcon", "genre", "\xa9gen", "wm/genre"}
_UNWRITABLE = "this format has no genre tag we can write"


@dataclass(frozen=True)
class TagChange:
    """What writing a genre does, or would do, to one file.

    Attributes
    ----------
    path
        The file as the caller named it.
    before
        Its genre tag before, None where it has none.
    after
        Its genre tag afterwards; the same as `before` unless `action` is ``write``.
    action
        ``write``: the genre is (to be) written. ``keep``: another genre is there and stays.
        ``same``: the tag says so already, upper and lower case aside.
    """

    path: Path
    before: str | None
    after: str
    action: Literal["write", "keep", "same"]


def genre_name(genre: str) -> str:
    """A model's genre as people write it in tags: ``Hip-Hop`` for ``hiphop``, ``Jazz``."""
    return taxonomy().tag(genre)


def read_genre(path: str | PathLike[str]) -> str | None:
    """Return the first genre that a file's own tag names.

    Returns
    -------
    str or None
        None where the tag is absent or empty, or the format has none.

    Raises
    ------
    TagError
        The file can't be opened or is damaged.
    """
    with _plain_errors(path):
        return _genre(_open(Path(path)))


def plan_genre(path: str | PathLike[str], genre: str, *, overwrite: bool = False) -> TagChange:
    """Tell what `write_genre` with the same arguments would do; changes nothing.

    Raises
    ------
    TagError
        The file can't be read, its format has no genre tag, or `genre` is not one line of text.
    """
    with _plain_errors(path):
        genre = genre.strip()
        if not genre or not genre.isprintable():
            raise TagError(path, f"{genre!r} is not a genre name")
        audio = _open(Path(path))
        _add_tags(audio, path)
        before = _genre(audio)
    if before is None:
        return TagChange(Path(path), None, genre, "write")
    if before.casefold() == genre.casefold():
        return TagChange(Path(path), before, before, "same")
    if not overwrite:
        return TagChange(Path(path), before, before, "keep")
    return TagChange(Path(path), before, genre, "write")


def write_genre(path: str | PathLike[str], genre: str, *, overwrite: bool = False) -> TagChange:
    """Write a genre into a file's tag, in one step, and leave everything else as it was.

    A symbolic link stays a link; the file that it points to is changed.

    Parameters
    ----------
    path
        The music file.
    genre
        One line of text. It replaces all values of a genre tag with several.
    overwrite
        Replace a different genre that is already there.

    Raises
    ------
    TagError
        As `plan_genre`; or the file or its folder can't be written, or the tagged copy did not
        pass the comparison. The file is then as it was and no copy is left.
    """
    change = plan_genre(path, genre, overwrite=overwrite)
    if change.action == "write":
        with _plain_errors(path):
            _replace_with_tagged_copy(path, Path(os.path.realpath(path, strict=True)), change.after)
    return change


def _replace_with_tagged_copy(path: str | PathLike[str], target: Path, genre: str) -> None:
    # Replacing a file needs no permission on the file itself, so a read-only one is asked here.
    target.open("r+b").close()
    original = target.stat()
    # mutagen goes by the ending where the first bytes leave a doubt.
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".genrescope-", suffix=target.suffix)
    os.close(handle)
    copy = Path(name)
    try:
        shutil.copyfile(target, copy)
        kept = _tag(copy, path, genre)
        if _genre(_open(copy)) != genre:
            raise TagError(path, f"the genre {genre!r} does not survive in this format")
        if _other_tags(_open_untranslated(copy)) != kept:
            raise TagError(path, "its other tags would not survive a new genre")
        if _audio_digest(copy) != _audio_digest(target):
            raise TagError(path, "its audio would not survive a new genre")
        _copy_ownership(target, copy, original)
        with copy.open("rb") as file:
            os.fsync(file.fileno())
        now = target.stat()
        if (now.st_ino, now.st_size, now.st_mtime_ns) != (
            original.st_ino,
            original.st_size,
            original.st_mtime_ns,
        ):
            raise TagError(path, "another program changed the file meanwhile")
        copy.replace(target)
    except BaseException:  # Ctrl-C must not leave the copy behind either
        copy.unlink(missing_ok=True)
        raise


def _tag(copy: Path, path: str | PathLike[str], genre: str) -> dict[str, Any]:
    """Write the genre into the copy in place; return its other tags as they were before."""
    id3v1 = _id3v1(copy)
    audio = _open_untranslated(copy)
    _add_tags(audio, path)
    others = _other_tags(audio)
    tags = audio.tags
    # APEv2 items stand at the end of a file and know no padding.
    options: dict[str, Any] = {} if isinstance(tags, APEv2) else {"padding": _padding}
    if isinstance(tags, ID3):
        version = 4 if tags.version[:2] == (2, 4) and tags.size else 3
        wide = Encoding.UTF8 if version == 4 else Encoding.UTF16
        encoding = Encoding.LATIN1 if _is_latin1(genre) else wide
        tags.setall("TCON", [TCON(encoding=encoding, text=[genre])])
        # By default mutagen would join several values of any frame with a slash.
        options |= {"v2_version": version, "v23_sep": None}
    elif isinstance(tags, VCommentDict):
        _set_comment(tags, genre)
    elif isinstance(tags, MP4Tags):
        tags["\xa9gen"] = [genre]
    elif isinstance(tags, ASFTags):
        tags["WM/Genre"] = [genre]
    else:
        tags["Genre"] = genre
    audio.save(copy, **options)
    if id3v1 is not None and _id3v1(copy) is not None:
        # mutagen rewrites the whole ID3v1 tag from ID3v2 and so drops what only ID3v1 says.
        with copy.open("r+b") as file:
            file.seek(-128, os.SEEK_END)
            file.write(id3v1[:127] + bytes([_id3v1_code(genre)]))
    return others


def _open(path: Path) -> Any:
    """Open a file with mutagen: a mutagen file type, or None where mutagen knows none."""
    if path.exists() and not path.is_file():  # a pipe would keep us waiting
        raise TagError(path, "not a file")
    path.open("rb").close()  # mutagen hides why a file can't be opened
    return mutagen.File(path)


def _open_untranslated(path: Path) -> Any:
    """Open a file for writing: ID3 frames as they are, and ID3v1 only where it is all there is."""
    audio = _open(path)
    if audio is None or not isinstance(audio.tags, ID3):
        return audio
    as_is = type(audio)(path, translate=False, load_v1=False)
    if as_is.tags is not None:
        return as_is
    return type(audio)(path, translate=False, v2_version=3)


def _add_tags(audio: Any, path: str | PathLike[str]) -> None:
    """Give an open file an empty tag where it has none; refuse formats that know none."""
    if audio is not None and audio.tags is None:
        with suppress(mutagen.MutagenError, NotImplementedError):
            audio.add_tags()
    tags = None if audio is None else audio.tags
    if not isinstance(tags, ID3 | VCommentDict | MP4Tags | ASFTags | APEv2):
        raise TagError(path, _UNWRITABLE)


def _genre(audio: Any) -> str | None:
    tags = None if audio is None else audio.tags
    values: list[Any] = []
    if isinstance(tags, ID3):
        values = [genre for frame in tags.getall("TCON") for genre in frame.genres]
    elif isinstance(tags, VCommentDict):
        values = tags.get("genre", [])
    elif isinstance(tags, MP4Tags):
        values = tags.get("\xa9gen", [])
    elif isinstance(tags, ASFTags):
        values = tags.get("WM/Genre", [])
    elif isinstance(tags, APEv2):
        values = list(tags.get("Genre", []))
    texts = (str(value).strip() for value in values)
    return next((text for text in texts if text), None)


def _other_tags(audio: Any) -> dict[str, Any]:
    """Everything in the tag except the genre, in a form that ``==`` compares."""
    tags = audio.tags
    others = {key: tags[key] for key in tags.keys() if key.lower() not in _GENRE_KEYS}  # noqa: SIM118
    if isinstance(tags, ID3):
        # Not every frame class defines ``==``. Which bytes spell a text is not what it says:
        # a 2.3 tag that some program filled with UTF-8 is mended to UTF-16 on the way.
        others = {
            key: re.sub(r"encoding=<Encoding\.\w+: \d>", "", repr(frame))
            for key, frame in others.items()
        }
        others["unknown"] = [frame for frame in tags.unknown_frames if len(frame) > 10]
    return others


def _set_comment(tags: Any, genre: str) -> None:
    """Set a Vorbis comment where it stood, in the spelling it had; further genres go."""
    comments: list[tuple[str, str]] = []
    written = False
    for key, value in tags:
        if key.lower() != "genre":
            comments.append((key, value))
        elif not written:
            comments.append((key, genre))
            written = True
    tags[:] = comments if written else [*comments, ("GENRE", genre)]


def _padding(info: Any) -> int:
    """Keep the room after the tag as it is, so that the audio need not move; add some if short."""
    room: int = info.padding if info.padding >= 0 else info.get_default_padding()
    return room


def _is_latin1(text: str) -> bool:
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True


def _id3v1(path: Path) -> bytes | None:
    """Return the ID3v1 tag: the last 128 bytes of a file if they begin with ``TAG``."""
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) < 128:
            return None
        file.seek(-128, os.SEEK_END)
        tail = file.read()
    return tail if tail.startswith(b"TAG") else None


def _id3v1_code(genre: str) -> int:
    """Return ID3v1's number for a genre; 255 says that there is none."""
    names = [name.casefold() for name in TCON.GENRES]
    return names.index(genre.casefold()) if genre.casefold() in names else 255


def _audio_digest(path: Path) -> bytes:
    """Hash the coded audio, not decoded, wherever the container has put it."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file, open_container(file) as container:
        for packet in container.demux(container.streams.audio):
            digest.update(bytes(packet))
    return digest.digest()


def _copy_ownership(source: Path, copy: Path, stat: os.stat_result) -> None:
    # Only root may give a file away; for others the file becomes theirs, as with any editor.
    # The mode comes last, because a change of owner clears its set-user-id bits.
    if chown := getattr(os, "chown", None):  # Windows has no such owners
        with suppress(PermissionError):
            chown(copy, -1, stat.st_gid)
        with suppress(PermissionError):
            chown(copy, stat.st_uid, -1)
    changed = copy.stat()
    shutil.copystat(source, copy)
    os.utime(copy, ns=(changed.st_atime_ns, changed.st_mtime_ns))


@contextmanager
def _plain_errors(path: str | PathLike[str]) -> Iterator[None]:
    """Turn whatever a file's content or the disk can cause into a TagError of one line."""
    try:
        yield
    except TagError:
        raise
    except Exception as error:  # mutagen lets IndexError, struct.error, … through on damaged files
        first = error.args[0] if error.args else None
        cause = first if isinstance(first, OSError) else error
        if isinstance(cause, OSError) and cause.strerror:
            raise TagError(path, cause.strerror.lower()) from error
        raise TagError(path, "the file is damaged, or not what its name says") from error
