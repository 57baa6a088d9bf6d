"""Power spectrograms with an explicit frequency axis, computed from audio or read from disk.

Conventions
-----------
A spectrogram is an array `[bins, frames]` of power (squared magnitude of the STFT), lowest
frequency first. Its frequency axis is stated in Hz and need not be complete: some data sets keep
only every second FFT bin, and every feature is computed from the bins that are given.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from os import PathLike, fspath
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from genrescope.audio import Waveform
from genrescope.errors import FileError, check_disk
from genrescope.features.silence import INAUDIBLE

FloatArray = NDArray[np.float32]

# Bins below this frequency hold a constant offset and its leakage, but no sound.
_LOWEST_HZ = 20.0

# Stored spectrograms: 22 050 Hz, Hann window of 2048 samples, hop 1920, dB mapped to 0..255. The
# step of that map is lost and differs from track to track; this is the median of those measured.
STORED_SAMPLE_RATE = 22050
STORED_N_FFT = 2048
STORED_HOP_LENGTH = 1920
STORED_BINS = 544
STORED_STEP_DB = 0.644

# Another kind of stored picture, which `genrescope.features.sampled_mel` reads: 128 mel bands by
# 128 frames in 64 levels.
_FMA_MEL_SHAPE = (128, 128)
_FMA_MEL_LEVELS = 63


@dataclass(frozen=True)
class Spectrogram:
    """Power per frequency bin and frame.

    Attributes
    ----------
    power
        float32 `[bins, frames]`, lowest frequency first.
    frequencies
        float64 `[bins]`, in Hz, increasing.
    hop_seconds
        Seconds from one frame to the next.
    inaudible
        A frame whose mean power per bin is lower is silent. The default, for spectrograms whose
        scale is not known, is so small that only frames of zeros are.
    """

    power: FloatArray
    frequencies: NDArray[np.float64]
    hop_seconds: float
    inaudible: float = 1e-8

    @property
    def silent(self) -> NDArray[np.bool_]:
        """Which frames are silence, bool `[frames]`; see `genrescope.features.silence`."""
        audible = int(np.searchsorted(self.frequencies, _LOWEST_HZ))
        return np.asarray(self.power[audible:].mean(axis=0) < self.inaudible)


def kept_bins(n_bins: int, n_fft: int) -> NDArray[np.intp]:
    """Choose `n_bins` evenly spread bins out of the `n_fft / 2 + 1` of an FFT.

    The stored spectrograms were made by the same rule: bin `floor((i + 0.5) / n_bins * N)`
    of the `N` bins for `i` = 0 … `n_bins` - 1.
    """
    total = n_fft // 2 + 1
    if not 0 < n_bins <= total:
        raise ValueError(f"n_bins must be between 1 and {total}, not {n_bins}")
    return np.floor((np.arange(n_bins) + 0.5) / n_bins * total).astype(np.intp)


def kept_frequencies(sample_rate: int, n_fft: int, n_bins: int | None) -> NDArray[np.float64]:
    """Frequencies of the bins of an FFT that are kept, in Hz."""
    bins = kept_bins(n_bins or n_fft // 2 + 1, n_fft)
    return np.asarray(bins * (sample_rate / n_fft), np.float64)


@lru_cache(maxsize=8)
def _hann(n_fft: int) -> FloatArray:
    """Periodic Hann window, which an STFT needs."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)).astype(np.float32)


