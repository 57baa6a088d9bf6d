"""Mel-frequency cepstral coefficients, with their first and second derivatives in time."""

from __future__ import annotations

from math import factorial

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from genrescope.features.base import SpectrogramFeature
from genrescope.features.filterbank import mel_power, power_to_db
from genrescope.features.spectrogram import FloatArray, Spectrogram


def dct(size: int, n_coefficients: int) -> FloatArray:
    """Orthonormal DCT-II matrix, `[n_coefficients, size]`."""
    k, n = np.arange(n_coefficients)[:, None], np.arange(size)[None, :]
    matrix = np.cos(np.pi * k * (2 * n + 1) / (2 * size)) * np.sqrt(2.0 / size)
    matrix[0] /= np.sqrt(2.0)
    return np.asarray(matrix, np.float32)


DELTA_WIDTH = 9


def delta(values: FloatArray, *, order: int = 1, width: int = DELTA_WIDTH) -> FloatArray:
    """Local estimate of the derivative in time, as `librosa.feature.delta`.

    A polynomial of degree `order` is fitted to `width` frames around each frame (Savitzky and
    Golay, 1964) and its derivative of that order is taken. The first and last `width / 2` frames
    take theirs from the polynomial of the first and last `width` frames.

    Parameters
    ----------
    values
        `[features, frames]`
    order
        1 for delta, 2 for delta-delta.
    width
        Odd number of frames.

    Raises
    ------
    ValueError
        When there are fewer than `width` frames.
    """
    if values.shape[1] < width:
        raise ValueError(f"{values.shape[1]} frames are too few for a delta over {width}")
    half = width // 2
    times: NDArray[np.float64] = np.arange(-half, half + 1, dtype=np.float64)
    # The derivative is order! times the leading coefficient of the fit. It is the same in all
    # frames of one polynomial of that degree, so the edges are constant.
    kernel = np.linalg.pinv(np.vander(times, order + 1))[0] * factorial(order)
    windows = np.lib.stride_tricks.sliding_window_view(values, width, axis=1)
    return np.pad(windows @ kernel.astype(np.float32), ((0, 0), (half, half)), mode="edge")


def stacked(values: FloatArray, count: int) -> FloatArray:
    """Each frame with its neighbours, `[features, frames]` to `[count * features, frames]`.

    Parameters
    ----------
    values
        `[features, frames]`
    count
        Odd number of frames; the first and the last are repeated beyond the ends.
    """
    if count == 1:
        return values
    half, frames = count // 2, values.shape[1]
    padded = np.pad(values, ((0, 0), (half, half)), mode="edge")
    return np.concatenate([padded[:, first : first + frames] for first in range(count)])


class MFCC(SpectrogramFeature):
    """MFCCs, equal to `librosa.feature.mfcc`, followed by their deltas.

    Attributes
    ----------
    n_mfcc
        Coefficients per frame.
    deltas
        0: none; 1: delta; 2: delta and delta-delta.
    stack
        Odd number of frames, a frame and its neighbours, that are stacked in each frame; the first
        and the last frame are repeated beyond the ends.
    """

    n_mfcc: int = Field(20, ge=1)
    deltas: int = Field(0, ge=0, le=2)
    stack: int = Field(1, ge=1, le=31)

    @model_validator(mode="after")
    def _enough_bands(self) -> MFCC:
        if self.n_mfcc > self.n_mels:
            raise ValueError(f"{self.n_mfcc} MFCCs can't be computed from {self.n_mels} mel bands")
        if self.stack % 2 == 0:
            raise ValueError(f"stack has to be an odd number of frames, not {self.stack}")
        return self

    @property
    def min_frames(self) -> int:
        """Smallest number of frames that a delta can be computed from."""
        return DELTA_WIDTH if self.deltas else 1

    @property
    def size(self) -> int:
        """Coefficients and their deltas, of all frames that are stacked."""
        return self.n_mfcc * (1 + self.deltas) * self.stack

    @property
    def local(self) -> bool:
        """False, since the floor depends on the loudest value of all frames."""
        return False

    def of_spectrogram(self, spectrogram: Spectrogram) -> FloatArray:
        """Compute MFCCs, then deltas, float32 `[size, frames]`."""
        mel = power_to_db(
            mel_power(spectrogram, n_mels=self.n_mels, fmin=self.fmin, fmax=self.fmax)
        )
        coefficients = dct(self.n_mels, self.n_mfcc) @ mel
        orders = range(1, self.deltas + 1)
        values = np.concatenate([coefficients, *(delta(coefficients, order=k) for k in orders)])
        return stacked(values, self.stack)
