"""Base classes of features: the interface of all, and what spectrogram features share.

`Feature` is the base class of all: it has a `size`, a `hop_length`, and `compute` for a waveform.
`StftFeature` adds the settings of a short-time Fourier transform and of mel bands.
`SpectrogramFeature` needs only a power spectrogram, so it can also be computed from spectrograms
that were stored without their audio.

Settings are pydantic fields, so that recipes and bundles can store them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from math import ceil
from typing import Any, Literal, NamedTuple, Self, get_args, get_origin

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from genrescope.audio import Waveform
from genrescope.features.filterbank import mel_filters
from genrescope.features.spectrogram import (
    FloatArray,
    Spectrogram,
    kept_frequencies,
    power_spectrogram,
)

Computed = tuple[FloatArray, NDArray[np.bool_]]


# A band counts as loud down to this many decibels below the loudest one, see `Change`.
_LOUD = 20.0


class Values(BaseModel):
    """Base of all settings: true and false are no numbers, which Python takes them for."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        own = cls.model_fields[str(info.field_name)].annotation
        return no_boolean(value, own)


def no_boolean(value: Any, annotation: Any) -> Any:
    """Return a setting's value.

    Raises
    ------
    ValueError
        When it is, or has in it, true or false where `annotation` allows numbers alone.
    """
    found = [each for each in _values_in(value) if isinstance(each, bool)]
    if found and (kinds := set(_kinds_in(annotation))) & {int, float} and not kinds & {bool, Any}:
        raise ValueError(f"expected a number, not {str(found[0]).lower()}")
    return value


