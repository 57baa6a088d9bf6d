"""Small synthetic pieces of music, so that there is something to hear on any machine.

Each clip is played by a few oscillators, drums and one reverb, in the tempo, metre, harmony and
instruments that its style is known for. They serve the README, the demo and the tests. They are
synthetic caricatures: what a classifier says about them is **no measure of its accuracy**.

Conventions
-----------
A *sound* is a one-dimensional float64 array at 22050 Hz. Pitches are MIDI numbers (60 is middle C,
69 is 440 Hz), times in a piece are in beats. A *pattern* spells a bar: ``X`` a loud stroke, ``x`` a
soft one, anything else silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import soundfile
from numpy.random import Generator
from numpy.typing import NDArray

from genrescope.atomic import open_atomic
from genrescope.errors import FileError, GenrescopeError

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
    """Overdrive an amplifier, then hear it through a guitar loudspeaker."""
    return band(np.tanh(drive * sound), 90.0, 5200.0)


# --- The tape ------------------------------------------------------------------------------------


class Tape:
    """A stretch of time onto which sounds are placed by beat.

    Parameters
    ----------
    seconds, bpm
        Length and tempo.
    rng
        Plays a little unevenly, as people do.
    swing
        Where the second half of a beat begins: 0.5 is straight, 2/3 a triplet's swing.
    """

    def __init__(self, seconds: float, bpm: float, rng: Generator, swing: float = 0.5) -> None:
        self.sound: Sound = np.zeros(round(seconds * SAMPLE_RATE))
        self.beat = 60.0 / bpm
        self.bars = int(np.ceil(seconds / self.beat / 4))
        self.rng = rng
        self.swing = swing

    def add(self, beat: float, sound: Sound, gain: float = 1.0) -> None:
        """Mix a sound in at a beat; what is past the end is lost."""
        whole, part = divmod(beat, 1.0)
        late = part * 2 * self.swing if part < 0.5 else 1 - (1 - part) * 2 * (1 - self.swing)
        uneven = self.rng.normal(0.0, 0.002)
        start = max(0, round(((whole + late) * self.beat + uneven) * SAMPLE_RATE))
        room = self.sound[start : start + len(sound)]
        room += gain * self.rng.uniform(0.9, 1.0) * sound[: len(room)]

    def beats(self, bar: int, pattern: str, sound: Sound, gain: float = 1.0) -> None:
        """Play a bar of strokes, the pattern spread evenly over four beats."""
        for i, stroke in enumerate(pattern):
            if stroke in "xX":
                self.add(
                    4 * (bar + i / len(pattern)), sound, gain * (1.0 if stroke == "X" else 0.6)
                )

    def line(self, beats: Iterable[float], sounds: Iterable[Sound], gain: float = 1.0) -> None:
        """Play one sound after another, each at its beat."""
        for beat, sound in zip(beats, sounds, strict=True):
            self.add(beat, sound, gain)

    def walk(self, scale: list[int], start: int, count: int, leap: int = 2) -> list[int]:
        """Invent a tune: `count` pitches of a scale, each a few steps from the one before."""
        places = [start]
        for step in self.rng.integers(-leap, leap + 1, count - 1):
            place = places[-1] + int(step)
            # Turn back at either end rather than lean against it.
            places.append(place if 0 <= place < len(scale) else places[-1] - int(step))
        return [scale[min(max(place, 0), len(scale) - 1)] for place in places]


MAJOR, MINOR = (0, 4, 7), (0, 3, 7)
MAJOR_7, MINOR_7, DOMINANT_7 = (4, 7, 11, 14), (3, 7, 10, 14), (4, 10, 14)
POWER = (0, 7, 12)


def _on(root: int, kind: tuple[int, ...]) -> list[int]:
    return [root + interval for interval in kind]


def _scale(root: int, steps: tuple[int, ...], octaves: int = 2) -> list[int]:
    return [root + 12 * octave + step for octave in range(octaves) for step in steps]


PENTATONIC = (0, 3, 5, 7, 10)
BLUES = (0, 3, 5, 6, 7, 10)
HARMONIC_MINOR = (0, 2, 3, 5, 7, 8, 11)
DIATONIC = (0, 2, 4, 5, 7, 9, 11)


# --- The styles ----------------------------------------------------------------------------------


def blues(seconds: float, rng: Generator) -> Sound:
    """Shuffle at 100 to the minute: boogie guitar, a lead on the blues scale, brushed drums."""
    tape = Tape(seconds, 100, rng, swing=2 / 3)
    key = 40 + int(rng.integers(0, 4))
    lead = Tape(seconds, 100, rng, swing=2 / 3)
    for bar in range(tape.bars):
        root = key + (0, 5, 0, 7, 5)[bar % 5]
        for i, top in enumerate((7, 7, 9, 9, 10, 9, 9, 7)):
            for pitch in (root, root + top):
                tape.add(4 * bar + i / 2, plucked_string(pitch, 0.32, rng, damping=0.6), 0.42)
        bass = [note(UPRIGHT_BASS, root - 12 + step, 0.45) for step in (0, 4, 7, 9)]
        tape.line(4 * bar + np.arange(4.0), bass, 0.9)
        tape.beats(bar, "X...X...", kick(low=55, length=0.1), 0.6)
        tape.beats(bar, "..X...X.", snare(rng, length=0.06), 0.45)
        tape.beats(bar, "XxXxXxXx", hat(rng), 0.4)
        if bar % 2:  # the guitar answers in every other bar
            tune = lead.walk(_scale(key + 24, BLUES), 5, 6)
            strings = [plucked_string(pitch, 0.5, rng, damping=0.3) for pitch in tune]
            lead.line(4 * bar + np.array([0.0, 0.5, 1.0, 1.5, 2.5, 3.0]), strings, 0.8)
    return reverb(tape.sound + 0.8 * distort(lead.sound, 2.5), rng, seconds=0.9, wet=0.15)


def classical(seconds: float, rng: Generator) -> Sound:
    """Slow strings over a harp, on the bass of Pachelbel's canon, in a hall and without drums."""
    tape = Tape(seconds, 60, rng)
    key = 50 + int(rng.integers(-3, 4))
    steps = [(0, MAJOR), (7, MAJOR), (9, MINOR), (4, MINOR), (5, MAJOR), (0, MAJOR), (5, MAJOR)]
    harmony = [*steps, (7, MAJOR)]
    tune = tape.walk(_scale(key + 24, DIATONIC, 1), 4, 2 * tape.bars + 8)
    for i in range(2 * tape.bars):
        step, kind = harmony[i % len(harmony)]
        root = key + step - (12 if step > 6 else 0)
        length = 2 * tape.beat
        tape.add(2 * i, note(STRINGS, root - 12, length), 0.8)
        tape.add(2 * i, chord(STRINGS, _on(root + 12, kind), length), 0.5)
        third, fifth = root + kind[1], root + kind[2]
        for j, pitch in enumerate((root, fifth, root + 12, third + 12, fifth + 12, root + 24)):
            tape.add(2 * i + j / 3, note(HARP, pitch, 0.5), 0.35)
        tones = [pitch + 24 for pitch in (root, third, fifth)]
        # On the beat the tune rests on the chord, so that it sounds composed.
        nearest = tones[int(np.argmin(np.abs(np.array(tones) - tune[i])))]
        tape.add(2 * i, note(VIOLIN, nearest, 1.4 * tape.beat), 0.55)
        tape.add(2 * i + 1.5, note(VIOLIN, tune[i], 0.45 * tape.beat), 0.4)
    return reverb(tape.sound, rng, seconds=2.6, wet=0.4)


