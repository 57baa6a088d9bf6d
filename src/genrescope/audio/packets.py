"""The one door to FFmpeg: containers are opened here and nowhere else.

FFmpeg also reads playlists and scripts that name other files and addresses. An audio file must not
make this process open those, so the formats and protocols that FFmpeg may use are listed: the
formats of `genrescope.audio.kinds`, and the descriptor of the file that is open already.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from genrescope.audio.kinds import DEMUXERS
from genrescope.audio.workers import current_pool
from genrescope.errors import AudioError

_OPTIONS = {"format_whitelist": ",".join(sorted(DEMUXERS)), "protocol_whitelist": "fd,subfile"}


def open_container(file: BinaryIO, size: int | None = None, start: int = 0) -> Any:
    """Open a file as an `av.container.InputContainer`, if it is one of the kinds listed.

    Parameters
    ----------
    file
        A regular file, open for reading, at its first byte; it has to stay open, and is not closed
        with the container.
    size
        Number of bytes to read, as if the file ended there; None for the whole file.
    start
        Read from this byte on, as if the file began there.

    Raises
    ------
    av.FFmpegError
        When it is none of these kinds, or damaged.
    """
    import av

    try:
        return _opened(file, size, start)
    except av.InvalidDataError:
        end = os.fstat(file.fileno()).st_size if size is None else size
        mended = _mended(file, end) if start == 0 else None
        if mended is None:
            raise
        return _av_open(mended, _OPTIONS)


def _opened(file: BinaryIO, size: int | None, start: int) -> Any:
    # FFmpeg reads the descriptor itself: no name to be misunderstood, no Python between.
    options = {**_OPTIONS, "fd": str(file.fileno())}
    whole = size is None and start == 0
    end = os.fstat(file.fileno()).st_size if size is None else size
    source = "fd:" if whole else f"subfile,,start,{start},end,{end},,:fd:"
    return _av_open(source, options)


def _av_open(source: str | BytesIO, options: dict[str, str]) -> Any:
    import av

    return av.open(source, mode="r", container_options=options, metadata_errors="replace")


def _mended(file: BinaryIO, size: int) -> BytesIO | None:
    """A copy in memory of an Ogg file that FFmpeg refuses, made so that it does not."""
    from genrescope.audio import ogg

    file.seek(0)
    return ogg.without_repeated_headers(file, size) if file.read(4) == b"OggS" else None


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
        When the file has no audio that can be read.
    OSError
        When the file can't be opened.
    """
    import av

    with Path(path).open("rb", buffering=0) as file:
        try:
            for start, end in _links(file, size):
                with open_container(file, end, start) as container:
                    stream = container.streams.audio[0]
                    codec = stream.codec_context
                    yield f"{codec.name} {stream.rate} {codec.channels}\n".encode()
                    for packet in container.demux(stream):
                        yield bytes(packet)
        except (av.FFmpegError, IndexError, ValueError, AttributeError) as error:
            raise AudioError(path, "no audio in it that can be read") from error


def links_of(file: BinaryIO, size: int) -> list[tuple[int, int]]:
    """The first byte of each stream of a chained Ogg file, and the one after its last.

    Parameters
    ----------
    file
        An audio file of any kind; most are one stream.
    size
        In bytes.
    """
    file.seek(0)
    is_ogg = file.read(4) == b"OggS"
    file.seek(0)
    if not is_ogg:
        return [(0, size)]
    from genrescope.audio.ogg import links

    found = links(file, size)
    file.seek(0)
    return found


def _links(file: BinaryIO, size: int | None) -> list[tuple[int, int | None]]:
    found = links_of(file, os.fstat(file.fileno()).st_size if size is None else size)
    return [(0, size)] if len(found) == 1 else [*found]


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
