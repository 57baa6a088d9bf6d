"""From several channels to one, also where the channels cancel each other out.

Conventions
-----------
The mono signal is the mean of the channels. Where channels have opposite phase, as in a recording
with one channel inverted, their mean loses what they have in common, in all frequencies or in some.
So each stretch of three seconds is examined: the power of the sum of channels is compared with the
sum of their powers, for all channels and for each pair, in each of a few bands, and in each second
over all frequencies. The ratio is 1 for unrelated channels, more for related ones, and 0 where they
cancel. Stereo music has ratios above 0.33 in each band and 0.49 overall (measured on 40
recordings). A stretch with a ratio below `_CANCELLED` in a band, or `_CANCELLED_OVERALL`, is mixed
in another way: with the signs that make most channels add up (for two channels, half their
difference), or where that loses sound, too, by taking one channel. All other music is mixed as its
mean, to the bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Rows = NDArray[Any] | Sequence[NDArray[Any]]
"""Channels: an array [c, n], or an array [n] for each."""

_STRETCH_SECONDS = 3.0
_SHORTEST_SECONDS = 0.5  # a shorter stretch, at the end, is mixed as the one before
_FADE_SECONDS = 0.05
_FRAMES = 12  # STFT frames that are examined in each stretch
_PARTS = 3  # of a stretch, of a second each
_BANDS = (60.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)  # edges in Hz
_CANCELLED = 0.15
_CANCELLED_OVERALL = 0.25
_RELEVANT = 1e-4  # of the power of the loudest band
_AUDIBLE = 1e-8  # mean square, -80 dB of full scale
_PAIR = 0.25  # of the power of a band that two channels must have for their sum to matter


def mean_of_channels(channels: NDArray[Any], full_scale: float = 1.0) -> Samples:
    """The mean of `channels` [c, n], divided by `full_scale`, as new float32 [n]."""
    count = len(channels)
    return _weighted(channels, np.full(count, 1 / (count * full_scale), np.float32))


def begin_of_mix(position: int, sample_rate: int) -> int:
    """The frame to begin with so that all from `position` on is mixed as in the whole stream.

    The beginning of a stretch: of the one before where `position` is in the fade from that one, or
    in a last stretch that is too short to be examined.
    """
    before = max(0, position - round(_SHORTEST_SECONDS * sample_rate))
    return before - before % max(1, round(_STRETCH_SECONDS * sample_rate))


class Mixer:
    """Mixes a stream of channels down, stretch by stretch.

    Parameters
    ----------
    sample_rate
        Sample rate of the stream, in Hz.
    position
        Frames of the stream before the first one that is added.

    Attributes
    ----------
    mended
        Seconds that were not mixed as the mean.
    room
        Frames that complete the stretch.
    """

    def __init__(self, sample_rate: int, position: int = 0) -> None:
        self.sample_rate = sample_rate
        self.mended = 0.0
        self._length = max(1, round(_STRETCH_SECONDS * sample_rate))
        self.room = self._length - position % self._length
        # One stretch, float32 [c, n]; memory that is asked for anew costs more than the sums.
        self._buffer = np.zeros((0, 0), np.float32)
        self._filled = 0
        self._full_scale = 1.0
        self._started = False
        self._weights: NDArray[np.float64] | None = None  # of the last stretch; None is the mean

    def mix(self, pieces: Iterable[NDArray[Any]], full_scale: float = 1.0) -> Iterator[Samples]:
        """Mix pieces [c, n] of any lengths down to float32 [n], stretch by stretch."""
        for piece in pieces:
            yield from self.add(piece, full_scale)
        yield from self.flush()

    def add(self, piece: Rows, full_scale: float = 1.0) -> tuple[Samples, ...]:
        """Add a piece [c, n], and return the stretches that it completes, if any."""
        done: tuple[Samples, ...] = ()
        while len(piece[0]) > self.room:  # a stretch ends where it ends, not with the piece
            rest = [row[self.room :] for row in piece]
            done += self.add([row[: self.room] for row in piece], full_scale)
            piece = rest
        channels, count = len(piece), len(piece[0])
        if channels != len(self._buffer) or full_scale != self._full_scale:
            done = self.flush()
            self._buffer = np.empty((channels, self._length), np.float32)
            self._full_scale = full_scale
        end = self._filled + count
        for row, values in zip(self._buffer, piece, strict=True):
            row[self._filled : end] = values
        self._filled = end
        self.room -= count
        if not self.room:
            done += self.flush()
            self.room = self._length
        return done

    def flush(self) -> tuple[Samples, ...]:
        """Mix what was added and not yet mixed, as one block, if there is any."""
        total, self._filled = self._filled, 0
        if not total:
            return ()
        channels = self._buffer[:, :total]
        before, first = self._weights, not self._started
        self._started = True
        if len(channels) == 1:
            self._weights = None
        elif first or total >= _SHORTEST_SECONDS * self.sample_rate:
            self._weights = _weights_of(channels, self.sample_rate, self._full_scale)
        if self._weights is None and (before is None or first):
            return (mean_of_channels(channels, self._full_scale),)
        if self._weights is not None:
            self.mended += total / self.sample_rate
        mixed = self._by(self._weights, channels)
        if not (first or np.array_equal(before, self._weights)):  # type: ignore[arg-type]
            fade = min(total, max(1, round(_FADE_SECONDS * self.sample_rate)))
            share = (np.arange(1, fade + 1) / fade).astype(np.float32)
            old = self._by(before, channels[:, :fade])
            mixed[:fade] = share * mixed[:fade] + (1 - share) * old
        return (mixed,)

    def warn(self, warnings: list[str]) -> None:
        """Append what was done about channels that cancel each other out."""
        if self.mended:
            warnings.append(
                "the channels have opposite phase and cancel each other out: "
                f"{self.mended:.1f} s were mixed without loss of sound"
            )

    def _by(self, weights: NDArray[np.float64] | None, channels: NDArray[Any]) -> Samples:
        if weights is None or len(weights) != len(channels):
            return mean_of_channels(channels, self._full_scale)
        return _weighted(channels, (weights / self._full_scale).astype(np.float32))


def mix_down(
    channels: NDArray[Any], sample_rate: int, full_scale: float = 1.0
) -> tuple[Samples, list[str]]:
    """Mix an array [c, n] down as a `Mixer` does; returns float32 [n] and warnings."""
    mixer = Mixer(sample_rate)
    mixed = [*mixer.mix([channels], full_scale)]
    warnings: list[str] = []
    mixer.warn(warnings)
    return np.concatenate(mixed) if mixed else np.zeros(0, np.float32), warnings


def _weighted(channels: NDArray[Any], weights: NDArray[np.float32]) -> Samples:
    # Damaged floats may be NaN or overflow; they are replaced later, with a warning.
    with np.errstate(invalid="ignore", over="ignore"):
        values = channels.astype(np.float32, copy=False)
        # One channel after the other: a product of matrices rounds by its shape.
        mixed: Samples = values[0] * weights[0]
        for channel, weight in zip(values[1:], weights[1:], strict=True):
            mixed += channel * weight
    return mixed


def _weights_of(
    channels: NDArray[Any], sample_rate: int, full_scale: float
) -> NDArray[np.float64] | None:
    """The weights by which a stretch [c, n] is mixed without loss; None for those of the mean."""
    with np.errstate(all="ignore"):
        covariance = _covariance(channels, sample_rate, full_scale)
        if covariance is None or not _loses(covariance):
            return None
        count = len(channels)
        total = covariance.sum(axis=(0, 1))
        power = total.diagonal()
        loudest = int(power.argmax())
        signs = np.where(total[loudest] < 0, -1.0, 1.0)
        # The first channel that counts keeps its sign, so that the sign is the same in the next
        # stretch, where another channel may be the loudest.
        first = int((power > 0.1 * power[loudest]).argmax())
        signs *= signs[first]
        if not _loses(covariance * np.outer(signs, signs)):
            return signs / count
        chosen = np.zeros(count)
        chosen[first if power[first] > 0.5 * power[loudest] else loudest] = 1.0
        return chosen


def _covariance(
    channels: NDArray[Any], sample_rate: int, full_scale: float
) -> NDArray[np.float64] | None:
    """Mean products of the channels, [parts, bands, c, c]; None where all channels are equal."""
    n_fft = 1 << max(5, round(np.log2(0.046 * sample_rate)))
    length = channels.shape[1]
    if length < n_fft:
        return None
    starts = np.linspace(0, length - n_fft, _FRAMES).astype(int)
    frames = np.stack([channels[:, start : start + n_fft] for start in starts], axis=1)
    if (frames == frames[0]).all():
        return None
    spectra = np.fft.rfft(frames.astype(np.float32) * _window(n_fft, full_scale))
    edges = [round(edge * n_fft / sample_rate) for edge in _BANDS if edge < 0.45 * sample_rate]
    bands = np.split(spectra, edges[1:], axis=2)
    bands[0] = bands[0][:, :, edges[0] :]
    products = []
    for band in bands:
        # [c, frames, bins] to [parts, c, frames of the part and bins]
        parts = band.reshape(len(channels), _PARTS, -1).swapaxes(0, 1)
        products.append((parts @ parts.conj().swapaxes(1, 2)).real)
    return np.stack(products, axis=1)


@lru_cache(maxsize=4)
def _window(n_fft: int, full_scale: float) -> NDArray[np.float32]:
    """A window by which the products of all bins of all frames sum to the mean square."""
    window = np.hanning(n_fft)
    scale = np.sqrt(2 / (n_fft * np.square(window).sum() * _FRAMES)) / full_scale
    return np.asarray(window * scale, np.float32)


def _loses(covariance: NDArray[np.float64]) -> bool:
    """Whether the sum of the channels loses sound, given their products [parts, bands, c, c]."""
    overall = covariance.sum(axis=1)
    power = overall.diagonal(axis1=1, axis2=2).sum(axis=1)
    if power.sum() <= _AUDIBLE:
        return False
    audible = power > np.maximum(_AUDIBLE / _PARTS, 0.01 * power.max())
    if (overall.sum(axis=(1, 2)) < _CANCELLED_OVERALL * power)[audible].any():
        return True
    bands = covariance.sum(axis=0)
    powers = bands.diagonal(axis1=1, axis2=2)
    totals = powers.sum(axis=1)
    relevant = (totals > _RELEVANT * totals.max()) & (totals > _AUDIBLE)
    bands, powers, totals = bands[relevant], powers[relevant], totals[relevant]
    if (bands.sum(axis=(1, 2)) < _CANCELLED * totals).any():
        return True
    pairs = powers[:, :, None] + powers[:, None, :]
    lost = pairs + 2 * bands < _CANCELLED * pairs
    lost &= pairs > _PAIR * totals[:, None, None]
    lost &= ~np.eye(powers.shape[1], dtype=bool)
    return bool(lost.any())
