"""The front end of MusiCNN: mel bands as librosa's defaults give them, compressed by a logarithm.

Pons and Serra, "musicnn: pre-trained convolutional neural networks for music audio tagging"
(ISMIR 2019, late-breaking demo), and the code published with it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import model_validator

from genrescope.features.base import FeatureSettings
from genrescope.features.filterbank import mel_power
from genrescope.features.spectrogram import FloatArray, Spectrogram

COMPRESSION = 10_000.0


class Feature(FeatureSettings):
    """`log10(1 + 10000 power)` of 96 mel bands at 16 kHz, `[96, frames]`, a frame every 16 ms.

    Bands are of equal area on Slaney's mel scale, the window is a periodic Hann window, the sound
    is padded with half a window of zeros on both sides. The network was trained with these
    settings: there are no others.
    """

    sample_rate: Literal[16000] = 16000
    n_fft: Literal[512] = 512
    hop_length: Literal[256] = 256
    center: Literal[True] = True
    n_bins: None = None
    n_mels: Literal[96] = 96
    fmin: float = 0.0
    fmax: float = 8000.0

    @model_validator(mode="after")
    def _computable(self) -> Feature:
        """Refuse other bands; what else the base looks at is fixed here."""
        if (self.fmin, self.fmax) != (0.0, 8000.0):
            raise ValueError("MusiCNN hears bands from 0 to 8000 Hz and no others")
        return self

    @property
    def size(self) -> int:
        """Bands."""
        return self.n_mels

    def of_spectrogram(self, spectrogram: Spectrogram) -> FloatArray:
        """Compute compressed mel bands, float32 `[96, frames]`."""
        power = mel_power(spectrogram, n_mels=self.n_mels, fmin=self.fmin, fmax=self.fmax)
        return np.asarray(np.log10(1 + np.float32(COMPRESSION) * power), np.float32)
