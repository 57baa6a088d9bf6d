"""`load`, `stream` and `info`: from an audio file to its samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import numpy as np
import soxr

from genrescope.audio.files import Readable, check_readable, open_regular, source_name
from genrescope.audio.kinds import HEAD, PLAUSIBLE_RATES, UNCOMPRESSED, kind_of, mp4_is_cut
from genrescope.audio.waveform import Samples, Waveform
from genrescope.audio.workers import current_pool
from genrescope.errors import AudioError, UnreadableError

if TYPE_CHECKING:
    from genrescope.audio.uncompressed import UncompressedSource

BLOCK_SECONDS = 30.0
"""Default length of the blocks of `stream`."""

# Float files with unscaled 32-bit integers exist; larger values are not sound.
LOUDEST = 1e12
"""The largest sample, where 1 is full scale."""
_NO_SOUND = "NaN, infinite, or more than 1e12 times full scale"
# soxr's HQ filter reaches less far than this many samples of the lower of the two rates.
_FILTER_REACH = 400


@dataclass(frozen=True)
class AudioInfo:
    """Properties of a file, as its header states them.

    Attributes
    ----------
    duration
        Seconds of sound that decoding gives, to a few frames of the codec. Where the header does
        not tell, or its timestamps leave gaps, all packets are counted, without decoding them.
    sample_rate
        Sample rate of the file, in Hz.
    channels
        Number of channels.
    format
        The container: "WAV", "MP3", "MP4", "Matroska", …
    seekable
        Whether a part can be decoded without decoding what comes before it. It can't where
        timestamps or headers don't tell how much sound is before it: in joined files, and in
        recordings with gaps.
    """

    duration: float
    sample_rate: int
    channels: int
    format: str
    seekable: bool = field(default=True, repr=False)


class Source(Protocol):
    """An open file: see `UncompressedSource` and `CompressedSource`."""

    sample_rate: int
    channels: int
    format: str
    end: int
    """Number of frames that were found in the file, once its blocks have been read."""

    @property
    def seekable(self) -> bool:
        """Whether a part is decoded without all that comes before it."""

    @property
    def duration(self) -> float:
        """Seconds of sound: of the header, or where that is wrong or silent, of the packets."""

    def blocks(self, start: int, warnings: list[str]) -> Iterator[Samples]:
        """Yield the sound from frame `start` on, mixed down, in blocks of float32 [n]."""

    def close(self) -> None:
        """Release the decoder."""


def info(path: Readable) -> AudioInfo:
    """Read a file's header.

    Raises
    ------
    AudioError
        If the file can't be decoded; see `load`.

    Examples
    --------
    >>> from genrescope import audio
    >>> audio.info("walking-bass.flac")
    AudioInfo(duration=12.0, sample_rate=22050, channels=1, format='FLAC')
    """
    pool = current_pool()
    if pool is not None:
        return AudioInfo(*pool.info(path))
    with _open(path) as source:
        duration, seekable = source.duration, source.seekable
        return AudioInfo(duration, source.sample_rate, source.channels, source.format, seekable)


def load(
    path: Readable,
    *,
    sample_rate: int | None = 22050,
    offset: float = 0.0,
    duration: float | None = None,
    warnings: list[str] | None = None,
) -> Waveform:
    """Decode a file, or a part of it, to mono.

    Only the part is decoded, unless the file is not `seekable`, see `AudioInfo`. Its samples equal
    those of the whole file to 1e-5, since the resampler rounds differently, and so may a lossy
    decoder after a seek. Where the channels of a compressed file cancel each other out, the first
    seconds of a part may be mixed in another way.

    Parameters
    ----------
    path
        The file: its path, its content as bytes, or a binary file object.
    sample_rate
        In Hz; None for the file's own, without resampling.
    offset
        Where to begin, in seconds.
    duration
        How much to decode, in seconds; None for the rest. At the end of the file it may be less.
    warnings
        A list; problems that did not prevent decoding are appended as text, such as "the last part
        could not be decoded".

    Returns
    -------
    Waveform
        With at least one sample, all of them finite.

    Raises
    ------
    AudioError
        If the file can't be decoded: it is missing, not readable, not audio, empty, damaged
        throughout, without sound, without a finite sample, or ends before `offset`.
    ValueError
        If an argument is out of its range.
    """
    _validate(sample_rate, offset, duration)
    rate, *pieces = open_stream(path, sample_rate, None, offset, duration, warnings)
    return Waveform(np.concatenate(pieces), rate)


def load_audio(
    path: Readable,
    *,
    sample_rate: int | None = 22050,
    start: float = 0.0,
    duration: float | None = None,
    warnings: list[str] | None = None,
) -> Waveform:
    """Decode a file, or a part of it, to mono; `genrescope.load_audio`.

    Parameters
    ----------
    path, sample_rate, duration, warnings
        As for `load`.
    start
        Where to begin, in seconds.

    Raises
    ------
    AudioError, ValueError
        As for `load`.

    Examples
    --------
    >>> import genrescope
    >>> genrescope.load_audio("walking-bass.flac", sample_rate=16000, start=2.0, duration=3.0)
    Waveform(3.00 s, 16000 Hz)
    """
    return load(path, sample_rate=sample_rate, offset=start, duration=duration, warnings=warnings)


def stream(
    path: Readable,
    *,
    sample_rate: int | None = 22050,
    block_seconds: float = BLOCK_SECONDS,
    offset: float = 0.0,
    duration: float | None = None,
    warnings: list[str] | None = None,
) -> Iterator[Samples]:
    """Decode a file block by block, in memory that does not depend on its length.

    Concatenated, the blocks are bit for bit what `load` returns. The file is opened when the first
    block is requested, and closed after the last or when the iterator is closed.

    Parameters
    ----------
    path, sample_rate, offset, duration, warnings
        As for `load`. A warning is appended when decoding reaches the part concerned.
    block_seconds
        Length of a block; the last may be shorter.

    Yields
    ------
    ndarray
        float32 [n]; the caller may keep or change it.

    Raises
    ------
    AudioError
        As for `load`, while iterating.
    ValueError
        If an argument is out of its range; raised at once, not while iterating.
    """
    _validate(sample_rate, offset, duration)
    if not 0 < block_seconds < math.inf:
        raise ValueError(f"block_seconds must be positive, not {block_seconds}")
    return _blocks(open_stream(path, sample_rate, block_seconds, offset, duration, warnings))


def _blocks(rate_and_blocks: Iterator[Any]) -> Iterator[Samples]:
    next(rate_and_blocks)
    yield from rate_and_blocks


def open_stream(
    path: Readable,
    sample_rate: int | None,
    block_seconds: float | None,
    offset: float,
    duration: float | None,
    warnings: list[str] | None,
) -> Iterator[Any]:
    """Yield the sample rate, then the samples: in blocks, or as decoded if `block_seconds` is None.

    Within `safely` another process decodes them.
    """
    pool = current_pool()
    warnings = [] if warnings is None else warnings
    if pool is not None:
        pieces = pool.stream(path, sample_rate, offset, duration, warnings)
        rate = next(pieces)
        yield rate
        # They come in such blocks.
        as_they_are = block_seconds in (None, BLOCK_SECONDS)
        yield from pieces if as_they_are else _reblock(pieces, _block_length(block_seconds, rate))
        return
    with _open(path) as source:
        rate = sample_rate or source.sample_rate
        yield rate
        pieces = _samples(source_name(path), source, rate, offset, duration, warnings)
        yield from _reblock(pieces, _block_length(block_seconds, rate)) if block_seconds else pieces


def _block_length(seconds: float | None, rate: int) -> int:
    return max(1, round((seconds or BLOCK_SECONDS) * rate))


def _validate(sample_rate: int | None, offset: float, duration: float | None) -> None:
    if sample_rate is not None and sample_rate <= 0:
        raise ValueError(f"sample_rate must be positive, not {sample_rate}")
    if not 0 <= offset < math.inf:
        raise ValueError(f"offset must be 0 or more seconds, not {offset}")
    if duration is not None and not 0 < duration < math.inf:
        raise ValueError(f"duration must be positive, not {duration}")


@contextmanager
def _open(path: Readable) -> Iterator[Source]:
    name = source_name(path)
    with open_regular(path) as (file, size):
        source = _source(name, file, size)
        try:
            if source.sample_rate not in PLAUSIBLE_RATES:
                raise AudioError(name, f"damaged: a sample rate of {source.sample_rate} Hz")
            yield source
        except OSError as fault:
            raise UnreadableError(name, f"not readable: {fault.strerror}") from fault
        finally:
            source.close()


def _source(path: str, file: BinaryIO, size: int) -> Source:
    """Open the file with the decoder that reads its kind."""
    try:
        kind = kind_of(file.read(HEAD))
    except OSError as fault:
        raise UnreadableError(path, f"not readable: {fault.strerror}") from fault
    try:
        return _decoder(path, file, size, kind)
    except AudioError:
        try:  # whether that is because of its content
            check_readable(file, size)
        except OSError as fault:
            raise UnreadableError(path, f"not readable: {fault.strerror}") from fault
    file.seek(0)
    return _decoder(path, file, size, kind)  # an error of the disk may have been the only one


def _decoder(path: str, file: BinaryIO, size: int, kind: str | None) -> Source:
    empty = False
    if kind in UNCOMPRESSED:
        source = _uncompressed(file)
        if source is not None and source.frames > 0 and source.fit:
            return source
        if source is not None:
            source.close()
            empty = source.frames == 0  # according to libsndfile; FFmpeg may find some
            if empty and source.missing:
                raise AudioError(path, "truncated: it ends before the sound begins")
    # Imported here and not above, as is libsndfile below: that takes longer than all the rest.
    from genrescope.audio.compressed import CompressedSource, NoSoundError
    from genrescope.audio.timeline import FAULTS

    try:
        return CompressedSource(file)
    except NoSoundError as fault:
        raise AudioError(path, str(fault)) from fault
    except FAULTS as fault:
        reason = "no samples in it" if empty else _why_refused(fault, file, size, kind)
        raise AudioError(path, reason) from fault


def _uncompressed(file: BinaryIO) -> UncompressedSource | None:
    from genrescope.audio.uncompressed import FAULTS, UncompressedSource

    file.seek(0)
    try:
        return UncompressedSource(file.fileno())
    except FAULTS:
        return None


def _why_refused(fault: Exception, file: BinaryIO, size: int, kind: str | None) -> str:
    if kind is None:
        return "not audio, or of a kind that is not known"
    if kind == "MP4" and mp4_is_cut(file, size):
        return "truncated: its index is missing"
    if isinstance(fault, EOFError):
        return "it ends before the sound begins"
    return f"damaged or truncated: it begins like {kind}, but can't be decoded"


def _samples(
    path: str,
    source: Source,
    rate: int,
    offset: float,
    duration: float | None,
    warnings: list[str] | None,
) -> Iterator[Samples]:
    """Yield the requested part of the source, at `rate`, in pieces of any length."""
    warnings = [] if warnings is None else warnings
    first = round(offset * rate)
    count = None
    if duration is not None:
        count = max(1, round((offset + duration) * rate) - first)
    if rate == source.sample_rate:
        blocks = _finite(path, source.blocks(first, warnings), warnings)
        skip = 0
    else:
        # Begin earlier by as much as the filter reaches back, and where a sample of the file
        # and one of the result fall together: then a part equals that part of the whole.
        common = math.gcd(rate, source.sample_rate)
        ours, theirs = rate // common, source.sample_rate // common
        reach = math.ceil(_FILTER_REACH * rate / min(rate, source.sample_rate))
        meeting = max(0, first - reach) // ours
        skip = first - meeting * ours
        read = _finite(path, source.blocks(meeting * theirs, warnings), warnings)
        blocks = _resample(read, source.sample_rate, rate)
    any_sample = False
    for piece in _cut(blocks, skip, count):
        any_sample = True
        yield piece
    if not any_sample:
        length = source.end / source.sample_rate
        raise AudioError(path, f"no sound at {offset:g} s: it is {length:.2f} s long")


def _finite(path: str, blocks: Iterable[Samples], warnings: list[str]) -> Iterator[Samples]:
    """Replace samples that are not finite by silence; refuse a file that has no others."""
    replaced = finite = False
    withheld: list[int] = []  # lengths of the blocks before the first finite sample
    try:
        for block in blocks:
            bad = ~(np.abs(block) <= LOUDEST)  # true of NaN as well
            if bad.any():
                replaced = True
                block[bad] = 0.0
                if not finite and bad.all():
                    withheld.append(len(block))
                    continue
            finite = True
            while withheld:
                yield np.zeros(withheld.pop(), np.float32)
            yield block
        if withheld:
            raise AudioError(path, f"no sound in it: every sample is {_NO_SOUND}")
    finally:
        if replaced and finite:
            warnings.append(f"samples that are {_NO_SOUND} were replaced by silence")


def _resample(blocks: Iterable[Samples], source_rate: int, rate: int) -> Iterator[Samples]:
    resampler = soxr.ResampleStream(source_rate, rate, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _cut(blocks: Iterable[Samples], skip: int, count: int | None) -> Iterator[Samples]:
    """Drop the first `skip` samples and all after the next `count`."""
    for block in blocks:
        piece = block[skip:]
        skip = max(0, skip - len(block))
        if count is not None:
            piece = piece[:count]
            count -= len(piece)
        if len(piece):
            yield piece
        if count == 0:
            return


def _reblock(pieces: Iterable[Samples], length: int) -> Iterator[Samples]:
    """Yield the same samples in blocks of `length`; the last may be shorter."""
    waiting: list[Samples] = []
    total = 0
    for piece in pieces:
        rest = piece
        while total + len(rest) >= length:
            now = length - total
            yield np.concatenate([*waiting, rest[:now]])
            waiting, total, rest = [], 0, rest[now:]
        if len(rest):
            waiting.append(rest)
            total += len(rest)
    if waiting:
        yield np.concatenate(waiting)
