"""Changes of a waveform for training data: level, pitch, and added noise.

What is random is drawn from the NumPy generator that is passed in, and from nothing else. Only
training tracks may be changed; keeping a copy in its track's subset is the caller's task.
"""

from __future__ import annotations

import numpy as np

from genrescope.audio.waveform import Waveform
from genrescope.errors import GenrescopeError


def gain(waveform: Waveform, decibels: float) -> Waveform:
    """Amplify a waveform, or below 0 dB attenuate it. Nothing is clipped: samples may exceed ±1."""
    factor = np.float32(10 ** (decibels / 20))
    return Waveform(waveform.samples * factor, waveform.sample_rate)


def semitones(waveform: Waveform, steps: float) -> Waveform:
    """Shift the pitch at the same tempo and length, by librosa's phase vocoder and resampler.

    Parameters
    ----------
    waveform
        Audio of any length.
    steps
        Semitones up or, below 0, down; fractions too.

    Raises
    ------
    GenrescopeError
        When librosa is not installed.
    """
    if steps == 0 or len(waveform.samples) < 4:  # the hop is a quarter of the window
        return waveform
    try:
        from librosa.effects import pitch_shift
    except ImportError as error:
        raise GenrescopeError("a pitch shift needs librosa: pip install 'genrescope[lab]'") from (
            error
        )
    # The vocoder's window must not be longer than the waveform.
    n_fft = min(2048, len(waveform.samples))
    shifted = pitch_shift(waveform.samples, sr=waveform.sample_rate, n_steps=steps, n_fft=n_fft)
    return Waveform(shifted.astype(np.float32, copy=False), waveform.sample_rate)


def noise(waveform: Waveform, snr_db: float, random: np.random.Generator) -> Waveform:
    """Add white Gaussian noise at exactly the given signal-to-noise ratio.

    Signal and noise power are mean squares over the whole waveform. Silence, for which the ratio is
    not defined, is returned unchanged.

    Parameters
    ----------
    waveform
        Audio of any length.
    snr_db
        Ratio of signal power to noise power in dB.
    random
        As many numbers are drawn from it as there are samples.
    """
    hiss = random.standard_normal(len(waveform.samples))
    if not waveform.samples.any():
        return waveform
    signal = np.mean(np.square(waveform.samples, dtype=np.float64))
    hiss *= np.sqrt(signal / np.mean(hiss**2)) * 10 ** (-snr_db / 20)
    return Waveform((waveform.samples + hiss).astype(np.float32), waveform.sample_rate)
