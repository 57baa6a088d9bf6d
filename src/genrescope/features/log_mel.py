"""Mel bands in decibels."""

from __future__ import annotations

from genrescope.features.base import FeatureSettings
from genrescope.features.filterbank import mel_power, power_to_db
from genrescope.features.spectrogram import FloatArray, Spectrogram


class Feature(FeatureSettings):
    """Log-mel spectrogram in dB, `[n_mels, frames]`, at most 80 dB under its loudest value.

    Equal to `librosa.power_to_db(librosa.feature.melspectrogram(...))`.
    """

    @property
    def size(self) -> int:
        """Bands."""
        return self.n_mels

    def of_spectrogram(self, spectrogram: Spectrogram) -> FloatArray:
        """Compute dB per band, float32 `[n_mels, frames]`."""
        return power_to_db(
            mel_power(spectrogram, n_mels=self.n_mels, fmin=self.fmin, fmax=self.fmax)
        )
