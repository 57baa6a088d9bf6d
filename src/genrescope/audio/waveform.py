"""`Waveform`: mono audio in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genrescope.audio.mixdown import Samples as Samples
from genrescope.audio.mixdown import mix_down

_MOST_CHANNELS = 64


@dataclass(frozen=True, eq=False, repr=False)
class Waveform:
    """Mono audio.

    Attributes
    ----------
    samples
        float32 `[n]`, full scale at ±1. `from_array` converts other arrays.
    sample_rate
        Samples per second, in Hz.

    Raises
    ------
    ValueError
        If the samples are not float32 of one dimension, or the rate is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from genrescope import Waveform
    >>> Waveform.from_array(np.zeros((44100, 2)), 44100)  # a second of stereo, float64
    Waveform(1.00 s, 44100 Hz)
    """

    samples: Samples
    sample_rate: int

    def __post_init__(self) -> None:
        samples = self.samples
        if not isinstance(samples, np.ndarray) or samples.dtype != np.float32 or samples.ndim != 1:
            kind = f"{getattr(samples, 'dtype', type(samples).__name__)}"
            shape = list(getattr(samples, "shape", []))
            raise ValueError(
                f"samples must be float32 [n], not {kind} {shape}; Waveform.from_array converts"
            )
        if self.sample_rate <= 0:
            raise ValueError(f"sample_rate must be positive, not {self.sample_rate}")

    @classmethod
    def from_array(
        cls, array: ArrayLike, sample_rate: int, warnings: list[str] | None = None
    ) -> Waveform:
        """Convert an array of samples, mono or of several channels, to mono float32.

        Parameters
        ----------
        array
            `[n]`, `[n, channels]` (as soundfile gives it) or `[channels, n]` (as librosa and
            torchaudio give it); the shorter axis is that of the channels. Full scale of floats is
            ±1; integers of up to 32 bits are divided by their type's full scale. A tensor of
            PyTorch on the CPU works, too.
        sample_rate
            In Hz.
        warnings
            A list; a warning is appended if channels cancelled each other out.

        Raises
        ------
        ValueError
            If the array has another shape or type, or the rate is not positive.

        Examples
        --------
        >>> import numpy as np
        >>> from genrescope import Waveform
        >>> Waveform.from_array(np.array([[16384, 0], [-16384, 0], [0, 0]], np.int16), 8000).samples
        array([ 0.25, -0.25,  0.  ], dtype=float32)
        """
        try:
            values: NDArray[Any] = np.asarray(array)
        except (TypeError, RuntimeError, ValueError) as error:  # a tensor on a GPU, ragged lists
            raise ValueError(f"no array of samples: {str(error).splitlines()[0]}") from None
        if values.ndim == 1:
            values = values[None]
        if values.ndim != 2 or min(values.shape) > _MOST_CHANNELS:
            raise ValueError(
                f"expected samples [n], [n, channels] or [channels, n], not {list(values.shape)}"
            )
        if values.size == 0:
            return cls(np.zeros(0, np.float32), int(sample_rate))
        if values.shape[0] > values.shape[1]:
            values = values.T
        if values.dtype.kind == "f":
            full_scale, middle = 1.0, 0
        elif values.dtype.kind in "iu" and values.dtype.itemsize < 8:
            full_scale = 2.0 ** (8 * values.dtype.itemsize - 1)
            middle = int(full_scale) if values.dtype.kind == "u" else 0
        elif values.dtype.kind in "iu":
            raise ValueError(f"samples of {values.dtype} have no full scale: make them int16, say")
        else:
            raise ValueError(f"expected samples that are numbers, not {values.dtype}")
        if middle:
            values = values.astype(np.float64) - middle
        if not 0 < sample_rate < 2**31:
            raise ValueError(f"sample_rate must be positive and finite, not {sample_rate}")
        samples, problems = mix_down(values.astype(np.float32), int(sample_rate), full_scale)
        if warnings is not None:
            warnings += problems
        return cls(samples, int(sample_rate))

    def __repr__(self) -> str:
        return f"Waveform({self.duration:.2f} s, {self.sample_rate} Hz)"

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate

    def resampled(self, sample_rate: int) -> Waveform:
        """The same audio at another rate in Hz; the waveform itself where that is its own rate.

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
