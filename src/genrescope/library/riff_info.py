"""The genre in the LIST INFO chunk of a wav file, which older programs write and read.

Also the sizes of a wav file that a program wrote to a pipe, where it could not go back to fill them
in: its chunk of sound extends to the end of the file.

Text in LIST INFO has no stated encoding. Only the genre (``IGNR``) is read and replaced here;
everything else of the file is copied byte for byte. Microsoft, Multimedia Programming Interface and
Data Specifications 1.0, 1991.
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
_UNKNOWN_SIZE = 0x7FFF_0000  # programs write the largest there is, signed or not, or near it
_LARGEST_FILE = 0xFFFF_FF00


def read_genre(file: Path) -> str | None:
    """The genre; None where the file is not a wav file, or has no genre there."""
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


def is_streamed(file: Path) -> bool:
    """Whether a file is a wav file without the size of its sound, and short enough to have one."""
    return _sound_of_unknown_size(file) is not None and file.stat().st_size < _LARGEST_FILE


def mend_sizes(file: Path) -> None:
    """Fill in the sizes of a file that `is_streamed`, in place.

    Raises
    ------
    OSError
        When it can't be written.
    """
    start = _sound_of_unknown_size(file)
    if start is None:
        return
    with file.open("r+b") as opened:
        end = opened.seek(0, os.SEEK_END)
        opened.write(b"\0" * (end % 2))
        for place, size in ((4, end + end % 2 - 8), (start - 4, end - start)):
            opened.seek(place)
            opened.write(size.to_bytes(4, "little"))


def _sound_of_unknown_size(file: Path) -> int | None:
    """Where the sound begins whose size is not stated; None in any other file."""
    with file.open("rb") as opened:
        end = opened.seek(0, os.SEEK_END)
        for name, place, size in _chunks(opened):
            if name != b"data" or place == end:
                continue
            # Empty chunks of sound with others behind them are not meant.
            opened.seek(4)
            whole = int.from_bytes(opened.read(4), "little") + 8
            is_unknown = size == 0 and (whole <= place or whole > end)
            return place if is_unknown or (size >= _UNKNOWN_SIZE and place + size > end) else None
    return None


def _info(file: Path) -> Iterator[tuple[int, bytes]]:
    """Place and content of each LIST INFO chunk, behind the letters INFO."""
    with file.open("rb") as opened:
        for name, place, size in _chunks(opened):
            if name == b"LIST" and 4 <= size <= _MOST_BYTES and _read(opened, place, 4) == b"INFO":
                yield place + 4, opened.read(size - 4)


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Name of each chunk of a wav file, where its content begins, and its size."""
    head = _read(file, 0, 12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return
    place = 12
    while header := _read(file, place, 8):
        name, size = header[:4], int.from_bytes(header[4:], "little")
        if not all(32 <= char < 127 for char in name):
            return  # sound whose size is not stated, or rubbish
        yield name, place + 8, size
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
