"""The one form in which sound travels through Genrescope."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Waveform:
    """Mono sound.

    Attributes
    ----------
    samples
        float32 [n], full scale at ±1.
    sample_rate
        Samples per second, in Hz.

    Raises
    ------
    ValueError
        If the samples are not float32 of one dimension, or the rate is not positive.
    """

    samples: Samples
    sample_rate: int

    def __post_init__(self) -> None:
        if self.samples.dtype != np.float32 or self.samples.ndim != 1:
            shape, kind = self.samples.shape, self.samples.dtype
            raise ValueError(f"samples must be float32 [n], not {kind} {list(shape)}")
        if self.sample_rate <= 0:
            raise ValueError(f"sample_rate must be positive, not {self.sample_rate}")

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate

    def resampled(self, sample_rate: int) -> Waveform:
        """Give the same sound at another rate in Hz; itself where that is its own.

        Raises
        ------
        ValueError
            If the rate is not positive.
        """
        if sample_rate == self.sample_rate:
            return self
        if sample_rate <= 0:
            raise ValueError(f"sample_rate must be positive, not {sample_rate}")
        import soxr

        return Waveform(soxr.resample(self.samples, self.sample_rate, sample_rate), sample_rate)
