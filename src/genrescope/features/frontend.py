"""From a track's file to the arrays a model sees, the same in training and in use.

Conventions
-----------
A track is cut into *windows* of half a minute, each standardised by itself, so that a track of any
length is read in constant memory. A window is cut into overlapping *segments*, which the model sees
one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from operator import attrgetter
from os import PathLike
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from genrescope import audio
from genrescope.errors import AudioError, FileError, NotHereError, UnknownNameError
from genrescope.features.base import (
    Change,
    Feature,
    SpectrogramFeature,
    Values,
    change_over_time,
    standardise,
)
from genrescope.features.registry import make_feature
from genrescope.features.segments import segment_starts
from genrescope.features.silence import Piece, parts_between_silences
from genrescope.features.spectrogram import (
    FloatArray,
    Spectrogram,
    is_stored_spectrogram,
    load_spectrogram,
)
from genrescope.features.statistics import Statistic, statistics

Source = audio.Readable | audio.Waveform | FloatArray

WINDOW_SECONDS = 30.0
# Less music than this can be as steady as a tone.
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
        First frame that a segment may begin at. It is 0 but for a last window that begins before
        the end of the window before it, of which one segment is left to classify.
    change
        How much the feature changes over time, before scaling. None where it was not measured,
        and of less than `CHANGE_SECONDS`.
    """

    values: FloatArray
    silent: NDArray[np.bool_]
    start: float
    fresh: int = 0
    change: Change | None = None


@dataclass(frozen=True)
class Segment:
    """One input of a model: float32 `[size, frames]`, with its times in seconds."""

    values: FloatArray
    start: float
    end: float


def _go_on() -> None:
    """Do nothing."""


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
        Called for each half minute that is read of a file, also of silence; what it raises ends the
        reading.
    """

    duration: float = 0.0
    warnings: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    listen: str = "full"
    on_block: Callable[[], None] = field(default=_go_on, repr=False, compare=False)


class SegmentSettings(Values):
    """How windows are cut into segments.

    Attributes
    ----------
    seconds
        Length of a segment.
    overlap
        Fraction of a segment that the next one shares.
    most
        The first so many segments of a window are used; all by default.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    seconds: float = Field(gt=0, le=WINDOW_SECONDS)
    overlap: float = Field(0.5, ge=0, lt=1)
    most: int | None = Field(None, ge=1, exclude_if=lambda most: most is None)


