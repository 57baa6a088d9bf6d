"""What the first frame of an MP3 file says of its length, and whether that is true.

Encoders write a header into a silent first frame: "Xing", or "Info" where the bit rate is constant,
with the numbers of frames and of bytes that follow. Programs that join files copy them one behind
the other, so that the header of the first says nothing of the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
# kbit/s of layer III, in MPEG 1 and in MPEG 2 and 2.5
_BITS = (
    *(32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    *(8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_IN_A_ROW = 4  # by chance so many bytes that look like frames don't follow each other
_SEARCHED = 1 << 20
_LONGEST_FRAME = 1441


@dataclass(frozen=True)
class Mp3Header:
    """The header of an MP3 file.

    Attributes
    ----------
    frames
        How many it promises; None where it does not say.
    is_whole
        Whether they are all the file has; None where the header does not tell where they end.
    """

    frames: int | None = None
    is_whole: bool | None = None


def read_mp3_header(file: BinaryIO, size: int) -> Mp3Header:
    """Read the header of a file of `size` bytes, if it has one; the file stands anywhere then."""
    start = _behind_id3(file, 0)
    file.seek(start)
    first_frame = file.read(2048)
    for mark in (b"Xing", b"Info"):
        offset = first_frame.find(mark)
        fields = first_frame[offset + 4 : offset + 16]
        if offset < 0 or len(fields) < 12 or not fields[3] & 1:  # the flag of the very next field
            continue
        frames = int.from_bytes(fields[4:8], "big")
        if not fields[3] & 2:
            return Mp3Header(frames)
        end = start + int.from_bytes(fields[8:12], "big")
        return Mp3Header(frames, not _frames_follow(file, end, size))
    return Mp3Header()


def _frames_follow(file: BinaryIO, place: int, size: int) -> bool:
    """Whether MP3 goes on behind a place, or behind tags and padding of a megabyte at most."""
    if size - place < _IN_A_ROW * _LONGEST_FRAME:
        return False
    for begin in {place, _behind_id3(file, place)}:
        file.seek(begin)
        data = file.read(_SEARCHED + _IN_A_ROW * _LONGEST_FRAME)
        found = data.find(b"\xff")
        while 0 <= found < _SEARCHED:
            if _in_a_row(data, found) == _IN_A_ROW:
                return True
            found = data.find(b"\xff", found + 1)
    return False


def _in_a_row(data: bytes, place: int) -> int:
    """How many frames follow each other from a place on; `_IN_A_ROW` at most."""
    count = 0
    while count < _IN_A_ROW and (length := _length_of_frame(data[place : place + 4])):
        place += length
        count += 1
    return count


def _length_of_frame(head: bytes) -> int:
    """Bytes of the frame of layer III with this header; 0 where it is none (ISO/IEC 11172-3)."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return 0
    version, bits, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version not in _RATES or bits in (0, 15) or rate == 3:
        return 0
    is_first = version == 3
    kilobits = _BITS[bits - 1 + (0 if is_first else 14)]
    return (144_000 if is_first else 72_000) * kilobits // _RATES[version][rate] + (
        head[2] >> 1 & 1
    )


def _behind_id3(file: BinaryIO, place: int) -> int:
    """The first byte behind the ID3v2 tag at a place; the place itself where there is none."""
    file.seek(place)
    head = file.read(10)
    if head[:3] != b"ID3" or len(head) < 10:
        return place
    a, b, c, d = (byte & 0x7F for byte in head[6:10])
    return place + 10 + (a << 21 | b << 14 | c << 7 | d)