def _values_in(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for each in value:
            yield from _values_in(each)
    else:
        yield value


def _kinds_in(annotation: Any) -> Iterator[Any]:
    """The types that an annotation is made of; of a literal those of its values."""
    if get_origin(annotation) is Literal:
        yield from map(type, get_args(annotation))
    elif get_args(annotation):
        for each in get_args(annotation):
            yield from _kinds_in(each)
    else:
        yield annotation


class Feature(Values, ABC):
    """Numbers per frame, computed from a waveform by a fixed rule.

    Attributes
    ----------
    kind
        Name of the feature in `genrescope.features.registry`.
    sample_rate
        Sample rate of the audio that it is computed from, in Hz.
    hop_length
        Samples from one frame to the next.
    """

    # Validators are built at first use: a process uses few kinds of features.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    kind: str
    sample_rate: int = Field(22050, ge=4000, le=192000)
    hop_length: int = Field(512, ge=16, le=65536)

    @property
    @abstractmethod
    def size(self) -> int:
        """Numbers per frame."""

    @abstractmethod
    def compute(self, waveform: Waveform) -> Computed:
        """Compute the feature of a waveform.

        Returns
        -------
        values
            float32 `[size, frames]`.
        silent
            bool `[frames]`: which frames are silence.

        Raises
        ------
        ValueError
            When the waveform is not at `sample_rate`.
        """

    @property
    def hop_seconds(self) -> float:
        """Seconds from one frame to the next."""
        return self.hop_length / self.sample_rate

    @property
    def frame_overlap(self) -> int:
        """Samples that a frame shares with the next, where frames begin at multiples of the hop."""
        return 0

    @property
    def edge_frames(self) -> int:
        """Frames at each end of a waveform that depend on how its ends are padded."""
        return 0

    @property
    def local(self) -> bool:
        """Whether a frame depends only on the samples around it.

        Then a long waveform can be computed piece by piece with the same result.
        """
        return True

    def frame_count(self, samples: int) -> int:
        """Number of frames of a waveform with this number of samples."""
        return samples // self.hop_length

    def localized(self, blocks: Iterable[FloatArray]) -> Feature | None:
        """A local feature that computes the same values for this audio, piece by piece.

        Parameters
        ----------
        blocks
            The audio at `sample_rate`, block by block; it is read once.

        Returns
        -------
        feature
            None where there is none; then the whole audio has to be in memory.
        """
        del blocks
        return self if self.local else None

    def check_rate(self, waveform: Waveform) -> None:
        """Raise an error for audio whose sample rate is not the feature's.

        Raises
        ------
        ValueError
            When the waveform is not at `sample_rate`.
        """
        if waveform.sample_rate != self.sample_rate:
            raise ValueError(f"audio at {waveform.sample_rate} Hz, not at {self.sample_rate} Hz")

    def __call__(self, waveform: Waveform) -> FloatArray:
        """Compute the feature of a waveform, float32 `[size, frames]`."""
        return self.compute(waveform)[0]


class StftFeature(Feature):
    """A feature with the settings of a short-time Fourier transform (STFT) and of mel bands.

    Attributes
    ----------
    n_fft, hop_length, center, n_bins
        Settings of the STFT, see `power_spectrogram`.
    n_mels, fmin, fmax
        Number of mel bands, and their range in Hz.
    """

    n_fft: int = Field(2048, ge=16, le=65536)
    center: bool = True
    n_bins: int | None = Field(None, ge=1)
    n_mels: int = Field(128, ge=1, le=1024)
    fmin: float = Field(0.0, ge=0)
    fmax: float = Field(11025.0, gt=0)

    @model_validator(mode="after")
    def _computable(self) -> Self:
        """Check settings that would otherwise fail at the first file."""
        if not self.fmin < self.fmax <= self.sample_rate / 2:
            raise ValueError(
                f"expected fmin < fmax <= half the sample rate, "
                f"not {self.fmin:g}, {self.fmax:g} and {self.sample_rate / 2:g}"
            )
        if self.frame_count(self.sample_rate) < self.min_frames:
            raise ValueError(
                f"n_fft {self.n_fft} and hop_length {self.hop_length} leave fewer than "
                f"{self.min_frames} frames in a second of audio"
            )
        self._check_bands()
        return self

    def _check_bands(self) -> None:
        """Raise ValueError where a mel band would hold no bin of the FFT."""
        frequencies = kept_frequencies(self.sample_rate, self.n_fft, self.n_bins)
        mel_filters(frequencies, n_mels=self.n_mels, fmin=self.fmin, fmax=self.fmax)

    @property
    def min_frames(self) -> int:
        """Smallest number of frames that the feature can be computed from."""
        return 1

    @property
    def frame_overlap(self) -> int:
        """Samples that a frame shares with the next; 0 where frames are centred."""
        return 0 if self.center else max(0, self.n_fft - self.hop_length)

    @property
    def edge_frames(self) -> int:
        """Frames at each end that depend on the padding; none without padding."""
        return ceil(self.n_fft / 2 / self.hop_length) + 1 if self.center else 0

    def frame_count(self, samples: int) -> int:
        """Number of frames of a waveform with this number of samples."""
        covered = samples if self.center else samples - self.n_fft
        return covered // self.hop_length + 1

    def spectrogram(self, waveform: Waveform) -> Spectrogram:
        """The power spectrogram from which this feature is computed for a waveform.

        Raises
        ------
        ValueError
            When the waveform is not at `sample_rate`.
        """
        self.check_rate(waveform)
        return power_spectrogram(
            waveform,
            n_fft=self.n_fft,
            hop_length=self.hop_length,
            center=self.center,
            n_bins=self.n_bins,
        )


class SpectrogramFeature(StftFeature):
    """A feature of a power spectrogram, either a stored one or that of a waveform."""

    @abstractmethod
    def of_spectrogram(self, spectrogram: Spectrogram) -> FloatArray:
        """Compute the feature, float32 `[size, frames]`."""

    @property
    def size(self) -> int:
        """Numbers per frame: the mel bands, unless a subclass overrides it."""
        return self.n_mels

    def compute(self, waveform: Waveform) -> Computed:
        """The feature of a waveform, and which of its frames are silence."""
        spectrogram = self.spectrogram(waveform)
        return self.of_spectrogram(spectrogram), spectrogram.silent


def standardise(
    values: FloatArray, silent: NDArray[np.bool_], *, by_band: bool = False
) -> FloatArray:
    """Scale a window of a track to mean 0 and standard deviation 1 over all bands and frames.

    Silent frames are left out of the statistics and become 0, like masked frames in training. If
    all frames are silent, or nothing varies, the result is 0.

    Parameters
    ----------
    values
        float32 `[size, frames]`.
    silent
        bool `[frames]`.
    by_band
        Subtract the mean of each band separately; the deviation is still taken over all bands. In
        decibels this removes any linear filter that was applied to the whole window: the frequency
        response of a recording or of its mastering, by which tracks of one album can be recognised.
    """
    sounding = values[:, ~silent].astype(np.float64)
    if sounding.size:
        mean = sounding.mean(axis=1, keepdims=True) if by_band else sounding.mean()
        deviation = (sounding - mean).std()
    if not sounding.size or deviation < 1e-6:
        return np.zeros_like(values)
    scaled: FloatArray = ((values - mean) / deviation).astype(np.float32)
    scaled[:, silent] = 0.0
    return scaled


class Change(NamedTuple):
    """How much a decibel spectrogram changes over time, in its loud bands.

    Attributes
    ----------
    total
        Standard deviation from each band's mean, over the bands whose mean is within 20 dB of the
        loudest. It is smaller for a steady sound, a tone or noise, than for music.
    step
        Median over frames of the root mean square difference from the frame before, over the bands
        within 20 dB of either frame's loudest. It is smaller for a tone that glides than for music.
    """

    total: float
    step: float


def change_over_time(values: FloatArray, silent: NDArray[np.bool_]) -> Change:
    """How much a spectrogram changes over its frames that are not silent; 0 for fewer than two.

    Quiet bands are left out: between the harmonics of a tone they hold rounding errors or artefacts
    of a codec, which change from frame to frame.
    """
    sounding = values[:, ~silent]
    if sounding.shape[1] < 2:
        return Change(0.0, 0.0)
    level = sounding.mean(axis=1)
    loud = sounding[level > level.max() - _LOUD]
    total = float((loud - loud.mean(axis=1, keepdims=True)).std())
    pairs = np.maximum(sounding[:, 1:], sounding[:, :-1])
    near = pairs > pairs.max(axis=0) - _LOUD
    squares = np.diff(sounding, axis=1) ** 2
    steps = np.sqrt((squares * near).sum(axis=0) / near.sum(axis=0))
    return Change(total, _median(steps))


def _median(values: FloatArray) -> float:
    """The median; `np.median` would import `numpy.ma`, which takes time at the start."""
    middle = len(values) // 2
    ordered = np.sort(values)
    return float(ordered[middle] if len(values) % 2 else ordered[middle - 1 : middle + 1].mean())
