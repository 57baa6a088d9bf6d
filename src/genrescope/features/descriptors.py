"""The eleven families of descriptors of the FMA data set, frame by frame.

Conventions
-----------
Families, their sizes and parameters are those of the FMA's own code (Defferrard et al. 2017): an
STFT of 2048 samples at a hop of 512, a constant-Q transform of seven octaves of twelve bins at the
same hop, both tuned to the music. In the combinations of the FMA's baselines, which the berkeley
paper's figure 8 repeats, "chroma" stands for `chroma_cens` (7 statistics of 12 rows are the 84
numbers that it adds), "contrast" for `spectral_contrast` and "centroid" for `spectral_centroid`.

As there, `rmse` is measured on the windowed frames of the STFT, which gives about 0.61 (the root of
3/8) of the waveform's own.

Where the numbers in FMA's `features.csv` differ from these: FMA's code ran at each file's own
rate but left librosa at 22 050 Hz for all but the constant-Q families and MFCC, so that at
44 100 Hz its centroid, bandwidth and rolloff are half of what they are in Hz; librosa scaled
`rmse` differently then; and it mirrored a track's ends, where now there are zeros.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from genrescope.audio import Waveform
from genrescope.errors import RecipeError, UnknownNameError
from genrescope.features.base import Computed, StftFeature
from genrescope.features.filterbank import mel_power, power_to_db
from genrescope.features.mfcc import dct
from genrescope.features.spectrogram import FloatArray, Spectrogram
from genrescope.registry import no_such

FAMILIES = {
    "chroma_cens": 12,
    "chroma_cqt": 12,
    "chroma_stft": 12,
    "mfcc": 20,
    "rmse": 1,
    "spectral_bandwidth": 1,
    "spectral_centroid": 1,
    "spectral_contrast": 7,
    "spectral_rolloff": 1,
    "tonnetz": 6,
    "zcr": 1,
}
"""Rows of each family."""

SHORT_NAMES = {
    "chroma": "chroma_cens",
    "contrast": "spectral_contrast",
    "centroid": "spectral_centroid",
}

_OCTAVES = 7
_PITCHES = 12


class Descriptors(StftFeature):
    """Descriptors, the families one under the other in the order asked for, `[size, frames]`.

    There is a frame for each of the STFT's; the constant-Q transform's, should it have one more or
    less, are cut or the last repeated.

    Attributes
    ----------
    families
        Some of `FAMILIES` or `SHORT_NAMES`; all by default.
    n_mels, fmin, fmax
        The mel bands of the MFCCs.
    """

    # The highest band of the spectral contrast begins at 6400 Hz.
    sample_rate: int = Field(22050, gt=12800, le=192000)
    families: tuple[str, ...] = Field(tuple(FAMILIES), min_length=1)

    @field_validator("families")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        families = tuple(SHORT_NAMES.get(name, name) for name in names)
        for family in families:
            if family not in FAMILIES:
                raise UnknownNameError(no_such("no family", family, FAMILIES, also=SHORT_NAMES))
            if families.count(family) > 1:
                raise ValueError(f"family {family!r} is named twice")
        return families

    @model_validator(mode="after")
    def _whole(self) -> Descriptors:
        if self.n_bins is not None or not self.center:
            raise ValueError("descriptors need all bins and center: true")
        if self.sample_rate / self.n_fft > 100:
            # The spectral contrast's lowest bands are 200 Hz wide and must hold some bins.
            raise ValueError(f"n_fft {self.n_fft} is too short for the spectral contrast")
        if self.n_mels < FAMILIES["mfcc"]:
            raise ValueError(
                f"{FAMILIES['mfcc']} MFCCs can't be computed from {self.n_mels} mel bands"
            )
        return self

    @property
    def size(self) -> int:
        """Rows of all families."""
        return sum(FAMILIES[family] for family in self.families)

    @property
    def local(self) -> bool:
        """No: the tuning is estimated from all frames."""
        return False

    def compute(self, waveform: Waveform) -> Computed:
        """Compute the descriptors, and which of the frames are silence.

        Raises
        ------
        RecipeError
            When librosa is not installed.
        ValueError
            When the waveform is not at `sample_rate`.
        """
        spectrogram = self.spectrogram(waveform)
        analysis = _Analysis(self, waveform, spectrogram, _librosa())
        with warnings.catch_warnings():
            # Without a pitch to tune to it is 0; what is shorter than a filter is padded.
            warnings.filterwarnings("ignore", message="Trying to estimate tuning|n_fft=")
            rows = [analysis.rows(family) for family in self.families]
        return np.concatenate(rows).astype(np.float32), spectrogram.silent


@dataclass(frozen=True)
class _Analysis:
    """A waveform with its transforms, each computed once, and how each family is computed."""

    feature: Descriptors
    waveform: Waveform
    spectrogram: Spectrogram
    librosa: Any

    @cached_property
    def magnitude(self) -> FloatArray:
        return np.sqrt(self.spectrogram.power)

    @cached_property
    def constant_q(self) -> FloatArray:
        rate = self.waveform.sample_rate
        transform: NDArray[np.complex64] = self.librosa.cqt(
            self.waveform.samples,
            sr=rate,
            hop_length=self.feature.hop_length,
            n_bins=_OCTAVES * _PITCHES,
            bins_per_octave=_PITCHES,
            tuning=self.librosa.estimate_tuning(S=self.magnitude, sr=rate, n_fft=self.n_fft),
        )
        frames = self.spectrogram.power.shape[1]
        missing = max(0, frames - transform.shape[1])
        magnitude = np.abs(transform[:, :frames]).astype(np.float32)
        return np.pad(magnitude, ((0, 0), (0, missing)), mode="edge")

    @cached_property
    def cens(self) -> FloatArray:
        return self._chroma(self.librosa.feature.chroma_cens)

    @property
    def n_fft(self) -> int:
        return self.feature.n_fft

    def _chroma(self, function: Any) -> FloatArray:
        chroma: FloatArray = function(
            C=self.constant_q, n_chroma=_PITCHES, n_octaves=_OCTAVES, bins_per_octave=_PITCHES
        )
        return chroma

    def rows(self, family: str) -> FloatArray:
        """The rows of one of `FAMILIES`, `[rows, frames]`."""
        if family.startswith("spectral_"):
            return self._spectral(family)
        rows: FloatArray = getattr(self, family)()
        return rows

    def _spectral(self, family: str) -> FloatArray:
        bands = {"n_bands": FAMILIES[family] - 1} if family == "spectral_contrast" else {}
        function = getattr(self.librosa.feature, family)
        rows: FloatArray = function(S=self.magnitude, sr=self.waveform.sample_rate, **bands)
        return rows

    def chroma_cens(self) -> FloatArray:
        return self.cens

    def chroma_cqt(self) -> FloatArray:
        return self._chroma(self.librosa.feature.chroma_cqt)

    def chroma_stft(self) -> FloatArray:
        rows: FloatArray = self.librosa.feature.chroma_stft(
            S=self.spectrogram.power, sr=self.waveform.sample_rate, n_chroma=_PITCHES
        )
        return rows

    def mfcc(self) -> FloatArray:
        feature = self.feature
        mel = mel_power(
            self.spectrogram, n_mels=feature.n_mels, fmin=feature.fmin, fmax=feature.fmax
        )
        return dct(feature.n_mels, FAMILIES["mfcc"]) @ power_to_db(mel)

    def rmse(self) -> FloatArray:
        rows: FloatArray = self.librosa.feature.rms(S=self.magnitude, frame_length=self.n_fft)
        return rows

    def tonnetz(self) -> FloatArray:
        # FMA's code takes it from the CENS chroma, not from the constant-Q chroma.
        rows: FloatArray = self.librosa.feature.tonnetz(
            chroma=self.cens, sr=self.waveform.sample_rate
        )
        return rows

    def zcr(self) -> FloatArray:
        rows: FloatArray = self.librosa.feature.zero_crossing_rate(
            self.waveform.samples, frame_length=self.n_fft, hop_length=self.feature.hop_length
        )
        return rows


def _librosa() -> Any:
    try:
        import librosa
    except ImportError as error:
        raise RecipeError(
            "feature descriptors: needs librosa: pip install 'genrescope[lab]'"
        ) from error
    return librosa
