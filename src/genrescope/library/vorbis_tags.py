"""Vorbis comments (flac, ogg, opus), read and written as the bytes that they are."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import mutagen
from mutagen.flac import FLAC, VCFLACDict

from genrescope.library.trailing_tags import decoded


class VorbisTags:
    """GENRE of Vorbis comments, in the order and the spelling that they have."""

    is_id3, is_ape = False, False

    def __init__(self, path: Path, audio: Any) -> None:
        self.audio = _exact(type(audio))(path)
        if self.audio.tags is None:
            self.audio.add_tags()
        self.tags = self.audio.tags

    def values(self) -> list[str]:
        """The genres."""
        values = [value for key, value in self.tags if key.lower() == "genre"]
        return [decoded(value.encode("utf-8", "surrogateescape")) for value in values]

    def set(self, genres: Sequence[str]) -> None:
        """Replace all genres."""
        comments: list[tuple[str, str]] = []
        written = False
        for key, value in self.tags:
            if key.lower() != "genre":
                comments.append((key, value))
            elif not written:
                comments += [(key, genre) for genre in genres]
                written = True
        new = [] if written else [("GENRE", genre) for genre in genres]
        self.tags[:] = [*comments, *new]

    def others(self) -> object:
        """All other comments, and pictures."""
        pictures = [picture.write() for picture in getattr(self.audio, "pictures", [])]
        return [(k, v) for k, v in self.tags if k.lower() != "genre"], pictures

    def save(self, path: Path) -> None:
        """Write the comments into the file, in place."""
        self.audio.save(path, padding=kept_padding)


class _ExactComments:
    """Vorbis comments whose bytes survive, whatever they are; mixed into mutagen's classes."""

    has_framing_bit = True

    def load(self: Any, fileobj: Any, errors: str = "", framing: bool = True) -> None:  # noqa: ARG002
        def text() -> str:
            size = int.from_bytes(fileobj.read(4), "little")
            data = fileobj.read(size)
            if len(data) < size:
                raise mutagen.MutagenError("comments are cut short")
            return str(data.decode("utf-8", "surrogateescape"))

        self.vendor = text()
        for _ in range(int.from_bytes(fileobj.read(4), "little")):
            key, separator, value = text().partition("=")
            # A comment without a name is kept as what it is.
            self.append((key, value) if separator else ("", key))
        if framing and self.has_framing_bit and not fileobj.read(1)[0] & 1:
            raise mutagen.MutagenError("the framing bit is not set")

    def validate(self) -> bool:
        return True

    def write(self: Any, framing: bool = True) -> bytes:
        def block(text: str) -> bytes:
            data = text.encode("utf-8", "surrogateescape")
            return len(data).to_bytes(4, "little") + data

        comments = [f"{key}={value}" if key else value for key, value in self]
        file = BytesIO()
        file.write(block(self.vendor) + len(comments).to_bytes(4, "little"))
        file.writelines(map(block, comments))
        return file.getvalue() + (b"\1" if framing and self.has_framing_bit else b"")


def _exact(kind: Any) -> Any:
    """One of mutagen's file types, with comments whose bytes survive."""
    if issubclass(kind, FLAC):
        comments = type("VCFLACDict", (_ExactComments, VCFLACDict), {"has_framing_bit": False})
        blocks = [comments if block is VCFLACDict else block for block in kind.METADATA_BLOCKS]
        return type(kind.__name__, (kind,), {"METADATA_BLOCKS": blocks})
    comments = type(kind._Tags.__name__, (_ExactComments, kind._Tags), {})
    return type(kind.__name__, (kind,), {"_Tags": comments})


def kept_padding(info: Any) -> int:
    """Keep the room after the tag as it is, so that the audio need not move; add some if short."""
    room: int = info.padding if info.padding >= 0 else info.get_default_padding()
    return room