def disco(seconds: float, rng: Generator) -> Sound:
    """Four on the floor at 120: open hats off the beat, octave bass, clavinet and strings."""
    tape = Tape(seconds, 120, rng)
    key = 45 + int(rng.integers(-3, 4))
    drum, clap, closed, opened = kick(), snare(rng), hat(rng), hat(rng, length=0.11)
    for bar in range(tape.bars):
        step, kind = [(0, MINOR), (-4, MAJOR), (-2, MAJOR), (-5, MINOR)][bar % 4]
        root = key + step
        tape.beats(bar, "X.X.X.X.", drum, 1.0)
        tape.beats(bar, "..X...X.", clap, 0.7)
        tape.beats(bar, ".X.X.X.X", opened, 0.6)
        tape.beats(bar, "x.xxx.xxx.xxx.xx", closed, 0.4)
        octaves = [note(SYNTH_BASS, pitch, 0.2) for pitch in (root - 12, root)] * 4
        tape.line(4 * bar + np.arange(8) / 2, octaves, 0.8)
        stab = chord(CLAVINET, _on(root + 12, kind), 0.12)
        tape.beats(bar, "X..x..X...x.X...", stab, 0.6)
        tape.add(4 * bar, chord(STRINGS, _on(root + 24, kind), 3.6 * tape.beat), 0.35)
        tune = [note(VIOLIN, pitch, 0.3) for pitch in tape.walk(_scale(key + 24, PENTATONIC), 4, 5)]
        tape.line(4 * bar + np.array([0.0, 0.75, 1.5, 2.5, 3.0]), tune, 0.4)
    return reverb(tape.sound, rng, seconds=0.8, wet=0.12)


