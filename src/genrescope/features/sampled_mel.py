"""Mel bands in dB of single frames, one every quarter of a second.

FMA's music is available as pictures of this kind, without audio (see
`genrescope.datasets.layouts.fma_mel`): each shows every twentieth frame of a clip's mel spectrogram
in steps of 1.25 dB, at the clip's own sampling rate, nearly always 44.1 kHz. `SampledMel` computes
the same from audio, or reads it from such a picture. Audio at 22 050 Hz has the lower 106
of the 128 bands, with the same FFT bins, so that a network trained on the pictures can be used on
audio. Half a minute takes 128 transforms; a spectrogram with a hop of 512 takes 1292.

Computed from GTZAN's stored power spectrograms it is approximate: their frames last twice as long,
and the step of their dB scale is lost.
"""

from __future__ import annotations

from functools import cached_property
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from genrescope.audio import Waveform
from genrescope.errors import FileError, UnknownNameError, check_disk
from genrescope.features.base import Computed, Feature
from genrescope.features.filterbank import (
    band_sums,
    hz_to_mel,
    mel_filters,
    mel_to_hz,
    power_to_db,
)
from genrescope.features.mfcc import dct
from genrescope.features.spectrogram import (
    FloatArray,
    Spectrogram,
    kept_frequencies,
    load_spectrogram,
    power_spectrogram,
)
from genrescope.registry import no_such

# The settings by which the pictures were made.
PICTURE_SIZE = 128
_RATE, _N_FFT, _HOP = 44100, 2048, 10336
_FLOOR_DB = -80.0

FAMILIES_OF_BANDS = {
    "mfcc": 20,
    "rmse": 1,
    "spectral_bandwidth": 1,
    "spectral_centroid": 1,
    "spectral_rolloff": 1,
}
"""Rows of each family of FMA's descriptors that can be computed from mel bands."""

_ROLLOFF = 0.85


