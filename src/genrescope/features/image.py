"""A spectrogram as a picture, for networks that learned from photographs."""

from __future__ import annotations

import numpy as np

from genrescope.features.base import FeatureSettings
from genrescope.features.filterbank import mel_power
from genrescope.features.spectrogram import FloatArray, Spectrogram

TOP_DB = 80.0


class Feature(FeatureSettings):
    """Mel bands in dB as grey levels from 0 to 1, `[n_mels, frames]`, highest frequency on top.

    1 is the loudest band of the stretch that is computed, 0 is `TOP_DB` under it or less: a
    recording's level does not show in its picture. Digital silence is black. It is one channel
    and not resized; a recipe wants `scale: none` with it.
    """

    @property
    def size(self) -> int:
        """Rows of the picture."""
        return self.n_mels

    def of_spectrogram(self, spectrogram: Spectrogram) -> FloatArray:
        """Compute grey levels, float32 `[n_mels, frames]`."""
        power = mel_power(spectrogram, n_mels=self.n_mels, fmin=self.fmin, fmax=self.fmax)
        loudest = power.max(initial=0.0)
        if loudest == 0:
            return np.zeros_like(power)
        # Anything under the floor will do in the place of 0, whose logarithm is none.
        decibels = 10 * np.log10(np.maximum(power / loudest, np.float32(1e-30)))
        levels = np.maximum(0.0, 1 + decibels / np.float32(TOP_DB))
        return np.ascontiguousarray(levels[::-1], np.float32)
