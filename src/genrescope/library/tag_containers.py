"""The genres in the tags of each kind of file, read and written without losing anything else.

Conventions
-----------
`open_tags` gives the tags of a file behind one protocol, `GenreTags`. mutagen reads and writes
them, made tolerant where it would lose or refuse what is not valid text: ID3 frames that it can't
parse and Vorbis comments that are not UTF-8 (`genrescope.library.vorbis_tags`) are kept as the
bytes they are. APEv2 is edited by `genrescope.library.trailing_tags`, ASF by
`genrescope.library.asf_tags`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import mutagen
from mutagen._vorbis import VCommentDict
from mutagen.id3 import ID3, PRIV, TCON, Encoding, Frames, Frames_2_2, ID3FileType
from mutagen.mp4 import MP4, AtomDataType, MP4FreeForm, MP4Tags

from genrescope.errors import TagError
from genrescope.library import quicktime, riff_info, trailing_tags
from genrescope.library.asf_tags import AsfTags, is_asf
from genrescope.library.tag_formats import is_adts, open_audio, size_of_id3
from genrescope.library.trailing_tags import Trailing, decoded
from genrescope.library.vorbis_tags import VorbisTags, kept_padding

# WavPack, Monkey's Audio, Musepack SV8 and SV7, OptimFROG, TAK: tagged by APEv2 at their end.
_APE_FILES = (b"wvpk", b"MAC ", b"MPCK", b"MP+", b"OFR ", b"tBaK")
# Formats that have tags of their own elsewhere in the file.
_NO_ID3 = (b"OggS", b"RIFF", b"FORM")
_COMMON = {
    "tit2": "title",
    "tpe1": "artist",
    "tpe2": "albumartist",
    "talb": "album",
    "tdrc": "date",
}


class GenreTags(Protocol):
    """The tags of one file.

    Attributes
    ----------
    is_id3, is_ape
        Whether ID3v1 belongs to this format, and whether APEv2 at the end is its own tag.
    """

    is_id3: bool
    is_ape: bool

    def values(self) -> list[str]:
        """The genres, as the tag has them."""

    def set(self, genres: Sequence[str]) -> None:
        """Replace all genres; none removes them. Nothing is written yet."""

    def others(self) -> object:
        """Everything but the genres, in a form that ``==`` compares."""

    def save(self, path: Path) -> None:
        """Write the tags into the file, in place."""


def open_tags(path: Path, *, create: bool = False) -> GenreTags | None:
    """The tags of a file; None where it has none, or its format has none for a genre.

    Parameters
    ----------
    path
        A file that can be opened.
    create
        Give it empty tags where it has none and its format knows some.

    Raises
    ------
    TagError
        When its tag can't be read by any program.
    """
    with path.open("rb") as file:
        head = file.read(16)
        file.seek(size_of_id3(head))
        behind_id3 = file.read(16)
    if behind_id3.startswith(_APE_FILES):
        return _Ape(path, create=create)
    if is_asf(head):
        return AsfTags(path)
    if head[:4] in (b"RF64", b"BW64") or (head[:4] == b"RIFF" and head[8:12] != b"WAVE"):
        return None  # WAV beyond 4 GB, and AVI, which mutagen takes for a damaged WAV
    if head[:1] == b"\x56" and head[1:2] >= b"\xe0":
        return None  # AAC in LATM, which mutagen takes for damaged AAC
    if head.startswith(b"ID3\2") and head[5] & 0x40:
        # The flag says that the tag is compressed, by a scheme that was never defined.
        raise TagError(path, "its ID3v2.2 tag is marked as compressed, which nothing can read")
    if head.startswith(b"ID3") and is_adts(behind_id3):
        return _Id3(path, ID3FileType(path))
    if head.startswith(b"ID3") and (behind_id3[:4] in _NO_ID3 or behind_id3[4:8] == b"ftyp"):
        raise TagError(path, "an ID3 tag stands in front of it, where its format knows none")
    if riff_info.is_streamed(path):
        return _StreamedWav()
    audio = open_audio(path)
    if audio is None:
        return None
    if create and isinstance(audio, MP4) and quicktime.has_keys_for_tags(path):
        raise TagError(path, "its tags are QuickTime's metadata keys, which we can't write")
    if audio.tags is None and create:
        with suppress(mutagen.MutagenError, NotImplementedError):
            audio.add_tags()
    for kind, tags in (
        (ID3, _Id3),
        (VCommentDict, VorbisTags),
        (MP4Tags, _Mp4),
    ):
        if isinstance(audio.tags, kind):
            return tags(path, audio)
    return None


def open_second_tags(path: Path, tags: GenreTags | None) -> GenreTags | None:
    """The ID3v2 tag in front of a file whose own tags are of another kind; iTunes' genres in MP4.

    None where there is none, or none that can be read: it stays as it is.
    """
    if tags is None or tags.is_id3:
        return None
    if isinstance(tags, _Mp4):
        freeform = _Freeform(path, open_audio(path))
        return freeform if freeform.keys else None
    with path.open("rb") as file:
        if not size_of_id3(file.read(16)):
            return None
    try:
        audio = ID3FileType(path)
        return None if audio.tags is None else _Id3(path, audio)
    except mutagen.MutagenError:
        return None


def read_texts(path: Path) -> dict[str, str]:
    """The first text under each lower-case name, in the file's own tag or in a second one.

    Text that is not UTF-8 is read as Windows-1252.
    """
    tags = open_tags(path)
    _, trailing = trailing_tags.split(path)
    texts = [trailing_tags.texts(each) for each in trailing]
    second = open_second_tags(path, tags)
    found = {}
    if isinstance(second, _Id3):  # under the names that the file's own tag has for the same
        found = {_COMMON.get(name, name): text for name, text in _id3_texts(second).items()}
    found |= {name: values[0] for each in texts for name, values in each.items() if values}
    if isinstance(tags, VorbisTags):
        for name, value in reversed(tags.tags):
            found[name.lower()] = decoded(value.encode("utf-8", "surrogateescape"))
    elif isinstance(tags, _Id3):
        found |= _id3_texts(tags)
    elif isinstance(tags, AsfTags):
        found |= tags.texts()
    elif isinstance(tags, _Mp4):
        found |= {name.lower(): _first(tags.tags[name]) for name in list(tags.tags.keys())}
        unread = tags.tags._failed_atoms.items()
        found |= {name.lower(): decoded(bytes(data[0][16:])) for name, data in unread if data}
    return {name: text.strip() for name, text in found.items() if text.strip()}


def _id3_texts(tags: _Id3) -> dict[str, str]:
    return {name.lower(): _first(frame) for name, frame in tags.merged.items()}


def _first(value: Any) -> str:
    """The first text of a tag's value."""
    values = getattr(value, "text", value)
    first = next(iter(values), "") if isinstance(values, list | tuple) else values
    return str(first)


