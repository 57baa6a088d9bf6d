"""The front end of EfficientAT: log-mel bands as its published code computes them.

Schmid, Koutini and Widmer, "Efficient large-scale audio tagging via transformer-to-CNN knowledge
distillation" (ICASSP 2023), and the code published with it. The bands are those of Kaldi.
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

WINDOW = 800
"""Samples of a frame, 25 ms, in the middle of the FFT's 1024; the rest of it is zeros."""

PREEMPHASIS = 0.97
LOG_OFFSET = 1e-5
SHIFT, SCALE = 4.5, 5.0
"""They bring the logarithm near mean 0 and deviation 1 over AudioSet."""


class Feature(FeatureSettings):
    """Scaled logarithm of 128 mel bands at 32 kHz, `[128, frames]`, a frame every 10 ms.

    The sound is emphasised towards high frequencies first, and reflected by half an FFT at both
    ends, so that frame `t` is centred on sample `320 t`. The network was trained with these
    settings: there are no others.
    """

    sample_rate: Literal[32000] = 32000
    n_fft: Literal[1024] = 1024
    hop_length: Literal[320] = 320
    center: Literal[True] = True
    n_bins: None = None
    n_mels: Literal[128] = 128
    fmin: float = 0.0
    fmax: float = 15000.0

    @model_validator(mode="after")
    def _computable(self) -> Feature:
        """Refuse other bands; what else the base looks at is fixed here."""
        if (self.fmin, self.fmax) != (0.0, 15000.0):
            raise ValueError("EfficientAT hears bands from 0 to 15000 Hz and no others")
        return self

    @property
    def size(self) -> int:
        """Bands."""
        return self.n_mels

    def spectrogram(self, waveform: Waveform) -> Spectrogram:
        """Squared magnitude of an FFT of 1024 samples over a symmetric Hann window of 800.

        Raises
        ------
        ValueError
            When the waveform is not at 32 kHz.
        """
        self.check_rate(waveform)
        frequencies = kept_frequencies(self.sample_rate, self.n_fft, None)
        samples = waveform.samples[1:] - np.float32(PREEMPHASIS) * waveform.samples[:-1]
        if not len(samples):
            return Spectrogram(np.zeros((len(frequencies), 0), np.float32), frequencies, self.hop)
        # NumPy goes on reflecting where the sound is shorter than the padding.
        samples = np.pad(samples, self.n_fft // 2, mode="reflect")
        frames = np.lib.stride_tricks.sliding_window_view(samples, self.n_fft)[:: self.hop_length]
        power = np.empty((len(frequencies), len(frames)), np.float32)
        # A block at a time: all overlapping frames at once would take several copies of the sound.
        for start in range(0, len(frames), 256):
            spectrum = np.fft.rfft(frames[start : start + 256] * _window(), axis=1)
            power[:, start : start + 256] = (spectrum.real**2 + spectrum.imag**2).T
        return Spectrogram(power, frequencies, self.hop)

    def of_spectrogram(self, spectrogram: Spectrogram) -> FloatArray:
        """Compute scaled log-mel bands, float32 `[128, frames]`."""
        bands = band_sums(_kaldi_filters(tuple(spectrogram.frequencies)), spectrogram.power)
        logarithm = np.log(bands + np.float32(LOG_OFFSET))
        return np.asarray((logarithm + np.float32(SHIFT)) / np.float32(SCALE), np.float32)


@lru_cache(maxsize=1)
def _window() -> FloatArray:
    rest = (1024 - WINDOW) // 2
    return np.pad(np.hanning(WINDOW), rest).astype(np.float32)


@lru_cache(maxsize=2)
def _kaldi_filters(frequencies: tuple[float, ...]) -> FloatArray:
    """Mel bands of Kaldi, triangles of height 1 on the mel scale, float32 `[128, bins]`."""
    low, high = _mel(np.array([0.0, 15000.0]))
    edges = np.linspace(low, high, 128 + 2)
    bins = _mel(np.array(frequencies))
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)), np.float32)


def _mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mel of frequencies in Hz, as HTK and Kaldi have it."""
    return np.asarray(1127.0 * np.log1p(hz / 700.0))