def hiphop(seconds: float, rng: Generator) -> Sound:
    """Boom-bap at 90: heavy drums, a sub bass, a dusty piano sample and the crackle of vinyl."""
    tape = Tape(seconds, 90, rng)
    sample = Tape(seconds, 90, rng)
    key = 38 + int(rng.integers(-2, 4))
    boom, bap = kick(low=44, length=0.2, click=0.5), snare(rng, tone=170, length=0.12)
    for bar in range(tape.bars):
        tape.beats(bar, ("X..x......X..x..", "X......x.xX.....")[bar % 2], boom, 1.1)
        tape.beats(bar, "....X.......X...", bap, 0.9)
        # Late sixteenths give the beat its nod.
        for i, stroke in enumerate("XxxxXxxxXxxxXxxx"):
            late = 0.05 if i % 2 else 0.0
            tape.add(4 * bar + i / 4 + late, hat(rng), 0.35 if stroke == "X" else 0.2)
        root = key + (0, 0, -4, -2)[bar % 4]
        for start, length in ((0.0, 0.7), (0.75, 0.5), (2.5, 0.9)):
            tape.add(4 * bar + start, note(SUB_BASS, root, length * tape.beat), 1.0)
        harmony = _on(root + 24, MINOR_7)
        sample.line((4 * bar, 4 * bar + 2.5), [chord(PIANO, harmony, t) for t in (1.4, 0.3)], 0.7)
        lick = [note(PIANO, p, 0.4) for p in sample.walk(_scale(key + 36, PENTATONIC), 3, 2)]
        sample.line((4 * bar + 1.5, 4 * bar + 1.75), lick, 0.5)
    clicks = rng.random(len(tape.sound)) < 12 / SAMPLE_RATE
    crackle = clicks * rng.normal(0.0, 0.25, len(tape.sound))
    return tape.sound + 0.9 * band(sample.sound + crackle, 120.0, 2600.0)