class _Id3:
    """TCON of ID3v2; ID3v1 only fills up the other tags where there is no ID3v2."""

    is_id3, is_ape = True, False

    def __init__(self, path: Path, audio: Any) -> None:
        self.audio, self.merged = audio, audio.tags
        old = audio.tags.version[:2] == (2, 2)
        frames = {name: _Kept(frame) for name, frame in (Frames_2_2 if old else Frames).items()}
        exact = type(audio)(path, translate=False, load_v1=False, known_frames=frames)
        if exact.tags is None:
            exact = type(audio)(path, translate=False, v2_version=3)
            if exact.tags is not None:
                exact.tags.delall("TCON")  # ID3v1's, which counts as a tag of its own
        if exact.tags is not None:
            self.audio = exact
        self.tags = self.audio.tags
        if old:
            _keep_unread_of_2_2(self.tags)

    def values(self) -> list[str]:
        found = [str(each) for frame in self.tags.getall("TCON") for each in frame.genres]
        unread = [frame[10:] for frame in self.tags.unknown_frames if frame[:4] == b"TCON"]
        return found or [text for data in unread for text in _damaged_texts(data)]

    def set(self, genres: Sequence[str]) -> None:
        self.tags.unknown_frames = [f for f in self.tags.unknown_frames if f[:4] != b"TCON"]
        self.tags.delall("TCON")
        if genres:
            texts = [_escaped(genre) for genre in genres]
            if self._version() == 3 and len(genres) > 1:
                texts = _coded(genres) or texts
            is_latin1 = all(ord(char) < 256 for text in texts for char in text)
            wide = Encoding.UTF8 if self._version() == 4 else Encoding.UTF16
            encoding = Encoding.LATIN1 if is_latin1 else wide
            self.tags.add(TCON(encoding=encoding, text=texts))

    def others(self) -> object:
        # Not every frame class defines ``==``. Which bytes spell a text is not what it says: a 2.3
        # tag that some program filled with UTF-8 is corrected to UTF-16 on the way.
        frames = {
            key: re.sub(r"encoding=<Encoding\.\w+: \d>", "", repr(frame))
            for key, frame in self.tags.items()
            if key != "TCON"
        }
        unknown = [bytes(f) for f in self.tags.unknown_frames if len(f) > 10 and f[:4] != b"TCON"]
        return frames, unknown

    def save(self, path: Path) -> None:
        with path.open("r+b") as file:
            # A last chunk of odd length, without the byte that fills it up: mutagen would write the
            # next chunk where no program looks for it.
            if file.read(4) in (b"RIFF", b"FORM") and file.seek(0, os.SEEK_END) % 2:
                file.write(b"\0")
        # By default mutagen would join several values of any frame with a slash.
        self.audio.save(path, v2_version=self._version(), v23_sep=None, padding=kept_padding)

    def _version(self) -> int:
        return 4 if self.tags.version[:2] == (2, 4) and self.tags.size else 3


