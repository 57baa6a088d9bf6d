"""A spectrogram as a grey picture, for networks that were trained on photographs."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from pydantic import Field

from genrescope.features.base import SpectrogramFeature
from genrescope.features.filterbank import mel_power
from genrescope.features.mel import Mel
from genrescope.features.plotted import PLOTTED_SECONDS
from genrescope.features.segments import feature_blocks
from genrescope.features.spectrogram import FloatArray, Spectrogram

TOP_DB = 80.0


class Image(SpectrogramFeature):
    """Mel bands in dB as grey levels from 0 to 1, `[n_mels, frames]`, highest frequency on top.

    1 is the power of the loudest band of the audio, 0 is `TOP_DB` below it or less, so the picture
    does not depend on the level of the recording. Digital silence is black. The picture has one
    channel and is not resized; use it with `scale: none` in a recipe.

    Attributes
    ----------
    loudest
        Power that is shown as 1; by default the highest in the audio.
    """

    loudest: float | None = Field(None, ge=0)

    @property
    def local(self) -> bool:
        """Whether the loudest power is given."""
        return self.loudest is not None

    def localized(self, blocks: Iterable[FloatArray]) -> Image:
        """The same feature with the loudest power of all blocks."""
        if self.loudest is not None:
            return self
        bands = Mel(kind="mel", **self.model_dump(exclude={"kind", "loudest"}))
        loudest = 0.0
        for power in feature_blocks(bands, blocks):
            loudest = max(loudest, float(power.max(initial=0.0)))
        return self.model_copy(update={"loudest": loudest})

    def of_spectrogram(self, spectrogram: Spectrogram) -> FloatArray:
        """Compute grey levels, float32 `[n_mels, frames]`."""
        power = mel_power(spectrogram, n_mels=self.n_mels, fmin=self.fmin, fmax=self.fmax)
        loudest = power.max(initial=0.0) if self.loudest is None else np.float32(self.loudest)
        if loudest == 0:
            return np.zeros_like(power)
        # The logarithm of 0 is not finite; any value below the floor can replace it.
        decibels = 10 * np.log10(np.maximum(power / loudest, np.float32(1e-30)))
        levels = np.maximum(0.0, 1 + decibels / np.float32(TOP_DB))
        return np.ascontiguousarray(levels[::-1], np.float32)

    def of_plotted(self, levels: FloatArray) -> FloatArray:
        """Grey levels of a drawn spectrogram, resized; see `genrescope.features.plotted`."""
        from PIL import Image as Picture

        size = (max(1, int(PLOTTED_SECONDS / self.hop_seconds)), self.n_mels)
        resized = Picture.fromarray(levels[::-1]).resize(size, Picture.Resampling.BOX)
        return np.ascontiguousarray(resized, np.float32)
