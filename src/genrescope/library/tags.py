"""Read the genre of a music file's tags, and write one without harming anything else in the file.

Conventions
-----------
Genres are those of ID3 ``TCON`` (mp3, aiff, wav, tta, dsf), of the Vorbis comment ``GENRE`` (flac,
ogg, opus), of MP4 ``©gen`` and ``gnre``, of ASF ``WM/Genre`` (wma), or of the APEv2 item ``Genre``
(wavpack, ape, musepack). Where these hold none, a genre counts that another tag of the file holds:
APEv2 or ID3v1 at its end, ID3v2 in front of a flac file or the like, a freeform atom of MP4
(iTunes' GENRE), the LIST INFO chunk of a wav file, or what QuickTime has outside of MP4's tags.
ID3's numeric codes are spelt out: ``(17)`` is
``Rock``. "Other", "Unknown" and the like are no genre (`genrescope.library.genre_names`).

Writing
-------
A file is never edited in place. A copy next to it is tagged, read back, compared with the original
(genre, all other tags, every byte of the coded audio) and only then put in its place in one step,
so that a crash, a full disk or Ctrl-C leaves the old file. Mode, owner and extended attributes
follow where the system lets them. The modification time does not: the file *has* changed, and
backup and indexing programs must see it. Another hard link to the old file keeps the old content.

An ID3v2.3 tag stays 2.3, a 2.4 tag stays 2.4. A file without one gets 2.3, which players and
operating systems have read for longest; a 2.2 tag becomes 2.3 too, since mutagen doesn't write 2.2.
Where a second tag of the file holds a genre as well (APEv2 or ID3v1 at the end, ID3v2 in front,
a freeform atom, LIST INFO), it is made to agree; none is added. That of a QuickTime file is hidden
instead.

Several genres are values of their own: of one ``TCON`` frame in ID3v2.4, and as repeated items
elsewhere. In 2.3, they are one text of numbers in brackets where it gives them in their order, else
values that NUL separates, as most programs write and read them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from genrescope.errors import AudioError, TagError
from genrescope.genres import same_genre
from genrescope.library import quicktime, riff_info, trailing_tags
from genrescope.library.content import audio_digest
from genrescope.library.genre_names import genre_name, genres_of, is_genre
from genrescope.library.leftovers import temporary_copy
from genrescope.library.tag_containers import open_second_tags, open_tags
from genrescope.library.tag_formats import genres_of_further_id3, remove_footer
from genrescope.library.trailing_tags import Trailing

__all__ = [
    "GenreState",
    "TagChange",
    "genre_name",
    "plan_genre",
    "read_genre",
    "read_state",
    "restore_genre",
    "write_genre",
]

_UNWRITABLE = "this format has no genre tag we can write"


@dataclass(frozen=True)
class TagChange:
    """The change of one file's genre, made or planned.

    Attributes
    ----------
    path
        The file as the caller named it.
    before
        Its genre before, None where it has none. Several are separated by "; ".
    after
        Its genre afterwards; the same as `before` unless `action` is ``write``.
    action
        ``write``: the genre is (to be) written. ``keep``: another genre is there and stays.
        ``unknown``: the same, because the model does not know that genre. ``same``: the tag has
        the genre already, however it is spelt.
    """

    path: Path
    before: str | None
    after: str
    action: Literal["write", "keep", "unknown", "same"]


@dataclass(frozen=True)
class GenreState:
    """The genres of a file in each of its tags, as a journal stores them.

    Attributes
    ----------
    values
        Those of the format's own tag, as they stand there.
    trailing
        Those of an APEv2 tag at the end of a file that has another tag of its own; None where it
        has no such item.
    id3v1
        The number in an ID3v1 tag; None where there is none.
    info
        That of a wav file's LIST INFO; None where there is none.
    leading
        Those of an ID3v2 tag in front of a file that has another tag of its own, or behind its
        own, where it stays as it is, or of a freeform atom of MP4; None where it has none.
    quicktime
        Those of a QuickTime file outside of its MP4 tags; None where it has none.
    """

    values: tuple[str, ...]
    trailing: tuple[str, ...] | None = None
    id3v1: int | None = None
    info: str | None = None
    leading: tuple[str, ...] | None = None
    quicktime: tuple[str, ...] | None = None


def read_genre(path: str | PathLike[str]) -> str | None:
    """Return the first genre that a file's own tags name.

    Returns
    -------
    str or None
        None where no tag names a genre, or the format has none.

    Raises
    ------
    TagError
        The file can't be opened or is damaged.
    """
    with _plain_errors(path):
        return next(iter(_genres(read_state(path))), None)


def read_state(path: str | PathLike[str]) -> GenreState:
    """The genres of a file in each of its tags.

    Raises
    ------
    TagError
        The file can't be opened or is damaged.
    """
    with _plain_errors(path):
        file = _checked(Path(path))
        tags = open_tags(file)
        _, trailing = trailing_tags.split(file)
        apes = [each for each in trailing if each.kind == "ape"]
        numbers = [each.data[-1] for each in trailing if each.kind == "id3v1"]
        values = tuple(tags.values()) if tags is not None else ()
        further = [genre for each in apes for genre in trailing_tags.genres(each)]
        is_own = tags is not None and tags.is_ape
        leading = open_second_tags(file, tags)
        in_front = genres_of_further_id3(file) if leading is None else leading.values()
        return GenreState(
            values,
            tuple(further) if further and not is_own else None,
            numbers[-1] if numbers else None,
            riff_info.read_genre(file),
            tuple(in_front) if in_front else None,
            tuple(quicktime.read_genres(file)) or None,
        )


def plan_genre(
    path: str | PathLike[str],
    genre: str | Sequence[str],
    *,
    overwrite: bool = False,
    append: bool = False,
    known: Sequence[str] | None = None,
) -> TagChange:
    """Tell what `write_genre` with the same arguments would do; changes nothing.

    Raises
    ------
    TagError
        The file can't be read, its format has no genre tag, or a genre is not one line of text.
    """
    return _plan(path, genre, overwrite, append, known)[0]


def write_genre(
    path: str | PathLike[str],
    genre: str | Sequence[str],
    *,
    overwrite: bool = False,
    append: bool = False,
    known: Sequence[str] | None = None,
) -> TagChange:
    """Write one or several genres into a file's tag, in one step; leave everything else as it was.

    A symbolic link stays a link; the file that it points to is changed.

    Parameters
    ----------
    path
        The music file.
    genre
        One line of text, or several of them.
    overwrite
        Replace genres that are there; all of them, where the tag has several.
    append
        Add to the genres that are there.
    known
        Genres that may be overwritten: those that the model knows. All, where it is None.

    Raises
    ------
    TagError
        As `plan_genre`; or the file or its folder can't be written, or the tagged copy did not
        pass the comparison. The file is then as it was and no copy is left.
    """
    change, values = _plan(path, genre, overwrite, append, known)
    if change.action == "write":
        _write(path, values, None)
    return change


def restore_genre(path: str | PathLike[str], state: GenreState) -> None:
    """Give the tags of a file the genres that they had.

    Raises
    ------
    TagError
        As `write_genre`.
    """
    _write(path, list(state.values), state)


def _plan(
    path: str | PathLike[str],
    genre: str | Sequence[str],
    overwrite: bool,
    append: bool,
    known: Sequence[str] | None,
) -> tuple[TagChange, list[str]]:
    """The action for a file, and the values to write."""
    new = [each.strip() for each in ([genre] if isinstance(genre, str) else genre)]
    for each in new or [""]:
        if not each or not each.isprintable():
            raise TagError(path, f"{each!r} is not a genre name")
    with _plain_errors(path):
        if open_tags(_checked(Path(path)), create=True) is None:
            raise TagError(path, _UNWRITABLE)
        there = _genres(read_state(path))
    before = "; ".join(there) if there else None
    missing = [each for each in new if not any(same_genre(each, old) for old in there)]

    def change(
        action: Literal["write", "keep", "unknown", "same"], values: list[str]
    ) -> tuple[TagChange, list[str]]:
        after = "; ".join(values) if action == "write" else before or ""
        return TagChange(Path(path), before, after, action), values

    if not there:
        return change("write", genres_of(new) or new)
    if not missing and (append or len(there) == len(new) or not overwrite):
        return change("same", there)
    if append:
        return change("write", [*there, *genres_of(missing)])
    if not overwrite:
        return change("keep", there)
    if known is not None and not all(any(same_genre(o, k) for k in known) for o in there):
        return change("unknown", there)
    return change("write", genres_of(new) or new)


def _genres(state: GenreState) -> list[str]:
    """The genres that count: those of the format's own tag, else those of others."""
    number = trailing_tags.genre_of_number(state.id3v1)
    seconds = (state.trailing, state.leading, state.quicktime, (state.info,), (number,))
    for values in (state.values, *seconds):
        if found := genres_of(each for each in values or () if each is not None):
            return found
    return []