def jazz(seconds: float, rng: Generator) -> Sound:
    """Swing at 150: ride cymbal, walking bass, seventh chords on the piano and a saxophone."""
    tape = Tape(seconds, 150, rng, swing=2 / 3)
    key = 48 + int(rng.integers(-3, 4))
    changes = [(2, MINOR_7, MINOR), (7, DOMINANT_7, MAJOR), (0, MAJOR_7, MAJOR)]
    changes += [(9, DOMINANT_7, MAJOR)]
    scale = _scale(key + 12, DIATONIC)
    for bar in range(tape.bars):
        step, kind, walk = changes[bar % 4]
        root = key + step - (12 if step > 6 else 0)
        tape.beats(bar, "X.XxX.Xx", cymbal(rng, length=0.3), 0.25)
        tape.beats(bar, "..X...X.", hat(rng), 0.5)
        if rng.random() < 0.4:
            tape.add(4 * bar + float(rng.choice([1.5, 2.5, 3.5])), snare(rng, length=0.05), 0.2)
        following = key + changes[(bar + 1) % 4][0]
        # The last step leads into the next chord from a semitone above.
        bass = [*(root + interval for interval in walk), following + 1]
        low = [pitch - 12 if pitch < 60 else pitch - 24 for pitch in bass]
        tape.line(4 * bar + np.arange(4.0), [note(UPRIGHT_BASS, p, 0.36) for p in low], 0.7)
        for start in ((0.0, 1.5), (0.5, 2.0), (1.5, 3.5))[int(rng.integers(3))]:
            tape.add(4 * bar + start, chord(PIANO, _on(root, kind), 0.28), 0.55)
        if bar % 4 != 3:  # a player breathes
            starts = np.sort(rng.choice(np.arange(8) / 2, 6, replace=False))
            tune = [note(SAXOPHONE, pitch, 0.2) for pitch in tape.walk(scale, 6, 6)]
            tape.line(4 * bar + starts, tune, 0.5)
    return reverb(tape.sound, rng, seconds=1.1, wet=0.18)


def metal(seconds: float, rng: Generator) -> Sound:
    """Fast and loud at 170: palm-muted power chords, double bass drum, crash cymbals, a solo."""
    drums = Tape(seconds, 170, rng)
    guitars, solo = Tape(seconds, 170, rng), Tape(seconds, 170, rng)
    key = 40 + int(rng.integers(-3, 1))
    drum, back = kick(low=60, length=0.06, click=0.9), snare(rng, tone=220, length=0.08)
    for bar in range(drums.bars):
        root = key + (0, 0, 1, 3, 0, 0, 6, 5)[bar % 8]
        drums.beats(bar, "XxXxXxXxXxXxXxXx", drum, 0.7)
        drums.beats(bar, "..X...X.", back, 0.9)
        drums.beats(bar, "X.X.X.X.", cymbal(rng, length=0.15, ping=0.3), 0.3)
        if bar % 2 == 0:
            drums.add(4 * bar, cymbal(rng, length=0.7, ping=0.2), 0.8)
        for i, stroke in enumerate("X.xxX.xxX.xxX.X."):
            # Only the first and the last chord of a bar ring; the palm mutes the others.
            held, damping = (0.3, 0.3) if i in (0, 14) else (0.11, 0.9)
            for pitch in _on(root + (i == 14), POWER) if stroke in "xX" else []:
                guitars.add(4 * bar + i / 4, plucked_string(pitch, held, rng, damping=damping), 0.5)
        if bar % 4 >= 2:
            tune = solo.walk(_scale(key + 24, HARMONIC_MINOR), 7, 16, leap=1)
            strings = [plucked_string(pitch, 0.12, rng, damping=0.2) for pitch in tune]
            solo.line(4 * bar + np.arange(16) / 4, strings, 0.7)
    loud = distort(guitars.sound, 9.0) + 0.5 * distort(solo.sound, 7.0)
    return reverb(0.7 * loud + 0.7 * drums.sound, rng, seconds=0.6, wet=0.08)


