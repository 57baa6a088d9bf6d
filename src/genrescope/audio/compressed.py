"""Compressed audio, the sound of films, and damaged files, read by FFmpeg through PyAV."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from itertools import chain, islice
from typing import Any, BinaryIO

import av
import numpy as np
import soxr
from av.stream import Discard

from genrescope.audio.files import check_readable
from genrescope.audio.kinds import PLAUSIBLE_RATES
from genrescope.audio.mixdown import Mixer, Rows, Samples
from genrescope.audio.mpeg import read_mp3_header
from genrescope.audio.packets import links_of, open_container
from genrescope.audio.timeline import (
    FAULTS,
    NO_LENGTH,
    Survey,
    declared_seconds,
    name_of,
    needs_survey,
    promised_seconds,
    survey,
)

_NAMES = {
    "mov": "MP4",
    "matroska": "Matroska",
    "asf": "ASF",
    "ogg": "Ogg",
    "wv": "WavPack",
    "rm": "RealMedia",
    "mpegts": "MPEG-TS",
    "mpeg": "MPEG",
    "mpc8": "MPC",
}
# Where a seek was measured to give the samples that decoding from the beginning gives.
_SEEKABLE = frozenset({"aac", "asf", "flac", "matroska", "mov", "mp3", "ogg", "tta", "wav", "wv"})

_FULL_SCALE = {"u8": 2**7, "s16": 2**15, "s32": 2**31, "flt": 1, "dbl": 1}  # PyAV has no s64

_TYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "flt": "f4", "dbl": "f8"}

# After a jump MP3 and AAC need some frames, and Opus 80 ms or more, before they give what they
# would have given without it. Below the second bound jumping saves nothing.
_RUN_UP_SECONDS = 1.0
_WORTH_A_JUMP_SECONDS = 5.0
_MOST_CHANNELS = 8  # FFmpeg keeps those beyond elsewhere
_TOLERATED_SECONDS = 0.25  # encoders round the length they write into the header


class NoSoundError(Exception):
    """The file was opened, but no sound can be decoded from it; the text says why."""


class CompressedSource:
    """An open file that FFmpeg understands.

    Parameters
    ----------
    file
        Open for reading, unbuffered, at its first byte. It is not closed here.

    Raises
    ------
    NoSoundError
        If there is no audio stream, or nothing in it can be decoded.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        # The links of a chained Ogg file are opened one after another.
        self._links = links_of(file, os.fstat(file.fileno()).st_size)
        self._size = os.fstat(file.fileno()).st_size
        self._jumped = self._is_read = False
        self._open()
        try:
            self._head = list(islice(self._frames, 3))
            if not self._head:
                raise NoSoundError(self._why_silent())
        except BaseException:
            self.close()
            raise
        # The decoder knows better than the header: the rate of HE-AAC is twice what is written.
        self.sample_rate: int = self._head[0].sample_rate
        self.channels: int = self._head[0].layout.nb_channels
        name = name_of(self._container)
        self.format: str = _NAMES.get(name, name.upper())
        # The first frame may be shortened and the times may not begin at 0: the second tells.
        timed = len(self._head) > 2 and self._head[1].pts is not None
        self._can_jump = len(self._links) == 1 and name in _SEEKABLE and timed
        self.end = 0

    @property
    def seekable(self) -> bool:
        """Whether a jump lands where decoding from the beginning would come."""
        if not self._can_jump or self._is_trusted:
            return self._can_jump
        if self._mp3.frames is not None:
            told = promised_seconds(self._container, self._stream, self._mp3.frames) or 0.0
            if abs(told - self._survey.seconds) > _TOLERATED_SECONDS:
                return False  # FFmpeg may cut off what the header calls padding, in the middle
        return self._survey.steady

    @property
    def duration(self) -> float:
        """Seconds of sound: by the header where that is right, else by all packets."""
        declared = declared_seconds(self._container, self._stream)
        promised = self._promised
        if len(self._links) > 1 and promised is not None:
            return promised
        if declared is None or not self._is_trusted:
            known = self._survey.seconds
            guessed = name_of(self._container) in NO_LENGTH
            if declared is None or guessed or abs(known - declared) > _TOLERATED_SECONDS:
                decoded: float = sum(frame.samples for frame in self._head) / self.sample_rate
                return max(decoded, known)
        if promised is not None and abs(promised - declared) > _TOLERATED_SECONDS:
            return promised  # FFmpeg guessed, for tags at the end made the file too long
        return declared

    def close(self) -> None:
        """Free the memory of FFmpeg."""
        self._container.close()

    @property
    def _is_trusted(self) -> bool:
        """Whether the header, or the format, tells the length of the sound and where it is."""
        if name_of(self._container) == "mp3":
            return self._mp3.is_whole is True
        return not needs_survey(self._container, self._stream)

    @cached_property
    def _survey(self) -> Survey:
        try:
            return survey(self._file.fileno(), self._reopened)
        except (*FAULTS, NoSoundError):  # someone is writing to the file
            return Survey(0.0, 0.0, False)

    def _reopened(self) -> tuple[Any, Any]:
        self.close()
        self._open()
        self._is_read = True
        return self._container, self._stream

    def blocks(self, start: int, warnings: list[str]) -> Iterator[Samples]:
        """Yield the sound from sample `start` on, mixed down, in blocks of float32 [n]."""
        position = 0
        frames: Iterator[Any] = chain(self._head, self._frames)
        if start > _WORTH_A_JUMP_SECONDS * self.sample_rate and self.seekable:
            position, frames = self._jump(start)
            self._jumped = True
        elif self._is_read:
            position, frames = self._from_the_beginning()
        mixer = Mixer(self.sample_rate, position)
        try:
            for block in self._mono(frames, mixer):
                passed = max(0, start - position)
                position += len(block)
                self.end = position
                if passed < len(block):
                    yield block[passed:]
        finally:
            mixer.warn(warnings)
        self._report(warnings)

    def _open(self) -> None:
        self._mp3 = read_mp3_header(self._file, self._size)
        self._promised = None if len(self._links) == 1 else self._seconds_of_links()
        self._next_link = 0
        self._open_link()
        if len(self._links) == 1:
            frames = None if self._mp3.is_whole is False else self._mp3.frames
            self._promised = promised_seconds(self._container, self._stream, frames)
        self._frames = self._decode()
        self._packets = self._damaged = 0
        self._broken_off = False

    def _open_link(self) -> None:
        """Open the next link of a chain, or the file itself."""
        self._file.seek(0)
        start, end = self._links[self._next_link]
        self._next_link += 1
        if len(self._links) == 1:
            self._container = open_container(self._file)
        else:
            self._container = open_container(self._file, end, start)
        stream = self._container.streams.best("audio")
        if stream is None:
            only_video = bool(self._container.streams.video)
            self._container.close()
            raise NoSoundError("no sound in it" + (": only video" if only_video else ""))
        self._stream = stream
        for other in self._container.streams:
            if other is not self._stream:
                other.discard = Discard.all  # their bytes are skipped, not read

    def _seconds_of_links(self) -> float:
        """The length of a chain: the sum of its links', as far as they can be opened."""
        seconds = 0.0
        self._next_link = 0
        while self._next_link < len(self._links):
            with suppress(*FAULTS, NoSoundError):
                self._open_link()
                seconds += declared_seconds(self._container, self._stream) or 0.0
                self._container.close()
        return seconds

    def _decode(self) -> Iterator[Any]:
        """Yield the frames from where the container stands, and those of the next links."""
        yield from self._decode_link()
        while self._next_link < len(self._links):
            self._container.close()
            any_frame = False
            with suppress(*FAULTS, NoSoundError):
                self._open_link()
                for frame in self._decode_link():
                    any_frame = True
                    yield frame
            self._damaged += not any_frame

    def _decode_link(self) -> Iterator[Any]:
        """Yield the frames from where the container stands; step over what is damaged."""
        if self._stream.codec_context is None:
            return
        packets = self._container.demux(self._stream)
        unread = 0  # in a row: what follows the last frame is no music but tags or padding
        while True:
            try:
                packet = next(packets, None)
            except FAULTS:
                self._broken_off = True
                return
            if packet is None:
                return
            self._packets += bool(packet.size)
            try:
                frames = packet.decode()
            except FAULTS:
                unread += 1
                continue
            for frame in filter(_is_sane, frames):
                self._damaged += unread
                unread = 0
                yield frame

    def _jump(self, start: int) -> tuple[int, Iterator[Any]]:
        """Go near sample `start`; give the position of the next frame and the frames."""
        try:
            landed = self._try_jump(start)
        except FAULTS:
            landed = None
        return landed or self._from_the_beginning()

    def _from_the_beginning(self) -> tuple[int, Iterator[Any]]:
        self.close()
        try:
            self._open()
        except (*FAULTS, NoSoundError):  # someone is writing to the file
            self._broken_off = True
            return 0, iter(())
        return 0, self._frames

    def _try_jump(self, start: int) -> tuple[int, Iterator[Any]] | None:
        tick = float(self._stream.time_base) * self.sample_rate  # in samples
        target = start - _RUN_UP_SECONDS * self.sample_rate - self._head[0].samples
        origin = self._head[1].pts
        self._container.seek(origin + int(target / tick), stream=self._stream, backward=True)
        frames = self._decode()
        landed = list(islice(frames, 3))
        if len(landed) < 3 or landed[1].pts is None:
            return None
        if any(frame.sample_rate != self.sample_rate for frame in landed):
            return None  # at another rate what was before has another length
        since_origin = (landed[1].pts - origin) * tick
        # Matroska and ASF keep times in milliseconds. Where all frames are of one length, the
        # frame's number gives its place to the sample.
        lengths = {frame.samples for frame in (*self._head[1:], *landed[1:])}
        if len(lengths) == 1:
            (length,) = lengths
            on_grid = round(since_origin / length) * length
            if abs(on_grid - since_origin) > 2 * tick:
                return None  # something is missing before it
            since_origin = on_grid
        elif tick > 1:
            return None
        position = round(since_origin) + self._head[0].samples - landed[0].samples
        if not 0 <= position <= start:
            return None
        return position, chain(landed, frames)

    def _mono(self, frames: Iterator[Any], mixer: Mixer) -> Iterator[Samples]:
        """Mix the frames down to blocks at the rate of the first one."""
        rate, resample = self.sample_rate, None
        for frame in _joined(frames, mixer):
            if frame.sample_rate != rate:
                yield from _resampled(mixer.flush(), resample, last=True)
                rate, resample = frame.sample_rate, None
                if rate != self.sample_rate:  # a spliced recording
                    resample = soxr.ResampleStream(rate, self.sample_rate, 1, dtype="float32")
            yield from _resampled(mixer.add(*_channels(frame)), resample)
        yield from _resampled(mixer.flush(), resample, last=True)

    def _report(self, warnings: list[str]) -> None:
        """Say what was missing once the end has been reached."""
        promised, decoded = self._promised, self.end / self.sample_rate
        is_short = promised is not None and promised - decoded > _TOLERATED_SECONDS
        # Reading it once more, to check, begins these anew.
        broken_off, damaged = self._broken_off, self._damaged
        if is_short or broken_off or damaged:
            self._check_reading()
        is_timed = len(self._links) == 1 and not self._is_trusted
        gaps = self._survey.gaps if is_short and is_timed else 0.0
        if promised is not None and is_short and promised - decoded < gaps + _TOLERATED_SECONDS:
            warnings.append(
                f"damaged or recorded with gaps: its timestamps leave out {gaps:.1f} s of "
                f"{promised:.1f} s"
            )
        elif promised is not None and is_short:
            warnings.append(
                f"damaged or cut short: {promised - decoded:.1f} s of {promised:.1f} s "
                "could not be decoded"
            )
        elif broken_off:
            warnings.append("the last part could not be decoded")
        elif damaged:
            warnings.append("damaged: some pieces could not be decoded and were left out")

    def _check_reading(self) -> None:
        """Raise OSError where not the file's content but reading it is why something is missing.

        FFmpeg's errors don't tell: it reports a cut file as an error of the disk, too.
        """
        check_readable(self._file, self._size)
        if self._jumped:
            return
        read = self._packets
        self.close()
        try:
            self._open()
            for packet in self._container.demux(self._stream):
                self._packets += bool(packet.size)
        except (*FAULTS, NoSoundError):
            pass  # as the first time, or worse
        if self._packets > read:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def _why_silent(self) -> str:
        if self._stream.codec_context is None:
            return "its sound is of a kind that can't be decoded"
        if self._packets == 0 and not self._broken_off:
            if self._promised:
                return "truncated: it ends before the sound begins"
            return "no samples in it"
        return "damaged or truncated: nothing in it can be decoded"


