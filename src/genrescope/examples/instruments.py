"""Synthetic instruments, drums and effects, as NumPy arrays.

Conventions
-----------
A *sound* is a one-dimensional float64 array at 22050 Hz. Pitches are MIDI numbers (60 is middle C,
69 is 440 Hz), times in a piece are in beats. A *pattern* spells out a bar: ``X`` is a loud stroke,
``x`` a soft one, anything else a rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Sound = NDArray[np.float64]

SAMPLE_RATE = 22050


# --- Tones ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Timbre:
    """An instrument: which overtones sound and how a note begins, fades and ends (seconds)."""

    partials: tuple[float, ...]  # loudness of the fundamental and its multiples
    attack: float = 0.005
    decay: float = 30.0  # to 1/e
    release: float = 0.05
    damping: float = 0.0  # how much faster high partials fade, 1/s a partial
    vibrato: float = 0.0  # semitones
    voices: int = 1  # players in unison, slightly out of tune


def _falling(count: int, power: float, even: float = 1.0) -> tuple[float, ...]:
    return tuple((1.0 if k % 2 else even) / k**power for k in range(1, count + 1))


STRINGS = Timbre(_falling(14, 1.3), attack=0.25, release=0.4, vibrato=0.12, voices=3)
VIOLIN = Timbre(_falling(16, 1.1), attack=0.09, release=0.15, vibrato=0.25, voices=2)
HARP = Timbre(_falling(8, 1.8), decay=0.7, release=0.3, damping=1.5)
PIANO = Timbre(_falling(12, 1.4), attack=0.003, decay=0.9, release=0.12, damping=0.8)
ORGAN = Timbre((1.0, 0.8, 0.6, 0.4, 0.0, 0.3), attack=0.004, release=0.02)
CLAVINET = Timbre(_falling(14, 0.9, even=0.6), attack=0.002, decay=0.25, release=0.03, damping=2.0)
SYNTH_BASS = Timbre(_falling(10, 1.0), attack=0.003, decay=0.35, release=0.02, damping=2.0)
UPRIGHT_BASS = Timbre(_falling(7, 1.7), attack=0.01, decay=0.5, release=0.05, damping=1.5)
DEEP_BASS = Timbre((1.0, 0.35, 0.08), attack=0.01, decay=1.2, release=0.06)
SUB_BASS = Timbre((1.0, 0.12), attack=0.005, decay=0.9, release=0.08)
SAXOPHONE = Timbre(_falling(12, 0.9, even=0.7), attack=0.03, release=0.06, vibrato=0.12)
MELODICA = Timbre(_falling(9, 0.9, even=0.3), attack=0.04, release=0.06, vibrato=0.06)


def hertz(pitch: float) -> float:
    """Return the frequency of a MIDI pitch in equal temperament."""
    return float(440.0 * 2.0 ** ((pitch - 69.0) / 12.0))


def note(timbre: Timbre, pitch: float, seconds: float) -> Sound:
    """Play one note by adding up its partials; it fades out after `seconds`."""
    t = np.arange(int((seconds + timbre.release) * SAMPLE_RATE)) / SAMPLE_RATE
    sound = np.zeros_like(t)
    for voice in range(timbre.voices):
        # A player swings into a vibrato only after the note has begun.
        wave = np.minimum(t / 0.4, 1.0) * np.sin(2 * np.pi * (5.3 + 0.4 * voice) * t + voice)
        bend = timbre.vibrato * wave + 0.06 * (voice - (timbre.voices - 1) / 2)
        phase = 2 * np.pi * np.cumsum(hertz(pitch) * 2 ** (bend / 12)) / SAMPLE_RATE
        for k, loudness in enumerate(timbre.partials, start=1):
            if loudness and k * hertz(pitch) < 0.45 * SAMPLE_RATE:
                fade = np.exp(-t * timbre.damping * (k - 1)) if timbre.damping else 1.0
                sound += loudness * fade * np.sin(k * phase + voice)
    end = np.clip((seconds + timbre.release - t) / timbre.release, 0.0, 1.0)
    shape = np.minimum(t / timbre.attack, 1.0) * np.exp(-t / timbre.decay) * end
    return np.asarray(sound * shape / (sum(timbre.partials) * timbre.voices**0.5))


def chord(timbre: Timbre, pitches: Iterable[float], seconds: float) -> Sound:
    """Play several notes of one length together."""
    notes = [note(timbre, pitch, seconds) for pitch in pitches]
    return np.asarray(np.sum(notes, axis=0) / len(notes) ** 0.7)


def plucked_string(pitch: float, seconds: float, rng: Generator, *, damping: float = 0.5) -> Sound:
    """Pluck a steel string: a burst of noise that a loop of one period smooths on each turn.

    After K. Karplus and A. Strong, Digital Synthesis of Plucked-String and Drum Timbres, Computer
    Music Journal 7(2), 1983. `damping` is between 0 and 1; a palm on the string is near 0.9.
    """
    period = int(np.ceil(SAMPLE_RATE / hertz(pitch)))
    turns = int(seconds * hertz(pitch)) + 2
    keep = 0.9985 - 0.12 * max(0.0, damping - 0.5)
    burst = rng.uniform(-1.0, 1.0, period)
    loop = np.empty((turns, period))
    for turn in range(turns):
        loop[turn] = burst
        burst = keep * ((1 - damping / 2) * burst + damping / 2 * np.roll(burst, 1))
    # The loop has a whole number of samples: reading it a little faster tunes it.
    samples = np.arange(int(seconds * SAMPLE_RATE)) * (period * hertz(pitch) / SAMPLE_RATE)
    sound = np.interp(samples, np.arange(loop.size), loop.ravel())
    fade = np.minimum(1.0, np.arange(len(sound))[::-1] / (0.01 * SAMPLE_RATE))
    return np.asarray(sound * fade)


# --- Drums ---------------------------------------------------------------------------------------


def _decay(seconds: float, to_1_over_e: float) -> tuple[Sound, Sound]:
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return t, np.exp(-t / to_1_over_e) * np.minimum(1.0, (seconds - t) / 0.01)


def kick(*, low: float = 48.0, length: float = 0.14, click: float = 0.3) -> Sound:
    """Beat a bass drum: a sine that falls to `low` hertz, and the click of the beater."""
    t, fade = _decay(4 * length, length)
    phase = 2 * np.pi * np.cumsum(low + 160 * np.exp(-t / 0.025)) / SAMPLE_RATE
    beater = np.exp(-t / 0.004) * np.sin(2 * np.pi * 2500 * t)
    return np.asarray(fade * np.sin(phase) + click * beater)


def snare(rng: Generator, *, tone: float = 190.0, length: float = 0.09) -> Sound:
    """Beat a snare drum: the skin's tone under the rattle of the wires."""
    t, fade = _decay(4 * length, length)
    rattle = band(rng.normal(0.0, 0.5, len(t)), 1200.0, 8500.0)
    return fade * rattle + 0.5 * np.exp(-t / 0.05) * np.sin(2 * np.pi * tone * t)


