"""Mel bands: their power, their power in decibels, and their mean in decibels."""

from __future__ import annotations

import numpy as np

from genrescope.features.base import SpectrogramFeature
from genrescope.features.filterbank import band_sums, mel_filters, mel_power, power_to_db
from genrescope.features.spectrogram import FloatArray, Spectrogram

# Lower than any bin of real music (quantisation noise included), so that it affects only zeros.
_TINY_POWER = np.float32(1e-20)


class Mel(SpectrogramFeature):
    """Mel spectrogram, `[n_mels, frames]`, equal to `librosa.feature.melspectrogram`."""

    def of_spectrogram(self, spectrogram: Spectrogram) -> FloatArray:
        """Compute the power of each band, float32 `[n_mels, frames]`."""
        return mel_power(spectrogram, n_mels=self.n_mels, fmin=self.fmin, fmax=self.fmax)


class LogMel(SpectrogramFeature):
    """Log-mel spectrogram in dB, `[n_mels, frames]`, at most 80 dB below its loudest value.

    Equal to `librosa.power_to_db(librosa.feature.melspectrogram(...))`.
    """

    @property
    def local(self) -> bool:
        """False, since the floor depends on the loudest value of all frames."""
        return False

    def of_spectrogram(self, spectrogram: Spectrogram) -> FloatArray:
        """Compute each band in dB, float32 `[n_mels, frames]`."""
        return power_to_db(
            mel_power(spectrogram, n_mels=self.n_mels, fmin=self.fmin, fmax=self.fmax)
        )


class GeometricMel(SpectrogramFeature):
    """Mean dB over each mel band, weighted by its triangle, `[n_mels, frames]`.

    This is the geometric mean of the power over a band, in decibels. If gain and contrast of a
    spectrogram are unknown, they change it only by an offset and a factor, which standardising
    removes: a model that was trained on stored spectrograms, whose dB scale is lost, gets the same
    values from audio. Mel bands that sum power do not have this property.
    """

    def of_spectrogram(self, spectrogram: Spectrogram) -> FloatArray:
        """Compute the mean dB of each band, float32 `[n_mels, frames]`."""
        filters = mel_filters(
            spectrogram.frequencies, n_mels=self.n_mels, fmin=self.fmin, fmax=self.fmax
        )
        weights = (filters / filters.sum(axis=1, keepdims=True)).astype(np.float32)
        decibels = np.float32(10) * np.log10(np.maximum(spectrogram.power, _TINY_POWER))
        return band_sums(weights, decibels)