class Frontend(Values):
    """Feature, scaling and segments: all that lies between a file and a model.

    Attributes
    ----------
    feature
        Settings of the feature, with its `kind`.
    scale
        "track": each window is brought to mean 0 and deviation 1. "bands": so is each window, but
        each band to mean 0 by itself. "none": left as it is.
    segments
        Length and overlap.
    pool
        Statistics over the frames of a segment, which then is one vector; none by default.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    feature: dict[str, Any]
    scale: Literal["track", "bands", "none"] = "track"
    segments: SegmentSettings
    pool: tuple[Statistic, ...] = ()

    def model_post_init(self, _: object) -> None:
        """Refuse an unknown feature at once, not at the first file."""
        try:
            _ = self.computed
        except UnknownNameError as error:  # of a ValueError pydantic would make its own error
            raise NotHereError(str(error)) from None

    @cached_property
    def computed(self) -> Feature:
        """The feature itself."""
        return make_feature(self.feature)

    @property
    def hop_seconds(self) -> float:
        """Seconds from frame to frame."""
        return self.computed.hop_seconds

    @property
    def shape(self) -> tuple[int, int]:
        """Of a segment as the model sees it: size and frames."""
        if self.pool:
            return self.computed.size * len(self.pool), 1
        return self.computed.size, self.segment_frames

    @property
    def window_seconds(self) -> tuple[float, float]:
        """Seconds from one window of audio to the next, and of one with the end of its last frame.

        Where no long silence is left out.
        """
        feature = self.computed
        step = feature.frame_count(int(WINDOW_SECONDS * feature.sample_rate)) * feature.hop_length
        length = step + feature.frame_overlap
        return step / feature.sample_rate, length / feature.sample_rate

    @property
    def segment_frames(self) -> int:
        """Frames in a segment."""
        return max(1, round(self.segments.seconds / self.hop_seconds))

    @property
    def segment_step(self) -> int:
        """Frames from one segment to the next."""
        return max(1, round(self.segment_frames * (1 - self.segments.overlap)))

    def windows(self, source: Source, info: StreamInfo | None = None) -> Iterator[Window]:
        """The windows of an audio file, a waveform, a stored spectrogram or stored vectors.

        Parameters
        ----------
        source
            A file, a mono waveform at any sample rate, or vectors `[frames, size]` where the
            feature is of the kind "stored".
        info
            Gets the duration and the warnings.

        Raises
        ------
        AudioError
            When the file can't be decoded or is shorter than `SHORTEST_SECONDS`.
        FileError
            When a stored spectrogram can't be read, or the feature can't be computed from it.
        """
        info = info if info is not None else StreamInfo()
        rate = self.computed.sample_rate
        if isinstance(source, np.ndarray) or self.computed.kind == "stored":
            yield self._window_of_vectors(source, info)
        elif isinstance(source, audio.Waveform):
            blocks = iter([source.resampled(rate).samples])
            yield from self._windows_of_blocks(blocks, "waveform", info)
        elif isinstance(source, str | PathLike) and is_stored_spectrogram(source):
            picture = _read_picture(self.computed, source)
            if picture is None:
                yield from self._windows_of_stored(load_spectrogram(source), source, info)
            else:  # of half a minute, which is one window
                info.duration = picture[0].shape[1] * self.hop_seconds
                _refuse_short(source, info.duration)
                yield self._window(*picture, 0.0)
        else:
            blocks = audio.stream(source, sample_rate=rate, warnings=info.warnings)
            yield from self._windows_of_blocks(blocks, audio.source_name(source), info)

    def _window_of_vectors(self, source: Source, info: StreamInfo) -> Window:
        """Stored vectors are one window, however long the track."""
        from genrescope.features.stored import Stored

        feature = self.computed
        if not isinstance(source, np.ndarray) or not isinstance(feature, Stored):
            name = audio.source_name(source)
            takes = "stored vectors" if feature.kind == "stored" else "audio, not stored vectors"
            raise FileError(name, f"this model takes {takes} (feature {feature.kind})")
        vectors = np.atleast_2d(source)
        fits = vectors.ndim == 2 and len(vectors) and vectors.shape[1] == feature.width
        if not (fits and vectors.dtype.kind in "fiu" and np.isfinite(vectors).all()):
            raise FileError("vectors", f"expected {feature.width} finite numbers in each")
        values = feature.used(vectors).T.astype(np.float32)
        info.duration = values.shape[1] * self.hop_seconds
        silent = np.zeros(values.shape[1], np.bool_)
        if self.scale != "none":
            values = standardise(values, silent, by_band=self.scale == "bands")
        return Window(values, silent, 0.0)

    def _windows_of_stored(
        self, spectrogram: Spectrogram, source: str | PathLike[str], info: StreamInfo
    ) -> Iterator[Window]:
        feature = self.computed
        if not isinstance(feature, SpectrogramFeature):
            needs = f"a stored spectrogram, but feature {feature.kind} is computed from audio"
            raise FileError(source, needs)
        if abs(spectrogram.hop_seconds - self.hop_seconds) > 1e-6:
            raise FileError(
                source,
                f"stored at a hop of {spectrogram.hop_seconds * 1000:.1f} ms, "
                f"but this model has one of {self.hop_seconds * 1000:.1f} ms",
            )
        total = spectrogram.power.shape[1]
        size = feature.frame_count(int(WINDOW_SECONDS * feature.sample_rate))
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

    def _windows_of_blocks(
        self, blocks: Iterator[FloatArray], source: str, info: StreamInfo
    ) -> Iterator[Window]:
        """The windows of each part between long silences; where all are too short, one of all."""
        rate, empty = self.computed.sample_rate, True

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
                short.pop()  # half a minute of pieces tells enough
        if empty and sum(map(len, short)) >= SHORTEST_SECONDS * rate:
            yield self._window_of_samples(np.concatenate(short), 0)
        elif empty:
            _refuse_short(source, info.duration)
            # Nothing in it is audible: a window without a segment.
            yield self._window_of_samples(np.zeros(round(SHORTEST_SECONDS * rate), np.float32), 0)

    def _windows_of_part(
        self, pieces: Iterator[Piece], short: list[FloatArray]
    ) -> Iterator[Window]:
        """The windows of a part; one that is shorter than a second is added to `short`."""
        feature = self.computed
        frames = feature.frame_count(int(WINDOW_SECONDS * feature.sample_rate))
        advance, rest = frames * feature.hop_length, feature.frame_overlap
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
            short += [buffer] * (position == start)
            return
        if position == start or len(buffer) >= segment:
            yield self._window_of_samples(buffer, position)
        else:
            # Too little for a segment of its own: it is read with what came before it.
            back = previous[-(length - len(buffer)) :]
            both = np.concatenate([back, buffer])
            yield self._window_of_samples(both, position - len(back), reaches_back=True)

    def _window_of_samples(
        self, samples: FloatArray, position: int, *, reaches_back: bool = False
    ) -> Window:
        feature = self.computed
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
            if values.shape[1] * self.hop_seconds >= CHANGE_SECONDS:
                change = change_over_time(values, silent)
            values = standardise(values, silent, by_band=self.scale == "bands")
        fresh = max(0, values.shape[1] - self.segment_frames) if reaches_back else 0
        return Window(values, silent, start, fresh, change)

    def cuts(self, window: Window) -> list[Window]:
        """Cut a window into stretches that become segments; mostly silent ones are left out.

        Where all of them are mostly silence, the one with the least of it is kept, if at
        least a second of it is not silent. The last stretch ends with the window, unless it would
        repeat nearly all of the one before (see `segment_starts`). A window shorter than a segment
        is repeated to fill one, or pooled as it is.
        """
        length, total = self.segment_frames, window.values.shape[1]
        values, silent = window.values, window.silent
        if self.pool:
            length = min(length, total)
        if total < length:
            values = np.pad(values, ((0, 0), (0, length - total)), mode="wrap")
            silent = np.pad(silent, (0, length - total), mode="wrap")
        frames = values.shape[1]
        starts = segment_starts(
            frames, length, self.segment_step, first=window.fresh, reach_end=True
        )[: self.segments.most]
        sounding = {start: 1 - silent[start : start + length].mean() for start in starts}
        kept = [start for start in starts if sounding[start] >= 0.5]
        most = max(starts, key=sounding.__getitem__)
        if not kept and sounding[most] * length * self.hop_seconds >= SHORTEST_SECONDS:
            kept = [most]
        return [
            Window(
                values[:, start : start + length],
                silent[start : start + length],
                window.start + start * self.hop_seconds,
            )
            for start in kept
        ]

    def segments_of(self, window: Window) -> list[Segment]:
        """The segments of a window, as the model sees them, see `cuts`."""
        lasts = min(self.segment_frames, window.values.shape[1]) * self.hop_seconds
        return [
            Segment(_pooled(cut, self.pool), cut.start, cut.start + lasts)
            for cut in self.cuts(window)
        ]


def _read_picture(
    feature: Feature, source: str | PathLike[str]
) -> tuple[FloatArray, NDArray[np.bool_]] | None:
    """The values and silent frames of a picture that is no power spectrogram; else None."""
    # Imported here, for most tracks are audio: classes of features take a while to make.
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


def _pooled(cut: Window, pool: tuple[Statistic, ...]) -> FloatArray:
    """A stretch as a segment: as it is, or statistics over the frames that are not silent."""
    if not pool:
        return np.ascontiguousarray(cut.values)
    sounding = cut.values[:, ~cut.silent]
    return statistics(sounding if sounding.size else cut.values, pool)[:, None]