def _write(path: str | PathLike[str], values: list[str], state: GenreState | None) -> None:
    with _plain_errors(path):
        target = Path(os.path.realpath(path, strict=True))
        # Replacing a file needs no permission on the file itself, so a read-only one is tried here.
        target.open("r+b").close()
        original = target.stat()
        with temporary_copy(target) as copy:
            shutil.copyfile(target, copy)
            others = _tag(copy, path, values, state)
            _compare(path, target, copy, values, others)
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


def _tag(
    copy: Path, path: str | PathLike[str], values: list[str], state: GenreState | None
) -> object:
    """Write genres into all tags of a copy, in place; return all else that these tags hold."""
    remove_footer(copy)
    tags = open_tags(copy, create=True)
    if tags is None:
        raise TagError(path, _UNWRITABLE)
    others = _others(tags, copy)
    body, trailing = trailing_tags.split(copy)
    if not tags.is_ape:  # mutagen would write ID3v1 anew, and take it for a part of other formats
        trailing_tags.join(copy, body, [])
    tags.set(values)
    tags.save(copy)
    leading = open_second_tags(copy, tags)
    if leading is not None and (leading.values() or (state is not None and state.leading)):
        leading.set(values if state is None else state.leading or ())
        _, ends = trailing_tags.split(copy)
        leading.save(copy)
        # As above: mutagen writes ID3v1 anew.
        trailing_tags.join(copy, trailing_tags.split(copy)[0], ends)
    info = values[0] if values else None
    if state is not None:
        info = state.info
    if riff_info.read_genre(copy) is not None and info is not None:
        riff_info.write_genre(copy, info)
    if state is None:
        quicktime.hide_genres(copy)
    elif state.quicktime is not None:
        quicktime.show_genres(copy, state.quicktime)
        if tuple(quicktime.read_genres(copy)) != state.quicktime:
            raise TagError(path, "its QuickTime genre is gone, which can't be written anew")
    if not tags.is_ape:
        agreed = [_agreed(each, values, state, tags.is_id3) for each in trailing]
        trailing_tags.join(copy, copy.stat().st_size, agreed)
    else:
        body, now = trailing_tags.split(copy)
        agreed = [
            each if each.kind == "ape" else _agreed(each, values, state, False) for each in now
        ]
        trailing_tags.join(copy, body, agreed)
    return others


