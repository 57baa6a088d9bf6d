"""Changed copies of a sound for training: louder, higher, noisier, or a stretch of it.

Conventions
-----------
What is random is drawn from the NumPy generator that is passed in, and from nothing else. What was
drawn is kept as `Drawn`, from which `apply` makes the same copy again. Only training tracks may be
changed; keeping copies on their track's side of a split is the caller's part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from genrescope.audio.waveform import Waveform
from genrescope.errors import GenrescopeError

Change = Literal["none", "gain", "semitones", "noise"]


@dataclass(frozen=True)
class Drawn:
    """A change of a waveform, ready to be made again.

    Attributes
    ----------
    name
        Which change.
    parameter
        Decibels of gain, semitones, or the signal-to-noise ratio in dB; 0 for none.
    seed
        Of the noise.
    """

    name: Change
    parameter: float
    seed: int


def gain(waveform: Waveform, decibels: float) -> Waveform:
    """Make a sound louder or, below 0 dB, softer. Nothing is clipped: samples may pass ±1."""
    factor = np.float32(10 ** (decibels / 20))
    return Waveform(waveform.samples * factor, waveform.sample_rate)


def semitones(waveform: Waveform, steps: float) -> Waveform:
    """Shift the pitch, keeping tempo and length, by librosa's phase vocoder and resampler.

    Parameters
    ----------
    waveform
        The sound.
    steps
        Semitones up or, below 0, down; fractions too.

    Raises
    ------
    GenrescopeError
        When librosa is not installed.
    """
    if steps == 0 or len(waveform.samples) < 4:  # the vocoder hops by a quarter of its window
        return waveform
    try:
        from librosa.effects import pitch_shift
    except ImportError as error:
        raise GenrescopeError("a pitch shift needs librosa: pip install 'genrescope[lab]'") from (
            error
        )
    # The vocoder's window must not be longer than the sound.
    n_fft = min(2048, len(waveform.samples))
    shifted = pitch_shift(waveform.samples, sr=waveform.sample_rate, n_steps=steps, n_fft=n_fft)
    return Waveform(shifted.astype(np.float32, copy=False), waveform.sample_rate)


def noise(waveform: Waveform, snr_db: float, random: np.random.Generator) -> Waveform:
    """Add white Gaussian noise at a signal-to-noise ratio that is met exactly.

    Signal and noise are measured as mean squares over the whole waveform. Silence, which has no
    such ratio, stays as it is.

    Parameters
    ----------
    waveform
        The sound.
    snr_db
        Signal over noise, in dB.
    random
        Draws as many numbers as there are samples.
    """
    hiss = random.standard_normal(len(waveform.samples))
    if not waveform.samples.any():
        return waveform
    signal = np.mean(np.square(waveform.samples, dtype=np.float64))
    hiss *= np.sqrt(signal / np.mean(hiss**2)) * 10 ** (-snr_db / 20)
    return Waveform((waveform.samples + hiss).astype(np.float32), waveform.sample_rate)


def apply(waveform: Waveform, drawn: Drawn) -> Waveform:
    """Make a drawn change; the same waveform and the same `Drawn` give the same samples."""
    if drawn.name == "gain":
        return gain(waveform, drawn.parameter)
    if drawn.name == "semitones":
        return semitones(waveform, drawn.parameter)
    if drawn.name == "noise":
        return noise(waveform, drawn.parameter, np.random.default_rng(drawn.seed))
    return waveform


def leiden_rule(
    waveform: Waveform,
    random: np.random.Generator,
    *,
    most_gain: float = 6.0,
    most_semitones: float = 2.0,
    snr_db: float = 20.0,
) -> tuple[Waveform, Drawn]:
    """Make one of the three changes or none, each equally likely, as the leiden paper does.

    The paper gives no parameters; these are ours.

    Parameters
    ----------
    waveform
        A segment.
    random
        Draws three numbers, whatever comes of them.
    most_gain
        Greatest change in dB either way; all in between are equally likely.
    most_semitones
        The same for the shift of pitch.
    snr_db
        Of the noise.

    Returns
    -------
    tuple
        The changed segment, and what was drawn.
    """
    name = get_args(Change)[random.integers(4)]
    part = random.uniform(-1, 1)
    seed = int(random.integers(2**63))
    parameters = {"gain": part * most_gain, "semitones": part * most_semitones, "noise": snr_db}
    drawn = Drawn(name, parameters.get(name, 0.0), seed)
    return apply(waveform, drawn), drawn


def segments(
    waveform: Waveform, seconds: float, overlap: float = 0.0, most: int | None = None
) -> list[Waveform]:
    """Cut a sound into segments of equal length, from its beginning.

    A last segment that would reach past the end by no more than a tenth of a step is moved back
    to end there, so that the tracks of GTZAN, which last 29.9 to 30.6 s, give the same number. The
    rest is left out.

    Parameters
    ----------
    waveform
        The sound.
    seconds
        Length of a segment.
    overlap
        Part of a segment that the next one shares, at least 0 and under 1.
    most
        Give no more than so many: 30 s make 19 segments of 3 s with half overlap, of which the
        kth paper takes 18.

    Returns
    -------
    list of Waveform
        Views of the same samples; none where the sound is shorter than one segment.

    Raises
    ------
    ValueError
        When a length or an overlap is out of range.
    """
    length = round(seconds * waveform.sample_rate)
    if length < 1 or not 0 <= overlap < 1 or (most is not None and most < 1):
        raise ValueError(f"can't cut segments of {seconds} s, overlap {overlap}, {most} at most")
    last = len(waveform.samples) - length
    if last < 0:
        return []
    step = length * (1 - overlap)
    count = math.floor(last / step + 0.1) + 1
    starts = (min(round(i * step), last) for i in range(min(count, most or count)))
    return [
        Waveform(waveform.samples[start : start + length], waveform.sample_rate) for start in starts
    ]
