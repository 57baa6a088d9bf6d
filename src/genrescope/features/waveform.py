"""The samples themselves, for networks that were trained on waveforms."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from genrescope.audio import Waveform
from genrescope.features.base import Computed, Feature
from genrescope.features.silence import INAUDIBLE


class WaveformFrames(Feature):
    """Samples in the order of time, cut into columns, `[320, frames]`.

    Frame `t` is samples `[320 t, 320 t + 320)`: the hop of wav2vec 2.0 and its descendants, 75
    frames a second at 24 kHz. What remains at the end is left out. Use it with `scale: none` in a
    recipe.
    """

    sample_rate: int = Field(24000, ge=4000, le=192000)
    hop_length: Literal[320] = 320

    @property
    def size(self) -> int:
        """Samples of a frame."""
        return self.hop_length

    def compute(self, waveform: Waveform) -> Computed:
        """The samples of a waveform, and which of its frames are silence.

        Raises
        ------
        ValueError
            When the waveform is not at `sample_rate`.
        """
        self.check_rate(waveform)
        count = self.frame_count(len(waveform.samples))
        frames = waveform.samples[: count * self.hop_length].reshape(count, self.hop_length)
        silent = np.einsum("ts,ts->t", frames, frames) < INAUDIBLE * self.hop_length
        return np.ascontiguousarray(frames.T, np.float32), silent
