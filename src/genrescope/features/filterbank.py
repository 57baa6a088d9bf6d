"""Mel filters on any frequency axis, and decibels.

The mel scale is Slaney's (linear below 1 kHz, logarithmic above; Auditory Toolbox, 1998), which is
librosa's default; only `htk_mel_filters` uses the one of HTK and Kaldi.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genrescope.features.spectrogram import FloatArray, Spectrogram

_BREAK_HZ = 1000.0
_BREAK_MEL = 15.0
_LOG_STEP = np.log(6.4) / 27.0


def hz_to_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slaney mel of frequencies in Hz."""
    above = _BREAK_MEL + np.log(np.maximum(hz, 1e-9) / _BREAK_HZ) / _LOG_STEP
    return np.where(hz < _BREAK_HZ, hz * (_BREAK_MEL / _BREAK_HZ), above)


def mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Frequencies in Hz of Slaney mels."""
    above = _BREAK_HZ * np.exp((mel - _BREAK_MEL) * _LOG_STEP)
    return np.where(mel < _BREAK_MEL, mel * (_BREAK_HZ / _BREAK_MEL), above)


def mel_filters(
    frequencies: NDArray[np.float64], *, n_mels: int, fmin: float, fmax: float
) -> NDArray[np.float64]:
    """Triangular mel filters of equal area, as `librosa.filters.mel`.

    Parameters
    ----------
    frequencies
        Frequencies of the bins in Hz, `[bins]`.
    n_mels
        Number of bands.
    fmin, fmax
        Lower edge of the first and upper edge of the last band, in Hz.

    Returns
    -------
    array `[n_mels, bins]`

    Raises
    ------
    ValueError
        When a band holds none of the bins.
    """
    low, high = hz_to_mel(np.array([fmin, fmax]))
    edges = mel_to_hz(np.linspace(low, high, n_mels + 2))
    filters = _triangles(frequencies, edges)
    empty = np.flatnonzero(~filters.any(axis=1))
    if len(empty):
        raise ValueError(
            f"{n_mels} mel bands are too many for these {len(frequencies)} frequency bins: "
            f"band {empty[0]} holds none"
        )
    return np.asarray(filters * (2.0 / (edges[2:] - edges[:-2]))[:, None])


def htk_mel_filters(
    frequencies: NDArray[np.float64], *, n_mels: int, fmin: float, fmax: float
) -> FloatArray:
    """Mel filters of HTK and Kaldi: triangles of height 1 on a mel axis, float32 `[n_mels, bins]`.

    The parameters are those of `mel_filters`; a band without bins is all zero.
    """
    low, high = _htk_mel(np.array([fmin, fmax]))
    edges = np.linspace(low, high, n_mels + 2)
    bins = _htk_mel(frequencies)
    return np.asarray(_triangles(bins, edges), np.float32)


def _htk_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mel of frequencies in Hz, by the formula of HTK and Kaldi."""
    return np.asarray(1127.0 * np.log1p(hz / 700.0))


def _triangles(bins: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Triangles of height 1 at `bins`, each from one edge over the next to the one after that."""
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)))


def mel_power(spectrogram: Spectrogram, *, n_mels: int, fmin: float, fmax: float) -> FloatArray:
    """Power summed into mel bands, `[n_mels, frames]`, as `librosa.feature.melspectrogram`."""
    filters = mel_filters(spectrogram.frequencies, n_mels=n_mels, fmin=fmin, fmax=fmax)
    return band_sums(filters.astype(np.float32), spectrogram.power)


def band_sums(filters: FloatArray, values: FloatArray) -> FloatArray:
    """The product of `filters` `[bands, bins]`, mostly zero, and `values` `[bins, frames]`.

    Each band is summed over its own bins only. A matrix product would use several threads, which is
    slow where several files are computed in parallel.
    """
    sums = np.zeros((len(filters), values.shape[1]), np.float32)
    for total, weights in zip(sums, filters, strict=True):
        own = np.flatnonzero(weights)
        if len(own):
            bins = slice(own[0], own[-1] + 1)
            np.einsum("b,bt->t", weights[bins], values[bins], out=total)
    return sums


def power_to_db(power: FloatArray, *, amin: float = 1e-10, top_db: float | None = 80) -> FloatArray:
    """`10 log10(power)`, floored at `amin` and at `top_db` under the loudest, as librosa's."""
    decibels = 10.0 * np.log10(np.maximum(power, np.float32(amin)))
    if top_db is not None and decibels.size:
        decibels = np.maximum(decibels, decibels.max() - np.float32(top_db))
    return np.asarray(decibels, np.float32)
