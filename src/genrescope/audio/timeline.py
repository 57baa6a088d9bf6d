"""How long the sound of a compressed file is, and whether its timestamps say where it is.

Conventions
-----------
The time of a sample is the number of samples that were decoded before it. Timestamps agree with
that in ordinary files. They don't where a recording lost packets, where files were joined, or where
a program wrote wrong ones: then a jump to a time would land elsewhere, and the length that follows
from them is that of no sound. `survey` finds out by reading all packets without decoding them.
"""

from __future__ import annotations

import os
from array import array
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import av
import numpy as np

FAULTS = (av.FFmpegError, OSError, ValueError, ArithmeticError, LookupError, RuntimeError)

# Without a length in the header: FFmpeg guesses one from the bit rate, or takes the film's.
NO_LENGTH = frozenset(
    {
        *("aac", "ac3", "amr", "dts", "dtshd", "eac3", "loas", "mlp", "mp3", "mpeg", "mpegts"),
        "truehd",
    }
)
# With times of their own for packets; others count samples.
_TIMED = frozenset({"asf", "flv", "matroska", "mov", "ogg"})
# Where all packets have to be of one length: in raw MP3 and AAC the sample rate would change else.
# The times of MP4 are lengths of packets, so that one before a gap is as long as that.
_ALIKE = frozenset({"aac", "mov", "mp3"})

_ADTS_RATES = (
    *(96_000, 88_200, 64_000, 48_000, 44_100, 32_000),
    *(24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350),
)

_TICKS = 2.5  # how far rounded times and lengths differ
_VORBIS_SECONDS = 0.03  # FFmpeg does not always know the length of Vorbis' packets
_COARSE_SECONDS = 1e-4
_FEW_PACKETS = 3  # MP4's header counts those that are cut off at the beginning and end
_MOST_KEPT = 256


@dataclass(frozen=True)
class Survey:
    """What all packets of a stream say together.

    Attributes
    ----------
    seconds
        How long they are, without gaps between them.
    gaps
        Seconds that timestamps leave out; overlaps are not counted.
    steady
        Whether a packet's timestamp tells how much sound is before it.
    """

    seconds: float
    gaps: float
    steady: bool


_known: OrderedDict[tuple[int, ...], Survey] = OrderedDict()


def survey(descriptor: int, opened: Callable[[], tuple[Any, Any]]) -> Survey:
    """Read all packets of a stream, unless that was done before.

    Parameters
    ----------
    descriptor
        Of the open file, by which what is found is remembered until the file changes.
    opened
        Gives the container and the stream, at their beginning.
    """
    status = os.fstat(descriptor)
    key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    found = _known.get(key)
    if found is None:
        found = _known[key] = _surveyed(*opened())
        while len(_known) > _MOST_KEPT:
            _known.popitem(last=False)
    return found


def needs_survey(container: Any, stream: Any) -> bool:
    """Whether only the packets tell about this stream's times, not its format or its header."""
    name = name_of(container)
    if name == "mov" and stream.frames and stream.duration:
        codec = stream.codec_context
        frame = codec.frame_size / max(1, codec.sample_rate)
        excess = stream.frames * frame - float(stream.duration * stream.time_base)
        return not (frame and abs(excess) <= _FEW_PACKETS * frame)
    return name in _TIMED or name in NO_LENGTH


def _surveyed(container: Any, stream: Any) -> Survey:
    times, lengths, rates = array("q"), array("q"), array("b")
    is_adts = name_of(container) == "aac"
    try:
        for packet in container.demux(stream):
            if packet.pts is not None:
                times.append(packet.pts)
                lengths.append(packet.duration or 0)
                if is_adts:
                    rates.append(_adts_rate(memoryview(packet)))
    except FAULTS:
        pass  # only what was read until then can be decoded
    if not times:
        return Survey(0.0, 0.0, False)
    start, length = np.array(times), np.array(lengths)
    if len(set(rates)) > 1:  # which FFmpeg does not look at
        hertz = np.array(_ADTS_RATES)[np.array(rates)]
        seconds = float((length * (hertz[0] / hertz)).sum() * stream.time_base)
        return Survey(seconds, 0.0, False)
    known = length[length > 0]
    values, counts = np.unique(known, return_counts=True)
    usual = int(values[counts.argmax()]) if len(values) else 0
    length[(length == 0) | (length > 2 * usual)] = usual
    tick = float(stream.time_base)
    slack = _TICKS
    is_vorbis = stream.codec_context.name == "vorbis"
    if is_vorbis:
        slack = max(slack, _VORBIS_SECONDS / tick)
    gaps = np.diff(start) - length[:-1]
    gaps[np.abs(gaps) <= slack] = 0
    # Times in milliseconds tell the sample only where all frames are of one length.
    steady = not gaps[1:].any() and not (is_vorbis and tick > _COARSE_SECONDS)
    if name_of(container) in _ALIKE:
        steady = steady and len(np.unique(length[1:-1])) <= 1
    # What is before time 0 is cut off by the decoder.
    seconds = float(start[-1] + length[-1] - max(0, start[0]) - gaps.sum()) * tick
    return Survey(max(0.0, seconds), float(gaps[gaps > 0].sum()) * tick, steady)


def _adts_rate(packet: memoryview) -> int:
    """The number of the sample rate in the header of a frame of AAC (ISO/IEC 13818-7, 6.2.1)."""
    return min(packet[2] >> 2 & 15, len(_ADTS_RATES) - 1) if len(packet) > 2 else 0


def name_of(container: Any) -> str:
    """The first of FFmpeg's names of a container's format."""
    name: str = container.format.name
    return name.split(",")[0]


def declared_seconds(container: Any, stream: Any) -> float | None:
    """Read the length of the sound from the header; FFmpeg may have estimated it."""
    if (stream.duration or 0) > 0:  # damaged files may name a negative one
        return float(stream.duration * stream.time_base)
    if (container.duration or 0) > 0:
        return float(container.duration / 1e6)
    return None


def promised_seconds(container: Any, stream: Any, frames_of_mp3: int | None) -> float | None:
    """Give the length only where the file itself states it for its sound."""
    name = name_of(container)
    if name == "mp3" and frames_of_mp3:
        rate: int = stream.codec_context.sample_rate
        return frames_of_mp3 * (1152 if rate >= 32_000 else 576) / max(1, rate)
    if name in NO_LENGTH:
        return None
    if not stream.duration and len(container.streams) > 1:
        return None  # the length of the whole film
    return declared_seconds(container, stream)
