"""The kinds of audio file that can be decoded: the one list, by name and by content.

A kind is in the list if a decoder here reads it, and if FFmpeg's demuxer for it reads nothing but
the file itself. Playlists and scripts that name other files or addresses (m3u8, ffconcat, sdp,
mpd, ram, apl) are not in it and are never opened, whatever a file of that content is called.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes
    ----------
    name
        As people call it.
    suffixes
        Lower-case endings of file names that a search of a folder takes for this kind.
    demuxers
        The formats of FFmpeg that read it.
    """

    name: str
    suffixes: tuple[str, ...]
    demuxers: tuple[str, ...]


def _kind(name: str, suffixes: str, demuxers: str) -> Kind:
    return Kind(
        name,
        tuple(f".{suffix}" for suffix in suffixes.split()),
        tuple(demuxers.split()),
    )


KINDS = (
    _kind("WAV, Broadcast WAV, RF64", "wav wave bwf rf64", "wav"),
    _kind("Wave64", "w64", "w64"),
    _kind("AIFF", "aif aiff aifc", "aiff"),
    _kind("AU", "au snd", "au"),
    _kind("Core Audio", "caf", "caf"),
    _kind("Creative Voice", "voc", "voc"),
    _kind("FLAC", "flac", "flac"),
    _kind("WavPack", "wv", "wv"),
    _kind("True Audio", "tta", "tta"),
    _kind("Monkey's Audio", "ape", "ape"),
    _kind("TAK", "tak", "tak"),
    _kind("Shorten", "shn", "shn"),
    _kind("DSD", "dsf dff", "dsf iff"),
    _kind("MPEG audio (MP3, MP2, MP1)", "mp3 mp2 mp1 mpa m2a", "mp3"),
    _kind("AAC", "aac adts latm loas", "aac loas"),
    _kind("Ogg (Vorbis, Opus, Speex, FLAC)", "ogg oga opus spx ogx ogv", "ogg"),
    _kind("MP4 (AAC, ALAC)", "m4a m4b m4r mp4 m4v mov qt 3gp 3g2 3ga f4a f4v", "mov"),
    _kind("Windows Media", "wma asf wmv", "asf"),
    _kind("Matroska, WebM", "mka mkv weba webm", "matroska"),
    _kind("Musepack", "mpc mp+ mpp", "mpc mpc8"),
    _kind("Dolby Digital", "ac3 eac3 ec3", "ac3 eac3"),
    _kind("Dolby TrueHD, MLP", "thd truehd mlp", "truehd mlp"),
    _kind("DTS", "dts dtshd", "dts dtshd"),
    _kind("RealAudio, RealMedia", "ra rm rmvb", "rm"),
    _kind("AMR", "amr awb", "amr"),
    _kind("ATRAC", "oma aa3 at3 omg", "oma"),
    _kind("TwinVQ", "vqf", "vqf"),
    _kind("QOA", "qoa", "qoa"),
    _kind("AVI", "avi divx", "avi"),
    _kind("MPEG transport stream", "ts m2t m2ts mts", "mpegts"),
    _kind("MPEG program stream", "mpg mpeg vob", "mpeg"),
    _kind("Flash Video", "flv", "flv"),
)
"""All kinds, see the module."""

AUDIO_SUFFIXES = frozenset(suffix for kind in KINDS for suffix in kind.suffixes)
"""Lower-case suffixes that a search of a folder takes for audio."""

DEMUXERS = frozenset(name for kind in KINDS for name in kind.demuxers)
"""The formats that FFmpeg may open."""

SHARED_SUFFIXES = frozenset({".ts", ".mts", ".dts", ".mlp", ".rm", ".ra", ".qt", ".snd"})
"""Suffixes that text files have, too (.ts is also TypeScript): there the content decides."""

HEAD = 16
"""How many bytes of a file `kind_of` needs."""

# Offset in the file, the bytes, and the kind of file that begins so.
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
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"tBaK", "TAK"),
    (0, b"ajkg", "Shorten"),
    (0, b"DSD ", "DSD"),
    (0, b"FRM8", "DSD"),
    (0, b"MPCK", "Musepack"),
    (0, b"MP+", "Musepack"),
    (0, b"\x0b\x77", "Dolby Digital"),
    (4, b"\xf8\x72\x6f\xba", "TrueHD"),
    (0, b"\x7f\xfe\x80\x01", "DTS"),
    (0, b"DTSHDHDR", "DTS"),
    (0, b".ra\xfd", "RealAudio"),
    (0, b".RMF", "RealMedia"),
    (0, b"#!AMR", "AMR"),
    (8, b"AVI ", "AVI"),
    (0, b"\x00\x00\x01\xba", "MPEG"),
    (0, b"FLV\x01", "Flash Video"),
    (0, b"qoaf", "QOA"),
    (0, b"TWIN", "TwinVQ"),
    (0, b"ea3\x03", "ATRAC"),
)

PLAUSIBLE_RATES = range(1_000, 3_000_001)
"""Sample rates of audio, in Hz, up to DSD's.

A header that states another is damaged; at 1 Hz a small file would decode to an endless one.
"""

UNCOMPRESSED = frozenset({"WAV", "AIFF", "AU", "CAF"})


def kind_of(head: bytes) -> str | None:
    """Name the kind of file that begins with `head`; None where the bytes do not tell."""
    for offset, magic, kind in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return kind
    return None


def is_text(head: bytes) -> bool:
    """Whether the first bytes of a file are text in UTF-8, as those of no audio file are."""
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":  # a character that is cut off at the end
            return False
        text = head[: error.start].decode("utf-8-sig")
    return all(character.isprintable() or character in "\t\n\r\f" for character in text)


def mp4_is_cut(file: BinaryIO, size: int) -> bool:
    """Tell whether an MP4 file of `size` bytes ends within one of its outermost boxes.

    An MP4 file is a sequence of boxes, each beginning with its length (ISO/IEC 14496-12, 4.2).
    """
    offset = 0
    while offset < size:
        file.seek(offset)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:  # the length did not fit and follows the box's name
            length = int.from_bytes(head[8:16], "big")
        if length == 0:  # "to the end of the file"
            return False
        if length < 8 or not head[4:8].isalnum():
            return False
        offset += length
    return offset > size