def _agreed(tag: Trailing, values: list[str], state: GenreState | None, is_id3: bool) -> Trailing:
    """A tag at the end of a file with the genres that its own tag gets."""
    if tag.kind == "ape":
        genres = values if state is None else state.trailing or ()
        has_some = trailing_tags.genres(tag) or (state is not None and state.trailing)
        return trailing_tags.with_genres(tag, genres) if has_some else tag
    if tag.kind == "id3v1":
        if state is not None:
            number = 255 if state.id3v1 is None else state.id3v1
            return Trailing("id3v1", tag.data[:-1] + bytes([number]))
        if is_id3 or any(is_genre(each) for each in trailing_tags.genres(tag)):
            return trailing_tags.with_genres(tag, values)
    return tag


def _others(tags: Any, file: Path) -> object:
    """Everything in a file's tags but the genres, in a form that ``==`` compares."""
    _, trailing = trailing_tags.split(file)
    ends = [(t.kind, trailing_tags.without_genres(t)) for t in trailing if _holds_more(t)]
    leading = open_second_tags(file, tags)
    in_front = leading.others() if leading is not None else None
    return tags.others(), in_front, ends, riff_info.without_genre(file)


def _holds_more(tag: Trailing) -> bool:
    """Whether a tag at the end of a file is more than an empty APEv2 tag."""
    return tag.kind != "ape" or trailing_tags.without_genres(tag) != trailing_tags.new_ape([]).data


def _compare(
    path: str | PathLike[str], target: Path, copy: Path, values: list[str], others: object
) -> None:
    """Check that a tagged copy has the genres, and all else that its original has.

    Raises
    ------
    TagError
        When it has not.
    """
    tags = open_tags(copy, create=True)
    # As programs pad them, in fields of a fixed length say, spaces around them count for nothing.
    if tags is None or _stripped(tags.values()) != _stripped(values):
        raise TagError(path, f"the genre {'; '.join(values)!r} does not survive in this format")
    if _others(tags, copy) != others:
        raise TagError(path, "its other tags would not survive a new genre")
    try:
        same = audio_digest(copy) == audio_digest(target)
    except AudioError:
        raise TagError(path, "the file is damaged, or not what its name says") from None
    if not same:
        raise TagError(path, "its audio would not survive a new genre")


def _stripped(values: Sequence[str]) -> list[str]:
    return [value.strip() for value in values]


def _checked(path: Path) -> Path:
    """A path that can be opened."""
    if path.exists() and not path.is_file():  # a pipe would keep us waiting
        raise TagError(path, "not a file")
    path.open("rb").close()  # mutagen hides why a file can't be opened
    return path


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
