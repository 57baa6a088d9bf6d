"""The content of a music file: its coded audio, without tags and pictures.

It is the same in a renamed file, in a copy, and in one whose tags were changed, whatever the
encoding of these tags and whichever end of the file they stand at.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from genrescope.errors import AudioError, FileError
from genrescope.library import trailing_tags


def content_of(file: Path) -> str:
    """SHA-256 of a file's coded audio; of all its bytes where no audio is found in it.

    Raises
    ------
    FileError
        When it can't be read.
    """
    try:
        try:
            return audio_digest(file)
        except AudioError:
            with file.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise FileError(file, f"not readable: {error.strerror}") from error


def audio_digest(file: Path) -> str:
    """SHA-256 of the packets of a file's audio, as they are coded.

    Raises
    ------
    AudioError
        When no audio is found in it.
    OSError
        When it can't be read.
    """
    digest = hashlib.sha256()
    for part in _coded_audio(file):
        digest.update(part)
    return digest.hexdigest()


def _coded_audio(file: Path) -> Iterator[bytes]:
    """The codec, the rate and the channels, then each packet of the first stream of audio."""
    import av

    file.open("rb").close()  # FFmpeg does not tell why a file can't be opened
    body, tags = trailing_tags.split(file)
    with file.open("rb") as opened:
        # FFmpeg takes tags behind FLAC and WavPack for audio.
        source: Any = io.BufferedReader(_Head(opened, body), 1 << 16) if tags else str(file)
        try:
            with av.open(source, metadata_errors="replace") as container:
                stream = container.streams.audio[0]
                codec = stream.codec_context
                yield f"{codec.name} {stream.rate} {codec.channels}\n".encode()
                for packet in container.demux(stream):
                    yield bytes(packet)
        except (av.FFmpegError, IndexError, ValueError, AttributeError) as error:
            raise AudioError(file, "no audio in it that can be read") from error


class _Head(io.RawIOBase):
    """The first bytes of an open file, as a file of its own."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            offset, whence = self.size + offset, io.SEEK_SET
        return self.file.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        left = max(0, self.size - self.file.tell())
        data = self.file.read(min(len(buffer), left))
        buffer[: len(data)] = data
        return len(data)