class _StreamedWav:
    """A wav file that was written to a pipe: without a tag, and with its sizes left open."""

    is_id3, is_ape = True, False

    def __init__(self) -> None:
        self.genres: list[str] = []

    def values(self) -> list[str]:
        return []

    def set(self, genres: Sequence[str]) -> None:
        self.genres = list(genres)

    def others(self) -> object:
        return {}, []  # as those of an empty ID3v2 tag

    def save(self, path: Path) -> None:
        riff_info.mend_sizes(path)
        tags = open_tags(path, create=True)
        if tags is not None:
            tags.set(self.genres)
            tags.save(path)


class _Kept:
    """A class of ID3 frames; those that can't be parsed are kept as bytes and not dropped."""

    def __init__(self, frame: Any) -> None:
        self.frame = frame

    def _fromData(self, *arguments: Any) -> Any:  # noqa: N802 - mutagen calls it
        try:
            return self.frame._fromData(*arguments)
        except mutagen.id3.ID3JunkFrameError:
            raise NotImplementedError from None  # by which mutagen tells what it does not know

    def __getattr__(self, name: str) -> Any:
        return getattr(self.frame, name)


def _keep_unread_of_2_2(tags: Any) -> None:
    """Make the frames of a 2.2 tag that can't be parsed frames of the 2.3 tag that is written.

    mutagen, which writes no 2.2, would drop them. A frame that 2.3 does not know at all becomes a
    private one.
    """
    unread, tags.unknown_frames = tags.unknown_frames, []
    tags._unknown_v2_version = 3
    for frame in unread:
        name, data = frame[:3].decode("latin-1"), bytes(frame[6:])
        if name in Frames_2_2:
            new = Frames_2_2[name].__mro__[1].__name__.encode()
            tags.unknown_frames.append(new + len(data).to_bytes(4, "big") + bytes(2) + data)
        elif data:
            tags.add(PRIV(owner=f"ID3v2.2 {name}", data=data))


def _damaged_texts(data: bytes) -> list[str]:
    """The values of a text frame that can't be parsed; in UTF-16 what is not valid is U+FFFD."""
    encoding, text = data[:1], data[1:]
    if encoding in (b"\1", b"\2"):
        values = text.decode("utf-16" if encoding == b"\1" else "utf-16-be", "replace").split("\0")
    else:
        values = [decoded(each) for each in text.split(b"\0")]
    return [each for each in values if each]


def _coded(genres: Sequence[str]) -> list[str]:
    """Several genres as one text of ID3v2.3, which has no others in a frame (4.2.1, TCON).

    It is made of numbers of ID3v1 in brackets, then one name at most. Empty where these genres are
    not read back from it as they are, and in their order.
    """
    known = [TCON.GENRES.index(each) for each in genres if each in TCON.GENRES]
    names = [each for each in genres if each not in TCON.GENRES]
    text = "".join(f"({number})" for number in known) + "".join(map(_escaped, names))
    return [text] if len(names) <= 1 and TCON(text=[text]).genres == list(genres) else []


