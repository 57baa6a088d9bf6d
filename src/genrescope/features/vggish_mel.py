"""The front end of VGGish: log-mel bands as Google's published code computes them.

Hershey et al., "CNN architectures for large-scale audio classification" (ICASSP 2017), and the
parameters published with the network. Magnitudes, not powers, are summed into bands.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from genrescope.audio import Waveform
from genrescope.features.base import FeatureSettings
from genrescope.features.filterbank import band_sums
from genrescope.features.spectrogram import FloatArray, Spectrogram, kept_frequencies

WINDOW = 400
"""Samples of a frame, 25 ms; the FFT is longer, the rest of it is zeros."""

LOG_OFFSET = 0.01


class Feature(FeatureSettings):
    """Logarithm of 64 mel bands at 16 kHz, `[64, frames]`, a frame every 10 ms, without padding.

    Frame `t` covers samples `[160 t, 160 t + 400)`. The network was trained with these settings:
    there are no others.
    """

    sample_rate: Literal[16000] = 16000
    n_fft: Literal[512] = 512
    hop_length: Literal[160] = 160
    center: Literal[False] = False
    n_bins: None = None
    n_mels: Literal[64] = 64
    fmin: float = 125.0
    fmax: float = 7500.0

    @model_validator(mode="after")
    def _computable(self) -> Feature:
        """Refuse other bands; what else the base looks at is fixed here."""
        if (self.fmin, self.fmax) != (125.0, 7500.0):
            raise ValueError("VGGish hears bands from 125 to 7500 Hz and no others")
        return self

    @property
    def size(self) -> int:
        """Bands."""
        return self.n_mels

    def spectrogram(self, waveform: Waveform) -> Spectrogram:
        """Squared magnitude of an FFT of 512 samples over a periodic Hann window of 400.

        Raises
        ------
        ValueError
            When the waveform is not at 16 kHz.
        """
        self.check_rate(waveform)
        frequencies = kept_frequencies(self.sample_rate, self.n_fft, None)
        samples = waveform.samples
        if len(samples) < WINDOW:
            return Spectrogram(np.zeros((len(frequencies), 0), np.float32), frequencies, self.hop)
        frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[:: self.hop_length]
        power = np.empty((len(frequencies), len(frames)), np.float32)
        # In double precision: next to a loud tone a band holds less than float32 would err by.
        # A block at a time: all overlapping frames at once would take several copies of the sound.
        for start in range(0, len(frames), 512):
            spectrum = np.fft.rfft(frames[start : start + 512] * _window(), n=self.n_fft, axis=1)
            power[:, start : start + 512] = (spectrum.real**2 + spectrum.imag**2).T
        return Spectrogram(power, frequencies, self.hop)

    def of_spectrogram(self, spectrogram: Spectrogram) -> FloatArray:
        """Compute log-mel bands, float32 `[64, frames]`."""
        magnitude = np.sqrt(spectrogram.power)
        bands = band_sums(_htk_filters(tuple(spectrogram.frequencies)), magnitude)
        return np.asarray(np.log(bands + np.float32(LOG_OFFSET)), np.float32)


@lru_cache(maxsize=1)
def _window() -> NDArray[np.float64]:
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW))


@lru_cache(maxsize=2)
def _htk_filters(frequencies: tuple[float, ...]) -> FloatArray:
    """Mel bands of HTK, triangles of height 1 on the mel scale, float32 `[64, bins]`."""
    low, high = _mel(np.array([125.0, 7500.0]))
    edges = np.linspace(low, high, 64 + 2)
    bins = _mel(np.array(frequencies))
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)), np.float32)


def _mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mel of frequencies in Hz, as HTK has it."""
    return np.asarray(1127.0 * np.log1p(hz / 700.0))
