"""The tags of ASF files (.wma, .wmv, .asf), read and edited as bytes.

Conventions
-----------
The header of an ASF file is a list of objects, each with a GUID and its length. Attributes are in
the Content Description (title, author and so on), the Extended Content Description, and, within the
Header Extension, in the Metadata and the Metadata Library ("Advanced Systems Format Specification",
revision 01.20.05, sections 3.10, 3.11, 4.7 and 4.8).

Only genres are changed here, and all else is kept byte for byte: mutagen refuses files whose text
is not valid UTF-16. The first genre is written to the Extended Content Description, further ones to
the Metadata Library, which is where programs look for repeated attributes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from mutagen._util import resize_bytes

_HEADER = UUID("75b22630-668e-11cf-a6d9-00aa0062ce6c").bytes_le
_PADDING = UUID("1806d474-cadf-4509-a4ba-9aabcb96aae8").bytes_le
_FILE = UUID("8cabdca1-a947-11cf-8ee4-00c00c205365").bytes_le
_CONTENT = UUID("75b22633-668e-11cf-a6d9-00aa0062ce6c").bytes_le
_EXTENDED = UUID("d2d0a440-e307-11d2-97f0-00a0c95ea850").bytes_le
_EXTENSION = UUID("5fbf03b5-a92e-11cf-8ee3-00c00c205365").bytes_le
_METADATA = UUID("c5f8cbea-5baf-4877-8467-aa8c44fa4cca").bytes_le
_LIBRARY = UUID("44231c94-9498-49d1-a141-1d134e457054").bytes_le

_RESERVED = UUID("abd3d211-a9ba-11cf-8ee6-00c00c205365").bytes_le + b"\x06\0"
_GENRE = "WM/Genre"
_TEXT, _NUMBERS = 0, (3, 4, 5)
_OBJECT = 24  # bytes of a GUID and a length
_START = 30  # bytes of the header before its first object
_MOST_BYTES = 1 << 27
_NEW_PADDING = 1024


@dataclass(frozen=True)
class _Object:
    guid: bytes
    data: bytes

    def rendered(self) -> bytes:
        return self.guid + struct.pack("<Q", len(self.data) + _OBJECT) + self.data


@dataclass(frozen=True)
class _Attribute:
    """An attribute: its bytes, its name, and its text where it is one or a number."""

    data: bytes
    name: str
    text: str | None

    @property
    def is_genre(self) -> bool:
        return self.name == _GENRE


def is_asf(head: bytes) -> bool:
    """Whether a file that begins with these 16 bytes is ASF."""
    return head.startswith(_HEADER)


class AsfTags:
    """``WM/Genre`` of an ASF file.

    Raises
    ------
    ValueError, struct.error
        When the header is damaged.
    """

    is_id3, is_ape = False, False

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            guid, self._size, count = struct.unpack("<16sQI", file.read(_START)[:28])
            if guid != _HEADER or not _START <= self._size <= _MOST_BYTES:
                raise ValueError("no header")
            self._objects = list(_objects(file.read(self._size - _START)))
        if len(self._objects) != count:
            raise ValueError("objects are missing")

    def values(self) -> list[str]:
        """The genres."""
        return [a.text or "" for a in self._attributes() if a.is_genre]

    def texts(self) -> dict[str, str]:
        """The first text under each lower-case name."""
        texts: dict[str, str] = {}
        for found in self._objects:
            if found.guid == _CONTENT:
                texts |= dict(_content(found.data))
        for attribute in self._attributes():
            if attribute.text is not None:
                texts.setdefault(attribute.name.lower(), attribute.text)
        return texts

    def set(self, genres: Sequence[str]) -> None:
        """Replace all genres."""
        self._objects = [_without_genres(each) for each in self._objects]
        if genres:
            self._add(_EXTENDED, genres[:1])
        if genres[1:]:
            self._add(_LIBRARY, genres[1:])

    def others(self) -> object:
        """Everything but genres, padding, and the file's length."""
        kept = []
        for each in map(_without_genres, self._objects):
            if each.guid == _FILE:
                kept.append((each.guid, each.data[:16] + each.data[24:]))
            elif each.guid == _EXTENSION:
                kept += [(o.guid, o.data) for o in _objects(each.data[22:]) if _holds(o)]
            elif each.guid != _PADDING and _holds(each):
                kept.append((each.guid, each.data))
        return kept

    def save(self, path: Path) -> None:
        """Write the header; room after it is used where there is some."""
        objects = [each for each in self._objects if each.guid != _PADDING]
        size = _START + sum(len(each.rendered()) for each in objects) + _OBJECT
        room = self._size - size if self._size >= size else _NEW_PADDING
        grown = size + room - self._size
        objects = [_longer(each, grown) for each in objects]
        objects.append(_Object(_PADDING, bytes(room)))
        head = struct.pack("<QI", size + room, len(objects)) + b"\x01\x02"
        with path.open("r+b") as file:
            resize_bytes(file, self._size, size + room, 0)
            file.seek(0)
            file.write(_HEADER + head + b"".join(each.rendered() for each in objects))
        self._objects, self._size = objects, size + room

    def _attributes(self) -> Iterator[_Attribute]:
        """All attributes; those of the Metadata Library come last, wherever it is in the file."""
        extensions = [each for each in self._objects if each.guid == _EXTENSION]
        inner = [found for each in extensions for found in _objects(each.data[22:])]
        for guid in (_EXTENDED, _METADATA, _LIBRARY):
            for found in (*self._objects, *inner):
                if found.guid == guid:
                    yield from _attributes(found)

    def _add(self, guid: bytes, genres: Sequence[str]) -> None:
        """Append genres to an object, which is made if need be."""
        new = [_attribute(guid, genre) for genre in genres]
        if guid == _EXTENDED:
            self._objects = _with_attributes(self._objects, guid, new)
            return
        if not any(each.guid == _EXTENSION for each in self._objects):
            self._objects.append(_Object(_EXTENSION, _RESERVED + bytes(4)))
        self._objects = [
            _extension(_with_attributes(list(_objects(each.data[22:])), guid, new))
            if each.guid == _EXTENSION
            else each
            for each in self._objects
        ]


