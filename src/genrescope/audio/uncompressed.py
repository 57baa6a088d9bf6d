"""WAV, AIFF, AU and CAF, read by libsndfile.

libsndfile could read more, but FFmpeg reads the rest better: libsndfile's MP3 decoder prints
to stderr, its FLAC decoder gives up at the first damaged frame and can't read a file of
unknown length, and its Ogg decoders take twice as long. Of the uncompressed kinds it is
three times as fast as FFmpeg.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator

import numpy as np
import soundfile

from genrescope.audio.mixdown import Mixer, Samples, begin_of_mix

FAULTS = (soundfile.LibsndfileError, OSError, ValueError, RuntimeError)

_SYSTEM_ERROR = 2  # libsndfile's code where reading the file fails, not interpreting it
_BLOCK_VALUES = 2**16  # samples times channels that are read at once

# libsndfile's log of the header where the size of the sound and of the file disagree.
_SIZES = re.compile(r"(?:data|SSND|Data Size)\s*:\s*(\d+) \(should be (\d+)\)")
# Programs that write to a pipe don't know the size and put the largest there (or near it).
_UNKNOWN_SIZE = 0x7FFF_0000


class UncompressedSource:
    """An open file of uncompressed sound.

    Parameters
    ----------
    descriptor
        An open file, at its first byte. It is not closed here.
    """

    def __init__(self, descriptor: int) -> None:
        self._file = soundfile.SoundFile(descriptor, closefd=False)
        self.sample_rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        self.format: str = self._file.format
        # A WAV may hold MP3 or GSM; FFmpeg reads those better, and can jump in them.
        self.fit = self._file.seekable() and not self._file.subtype.startswith("MPEG")
        self.frames: int = self._file.frames
        self.end: int = self.frames
        self.seekable = True
        self.missing = _missing_seconds(self._file.extra_info, self.frames, self.sample_rate)

    @property
    def duration(self) -> float:
        """Seconds of sound in the file."""
        return self.frames / self.sample_rate

    def close(self) -> None:
        """Forget the file."""
        self._file.close()

    def blocks(self, start: int, warnings: list[str]) -> Iterator[Samples]:
        """Yield the sound from frame `start` on, mixed down, in blocks of float32 [n]."""
        first = start if self.channels == 1 else begin_of_mix(start, self.sample_rate)
        mixer = Mixer(self.sample_rate, first)
        failed: list[str] = []
        passed = start - first
        try:
            for block in mixer.mix(self._read(first, failed)):
                if passed < len(block):
                    yield block[passed:]
                passed = max(0, passed - len(block))
        finally:
            mixer.warn(warnings)
            warnings += failed
        if failed:
            return
        if self.missing:
            warnings.append(
                f"cut short: it should be {self.duration + self.missing:.1f} s long, "
                f"but ends at {self.duration:.1f} s"
            )

    def _read(self, start: int, failed: list[str]) -> Iterator[Samples]:
        """The channels [c, n] from frame `start` on, in blocks; `failed` gets why it ended."""
        # Into one array again and again: memory that is asked for anew costs more than reading.
        block = np.empty((max(1, _BLOCK_VALUES // self.channels), self.channels), np.float32)
        try:
            self._file.seek(min(start, self.frames))
            while count := len(self._file.read(out=block)):
                yield block[:count].T
        except FAULTS as fault:
            if getattr(fault, "code", None) == _SYSTEM_ERROR:
                raise OSError(errno.EIO, os.strerror(errno.EIO)) from fault
            failed.append("the last part could not be decoded")


def _missing_seconds(log: str, frames: int, sample_rate: int) -> float:
    """Tell how much sound the header promises beyond the end of the file.

    0.0 where nothing is missing, infinity where the size of a frame is not known.
    """
    sizes = _SIZES.search(log)
    if sizes is None:
        return 0.0
    promised, present = int(sizes[1]), int(sizes[2])
    if promised <= present or promised >= _UNKNOWN_SIZE:
        return 0.0
    if present == 0 or frames == 0:
        return float("inf")
    return (promised - present) / present * frames / sample_rate
