"""From a source to windows: half minutes of a feature, each standardised by itself.

A track is cut into windows so that one of any length is read in constant memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from os import PathLike
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from genrescope import audio
from genrescope.errors import AudioError, FileError
from genrescope.features.base import (
    Change,
    Feature,
    SpectrogramFeature,
    change_over_time,
    standardise,
)
from genrescope.features.silence import Piece, parts_between_silences
from genrescope.features.spectrogram import (
    FloatArray,
    Spectrogram,
    is_stored_spectrogram,
    load_spectrogram,
)

Source = audio.Readable | audio.Waveform | FloatArray
Scale = Literal["track", "bands", "none"]

WINDOW_SECONDS = 30.0
# Music as short as this can be as steady as a tone, so its change is not measured.
CHANGE_SECONDS = 2.5
# What is shorter than a second holds too little music to classify.
SHORTEST_SECONDS = 1.0


@dataclass(frozen=True)
class Window:
    """The scaled feature of one window of a track.

    Attributes
    ----------
    values
        float32 `[size, frames]`.
    silent
        bool `[frames]`, the frames of silence.
    start
        Seconds from the beginning of the track.
    fresh
        First frame that a segment may begin at. It is 0, except in a last window that overlaps
        with the one before it: that window gives a single segment, its last one.
    change
        How much the feature changes over time, before scaling. None where it was not measured,
        as in a window shorter than `CHANGE_SECONDS`.
    """

    values: FloatArray
    silent: NDArray[np.bool_]
    start: float
    fresh: int = 0
    change: Change | None = None


def _do_nothing() -> None:
    """The default of `StreamInfo.on_block`."""


@dataclass
class StreamInfo:
    """Duration and warnings of a track, collected while it is read.

    Attributes
    ----------
    duration
        Seconds read so far.
    warnings
        What is wrong with the file though it could be decoded.
    changes
        How much each window changes over time, see `Window`, where that was computed.
    listen
        How much of the track is read, see `genrescope.inference.listening`.
    on_block
        Called for each block that is decoded, at least once in half a minute of audio, even of
        silence. An exception that it raises ends the reading.
    """

    duration: float = 0.0
    warnings: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    listen: str = "full"
    on_block: Callable[[], None] = field(default=_do_nothing, repr=False, compare=False)


def window_frames(feature: Feature) -> int:
    """Frames of a feature from the beginning of one window to that of the next."""
    return feature.frame_count(int(WINDOW_SECONDS * feature.sample_rate))


@dataclass(frozen=True)
class WindowReader:
    """Reads sources as windows of a feature.

    Attributes
    ----------
    feature
        What is computed.
    scale
        How each window is standardised, see `Frontend`.
    segment_frames
        Frames in a segment. If fewer are left after the last whole window of a track, the last
        window begins earlier, within the one before it.
    """

    feature: Feature
    scale: Scale
    segment_frames: int

    def read(self, source: Source, info: StreamInfo) -> Iterator[Window]:
        """The windows of a source in order of time, see `Frontend.windows`."""
        rate = self.feature.sample_rate
        if isinstance(source, np.ndarray) or self.feature.kind == "stored":
            yield self._window_of_vectors(source, info)
        elif isinstance(source, audio.Waveform):
            blocks = iter([source.resampled(rate).samples])
            yield from self.read_blocks(blocks, "waveform", info)
        elif isinstance(source, str | PathLike) and is_stored_spectrogram(source):
            picture = _read_picture(self.feature, source)
            if picture is None:
                yield from self._windows_of_stored(load_spectrogram(source), source, info)
            else:  # of half a minute, which is one window
                info.duration = picture[0].shape[1] * self.feature.hop_seconds
                _refuse_short(source, info.duration)
                yield self._window(*picture, 0.0)
        else:
            blocks = audio.stream(source, sample_rate=rate, warnings=info.warnings)
            yield from self.read_blocks(blocks, audio.source_name(source), info)

    def _window_of_vectors(self, source: Source, info: StreamInfo) -> Window:
        """The one window of a track's stored vectors, however many they are."""
        from genrescope.features.stored import Stored

        feature = self.feature
        if not isinstance(source, np.ndarray) or not isinstance(feature, Stored):
            name = audio.source_name(source)
            takes = "stored vectors" if feature.kind == "stored" else "audio, not stored vectors"
            raise FileError(name, f"this model takes {takes} (feature {feature.kind})")
        vectors = np.atleast_2d(source)
        fits = vectors.ndim == 2 and len(vectors) and vectors.shape[1] == feature.width
        if not (fits and vectors.dtype.kind in "fiu" and np.isfinite(vectors).all()):
            raise FileError("vectors", f"expected {feature.width} finite numbers in each")
        values = feature.used(vectors).T.astype(np.float32)
        info.duration = values.shape[1] * feature.hop_seconds
        silent = np.zeros(values.shape[1], np.bool_)
        if self.scale != "none":
            values = standardise(values, silent, by_band=self.scale == "bands")
        return Window(values, silent, 0.0)

    def _windows_of_stored(
        self, spectrogram: Spectrogram, source: str | PathLike[str], info: StreamInfo
    ) -> Iterator[Window]:
        feature = self.feature
        if not isinstance(feature, SpectrogramFeature):
            needs = f"a stored spectrogram, but feature {feature.kind} is computed from audio"
            raise FileError(source, needs)
        if abs(spectrogram.hop_seconds - feature.hop_seconds) > 1e-6:
            raise FileError(
                source,
                f"stored at a hop of {spectrogram.hop_seconds * 1000:.1f} ms, "
                f"but this model has one of {feature.hop_seconds * 1000:.1f} ms",
            )
        total = spectrogram.power.shape[1]
        size = window_frames(feature)
        info.duration = total * spectrogram.hop_seconds
        _refuse_short(source, info.duration)
        for start in range(0, total, size):
            left, first = total - start, start
            if start and left * spectrogram.hop_seconds < SHORTEST_SECONDS:
                break
            if start and left < self.segment_frames:
                first = total - size
            power = spectrogram.power[:, first : start + size]
            part = Spectrogram(power, spectrogram.frequencies, spectrogram.hop_seconds)
            yield self._window(
                feature.of_spectrogram(part),
                part.silent,
                first * spectrogram.hop_seconds,
                reaches_back=first < start,
            )

    def read_blocks(
        self, blocks: Iterator[FloatArray], source: str, info: StreamInfo
    ) -> Iterator[Window]:
        """The windows of a stream of samples: of each of its parts between long silences.

        Where all parts are shorter than a second, they are one window, of half a minute at most.

        Parameters
        ----------
        blocks
            float32 `[n]` at the feature's sample rate, of any lengths.
        source
            Name of the track, for errors.
        info
            Gets the duration.
        """
        rate, empty = self.feature.sample_rate, True

        def timed() -> Iterator[FloatArray]:
            for block in blocks:
                info.on_block()
                info.duration += len(block) / rate
                yield block

        pieces = parts_between_silences(timed(), rate)
        short: list[FloatArray] = []
        for _, part in groupby(pieces, key=attrgetter("part")):
            for window in self._windows_of_part(part, short):
                empty = False
                yield window
            if short and (not empty or sum(map(len, short)) > WINDOW_SECONDS * rate):
                short.pop()
        if empty and sum(map(len, short)) >= SHORTEST_SECONDS * rate:
            yield self._window_of_samples(np.concatenate(short), 0)
        elif empty:
            _refuse_short(source, info.duration)
            # The whole track is silent: one window, from which no segment is cut.
            yield self._window_of_samples(np.zeros(round(SHORTEST_SECONDS * rate), np.float32), 0)

    def _windows_of_part(
        self, pieces: Iterator[Piece], short: list[FloatArray]
    ) -> Iterator[Window]:
        """The windows of a part; one that is shorter than a second is added to `short`."""
        feature = self.feature
        advance, rest = window_frames(feature) * feature.hop_length, feature.frame_overlap
        length = advance + rest
        segment = self.segment_frames * feature.hop_length + rest
        buffer = np.zeros(0, np.float32)
        previous = np.zeros(0, np.float32)
        start = position = 0
        for piece in pieces:
            if not (len(buffer) or position):
                start = position = piece.start
            buffer = np.concatenate([buffer, piece.samples])
            while len(buffer) >= length:
                yield self._window_of_samples(buffer[:length], position)
                previous, buffer = buffer[:advance], buffer[advance:]
                position += advance
        if len(buffer) < SHORTEST_SECONDS * feature.sample_rate:
            if position == start:
                short.append(buffer)
            return
        if position == start or len(buffer) >= segment:
            yield self._window_of_samples(buffer, position)
        else:
            # Shorter than a segment: the window begins earlier, so that it holds a whole one.
            back = previous[-(length - len(buffer)) :]
            both = np.concatenate([back, buffer])
            yield self._window_of_samples(both, position - len(back), reaches_back=True)

    def _window_of_samples(
        self, samples: FloatArray, position: int, *, reaches_back: bool = False
    ) -> Window:
        feature = self.feature
        waveform = audio.Waveform(samples, feature.sample_rate)
        start = position / feature.sample_rate
        return self._window(*feature.compute(waveform), start, reaches_back=reaches_back)

    def _window(
        self,
        values: FloatArray,
        silent: NDArray[np.bool_],
        start: float,
        *,
        reaches_back: bool = False,
    ) -> Window:
        change = None
        if self.scale != "none":
            if values.shape[1] * self.feature.hop_seconds >= CHANGE_SECONDS:
                change = change_over_time(values, silent)
            values = standardise(values, silent, by_band=self.scale == "bands")
        fresh = max(0, values.shape[1] - self.segment_frames) if reaches_back else 0
        return Window(values, silent, start, fresh, change)


def _read_picture(
    feature: Feature, source: str | PathLike[str]
) -> tuple[FloatArray, NDArray[np.bool_]] | None:
    """Values and silent frames of a picture; None where it is a stored power spectrogram."""
    # Imported here since most tracks are audio and these imports take time.
    from genrescope.features.image import Image
    from genrescope.features.plotted import is_plotted, load_plotted
    from genrescope.features.sampled_mel import SampledMel, read_picture

    if isinstance(feature, SampledMel):
        return read_picture(feature, source)
    if isinstance(feature, Image) and is_plotted(source):
        values = feature.of_plotted(load_plotted(source))
        return values, np.zeros(values.shape[1], np.bool_)
    return None


def _refuse_short(source: str | PathLike[str], seconds: float) -> None:
    if seconds < SHORTEST_SECONDS:
        lasts = int(100 * seconds) / 100  # rounded down: "1.00 s" would be no reason
        needed = f"at least {SHORTEST_SECONDS:g} s needed"
        raise AudioError(source, f"too short to classify: {lasts:.2f} s, {needed}")
