"""Ogg files that FFmpeg does not read as they are: chains of streams, and repeated headers.

An Ogg file may be a chain: complete streams one after another, each with headers, sample rate and
codec of its own (RFC 3533, section 4; recordings of internet radio are such files). FFmpeg goes on
from one to the next only where nothing changes, so `links` says where each begins and ends, and
each is opened by itself.

Some encoders wrote the three headers of Vorbis a second time among the audio. FFmpeg refuses such
a file; `without_repeated_headers` makes one without them.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import BinaryIO

_MAGIC = b"OggS"
_HEAD = 27
_CONTINUED, _FIRST = 1, 2
_LARGEST_PAGE = _HEAD + 255 + 255 * 255
# A longer file is examined page by page only where its last page is of another stream.
_QUICK = 1 << 26
_VORBIS_HEADERS = (b"\x01vorbis", b"\x03vorbis", b"\x05vorbis")
# Headers with large pictures fill many pages; repeated ones stand right behind them.
_MOST_PAGES = 1024
_BLOCK = 1 << 20


@dataclass(frozen=True)
class _Page:
    """A page: where it is, its header without the table of segments, and that table."""

    start: int
    head: bytes
    table: bytes

    @property
    def flags(self) -> int:
        return self.head[5]

    @property
    def serial(self) -> bytes:
        return self.head[14:18]

    @property
    def body(self) -> int:
        return self.start + _HEAD + len(self.table)

    @property
    def end(self) -> int:
        return self.body + sum(self.table)


def links(file: BinaryIO, size: int) -> list[tuple[int, int]]:
    """The first byte of each link of a chain, and the one after its last; one for most files."""
    starts: list[int] = []
    serials: set[bytes] = set()
    begins = True
    page = _page_at(file, 0, size)
    while page is not None:
        if not page.flags & _FIRST:
            if begins and size > _QUICK and _last_serial(file, size) in serials:
                break
            begins = False
        elif not begins or not starts:
            starts.append(page.start)
            begins = True
            serials.clear()
        serials.add(page.serial)
        page = _page_at(file, page.end, size)
    if len(starts) < 2:
        return [(0, size)]
    return list(zip([0, *starts[1:]], [*starts[1:], size], strict=True))


def without_repeated_headers(file: BinaryIO, size: int) -> io.BytesIO | None:
    """A copy of a Vorbis file in memory that has each header once.

    No file: a process that decodes may not be allowed to write any.

    Returns
    -------
    file
        At its first byte; None where no header is repeated.
    """
    found: dict[bytes, set[bytes]] = {}
    pages: list[bytes] = []
    dropping: set[bytes] = set()
    dropped = False
    end, page = 0, _page_at(file, 0, size)
    while page is not None and page.start == end and len(pages) < _MOST_PAGES:
        if page.flags & _FIRST and page.serial in found:
            break  # another link, whose headers are its own
        file.seek(page.body)
        data = file.read(page.end - page.body)
        seen = found.setdefault(page.serial, set())
        kept = _Kept(page)
        for place, (table, packet) in enumerate(_packets(page, data)):
            header = packet[:7] if packet[:7] in _VORBIS_HEADERS else None
            if place == 0 and page.flags & _CONTINUED:
                drop = page.serial in dropping
            else:
                drop = header in seen
                if header:
                    seen.add(header)
            dropping.discard(page.serial)
            if drop and table[-1] == 255:
                dropping.add(page.serial)
            dropped |= drop
            if not drop:
                kept.add(table, packet)
        pages.append(kept.data())
        end, page = page.end, _page_at(file, page.end, size)
    if not dropped:
        return None
    copy = io.BytesIO()
    copy.writelines(pages)
    file.seek(end)
    while end < size and (block := file.read(min(_BLOCK, size - end))):
        end += copy.write(block)
    copy.seek(0)
    return copy


class _Kept:
    """A page that is made again of some of its packets."""

    def __init__(self, page: _Page) -> None:
        self.head, self.table, self.body = bytearray(page.head), b"", b""

    def add(self, table: bytes, packet: bytes) -> None:
        self.table += table
        self.body += packet

    def data(self) -> bytes:
        self.head[22:26] = bytes(4)
        self.head[26] = len(self.table)
        self.head[22:26] = struct.pack("<I", _checksum(bytes(self.head) + self.table + self.body))
        return bytes(self.head) + self.table + self.body


def _packets(page: _Page, data: bytes) -> list[tuple[bytes, bytes]]:
    """Table of segments and bytes of each packet, or part of one, in a page."""
    packets, first, place = [], 0, 0
    for number, length in enumerate(page.table):
        if length < 255 or number == len(page.table) - 1:
            table = page.table[first : number + 1]
            packets.append((table, data[place : place + sum(table)]))
            first, place = number + 1, place + sum(table)
    return packets


def _page_at(file: BinaryIO, place: int, size: int) -> _Page | None:
    """The page at a place, or the next one behind damage; None at the end."""
    while place + _HEAD <= size:
        file.seek(place)
        data = file.read(_HEAD + 255)
        if data[:5] == _MAGIC + b"\0" and len(data) >= _HEAD + data[26]:
            return _Page(place, data[:_HEAD], data[_HEAD : _HEAD + data[26]])
        file.seek(place + 1)
        ahead = file.read(_LARGEST_PAGE)
        offset = ahead.find(_MAGIC + b"\0")
        if offset < 0 and len(ahead) < _LARGEST_PAGE:
            return None
        place += 1 + (offset if offset >= 0 else len(ahead) - len(_MAGIC))
    return None


def _last_serial(file: BinaryIO, size: int) -> bytes:
    start = max(0, size - 2 * _LARGEST_PAGE)
    file.seek(start)
    data = file.read(size - start)
    place = data.rfind(_MAGIC + b"\0")
    return data[place + 14 : place + 18] if place >= 0 else b""


def _checksum(page: bytes) -> int:
    """The CRC-32 of RFC 3533, section 6: polynomial 0x04c11db7, nothing inverted."""
    value = 0
    for byte in page:
        value = (value << 8 & 0xFFFFFFFF) ^ _TABLE[value >> 24 ^ byte]
    return value


def _table_of_checksums() -> list[int]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = value << 1 ^ (0x104C11DB7 if value & 0x80000000 else 0)
        table.append(value)
    return table


_TABLE = _table_of_checksums()