def reggae(seconds: float, rng: Generator) -> Sound:
    """One drop at 75: the beat falls on three, the organ off the beat, the bass sings the tune."""
    tape = Tape(seconds, 75, rng, swing=0.56)
    key = 45 + int(rng.integers(-3, 3))
    skank = Tape(seconds, 75, rng, swing=0.56)
    lines = [((0, 0.0), (0, 0.75), (7, 1.5), (10, 2.0), (7, 3.0)), ((0, 0.0), (4, 1.0), (7, 1.5))]
    for bar in range(tape.bars):
        step, kind = [(0, MINOR), (5, MINOR), (0, MINOR), (-2, MAJOR)][bar % 4]
        root = key + step
        tape.beats(bar, "....X...", kick(low=46, length=0.16), 1.0)
        tape.beats(bar, "....X..x", rim(rng), 0.6)
        tape.beats(bar, "xXxXxXxX", hat(rng), 0.3)
        for interval, start in lines[bar % 2]:
            third = kind[1] if interval == 4 else interval
            tape.add(4 * bar + start, note(DEEP_BASS, root - 12 + third, 0.5), 1.1)
        skank.beats(bar, ".X.X.X.X", chord(ORGAN, _on(root + 12, kind), 0.1), 0.7)
        skank.beats(bar, "..X...X.", chord(CLAVINET, _on(root + 12, kind), 0.06), 0.5)
        if bar % 2 == 0:
            tune = tape.walk(_scale(key + 24, PENTATONIC, 1), 2, 4)
            melodica = [note(MELODICA, pitch, 0.4) for pitch in tune]
            tape.line(4 * bar + np.array([1.0, 1.5, 2.5, 3.0]), melodica, 0.3)
    echo = np.zeros_like(skank.sound)
    delay = round(0.75 * tape.beat * SAMPLE_RATE)
    for turn in (1, 2, 3):  # the dub engineer's tape echo
        echo[turn * delay :] += 0.4**turn * skank.sound[: max(0, len(echo) - turn * delay)]
    return reverb(tape.sound + skank.sound + echo, rng, seconds=1.2, wet=0.15)


_PLAYERS: dict[str, Callable[[float, Generator], Sound]] = {
    "blues": blues,
    "classical": classical,
    "disco": disco,
    "hiphop": hiphop,
    "jazz": jazz,
    "metal": metal,
    "reggae": reggae,
}

STYLES: tuple[str, ...] = tuple(_PLAYERS)
"""The names of the styles that `render` knows, in the order in which `write_examples` writes."""


def render(style: str, *, seconds: float = 12.0, seed: int = 0) -> NDArray[np.int16]:
    """Play a short piece in one style.

    Parameters
    ----------
    style
        One of `STYLES`.
    seconds
        Length, from one second to ten minutes.
    seed
        Chooses key, tune and the players' unevenness. The same seed gives the same samples, bit
        for bit, with the same NumPy on the same kind of processor.

    Returns
    -------
    numpy.ndarray [shape=(round(seconds * 22050),), dtype=int16]
        Mono sound at 22050 Hz; its peak is 1 dB below full scale.

    Raises
    ------
    GenrescopeError
        There is no such style, or the length or the seed is out of range.
    """
    if style not in _PLAYERS:
        raise GenrescopeError(f"no example in the style {style!r}; there are: {', '.join(STYLES)}")
    if not 1.0 <= seconds <= 600.0:
        raise GenrescopeError(f"an example lasts from 1 to 600 seconds, not {seconds:g}")
    if seed < 0:
        raise GenrescopeError(f"a seed is not negative: {seed}")
    # One stream a style, so that a style added later leaves the others as they are.
    rng = np.random.default_rng([seed, *style.encode()])
    sound = _PLAYERS[style](seconds, rng)
    fade = np.linspace(1.0, 0.0, SAMPLE_RATE // 20)
    sound[-len(fade) :] *= fade
    loudest = 32767 * 10 ** (-1 / 20)
    return np.asarray(np.round(sound * (loudest / np.abs(sound).max())), dtype=np.int16)


def write_examples(
    folder: str | PathLike[str], *, seconds: float = 12.0, seed: int = 0
) -> list[Path]:
    """Write one clip of each style to ``synthetic-STYLE.flac``, mono and 16 bit at 22050 Hz.

    The folder is made where it is missing; clips of an earlier call are replaced, each in one step.

    Returns
    -------
    list of Path
        The files, in the order of `STYLES`.

    Raises
    ------
    GenrescopeError
        See `render`; a `FileError` where a clip can't be written.
    """
    paths = []
    for style in STYLES:
        path = Path(folder) / f"synthetic-{style}.flac"
        _write(path, render(style, seconds=seconds, seed=seed))
        paths.append(path)
    return paths


def _write(path: Path, samples: NDArray[np.int16]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_atomic(path) as file:
            soundfile.write(file, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    except (OSError, soundfile.LibsndfileError) as error:
        reason = getattr(error, "strerror", None) or "can't be written"
        raise FileError(path, reason.lower()) from error
