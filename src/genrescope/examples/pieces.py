"""The seven pieces: who plays what on which beat, and the `Tape` that they are recorded on.

Each piece has the tempo, metre, harmony and instruments that one style is known for; see
`genrescope.examples.instruments` for the conventions.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.random import Generator

from genrescope.examples.instruments import (
    CLAVINET,
    DEEP_BASS,
    HARP,
    MELODICA,
    ORGAN,
    PIANO,
    SAMPLE_RATE,
    SAXOPHONE,
    STRINGS,
    SUB_BASS,
    SYNTH_BASS,
    UPRIGHT_BASS,
    VIOLIN,
    Sound,
    band,
    chord,
    cymbal,
    distort,
    hat,
    kick,
    note,
    plucked_string,
    reverb,
    rim,
    snare,
)

# --- The tape ------------------------------------------------------------------------------------


class Tape:
    """A length of time onto which sounds are placed by beat.

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
        """Mix a sound in at a beat; what goes past the end is cut off."""
        whole, rest = divmod(beat, 1.0)
        late = rest * 2 * self.swing if rest < 0.5 else 1 - (1 - rest) * 2 * (1 - self.swing)
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


def guitar_shuffle(seconds: float, rng: Generator) -> Sound:
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


def strings_and_harp(seconds: float, rng: Generator) -> Sound:
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


def four_on_the_floor(seconds: float, rng: Generator) -> Sound:
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


def piano_loop(seconds: float, rng: Generator) -> Sound:
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


def walking_bass(seconds: float, rng: Generator) -> Sound:
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


def palm_muted_guitars(seconds: float, rng: Generator) -> Sound:
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


def offbeat_organ(seconds: float, rng: Generator) -> Sound:
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