def power_spectrogram(
    waveform: Waveform,
    *,
    n_fft: int = 2048,
    hop_length: int = 512,
    center: bool = True,
    n_bins: int | None = None,
    fft_window: NDArray[np.floating] | None = None,
    pad_mode: Literal["constant", "reflect"] = "constant",
) -> Spectrogram:
    """Squared magnitude of the short-time Fourier transform, as `|librosa.stft|²`.

    Parameters
    ----------
    waveform
        Mono audio.
    n_fft
        Length of the FFT and of its periodic Hann window, in samples.
    hop_length
        Samples from one frame to the next.
    center
        Pad `n_fft / 2` zeros on both sides, so that frame `t` is centred on sample
        `t * hop_length`. Without it frame `t` covers samples `[t * hop, t * hop + n_fft)`.
    n_bins
        Keep only this many evenly spread bins (see `kept_bins`); all by default.
    fft_window
        Replaces the Hann window; at most `n_fft` samples. Frames have its length and are padded
        with zeros to `n_fft`. Its type is the precision of the FFT.
    pad_mode
        What is padded where frames are centred: zeros, or the waveform reflected.

    Returns
    -------
    Spectrogram
        Power `[n_fft / 2 + 1 or n_bins, frames]`; without `center` a waveform shorter than `n_fft`
        has no frame.
    """
    samples = waveform.samples
    weights = _hann(n_fft) if fft_window is None else fft_window
    if center and (len(samples) or pad_mode == "constant"):
        # NumPy reflects repeatedly where the waveform is shorter than the padding.
        samples = np.pad(samples, n_fft // 2, mode=pad_mode)
    bins = kept_bins(n_bins or n_fft // 2 + 1, n_fft)
    frequencies = kept_frequencies(waveform.sample_rate, n_fft, n_bins)
    hop = hop_length / waveform.sample_rate
    # The mean power of a bin is, for white noise, the variance times this sum.
    inaudible = INAUDIBLE * float(np.square(weights, dtype=np.float64).sum())
    if len(samples) < len(weights):
        return Spectrogram(np.zeros((len(bins), 0), np.float32), frequencies, hop, inaudible)
    frames = np.lib.stride_tricks.sliding_window_view(samples, len(weights))[::hop_length]
    power = np.empty((len(bins), len(frames)), np.float32)
    # A block at a time: weighting all overlapping frames at once would take n_fft / hop copies.
    for start in range(0, len(frames), 128):
        weighted = frames[start : start + 128] * weights
        spectrum = np.fft.rfft(weighted, n=n_fft, axis=1)[:, bins]
        power[:, start : start + 128] = (spectrum.real**2 + spectrum.imag**2).T
    return Spectrogram(power, frequencies, hop, inaudible)


def load_spectrogram(path: str | PathLike[str]) -> Spectrogram:
    """Read a spectrogram stored as an 8-bit grey PNG, highest frequency on top.

    A pixel is power in dB, mapped linearly so that the track's quietest bin is 0 and its loudest
    255. The map's offset and step are lost, so the power that comes back is relative and its
    contrast approximate (`STORED_STEP_DB` a level): features that average in dB and are then
    standardised per track do not depend on either.

    Raises
    ------
    FileError
        When the file is not an 8-bit grey PNG, is a mel spectrogram, or is taller than the FFT has
        bins.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(Path(path)) as image:
            if image.mode != "L":
                raise FileError(path, f"not an 8-bit grey image (mode {image.mode})")
            pixels = np.asarray(image)[::-1]
    except (
        UnidentifiedImageError,
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
    ) as fault:
        check_disk(path, fault)
        reason = "not a readable PNG image" if Path(path).is_file() else "no such file"
        raise FileError(path, reason) from None
    if pixels.shape == _FMA_MEL_SHAPE and pixels.max() <= _FMA_MEL_LEVELS:
        raise FileError(path, "a mel spectrogram of FMA's, not a power spectrogram")
    if pixels.shape[0] > STORED_N_FFT // 2 + 1:
        raise FileError(path, f"{pixels.shape[0]} rows, more than an FFT of 2048 has bins")
    power = np.power(10.0, pixels.astype(np.float32) * np.float32(STORED_STEP_DB / 10))
    # A column of zeros is silence, not music at the track's quietest level.
    power[:, ~pixels.any(axis=0)] = 0.0
    return Spectrogram(
        power,
        kept_frequencies(STORED_SAMPLE_RATE, STORED_N_FFT, pixels.shape[0]),
        STORED_HOP_LENGTH / STORED_SAMPLE_RATE,
    )


def is_stored_spectrogram(path: str | PathLike[str]) -> bool:
    """Whether a file is a stored spectrogram, by the ending of its name (`.png`)."""
    return fspath(path).lower().endswith(".png")
