"""The one door to FFmpeg: containers are opened here and nowhere else.

FFmpeg also reads playlists and scripts that name other files and addresses. An audio file must not
make this process open those, so the formats and protocols that FFmpeg may use are listed: the
formats of `genrescope.audio.kinds`, and the descriptor of the file that is open already.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from genrescope.audio.kinds import DEMUXERS
from genrescope.audio.workers import current_pool
from genrescope.errors import AudioError

_OPTIONS = {"format_whitelist": ",".join(sorted(DEMUXERS)), "protocol_whitelist": "fd,subfile"}


def open_container(file: BinaryIO, size: int | None = None) -> Any:
    """Open a file as an `av.container.InputContainer`, if it is one of the kinds listed.

    Parameters
    ----------
    file
        A regular file, open for reading, at its first byte; it has to stay open, and is not closed
        with the container.
    size
        Read only so many bytes, as if the file ended there; None for the whole file.

    Raises
    ------
    av.FFmpegError
        When it is none of these kinds, or damaged.
    """
    import av

    # FFmpeg reads the descriptor itself: no name to be misunderstood, no Python between.
    options = {**_OPTIONS, "fd": str(file.fileno())}
    source = "fd:" if size is None else f"subfile,,start,0,end,{size},,:fd:"
    return av.open(source, mode="r", container_options=options, metadata_errors="replace")


def coded_audio(path: str | os.PathLike[str], size: int | None = None) -> Iterator[bytes]:
    """The packets of a file's audio, as they are coded, without tags and pictures.

    Parameters
    ----------
    path
        The file.
    size
        As of `open_container`, for files with tags at their end, which FFmpeg may take for audio.

    Yields
    ------
    bytes
        First a line with the codec, the sample rate and the number of channels, then each packet.

    Raises
    ------
    AudioError
        When there is no audio in the file that can be read.
    OSError
        When the file can't be opened.
    """
    import av

    with Path(path).open("rb", buffering=0) as file:
        try:
            with open_container(file, size) as container:
                stream = container.streams.audio[0]
                codec = stream.codec_context
                yield f"{codec.name} {stream.rate} {codec.channels}\n".encode()
                for packet in container.demux(stream):
                    yield bytes(packet)
        except (av.FFmpegError, IndexError, ValueError, AttributeError) as error:
            raise AudioError(path, "no audio in it that can be read") from error


def audio_digest(path: str | os.PathLike[str], size: int | None = None) -> str:
    """SHA-256 of `coded_audio`, in hexadecimal digits.

    Within `genrescope.audio.safely` another process reads the packets.

    Raises
    ------
    AudioError, OSError
        As `coded_audio`.
    """
    pool = current_pool()
    if pool is not None:
        return pool.audio_digest(path, size)
    digest = hashlib.sha256()
    for part in coded_audio(path, size):
        digest.update(part)
    return digest.hexdigest()