def _objects(data: bytes) -> Iterator[_Object]:
    place = 0
    while place < len(data):
        guid, size = struct.unpack("<16sQ", data[place : place + _OBJECT])
        if not _OBJECT <= size <= len(data) - place:
            raise ValueError("an object is longer than its header")
        yield _Object(guid, data[place + _OBJECT : place + size])
        place += size


def _attributes(found: _Object) -> Iterator[_Attribute]:
    data, place = found.data, 2
    (count,) = struct.unpack("<H", data[:2])
    for _ in range(count):
        start = place
        if found.guid == _EXTENDED:
            (name_size,) = struct.unpack("<H", data[place : place + 2])
            name_start = place + 2
            place = name_start + name_size
            kind, size = struct.unpack("<HH", data[place : place + 4])
            place += 4
        else:
            _, _, name_size, kind, size = struct.unpack("<HHHHI", data[place : place + 12])
            name_start = place + 12
            place = name_start + name_size
        value, place = data[place : place + size], place + size
        if place > len(data):
            raise ValueError("an attribute is longer than its object")
        name = _text(data[name_start : name_start + name_size])
        text = _text(value) if kind == _TEXT else None
        if kind in _NUMBERS:
            text = str(int.from_bytes(value, "little"))
        yield _Attribute(data[start:place], name, text)


def _content(data: bytes) -> Iterator[tuple[str, str]]:
    place, names = 10, ("title", "author", "copyright", "description", "rating")
    for name, size in zip(names, struct.unpack("<5H", data[:10]), strict=True):
        if text := _text(data[place : place + size]):
            yield name, text
        place += size


def _text(value: bytes) -> str:
    """UTF-16; what is not valid becomes U+FFFD."""
    return value.decode("utf-16-le", "replace").strip("\0")


def _attribute(guid: bytes, genre: str) -> _Attribute:
    name, value = (f"{text}\0".encode("utf-16-le") for text in (_GENRE, genre))
    if guid == _EXTENDED:
        head = struct.pack("<H", len(name)) + name + struct.pack("<HH", _TEXT, len(value))
        return _Attribute(head + value, _GENRE, genre)
    head = struct.pack("<HHHHI", 0, 0, len(name), _TEXT, len(value))
    return _Attribute(head + name + value, _GENRE, genre)


def _listed(guid: bytes, attributes: Sequence[_Attribute]) -> _Object:
    data = struct.pack("<H", len(attributes)) + b"".join(each.data for each in attributes)
    return _Object(guid, data)


def _extension(objects: Sequence[_Object]) -> _Object:
    data = b"".join(each.rendered() for each in objects)
    return _Object(_EXTENSION, _RESERVED + struct.pack("<I", len(data)) + data)


def _with_attributes(
    objects: Sequence[_Object], guid: bytes, new: Sequence[_Attribute]
) -> list[_Object]:
    places = [place for place, each in enumerate(objects) if each.guid == guid]
    if not places:
        return [*objects, _listed(guid, new)]
    changed = _listed(guid, [*_attributes(objects[places[0]]), *new])
    return [changed if place == places[0] else each for place, each in enumerate(objects)]


def _without_genres(found: _Object) -> _Object:
    if found.guid == _EXTENSION:
        return _extension([_without_genres(each) for each in _objects(found.data[22:])])
    if found.guid not in (_EXTENDED, _METADATA, _LIBRARY):
        return found
    kept = [each for each in _attributes(found) if not each.is_genre]
    return found if found.data[2:] == b"".join(a.data for a in kept) else _listed(found.guid, kept)


def _holds(found: _Object) -> bool:
    """Whether an object is more than an empty list of attributes."""
    return found.guid not in (_EXTENDED, _METADATA, _LIBRARY) or found.data[:2] != b"\0\0"


def _longer(found: _Object, by: int) -> _Object:
    """The File Properties with the length of the changed file, which they state."""
    if found.guid != _FILE or not by:
        return found
    length = struct.unpack("<Q", found.data[16:24])[0] + by
    return replace(found, data=found.data[:16] + struct.pack("<Q", length) + found.data[24:])
