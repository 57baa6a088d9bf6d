"""The genre in the LIST INFO chunk of a wav file, which older programs write and read.

Text in it has no stated encoding. Only the genre (``IGNR``) is read and replaced here; everything
else of the file is copied byte for byte. Microsoft, Multimedia Programming Interface and Data
Specifications 1.0, 1991.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from genrescope.library.leftovers import temporary_copy
from genrescope.library.trailing_tags import decoded

_MOST_BYTES = 1 << 24


def read_genre(file: Path) -> str | None:
    """The genre; None where the file is no wav file, or has none there."""
    for _, data in _info(file):
        for name, value in _items(data):
            if name == b"IGNR":
                return decoded(value.rstrip(b"\0")).strip()
    return None


def write_genre(file: Path, genre: str) -> None:
    """Replace the genre of a file that has one there, in place.

    Raises
    ------
    OSError
        When it can't be written.
    """
    ((place, old),) = [(p, d) for p, d in _info(file) if b"IGNR" in dict(_items(d))][:1]
    value = genre.encode() + b"\0"
    items = [(name, value if name == b"IGNR" else each) for name, each in _items(old)]
    new = b"".join(_chunk(name, each) for name, each in items)
    with temporary_copy(file) as copy, file.open("rb") as source, copy.open("r+b") as target:
        target.write(source.read(place))
        source.seek(place + len(old))
        target.write(new)
        shutil.copyfileobj(source, target)
        size = target.seek(0, os.SEEK_END)
        for at, length in ((4, size - 8), (place - 8, len(new) + 4)):
            target.seek(at)
            target.write(length.to_bytes(4, "little"))
        target.close()
        shutil.copyfile(copy, file)


def without_genre(file: Path) -> list[bytes]:
    """All else that the LIST INFO chunks hold."""
    return [
        _chunk(name, value)
        for _, data in _info(file)
        for name, value in _items(data)
        if name != b"IGNR"
    ]


def _info(file: Path) -> Iterator[tuple[int, bytes]]:
    """Place and content of each LIST INFO chunk, behind the letters INFO."""
    with file.open("rb") as opened:
        head = opened.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return
        place = 12
        while header := _read(opened, place, 12):
            size = int.from_bytes(header[4:8], "little")
            if header[:4] == b"LIST" and header[8:] == b"INFO" and 4 <= size <= _MOST_BYTES:
                yield place + 12, opened.read(size - 4)
            place += 8 + size + size % 2


def _read(file: BinaryIO, place: int, size: int) -> bytes:
    file.seek(place)
    data = file.read(size)
    return data if len(data) == size else b""


def _items(data: bytes) -> list[tuple[bytes, bytes]]:
    found, place = [], 0
    while place + 8 <= len(data):
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        found.append((data[place : place + 4], data[place + 8 : place + 8 + size]))
        place += 8 + size + size % 2
    return found


def _chunk(name: bytes, value: bytes) -> bytes:
    return name + len(value).to_bytes(4, "little") + value + b"\0" * (len(value) % 2)