def _escaped(genre: str) -> str:
    """A name that begins with a bracket, so that it is not read as a number (4.2.1, TCON)."""
    is_read_back = not genre.startswith("(") or TCON(text=[genre]).genres == [genre]
    return genre if is_read_back else f"({genre}"


class _Mp4:
    """``©gen`` of MP4; mutagen reads the number of ``gnre`` as its name, and writes none."""

    is_id3, is_ape = False, False

    def __init__(self, _: Path, audio: Any) -> None:
        self.audio, self.tags = audio, audio.tags

    def values(self) -> list[str]:
        # An atom whose text is not UTF-8: 16 bytes of header, then the text.
        unread = self.tags._failed_atoms.get("\xa9gen", [])
        return [*self.tags.get("\xa9gen", []), *(decoded(bytes(data[16:])) for data in unread)]

    def set(self, genres: Sequence[str]) -> None:
        self.tags._failed_atoms.pop("\xa9gen", None)
        self.tags.pop("\xa9gen", None)
        if genres:
            self.tags["\xa9gen"] = list(genres)

    def others(self) -> object:
        unread = {k: list(v) for k, v in self.tags._failed_atoms.items() if k != "\xa9gen"}
        own = {"\xa9gen", *_freeform_keys(self.tags)}
        return {key: value for key, value in self.tags.items() if key not in own}, unread

    def save(self, path: Path) -> None:
        self.audio.save(path, padding=kept_padding)


class _Freeform:
    """``----:com.apple.iTunes:GENRE`` of MP4, which some programs write next to ``©gen``."""

    is_id3, is_ape = False, False

    def __init__(self, _: Path, audio: Any) -> None:
        self.audio, self.keys = audio, _freeform_keys(audio.tags or {})

    def values(self) -> list[str]:
        texts = [each for key in self.keys for each in self.audio.tags[key]]
        is_utf16 = [each.dataformat == AtomDataType.UTF16 for each in texts]
        return [
            bytes(each).decode("utf-16-be", "replace") if wide else decoded(bytes(each))
            for each, wide in zip(texts, is_utf16, strict=True)
        ]

    def set(self, genres: Sequence[str]) -> None:
        for key in self.keys:
            del self.audio.tags[key]
        if genres:
            self.audio.tags[self.keys[0]] = [MP4FreeForm(genre.encode()) for genre in genres]

    def others(self) -> object:
        return None  # `_Mp4` has them

    def save(self, path: Path) -> None:
        self.audio.save(path, padding=kept_padding)


def _freeform_keys(tags: Iterable[str]) -> list[str]:
    """The names of MP4's freeform atoms that hold genres, whoever defined them."""
    return [key for key in tags if re.fullmatch(r"----:.*:genre", key, re.IGNORECASE)]


class _Ape:
    """``Genre`` of an APEv2 tag at the end of a file."""

    is_id3, is_ape = False, True

    def __init__(self, path: Path, *, create: bool) -> None:
        self.body, self.trailing = trailing_tags.split(path)
        has_one = any(each.kind == "ape" for each in self.trailing)
        if create and not has_one:
            self.trailing.insert(0, trailing_tags.new_ape([]))

    def values(self) -> list[str]:
        apes = (each for each in self.trailing if each.kind == "ape")
        return [genre for each in apes for genre in trailing_tags.genres(each)]

    def set(self, genres: Sequence[str]) -> None:
        # Of several APEv2 tags, which some programs leave, the first gets them.
        first = next((n for n, each in enumerate(self.trailing) if each.kind == "ape"), None)

        def changed(number: int, tag: Trailing) -> Trailing:
            if tag.kind != "ape":
                return tag
            return trailing_tags.with_genres(tag, genres if number == first else [])

        self.trailing = [changed(number, each) for number, each in enumerate(self.trailing)]

    def others(self) -> object:
        return [trailing_tags.without_genres(each) for each in self.trailing]

    def save(self, path: Path) -> None:
        trailing_tags.join(path, self.body, self.trailing)