def _is_sane(frame: Any) -> bool:
    """Whether a frame can be music, and be read.

    Damaged AAC can pretend to dozens of channels, and memory that FFmpeg then hands on for those
    beyond the eighth is not always there to be read.
    """
    plausible: bool = frame.samples > 0 and frame.sample_rate in PLAUSIBLE_RATES
    plausible = plausible and frame.layout.nb_channels <= _MOST_CHANNELS
    return plausible and frame.format.name.removesuffix("p") in _FULL_SCALE


def _joined(frames: Iterator[Any], mixer: Mixer) -> Iterator[Any]:
    """Join frames to as much as the mixer takes at once; there are up to a hundred a second.

    A block ends with the frame that completes a stretch of the mixer, as if each frame were added
    by itself.
    """
    fifo, kind, held = av.AudioFifo(), None, 0
    for frame in frames:
        # FFmpeg's queue does not look at the number of channels.
        own = (frame.format.name, frame.layout.nb_channels, frame.sample_rate)
        if own != kind:
            if held:
                yield fifo.read()
            fifo, kind, held = av.AudioFifo(), own, 0
        pts, frame.pts = frame.pts, None  # it would refuse a gap
        try:
            fifo.write(frame)
        except ValueError:  # times in other units: the next link of a chain
            if held:
                yield fifo.read()
            fifo, held = av.AudioFifo(), 0
            fifo.write(frame)
        frame.pts = pts
        held += frame.samples
        if held >= mixer.room:
            yield fifo.read()
            held = 0
    if held:
        yield fifo.read()


