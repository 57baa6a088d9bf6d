"""Power summed into mel bands."""

from __future__ import annotations

from genrescope.features.base import FeatureSettings
from genrescope.features.filterbank import mel_power
from genrescope.features.spectrogram import FloatArray, Spectrogram


class Feature(FeatureSettings):
    """Mel spectrogram, `[n_mels, frames]`, equal to `librosa.feature.melspectrogram`."""

    @property
    def size(self) -> int:
        """Bands."""
        return self.n_mels

    def of_spectrogram(self, spectrogram: Spectrogram) -> FloatArray:
        """Compute power per band, float32 `[n_mels, frames]`."""
        return mel_power(spectrogram, n_mels=self.n_mels, fmin=self.fmin, fmax=self.fmax)
