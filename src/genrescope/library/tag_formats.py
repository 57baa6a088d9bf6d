"""The format of a music file, which decides where its tags are, told by its content.

A file's name counts only where the content does not tell: mutagen alone would trust the name, and
so refuse an MP3 file that is called ``.flac``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import mutagen
from mutagen.aiff import AIFF
from mutagen.dsdiff import DSDIFF
from mutagen.dsf import DSF
from mutagen.flac import FLAC
from mutagen.id3 import ID3
from mutagen.mp3 import MP3
from mutagen.mp4 import MP4
from mutagen.oggflac import OggFLAC
from mutagen.oggopus import OggOpus
from mutagen.oggspeex import OggSpeex
from mutagen.oggtheora import OggTheora
from mutagen.oggvorbis import OggVorbis
from mutagen.trueaudio import TrueAudio
from mutagen.wave import WAVE

_ID3_HEADER = 10  # bytes, and as many of a footer
_HAS_FOOTER = 0x10
_OGG = [OggFLAC, OggOpus, OggSpeex, OggTheora, OggVorbis]


class _Flac(FLAC):  # type: ignore[misc]
    """FLAC, also behind an ID3v2 tag with a footer, which mutagen does not know."""

    def _FLAC__check_header(self, file: Any, name: Any) -> int:  # noqa: N802 - mutagen calls it
        start = size_of_id3(file.read(16))
        file.seek(start)
        if file.read(4) != b"fLaC":
            raise mutagen.MutagenError(f"{name!r} is no FLAC file")
        return start + 4


# Offset behind an ID3v2 tag, the bytes, and the format of a file that has them there.
_MAGIC = (
    (0, b"fLaC", _Flac),
    (0, b"RIFF", WAVE),
    (0, b"FORM", AIFF),
    (4, b"ftyp", MP4),
    (0, b"TTA1", TrueAudio),
    (0, b"DSD ", DSF),
    (0, b"FRM8", DSDIFF),
)


def open_audio(path: Path) -> Any:
    """A file as mutagen has it; None where it is of no format that mutagen knows.

    Raises
    ------
    mutagen.MutagenError
        When it is damaged.
    """
    with path.open("rb") as file:
        head = file.read(16)
        for start, size in _id3_tags(file):
            file.seek(start + size)
            head = file.read(16)
    for offset, magic, kind in _MAGIC:
        if head[offset:].startswith(magic):
            return kind(path)
    if head.startswith(b"OggS"):
        return mutagen.File(path, options=_OGG)
    return MP3(path) if _is_mpeg(head) else mutagen.File(path)


def size_of_id3(head: bytes) -> int:
    """Bytes of the ID3v2 tag that a file begins with; 0 where it begins with none."""
    if not head.startswith(b"ID3") or len(head) < _ID3_HEADER or max(head[6:10]) > 127:
        return 0
    has_footer = bool(head[5] & _HAS_FOOTER)
    return _content_of_id3(head) + _ID3_HEADER * (1 + has_footer)


def genres_of_further_id3(path: Path) -> list[str]:
    """The genres of the ID3v2 tags behind the first one, which Windows Media Player leaves."""
    found = []
    with path.open("rb") as file:
        for start, size in list(_id3_tags(file))[1:]:
            file.seek(start)
            with suppress(mutagen.MutagenError):
                tags = ID3(BytesIO(file.read(size)), load_v1=False)
                found += [genre for frame in tags.getall("TCON") for genre in frame.genres]
    return found


def remove_footer(path: Path) -> None:
    """Make the footer of the ID3v2 tag that a file begins with padding of this tag, in place.

    mutagen, which knows no footers, would leave it behind as stray bytes.

    Raises
    ------
    OSError
        When the file can't be written.
    """
    with path.open("r+b") as file:
        head = file.read(_ID3_HEADER)
        place = size_of_id3(head) - _ID3_HEADER
        if place <= 0 or not head[5] & _HAS_FOOTER:
            return
        file.seek(place)
        if file.read(3) != b"3DI":
            return
        file.seek(place)
        file.write(bytes(_ID3_HEADER))
        size = _content_of_id3(head) + _ID3_HEADER
        file.seek(5)
        file.write(bytes([head[5] & ~_HAS_FOOTER]))
        file.write(bytes(size >> shift & 127 for shift in (21, 14, 7, 0)))


def _id3_tags(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Place and size of each ID3v2 tag at the beginning of a file, one after another."""
    start = 0
    file.seek(start)
    while size := size_of_id3(file.read(16)):
        yield start, size
        start += size
        file.seek(start)


def is_adts(head: bytes) -> bool:
    """Whether this is a frame of AAC in ADTS, which has no tag but ID3 in front."""
    return len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0


def _content_of_id3(head: bytes) -> int:
    return sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))


def _is_mpeg(head: bytes) -> bool:
    """Whether this is the header of a frame of MPEG audio, of any layer (ISO/IEC 11172-3)."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    return version != 1 and layer != 0 and head[2] >> 4 not in (0, 15) and head[2] >> 2 & 3 != 3
