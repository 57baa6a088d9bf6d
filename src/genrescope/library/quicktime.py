"""Genres of QuickTime files (.mov, .3gp) outside of the tags that iTunes and MP4 have.

Conventions
-----------
They are read from the atoms ``©gen`` and 3GPP's ``gnre`` of ``moov/udta``, and from the metadata
keys ``genre`` and ``com.apple.quicktime.genre`` of ``moov/meta`` and ``moov/udta/meta``. They are
never rewritten, since that would move the audio. To hide one, its atom is renamed to ``free``, the
name of unused space, where it stands; to show it again, it gets its name back.

References: Apple, QuickTime File Format, User Data Atoms and Metadata Atoms; 3GPP TS 26.244, 8.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from genrescope.library.trailing_tags import decoded

_MOST_BYTES = 1 << 24
_FREE = b"free"
_MAC_LANGUAGES = 0x400  # codes below are of languages in a Macintosh encoding, others of ISO 639


@dataclass(frozen=True)
class _Genre:
    """An atom that holds genres, or the unused space that it became.

    Attributes
    ----------
    place
        Of the atom's name in the file.
    name
        The atom's name where its genres are shown.
    is_shown
        Whether it has that name.
    texts
        Its genres.
    """

    place: int
    name: bytes
    is_shown: bool
    texts: list[str]


def read_genres(file: Path) -> list[str]:
    """The genres of a file; none where it is no QuickTime file."""
    return [text for genre in _genres(file) if genre.is_shown for text in genre.texts]


def hide_genres(file: Path) -> None:
    """Hide all genres, in place.

    Raises
    ------
    OSError
        When the file can't be written.
    """
    _rename(file, [(each.place, _FREE) for each in _genres(file) if each.is_shown])


def show_genres(file: Path, genres: Collection[str]) -> None:
    """Show those of the given genres that were hidden, in place.

    Raises
    ------
    OSError
        When the file can't be written.
    """
    hidden = [each for each in _genres(file) if not each.is_shown and each.texts]
    wanted = [each for each in hidden if all(text in genres for text in each.texts)]
    _rename(file, [(each.place, each.name) for each in wanted])


def has_keys_for_tags(file: Path) -> bool:
    """Whether metadata keys stand where MP4 has its tags, so that these can't be written."""
    with file.open("rb") as opened:
        return any(
            _handler(data) == b"mdta" for _, data in _find(opened, b"moov", b"udta", b"meta")
        )


def _genres(file: Path) -> list[_Genre]:
    with file.open("rb") as opened:
        found = []
        for place, data in _find(opened, b"moov", b"udta"):
            found += list(_of_user_data(place, data))
        for path in ((b"moov", b"meta"), (b"moov", b"udta", b"meta")):
            for place, data in _find(opened, *path):
                found += list(_of_keys(place, data))
        return found


def _rename(file: Path, names: list[tuple[int, bytes]]) -> None:
    if names:
        with file.open("r+b") as opened:
            for place, name in names:
                opened.seek(place)
                opened.write(name)


def _of_user_data(place: int, data: bytes) -> Iterator[_Genre]:
    """The genres in the content of a ``udta`` atom, which begins at a place in the file."""
    for at, name, content in _atoms(data):
        texts = _strings(content)
        if name == b"\xa9gen" or (name == _FREE and texts):
            yield _Genre(place + at - 4, b"\xa9gen", name != _FREE, texts)
        elif name in (b"gnre", _FREE) and content[:4] == bytes(4) and len(content) > 6:
            text = content[6:]  # behind version, flags and language
            is_wide = text[:2] in (b"\xfe\xff", b"\xff\xfe")
            string = text.decode("utf-16", "replace") if is_wide else decoded(text)
            yield _Genre(place + at - 4, b"gnre", name != _FREE, [string.partition("\0")[0]])


def _strings(content: bytes) -> list[str]:
    """The strings of an international text; none where these are not what it consists of."""
    texts, place = [], 0
    while place + 4 <= len(content):
        size, language = (int.from_bytes(content[at : at + 2], "big") for at in (place, place + 2))
        text = content[place + 4 : place + 4 + size]
        if len(text) < size:
            return []
        texts.append(text.decode("mac_roman") if language < _MAC_LANGUAGES else decoded(text))
        place += 4 + size
    return [text.rstrip("\0") for text in texts] if not content[place:].strip(b"\0") else []


def _of_keys(place: int, data: bytes) -> Iterator[_Genre]:
    """The genres in the content of a ``meta`` atom whose values have keys."""
    if _handler(data) != b"mdta":
        return
    start = _start(data)
    atoms = {name: (start + at, content) for at, name, content in _atoms(data[start:])}
    keys = [key for _, _, key in _atoms(atoms.get(b"keys", (0, b""))[1][8:])]
    numbers = {
        number.to_bytes(4, "big"): key
        for number, key in enumerate(keys, 1)
        if re.search(rb"(^|\.)genre$", key)
    }
    at_list, items = atoms.get(b"ilst", (0, b""))
    for at, name, item in _atoms(items):
        if name in numbers or (name == _FREE and numbers):
            texts = [decoded(value[8:]) for _, kind, value in _atoms(item) if kind == b"data"]
            is_shown = name != _FREE
            number = name if is_shown else next(iter(numbers))
            yield _Genre(place + at_list + at - 4, number, is_shown, texts)


def _handler(meta: bytes) -> bytes:
    """The kind of metadata in the content of a ``meta`` atom."""
    start = _start(meta)
    return meta[start + 16 : start + 20] if meta[start + 4 : start + 8] == b"hdlr" else b""


def _start(meta: bytes) -> int:
    """Where the atoms in a ``meta`` atom begin: behind version and flags, which MP4 has."""
    return 0 if meta[4:8] == b"hdlr" else 4


def _find(file: BinaryIO, *path: bytes) -> Iterator[tuple[int, bytes]]:
    """Place and content of each atom at a path of names."""
    file.seek(0)
    if not file.read(8)[4:].isalpha():  # every QuickTime file begins with the name of an atom
        return
    ends = [(0, file.seek(0, 2))]
    for name in path:
        ends = [each for start, end in ends for each in _children(file, name, start, end)]
    for start, end in ends:
        if end - start <= _MOST_BYTES:
            file.seek(start)
            yield start, file.read(end - start)


def _children(file: BinaryIO, name: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where the content of each atom of a name begins and ends, among those of a part of a file."""
    while start + 8 <= end:
        file.seek(start)
        head = file.read(16)
        size, header = int.from_bytes(head[:4], "big"), 8
        if size == 1:
            size, header = int.from_bytes(head[8:], "big"), 16
        stop = start + size if size else end
        if stop < start + header or stop > end:
            return
        if head[4:8] == name:
            yield start + header, stop
        start = stop


def _atoms(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Place of the content, name and content of each atom in another's content."""
    place = 0
    while place + 8 <= len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        if size < 8 or place + size > len(data):
            return
        yield place + 8, data[place + 4 : place + 8], data[place + 8 : place + size]
        place += size
