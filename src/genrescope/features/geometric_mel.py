"""Mel bands averaged in decibels: the geometric mean of power over a band.

An unknown gain and an unknown contrast of the spectrogram come out of this as an offset and a
factor, which standardising removes. So a model that learned from stored spectrograms, whose dB
scale is lost, hears audio as it reads them. A mel band summed in power does not have this
property.
"""

from __future__ import annotations

import numpy as np

from genrescope.features.base import FeatureSettings
from genrescope.features.filterbank import band_sums, mel_filters
from genrescope.features.spectrogram import FloatArray, Spectrogram

# Under any bin of real music (quantisation noise included), so that only true zeros meet it.
_TINY_POWER = np.float32(1e-20)


class Feature(FeatureSettings):
    """Mean dB over each mel band, weighted by its triangle, `[n_mels, frames]`."""

    @property
    def size(self) -> int:
        """Bands."""
        return self.n_mels

    def of_spectrogram(self, spectrogram: Spectrogram) -> FloatArray:
        """Compute the mean dB of each band, float32 `[n_mels, frames]`."""
        filters = mel_filters(
            spectrogram.frequencies, n_mels=self.n_mels, fmin=self.fmin, fmax=self.fmax
        )
        weights = (filters / filters.sum(axis=1, keepdims=True)).astype(np.float32)
        decibels = np.float32(10) * np.log10(np.maximum(spectrogram.power, _TINY_POWER))
        return band_sums(weights, decibels)
