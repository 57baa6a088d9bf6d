"""The sound itself, for networks that learned to hear from its samples."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from genrescope.audio import Waveform
from genrescope.errors import RecipeError
from genrescope.features.base import FeatureSettings
from genrescope.features.spectrogram import FloatArray, Spectrogram

SILENCE = 10**-10.5
"""Mean square of a frame below which it counts as digital silence: -105 dB of full scale."""


class Feature(FeatureSettings):
    """Samples in the order of time, cut into columns, `[320, frames]`.

    Frame `t` is samples `[320 t, 320 t + 320)`: the step of wav2vec 2.0 and its descendants, 75
    times a second at 24 kHz. What remains at the end is left out. A recipe wants `scale: none`
    with it.
    """

    sample_rate: int = Field(24000, ge=4000, le=192000)
    n_fft: Literal[320] = 320
    hop_length: Literal[320] = 320
    center: Literal[False] = False

    @model_validator(mode="after")
    def _computable(self) -> Feature:
        """Nothing to look at: there are no bands here."""
        return self

    @property
    def size(self) -> int:
        """Samples of a frame."""
        return self.hop_length

    def of_spectrogram(self, _: Spectrogram) -> FloatArray:
        """Refuse: a spectrogram has lost the phases."""
        raise RecipeError("the sound itself can't be had from a spectrogram")

    def hear(self, waveform: Waveform) -> tuple[FloatArray, NDArray[np.bool_]]:
        """The samples of a waveform, and which of their frames are digital silence.

        Raises
        ------
        ValueError
            When the waveform is not at `sample_rate`.
        """
        self.check_rate(waveform)
        count = len(waveform.samples) // self.hop_length
        frames = waveform.samples[: count * self.hop_length].reshape(count, self.hop_length)
        silent = np.einsum("ts,ts->t", frames, frames) < SILENCE * self.hop_length
        return np.ascontiguousarray(frames.T, np.float32), silent
