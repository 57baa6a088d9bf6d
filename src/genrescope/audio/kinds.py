"""What kinds of file are music, by name and by content."""

from __future__ import annotations

from typing import BinaryIO

AUDIO_SUFFIXES = frozenset(
    {
        *(".wav", ".wave", ".w64", ".au", ".snd", ".aif", ".aiff", ".aifc", ".caf"),
        *(".flac", ".wv", ".tta", ".mp2", ".mp3", ".ogg", ".oga", ".opus"),
        *(".aac", ".m4a", ".m4b", ".mp4", ".wma", ".mka", ".mkv", ".webm"),
    }
)
"""Lower-case suffixes that a search of a folder takes for music."""

HEAD = 16
"""How many bytes of a file `kind_of` wants to see."""

# Where the bytes stand, the bytes, and the kind of file that begins so.
_MAGIC = (
    (8, b"WAVE", "WAV"),
    (0, b"riff\x2e\x91\xcf\x11", "WAV"),  # Sony's Wave64
    (0, b"FORM", "AIFF"),
    (0, b".snd", "AU"),
    (0, b"dns.", "AU"),
    (0, b"caff", "CAF"),
    (0, b"fLaC", "FLAC"),
    (0, b"OggS", "Ogg"),
    (0, b"ID3", "MP3"),
    (4, b"ftyp", "MP4"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "ASF"),
    (0, b"wvpk", "WavPack"),
    (0, b"TTA1", "TTA"),
)

PLAUSIBLE_RATES = range(1_000, 1_000_001)
"""What no music goes beyond, in Hz.

A header that says otherwise is damaged; from 1 Hz a small file would become an endless one.
"""

UNCOMPRESSED = frozenset({"WAV", "AIFF", "AU", "CAF"})


def kind_of(head: bytes) -> str | None:
    """Name the kind of file that begins with `head`; None where the bytes do not tell."""
    for place, magic, kind in _MAGIC:
        if head[place : place + len(magic)] == magic:
            return kind
    return None


def mp4_is_cut(file: BinaryIO, size: int) -> bool:
    """Tell whether an MP4 file of `size` bytes ends within one of its outermost boxes.

    An MP4 is a row of boxes, each beginning with its length (ISO/IEC 14496-12, 4.2).
    """
    place = 0
    while place < size:
        file.seek(place)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:  # the length did not fit and stands after the box's name
            length = int.from_bytes(head[8:16], "big")
        if length == 0:  # "to the end of the file"
            return False
        if length < 8 or not head[4:8].isalnum():
            return False
        place += length
    return place > size


def mp3_frames(file: BinaryIO) -> int | None:
    """Read how many frames an MP3 file has, from its Xing (or Info) header if it has one.

    FFmpeg reads it too, but where it does not fit the file's size it guesses silently.
    """
    file.seek(0)
    head = file.read(10)
    start = 0
    if head[:3] == b"ID3" and len(head) == 10:
        a, b, c, d = (byte & 0x7F for byte in head[6:10])
        start = 10 + (a << 21 | b << 14 | c << 7 | d)
    file.seek(start)
    first_frame = file.read(2048)
    for mark in (b"Xing", b"Info"):
        place = first_frame.find(mark)
        fields = first_frame[place + 4 : place + 12]
        if place >= 0 and len(fields) == 8 and fields[3] & 1:  # the flag of this very field
            return int.from_bytes(fields[4:8], "big")
    return None