def rim(rng: Generator) -> Sound:
    """Beat a snare drum's rim: short and woody."""
    t, fade = _decay(0.12, 0.018)
    wood = np.sin(2 * np.pi * 480 * t) + 0.7 * np.sin(2 * np.pi * 1720 * t)
    return fade * (wood + 0.3 * rng.normal(0.0, 1.0, len(t))) * 0.6


def hat(rng: Generator, *, length: float = 0.03) -> Sound:
    """Beat a hi-hat: high noise, closed when short and open when long."""
    t, fade = _decay(5 * length, length)
    return fade * band(rng.normal(0.0, 0.35, len(t)), 6500.0, 10500.0)


def cymbal(rng: Generator, *, length: float = 0.45, ping: float = 0.5) -> Sound:
    """Beat a ride or crash cymbal: partials in no whole ratio, and a wash of noise."""
    t, fade = _decay(3 * length, length)
    ratios = np.array([1.0, 1.342, 1.7, 2.13, 2.57, 3.11])
    metal = np.sin(2 * np.pi * np.outer(2740 * ratios, t) + np.arange(6)[:, None]).mean(axis=0)
    wash = band(rng.normal(0.0, 0.3, len(t)), 4500.0, 10500.0)
    return np.asarray(ping * np.exp(-t / 0.12) * metal + fade * wash)


# --- Effects -------------------------------------------------------------------------------------


def band(sound: Sound, low: float, high: float) -> Sound:
    """Pass frequencies from `low` to `high` hertz, with slopes of 12 dB an octave (0: no limit)."""
    size = 2 * len(sound)
    frequency = np.maximum(np.fft.rfftfreq(size, 1 / SAMPLE_RATE), 1e-3)
    gain = 1 / np.sqrt(1 + (low / frequency) ** 4)
    if high:
        gain /= np.sqrt(1 + (frequency / high) ** 4)
    return np.asarray(np.fft.irfft(np.fft.rfft(sound, size) * gain, size)[: len(sound)])


def reverb(sound: Sound, rng: Generator, *, seconds: float, wet: float) -> Sound:
    """Play in a room: convolve with noise that dies away by 60 dB within `seconds`."""
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    room = band(rng.normal(0.0, 1.0, len(t)) * 10 ** (-3 * t / seconds), 200.0, 4500.0)
    size = 1 << (len(sound) + len(room)).bit_length()
    echoes = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(room, size), size)[: len(sound)]
    loudness = np.sqrt(np.mean(sound**2) / max(float(np.mean(echoes**2)), 1e-12))
    return np.asarray((1 - wet) * sound + wet * loudness * echoes)


def distort(sound: Sound, drive: float) -> Sound:
    """Overdrive an amplifier, followed by a guitar loudspeaker."""
    return band(np.tanh(drive * sound), 90.0, 5200.0)
