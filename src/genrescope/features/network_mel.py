"""Log-mel bands of pretrained networks: one computation, with the settings of each network.

Three networks were trained on log-mel bands that their published code computes in its own way:

- `vggish_mel`: Hershey et al., "CNN architectures for large-scale audio classification" (ICASSP
  2017). Magnitudes, not powers, are summed into bands; the natural logarithm of 0.01 more.
- `musicnn_mel`: Pons and Serra, "musicnn: pre-trained convolutional neural networks for music audio
  tagging" (ISMIR 2019, late-breaking demo). librosa's mel bands, `log10(1 + 10000 power)`.
- `efficientat_mel`: Schmid, Koutini and Widmer, "Efficient large-scale audio tagging via
  transformer-to-CNN knowledge distillation" (ICASSP 2023). Kaldi's mel bands after a pre-emphasis
  of 0.97; the natural logarithm of 1e-5 more, brought near mean 0 and deviation 1 over AudioSet.

A network needs the settings that it was trained with, so they can't be changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from genrescope.audio import Waveform
from genrescope.features.base import SpectrogramFeature
from genrescope.features.filterbank import band_sums, htk_mel_filters, mel_power
from genrescope.features.spectrogram import FloatArray, Spectrogram, power_spectrogram

Kind = Literal["vggish_mel", "musicnn_mel", "efficientat_mel"]


@dataclass(frozen=True)
class _Settings:
    """Settings that a network's own code fixes.

    Attributes
    ----------
    stft
        Values of the fields of `NetworkMel`.
    win_length
        Samples of the Hann window; the FFT may be longer.
    pre_emphasis
        Factor of the sample before, which is taken off each sample.
    pad_mode
        Mode of NumPy's `pad`, for the ends of a waveform whose frames are centred.
    """

    stft: dict[str, Any]
    win_length: int
    pre_emphasis: float = 0.0
    pad_mode: Literal["constant", "reflect"] = "constant"


_SETTINGS: dict[Kind, _Settings] = {
    "vggish_mel": _Settings(
        stft={
            "sample_rate": 16000,
            "n_fft": 512,
            "hop_length": 160,
            "center": False,
            "n_bins": None,
            "n_mels": 64,
            "fmin": 125.0,
            "fmax": 7500.0,
        },
        win_length=400,
    ),
    "musicnn_mel": _Settings(
        stft={
            "sample_rate": 16000,
            "n_fft": 512,
            "hop_length": 256,
            "center": True,
            "n_bins": None,
            "n_mels": 96,
            "fmin": 0.0,
            "fmax": 8000.0,
        },
        win_length=512,
    ),
    "efficientat_mel": _Settings(
        stft={
            "sample_rate": 32000,
            "n_fft": 1024,
            "hop_length": 320,
            "center": True,
            "n_bins": None,
            "n_mels": 128,
            "fmin": 0.0,
            "fmax": 15000.0,
        },
        win_length=800,
        pre_emphasis=0.97,
        pad_mode="reflect",
    ),
}


class NetworkMel(SpectrogramFeature):
    """Log-mel bands as the network that its kind names was trained on, `[n_mels, frames]`.

    `vggish_mel` has 64 bands every 10 ms, `musicnn_mel` 96 every 16 ms, `efficientat_mel` 128 every
    10 ms. The settings are part of the kind; naming one with its own value is allowed.
    """

    kind: Kind

    @model_validator(mode="before")
    @classmethod
    def _with_published_settings(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """Fill in the settings of the kind, and refuse others."""
        settings = _SETTINGS.get(fields["kind"])
        if settings is None:  # refused by the type of the field
            return fields
        for name, value in settings.stft.items():
            if fields.get(name, value) != value:
                raise ValueError(
                    f"{name} is {value}, not {fields[name]}: the network knows no other"
                )
        return {**settings.stft, **fields}

    def _check_bands(self) -> None:
        """HTK's lowest bands may hold no bin; they were empty in training as well."""

    def spectrogram(self, waveform: Waveform) -> Spectrogram:
        """The power spectrogram of a waveform, with the network's FFT window and padding.

        Raises
        ------
        ValueError
            When the waveform is not at `sample_rate`.
        """
        self.check_rate(waveform)
        settings = _SETTINGS[self.kind]
        if settings.pre_emphasis:
            samples, factor = waveform.samples, np.float32(settings.pre_emphasis)
            waveform = Waveform(samples[1:] - factor * samples[:-1], self.sample_rate)
        return power_spectrogram(
            waveform,
            n_fft=self.n_fft,
            hop_length=self.hop_length,
            center=self.center,
            fft_window=_fft_window(self.kind),
            pad_mode=settings.pad_mode,
        )

    def of_spectrogram(self, spectrogram: Spectrogram) -> FloatArray:
        """Compute log-mel bands, float32 `[n_mels, frames]`."""
        if self.kind == "musicnn_mel":
            power = mel_power(spectrogram, n_mels=self.n_mels, fmin=self.fmin, fmax=self.fmax)
            return np.asarray(np.log10(1 + np.float32(10_000) * power), np.float32)
        filters = _htk_filters(tuple(spectrogram.frequencies), self.n_mels, self.fmin, self.fmax)
        if self.kind == "vggish_mel":
            bands = band_sums(filters, np.sqrt(spectrogram.power))
            return np.asarray(np.log(bands + np.float32(0.01)), np.float32)
        bands = np.log(band_sums(filters, spectrogram.power) + np.float32(1e-5))
        return np.asarray((bands + np.float32(4.5)) / np.float32(5), np.float32)


@lru_cache(maxsize=3)
def _fft_window(kind: Kind) -> NDArray[np.floating] | None:
    """The network's FFT window, as long as a frame; None for the STFT's usual one."""
    if kind == "musicnn_mel":
        return None
    length = _SETTINGS[kind].win_length
    if kind == "efficientat_mel":
        # Symmetric, in the middle of the FFT's frame.
        rest = (_SETTINGS[kind].stft["n_fft"] - length) // 2
        return np.pad(np.hanning(length), rest).astype(np.float32)
    # Periodic, at the beginning of the FFT's frame. In double precision: next to a loud tone a band
    # holds less than what float32 would err by.
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length))


@lru_cache(maxsize=4)
def _htk_filters(
    frequencies: tuple[float, ...], n_mels: int, fmin: float, fmax: float
) -> FloatArray:
    return htk_mel_filters(np.array(frequencies), n_mels=n_mels, fmin=fmin, fmax=fmax)