def _channels(frame: Any) -> tuple[Rows, float]:
    """The samples of a frame, channel by channel, and their full scale."""
    name, count = frame.format.name, frame.samples
    kind = name.removesuffix("p")
    # Where FFmpeg has them; `frame.to_ndarray` would copy.
    planes = [np.frombuffer(plane, _TYPES[kind]) for plane in frame.planes]
    if name == kind:  # the channels are interleaved
        channels: int = frame.layout.nb_channels
        planes = [*planes[0][: count * channels].reshape(-1, channels).T]
    rows = [plane[:count] for plane in planes]
    if kind == "u8":
        rows = [row.astype(np.float32) - 128 for row in rows]
    elif kind == "dbl":
        with np.errstate(over="ignore"):  # infinite is replaced later, with a warning
            rows = [row.astype(np.float32) for row in rows]
    return rows, _FULL_SCALE[kind]


def _resampled(
    blocks: Iterable[Samples], resample: soxr.ResampleStream | None, *, last: bool = False
) -> Iterator[Samples]:
    """Bring blocks to the rate of a file's beginning, if they are at another one."""
    if resample is None:
        yield from blocks
        return
    for block in blocks:
        yield resample.resample_chunk(block)
    if last:
        yield resample.resample_chunk(np.zeros(0, np.float32), last=True)