class SampledMel(Feature):
    """Mel bands in dB below the loudest value of the audio, or their MFCCs; see the module.

    Attributes
    ----------
    sample_rate
        44100, or 22050 for audio without the upper half.
    hop_length
        Samples from one frame to the next; 0.234 s by default, as in the pictures.
    n_mels
        How many of the 128 bands between 0 Hz and 22 050 Hz are kept, from the lowest. Bands that
        reach above half the sample rate can't be kept.
    n_mfcc
        Cepstral coefficients instead of the bands themselves, computed from the bands that are
        kept; 0 for the bands.
    grey
        Grey levels from 0 (80 dB below the loudest) to 1, highest band on top, as those of `image`,
        for networks that were trained on photographs; with `scale: none` in a recipe.
    families
        Some of `FAMILIES_OF_BANDS`, stacked, instead of the bands themselves: MFCCs as with
        `n_mfcc`, the others approximately as `descriptors` computes them from all bins.
    """

    sample_rate: int = _RATE // 2
    hop_length: int = Field(_HOP // 2, ge=16, le=65536)
    n_mels: int = Field(106, ge=1, le=PICTURE_SIZE)
    n_mfcc: int = Field(0, ge=0)
    grey: bool = False
    families: tuple[str, ...] = ()

    @field_validator("families")
    @classmethod
    def _computable(cls, families: tuple[str, ...]) -> tuple[str, ...]:
        for family in families:
            if family not in FAMILIES_OF_BANDS:
                raise UnknownNameError(no_such("no family of mel bands", family, FAMILIES_OF_BANDS))
            if families.count(family) > 1:
                raise ValueError(f"family {family!r} is named twice")
        return families

    @model_validator(mode="after")
    def _bands_exist(self) -> SampledMel:
        if self.sample_rate not in (_RATE, _RATE // 2):
            raise ValueError(f"expected a sample rate of {_RATE} or {_RATE // 2}")
        most = PICTURE_SIZE if self.sample_rate == _RATE else 106
        if self.n_mels > most:
            raise ValueError(f"audio at {self.sample_rate} Hz has {most} of the bands")
        if self.n_mfcc > self.n_mels:
            raise ValueError(f"{self.n_mfcc} MFCCs can't be computed from {self.n_mels} bands")
        if self.grey and self.n_mfcc:
            raise ValueError("grey levels show bands, not MFCCs")
        if self.families and (self.grey or self.n_mfcc):
            raise ValueError("expected only one of families, n_mfcc and grey")
        if "mfcc" in self.families and self.n_mels < FAMILIES_OF_BANDS["mfcc"]:
            raise ValueError(f"20 MFCCs can't be computed from {self.n_mels} bands")
        return self

    @property
    def n_fft(self) -> int:
        """Samples in a frame, which lasts 46 ms."""
        return _N_FFT * self.sample_rate // _RATE

    @property
    def size(self) -> int:
        """Bands, coefficients or rows of the families."""
        if self.families:
            return sum(FAMILIES_OF_BANDS[family] for family in self.families)
        return self.n_mfcc or self.n_mels

    @property
    def local(self) -> bool:
        """False, since the floor depends on the loudest value of all frames."""
        return False

    def frame_count(self, samples: int) -> int:
        """Number of frames of a waveform with this number of samples."""
        return max(0, (samples - self.n_fft) // self.hop_length + 1)

    @cached_property
    def _filters(self) -> FloatArray:
        return self._filters_on(kept_frequencies(self.sample_rate, self.n_fft, None))

    def _filters_on(self, frequencies: NDArray[np.float64]) -> FloatArray:
        """The lower `n_mels` of 128 bands up to 22 050 Hz, for bins at these frequencies."""
        highest = float(self._edges[-1])
        filters = mel_filters(frequencies, n_mels=self.n_mels, fmin=0.0, fmax=highest)
        return filters.astype(np.float32)

    @cached_property
    def _edges(self) -> NDArray[np.float64]:
        """Hz: the lower edge of the lowest band, the centre of each, the upper edge of the last."""
        highest = hz_to_mel(np.array(_RATE / 2))
        return mel_to_hz(highest * np.arange(self.n_mels + 2) / (PICTURE_SIZE + 1))

    def compute(self, waveform: Waveform) -> Computed:
        """The feature of a waveform, and which of its frames are silence."""
        self.check_rate(waveform)
        spectrogram = power_spectrogram(
            waveform, n_fft=self.n_fft, hop_length=self.hop_length, center=False
        )
        return self._of_bands(band_sums(self._filters, spectrogram.power)), spectrogram.silent

    def of_spectrogram(self, spectrogram: Spectrogram) -> Computed:
        """The feature of a stored power spectrogram, from the frames that are nearest in time."""
        count = int(spectrogram.power.shape[1] * spectrogram.hop_seconds / self.hop_seconds)
        frames = np.floor(np.arange(count) * self.hop_seconds / spectrogram.hop_seconds).astype(
            np.intp
        )
        power = np.ascontiguousarray(spectrogram.power[:, frames])
        bands = band_sums(self._filters_on(spectrogram.frequencies), power)
        return self._of_bands(bands), spectrogram.silent[frames]

    def _of_bands(self, power: FloatArray) -> FloatArray:
        bands = power_to_db(power, amin=1e-20, top_db=-_FLOOR_DB)
        return self._values(bands - bands.max(initial=-1e3))

    def of_picture(self, decibels: FloatArray) -> Computed:
        """The feature of a picture that `load_sampled_mel` read.

        The picture does not state the clip's level, so a frame counts as silent where all its bands
        are at the floor, which the clip's loudest frame is not.
        """
        kept = decibels[: self.n_mels]
        silent = (decibels < _FLOOR_DB + 1).all(axis=0)
        return self._values(kept), np.asarray(silent)

    def _values(self, decibels: FloatArray) -> FloatArray:
        if self.grey:
            levels = np.maximum(0.0, 1 - decibels / np.float32(_FLOOR_DB))
            return np.ascontiguousarray(levels[::-1], np.float32)
        if self.families:
            return self._descriptors(decibels)
        if not self.n_mfcc:
            return np.ascontiguousarray(decibels, np.float32)
        return np.asarray(dct(self.n_mels, self.n_mfcc) @ decibels, np.float32)

    def _descriptors(self, decibels: FloatArray) -> FloatArray:
        """The families, float32 `[size, frames]`, of bands in dB `[n_mels, frames]`.

        Centroid, bandwidth and roll-off are defined as in librosa 0.11 (`librosa.feature.
        spectral_centroid`, `spectral_bandwidth` with p = 2, `spectral_rolloff` with 85 %): mean,
        standard deviation and quantile of the frequency in Hz, where each bin of the FFT is
        weighted by its magnitude. Here a band stands for as many bins as half its triangle is
        wide, all at its centre frequency and with the root of the band's power, which is the mean
        power of its bins since the filters have Slaney's norm. That root is at least the mean
        magnitude, so a tone in a wide band counts for more than in librosa.

        `rmse` is the root of the power summed over these bins, in units of the root of the loudest
        band's power, since the clip's level is lost.

        A band at the floor counts as empty, since its power may be anything below; a frame of such
        bands alone has 0 in all these families.
        """
        edges = self._edges
        centres = edges[1:-1, None]
        n_bins = (edges[2:] - edges[:-2])[:, None] / 2 * self.n_fft / self.sample_rate
        power = np.where(decibels < _FLOOR_DB + 1, 0.0, 10 ** (decibels.astype(np.float64) / 10))
        weights = n_bins * np.sqrt(power)
        total = weights.sum(axis=0)
        weights /= np.where(total > 0, total, 1.0)
        centroid = (weights * centres).sum(axis=0)
        rolled_off = np.argmax(weights.cumsum(axis=0) >= _ROLLOFF, axis=0)
        rows = {
            "rmse": np.sqrt((n_bins * power).sum(axis=0)),
            "spectral_bandwidth": np.sqrt((weights * (centres - centroid) ** 2).sum(axis=0)),
            "spectral_centroid": centroid,
            "spectral_rolloff": np.where(total > 0, centres[rolled_off, 0], 0.0),
            "mfcc": dct(self.n_mels, FAMILIES_OF_BANDS["mfcc"]) @ decibels,
        }
        return np.vstack([rows[family] for family in self.families]).astype(np.float32)


def read_picture(feature: SampledMel, path: str | PathLike[str]) -> Computed:
    """The feature of a stored picture: of sampled mel bands, or of a power spectrogram.

    Raises
    ------
    FileError
        When it is neither.
    """
    from PIL import Image

    try:
        with Image.open(Path(path)) as image:
            size = image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        size = None  # reading it below raises the error
    if size is None or size == (PICTURE_SIZE, PICTURE_SIZE):
        return feature.of_picture(load_sampled_mel(path))
    return feature.of_spectrogram(load_spectrogram(path))


def load_sampled_mel(path: str | PathLike[str]) -> FloatArray:
    """Read a stored picture of sampled mel bands.

    Returns
    -------
    float32 `[bands, frames]`, 128 x 128, lowest band first: dB below the clip's loudest value, from
    -79.5 to -0.3 in steps of 1.25

    Raises
    ------
    FileError
        When it is not a grey PNG of this size.
    """
    from PIL import Image, UnidentifiedImageError

    size = (PICTURE_SIZE, PICTURE_SIZE)
    try:
        with Image.open(Path(path)) as image:
            if image.mode != "L" or image.size != size:
                raise FileError(path, f"not a grey image of 128 x 128 ({image.mode} {image.size})")
            pixels: NDArray[np.float32] = np.asarray(image)[::-1].astype(np.float32)
    except (
        UnidentifiedImageError,
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
    ) as fault:
        check_disk(path, fault)
        raise FileError(path, "not a readable PNG image") from None
    return ((4 * pixels + 1.5) / 255 * 80 - 80).astype(np.float32)
