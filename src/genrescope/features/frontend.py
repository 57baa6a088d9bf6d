"""From a track's file to the arrays a model sees, the same in training and in use.

Conventions
-----------
A track is cut into *windows* of half a minute, each standardised by itself, so that a track of any
length is read in constant memory. A window is cut into overlapping *segments*, which the model sees
one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from pydantic import ConfigDict, Field

from genrescope.errors import NotHereError, UnknownNameError
from genrescope.features.base import Feature, Values
from genrescope.features.registry import make_feature
from genrescope.features.segments import segment_starts
from genrescope.features.spectrogram import FloatArray
from genrescope.features.statistics import Statistic, statistics
from genrescope.features.windows import (
    SHORTEST_SECONDS,
    WINDOW_SECONDS,
    Scale,
    Source,
    StreamInfo,
    Window,
    WindowReader,
    window_frames,
)


@dataclass(frozen=True)
class Segment:
    """One input of a model: float32 `[size, frames]`, with its times in seconds."""

    values: FloatArray
    start: float
    end: float


class SegmentSettings(Values):
    """How windows are cut into segments.

    Attributes
    ----------
    seconds
        Length of a segment.
    overlap
        Fraction of a segment that the next one shares.
    most
        How many segments of a window are used, from its beginning; all by default.
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
        "track": each window is scaled to mean 0 and standard deviation 1. "bands": the same, but
        the mean is subtracted from each band separately. "none": no scaling.
    segments
        Length and overlap.
    pool
        Statistics over the frames of a segment, which make it one vector; none by default.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    feature: dict[str, Any]
    scale: Scale = "track"
    segments: SegmentSettings
    pool: tuple[Statistic, ...] = ()

    def model_post_init(self, _: object) -> None:
        """Raise an error for an unknown feature now, not at the first file."""
        try:
            _ = self.computed
        except UnknownNameError as error:  # a ValueError, which pydantic would replace by its own
            raise NotHereError(str(error)) from None

    @cached_property
    def computed(self) -> Feature:
        """The feature that `feature` has the settings of."""
        return make_feature(self.feature)

    @property
    def hop_seconds(self) -> float:
        """Seconds from frame to frame."""
        return self.computed.hop_seconds

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of a segment as the model sees it: `(size, frames)`."""
        if self.pool:
            return self.computed.size * len(self.pool), 1
        return self.computed.size, self.segment_frames

    @property
    def window_seconds(self) -> tuple[float, float]:
        """Seconds from one window to the next, and seconds of audio that one window needs.

        The second is longer, since the last frame of a window reaches beyond the beginning of the
        next. Long silences, which are left out, are not counted.
        """
        feature = self.computed
        step = window_frames(feature) * feature.hop_length
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
        reader = WindowReader(self.computed, self.scale, self.segment_frames)
        return reader.read(source, info if info is not None else StreamInfo())

    def cuts(self, window: Window) -> list[Window]:
        """Cut a window into pieces as long as a segment; mostly silent ones are left out.

        Where all of them are mostly silent, the least silent one is kept, if at least a second of
        it is not silent. The last piece ends with the window, unless it would repeat nearly all of
        the one before (see `segment_starts`). A window shorter than a segment is repeated to fill
        one; with `pool` it stays as short as it is.
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
        """The segments of a window as the model sees them: its `cuts`, pooled."""
        lasts = min(self.segment_frames, window.values.shape[1]) * self.hop_seconds
        return [
            Segment(_pooled(cut, self.pool), cut.start, cut.start + lasts)
            for cut in self.cuts(window)
        ]


def _pooled(cut: Window, pool: tuple[Statistic, ...]) -> FloatArray:
    """The values of a segment: as they are, or statistics over the frames that are not silent."""
    if not pool:
        return np.ascontiguousarray(cut.values)
    sounding = cut.values[:, ~cut.silent]
    return statistics(sounding if sounding.size else cut.values, pool)[:, None]
