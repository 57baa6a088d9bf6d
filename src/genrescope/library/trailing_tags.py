"""Tags at the end of a file: ID3v1, Lyrics3 and APEv2, as bytes.

Conventions
-----------
Old programs append such tags to any kind of file, several of them one after another. `split` cuts
a file into its body and these tags; joined in order they are the file again. Everything but the
genre is kept as it is, byte for byte, whatever its encoding, and so is all that stands behind an
item of a damaged length; a genre that is new comes before that.

APEv2 is edited here and not by mutagen, which refuses a tag with text that is not UTF-8, and
deletes what stands behind the one that it writes. The format:
https://wiki.hydrogenaudio.org/index.php?title=APEv2_specification
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal

from mutagen.id3 import TCON

Kind = Literal["id3v1", "lyrics3", "ape"]

_APE = b"APETAGEX"
_HAS_HEADER, _IS_HEADER = 1 << 31, 1 << 29
_NONE = 255
_MOST_BYTES = 1 << 26


@dataclass(frozen=True)
class Trailing:
    """A tag at the end of a file, as its bytes."""

    kind: Kind
    data: bytes


def split(path: Path) -> tuple[int, list[Trailing]]:
    """The length of a file without the tags at its end, and those tags in order."""
    found: list[Trailing] = []
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while tag := _last(file, end):
            found.insert(0, tag)
            end -= len(tag.data)
    return end, found


def join(path: Path, body: int, tags: Sequence[Trailing]) -> None:
    """Replace all that stands behind the first `body` bytes of a file by tags."""
    with path.open("r+b") as file:
        file.truncate(body)
        file.seek(body)
        for tag in tags:
            file.write(tag.data)


def genres(tag: Trailing) -> list[str]:
    """The genres of a tag; none where it has none."""
    if tag.kind == "ape":
        return texts(tag).get("genre", [])
    name = genre_of_number(tag.data[-1]) if tag.kind == "id3v1" else None
    return [] if name is None else [name]


def genre_of_number(number: int | None) -> str | None:
    """ID3v1's name for a number; None where it has none."""
    return TCON.GENRES[number] if number is not None and number < len(TCON.GENRES) else None


def texts(tag: Trailing) -> dict[str, list[str]]:
    """The text items of an APEv2 tag, by lower-case name; those of one name are joined."""
    found: dict[str, list[str]] = {}
    for name, values in _items(tag.data) if tag.kind == "ape" else ():
        found.setdefault(name, []).extend(values)
    return found


def with_genres(tag: Trailing, values: Sequence[str]) -> Trailing:
    """A tag with other genres; ID3v1 holds only the first, where it has a number for it."""
    if tag.kind == "ape":
        return replace(tag, data=_edited(tag.data, values))
    if tag.kind == "id3v1":
        return replace(tag, data=tag.data[:-1] + bytes([_number(values[0] if values else "")]))
    return tag


def without_genres(tag: Trailing) -> bytes:
    """A tag's bytes but for the genre, for comparisons."""
    return with_genres(tag, []).data


def new_ape(values: Sequence[str]) -> Trailing:
    """An APEv2 tag that holds genres alone."""
    return Trailing("ape", _rendered([("Genre", 0, "\0".join(values).encode())]))


def decoded(value: bytes) -> str:
    """Text that should be UTF-8; else it is read as Windows-1252, the usual one of old programs."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("cp1252", "replace")


def _last(file: BinaryIO, end: int) -> Trailing | None:
    """The tag that ends at a position."""

    def read(start: int, stop: int) -> bytes:
        if start < 0:
            return b""
        file.seek(start)
        return file.read(stop - start)

    # An APEv2 tag of the right length has these letters in its header.
    if read(end - 128, end - 125) == b"TAG" and read(end - 131, end - 123) != _APE:
        # "Enhanced" ID3v1 has 227 further bytes in front.
        extra = 227 if read(end - 355, end - 351) == b"TAG+" else 0
        return Trailing("id3v1", read(end - 128 - extra, end))
    if read(end - 9, end) == b"LYRICS200":
        size = read(end - 15, end - 9)
        start = end - 15 - int(size) if size.isdigit() else -1
        if read(start, start + 11) == b"LYRICSBEGIN":
            return Trailing("lyrics3", read(start, end))
    if read(end - 32, end - 24) == _APE:
        size, _, flags = struct.unpack("<III", read(end - 20, end - 8))
        start = end - size
        if flags & _HAS_HEADER and read(start - 32, start - 24) == _APE:
            start -= 32
        if 32 <= end - start <= min(end, _MOST_BYTES):
            return Trailing("ape", read(start, end))
    return None


def _raw_items(data: bytes) -> tuple[list[tuple[str, int, bytes]], bytes]:
    """Name, flags and value of each item, up to one that can't be read; the rest, as it is."""
    place, stop = (32 if data.startswith(_APE) else 0), len(data) - 32
    items = []
    while place + 8 < stop:
        size, flags = struct.unpack("<II", data[place : place + 8])
        end_of_name = data.find(b"\0", place + 8, stop)
        value_end = end_of_name + 1 + size
        if end_of_name < 0 or value_end > stop:
            break
        name = data[place + 8 : end_of_name].decode("latin-1")
        items.append((name, flags, data[end_of_name + 1 : value_end]))
        place = value_end
    return items, data[place:stop]


def _items(data: bytes) -> list[tuple[str, list[str]]]:
    return [
        (name.lower(), [text for each in value.split(b"\0") if (text := decoded(each).strip())])
        for name, flags, value in _raw_items(data)[0]
        if flags & 6 == 0
    ]


def _edited(data: bytes, values: Sequence[str]) -> bytes:
    items, written = [], not values
    value = "\0".join(values).encode()
    there, unread = _raw_items(data)
    for name, flags, old in there:
        if name.lower() != "genre":
            items.append((name, flags, old))
        elif not written:
            items.append((name, flags & ~6, value))
            written = True
    if not written:
        items.append(("Genre", 0, value))
    return _rendered(items, unread, _count(data) - len(there) if unread else 0)


def _count(data: bytes) -> int:
    """How many items a tag has, as it tells itself."""
    return int.from_bytes(data[-16:-12], "little")


def _rendered(
    items: Sequence[tuple[str, int, bytes]], unread: bytes = b"", count_unread: int = 0
) -> bytes:
    """A tag of these items, and of what can't be read behind them, with the number of its items."""
    body = b"".join(
        struct.pack("<II", len(value), flags) + name.encode("latin-1") + b"\0" + value
        for name, flags, value in items
    )
    body += unread
    count = len(items) + max(0, count_unread)

    def frame(flags: int) -> bytes:
        numbers = struct.pack("<IIII", 2000, len(body) + 32, count, flags | _HAS_HEADER)
        return _APE + numbers + bytes(8)

    return frame(_IS_HEADER) + body + frame(0)


def _number(genre: str) -> int:
    """ID3v1's number for a genre; 255 where it has none."""
    names = [name.casefold() for name in TCON.GENRES]
    return names.index(genre.casefold()) if genre.casefold() in names else _NONE
