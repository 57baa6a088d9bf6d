"""What every feature has in common: settings that can be written down, and two ways in.

A feature is one module of this package, named for its `kind`, that defines a class `Feature`
derived from `FeatureSettings`. Recipes and bundles name it by that kind; nothing else has to be
registered.
"""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from genrescope.audio import Waveform
from genrescope.errors import RecipeError
from genrescope.features.filterbank import mel_filters
from genrescope.features.spectrogram import (
    FloatArray,
    Spectrogram,
    kept_frequencies,
    power_spectrogram,
)


class FeatureSettings(BaseModel, ABC):
    """Settings of a feature, and the computation itself.

    Attributes
    ----------
    kind
        The module that computes it.
    sample_rate
        Hz that audio is resampled to.
    n_fft, hop_length, center, n_bins
        The STFT, see `power_spectrogram`.
    n_mels, fmin, fmax
        Mel bands and their range in Hz.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    sample_rate: int = Field(22050, ge=4000, le=192000)
    n_fft: int = Field(2048, ge=16, le=65536)
    hop_length: int = Field(512, ge=16, le=65536)
    center: bool = True
    n_bins: int | None = Field(None, ge=1)
    n_mels: int = Field(128, ge=1, le=1024)
    fmin: float = Field(0.0, ge=0)
    fmax: float = Field(11025.0, gt=0)

    @model_validator(mode="after")
    def _computable(self) -> FeatureSettings:
        """Refuse at once what would fail at the first file."""
        if not self.fmin < self.fmax <= self.sample_rate / 2:
            raise ValueError(
                f"wanted is fmin < fmax <= half the sample rate, "
                f"not {self.fmin:g}, {self.fmax:g} and {self.sample_rate / 2:g}"
            )
        if self._frames_of(self.sample_rate) < self.fewest_frames:
            raise ValueError(
                f"n_fft {self.n_fft} and hop_length {self.hop_length} leave fewer than "
                f"{self.fewest_frames} frames in a second of sound"
            )
        frequencies = kept_frequencies(self.sample_rate, self.n_fft, self.n_bins)
        mel_filters(frequencies, n_mels=self.n_mels, fmin=self.fmin, fmax=self.fmax)
        return self

    def _frames_of(self, samples: int) -> int:
        whole = samples if self.center else samples - self.n_fft
        return whole // self.hop_length + 1

    @property
    def fewest_frames(self) -> int:
        """Frames without which there is nothing to compute."""
        return 1

    @property
    @abstractmethod
    def size(self) -> int:
        """Numbers per frame."""

    @abstractmethod
    def of_spectrogram(self, spectrogram: Spectrogram) -> FloatArray:
        """Compute the feature, float32 `[size, frames]`."""

    def check_rate(self, waveform: Waveform) -> None:
        """Refuse audio at another rate than the feature's.

        Raises
        ------
        ValueError
            When the waveform is not at `sample_rate`.
        """
        if waveform.sample_rate != self.sample_rate:
            raise ValueError(f"audio at {waveform.sample_rate} Hz, not at {self.sample_rate} Hz")

    def spectrogram(self, waveform: Waveform) -> Spectrogram:
        """The spectrogram of a waveform that this feature is computed from.

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

    @property
    def hop(self) -> float:
        """Seconds from frame to frame."""
        return self.hop_length / self.sample_rate

    def hear(self, waveform: Waveform) -> tuple[FloatArray, NDArray[np.bool_]]:
        """The feature of a waveform, and which of its frames are digital silence."""
        spectrogram = self.spectrogram(waveform)
        return self.of_spectrogram(spectrogram), spectrogram.silent

    def __call__(self, waveform: Waveform) -> FloatArray:
        """Compute the feature of a waveform, float32 `[size, frames]`."""
        return self.hear(waveform)[0]


def standardise(
    values: FloatArray, silent: NDArray[np.bool_], *, by_band: bool = False
) -> FloatArray:
    """Bring one stretch of a track to mean 0 and standard deviation 1 over all bands and frames.

    Frames of digital silence have no say in it and become 0, which is also what a masked frame is
    in training. Where all is silence, or nothing varies, all is 0.

    Parameters
    ----------
    values
        float32 `[size, frames]`.
    silent
        bool `[frames]`.
    by_band
        Bring each band to mean 0 by itself, before the deviation over all of them is taken. In
        decibels that takes out whatever filter the whole stretch went through: a recording's or a
        mastering's own sound, by which tracks of one album are known.
    """
    heard = values[:, ~silent].astype(np.float64)
    if heard.size:
        mean = heard.mean(axis=1, keepdims=True) if by_band else heard.mean()
        deviation = (heard - mean).std()
    if not heard.size or deviation < 1e-6:
        return np.zeros_like(values)
    scaled: FloatArray = ((values - mean) / deviation).astype(np.float32)
    scaled[:, silent] = 0.0
    return scaled


def feature_kinds() -> list[str]:
    """Names of the features there are."""
    package = import_module("genrescope.features")
    helpers = {"base", "cache", "filterbank", "frontend", "spectrogram", "statistics"}
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name not in helpers)


def make_feature(settings: dict[str, Any]) -> FeatureSettings:
    """Build a feature from settings as a recipe or a bundle writes them.

    Raises
    ------
    RecipeError
        When the kind is unknown or a setting is not valid.
    """
    kind = settings.get("kind")
    if kind not in feature_kinds():
        raise RecipeError(f"no feature {kind!r}; there are: {', '.join(feature_kinds())}")
    try:
        feature: FeatureSettings = import_module(f"genrescope.features.{kind}").Feature(**settings)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join([f"feature {kind}", *map(str, first["loc"])])
        raise RecipeError(f"{place}: {first['msg'].removeprefix('Value error, ')}") from None
    return feature
