"""Synthesised tunes of random key, tempo, metre and sound: simple music that is no recording.

Chiptunes, drums with a bass, arpeggios, chords, melodies of one instrument, drums alone, pads and
plucked strings, by the instruments of `genrescope.examples`. To fit what tells music from what is
none (`tools/no_music.py`); no piece of `genrescope examples` is among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from genrescope.examples.instruments import (
    Sound,
    Timbre,
    band,
    chord,
    distort,
    hat,
    kick,
    note,
    plucked_string,
    reverb,
    snare,
)
from genrescope.examples.pieces import Tape

SECONDS = 20.0
SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "pentatonic": (0, 2, 4, 7, 9, 12, 14),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
}
PROGRESSIONS = ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 0, 4), (0, 0, 3, 4), (0, 6, 5, 4))
BEATS = (("X...X...", "..X...X."), ("X.X.X.X.", "..X...X."), ("X..xX...", "..X..xX."))
HATS = ("xXxXxXxX", "x.x.x.x.", "xxxxxxxxxxxxxxxx", "..x...x.")


@dataclass(frozen=True)
class Tune:
    """A tune: its kind, and its samples at 22050 Hz."""

    kind: str
    samples: NDArray[np.float32]


class Composer:
    """The choices that one tune is made of.

    Parameters
    ----------
    random
        All choices are drawn from it.
    """

    def __init__(self, random: Generator) -> None:
        self.random = random
        self.key = int(random.integers(40, 52))
        self.scale = SCALES[str(random.choice(list(SCALES)))]
        self.steps = PROGRESSIONS[int(random.integers(len(PROGRESSIONS)))]
        swing = float(random.choice([0.5, 0.5, 0.6, 2 / 3]))
        self.tape = Tape(SECONDS, float(random.uniform(65, 175)), random, swing)

    def pitch(self, degree: int) -> int:
        """The MIDI pitch of a degree of the scale, which may lie octaves above."""
        octave, place = divmod(degree, len(self.scale))
        return self.key + 12 * octave + self.scale[place]

    def root(self, bar: int) -> int:
        """The degree of a bar's chord."""
        return self.steps[bar % len(self.steps)]

    def timbre(self, *, sustained: bool | None = None) -> Timbre:
        """An instrument of random overtones that fades or sustains."""
        random = self.random
        power, even = random.uniform(0.7, 2.2), random.choice([0.05, 0.5, 1.0])
        count = int(random.integers(1, 16))
        partials = tuple((1.0 if k % 2 else even) / k**power for k in range(1, count + 1))
        fades = random.random() < 0.5 if sustained is None else not sustained
        return Timbre(
            partials,
            attack=float(random.uniform(0.002, 0.05)),
            decay=float(random.uniform(0.15, 1.5)) if fades else 30.0,
            release=float(random.uniform(0.02, 0.3)),
            damping=float(random.uniform(0, 2)) if fades else 0.0,
            vibrato=float(random.choice([0.0, 0.0, 0.15])),
        )

    def drums(self, gain: float = 1.0) -> None:
        """A beat, the same in all bars but for some that are left out."""
        random = self.random
        low, back = BEATS[int(random.integers(len(BEATS)))]
        top = HATS[int(random.integers(len(HATS)))]
        drum = kick(low=random.uniform(42, 62), length=random.uniform(0.06, 0.2))
        skin = snare(random, tone=random.uniform(160, 240), length=random.uniform(0.05, 0.13))
        closed = hat(random, length=random.uniform(0.02, 0.08))
        for bar in range(self.tape.bars):
            self.tape.beats(bar, low, drum, gain)
            self.tape.beats(bar, back, skin, 0.7 * gain)
            if bar % 8 != 7:
                self.tape.beats(bar, top, closed, 0.4 * gain)

    def bass(self, gain: float = 0.8) -> None:
        """A bass of eighths or quarters on the chords."""
        timbre = self.timbre()
        count = int(self.random.choice([4, 8]))
        moves = self.random.choice([0, 0, 0, 2, 4, 7], count)
        for bar in range(self.tape.bars):
            pitches = [self.pitch(self.root(bar) + int(move)) - 12 for move in moves]
            sounds = [note(timbre, pitch, 3.2 * self.tape.beat / count) for pitch in pitches]
            self.tape.line(4 * bar + np.arange(count) * 4 / count, sounds, gain)

    def melody(self, gain: float = 0.5, octave: int = 2) -> None:
        """A tune of notes and rests, of which some bars come again."""
        timbre = self.timbre()
        degree, bars = 0, []
        for bar in range(self.tape.bars):
            if bar >= 4 and self.random.random() < 0.6:
                bars.append(bars[bar % 4])
                continue
            starts = np.flatnonzero(self.random.random(8) < 0.6)
            line = []
            for start in starts:
                degree = int(np.clip(degree + self.random.integers(-2, 3), -2, 9))
                line.append((start / 2, degree))
            bars.append(line)
        for bar, line in enumerate(bars):
            for start, degree in line:
                pitch = self.pitch(self.root(bar) + degree) + 12 * octave - 12
                self.tape.add(4 * bar + start, note(timbre, pitch, 0.7 * self.tape.beat), gain)

    def chords(self, gain: float = 0.5, *, each: float = 4.0) -> None:
        """A chord every so many beats."""
        timbre = self.timbre(sustained=each >= 4)
        for bar in range(self.tape.bars):
            pitches = [self.pitch(self.root(bar) + step) + 12 for step in (0, 2, 4)]
            sound = chord(timbre, pitches, 0.9 * each * self.tape.beat)
            for beat in np.arange(0, 4, each):
                self.tape.add(4 * bar + float(beat), sound, gain)

    def arpeggio(self, gain: float = 0.5, octave: int = 2) -> None:
        """The notes of the chord one after another, in sixteenths or eighths."""
        timbre = self.timbre()
        order = self.random.permutation([0, 2, 4, 7])
        count = int(self.random.choice([8, 16]))
        for bar in range(self.tape.bars):
            steps = [self.root(bar) + int(order[i % 4]) for i in range(count)]
            sounds = [
                note(timbre, self.pitch(step) + 12 * octave - 12, 3 * self.tape.beat / count)
                for step in steps
            ]
            self.tape.line(4 * bar + np.arange(count) * 4 / count, sounds, gain)

    def strings(self, gain: float = 0.5) -> None:
        """Plucked strings, strummed or picked."""
        damping, strummed = self.random.uniform(0.2, 0.7), self.random.random() < 0.5
        for bar in range(self.tape.bars):
            pitches = [self.pitch(self.root(bar) + step) + 12 for step in (0, 2, 4, 7)]
            for beat in np.arange(0, 4, 1.0 if strummed else 0.5):
                chosen = pitches if strummed else [int(self.random.choice(pitches))]
                for late, pitch in enumerate(chosen):
                    sound = plucked_string(
                        pitch, 0.9 * self.tape.beat, self.random, damping=damping
                    )
                    self.tape.add(4 * bar + float(beat) + 0.02 * late, sound, gain)

    def mixed(self) -> Sound:
        """What was played, as it is, distorted, dull or in a room."""
        sound, random = self.tape.sound, self.random
        sound = sound / max(np.abs(sound).max(), 1e-9)
        if random.random() < 0.2:
            sound = distort(sound, random.uniform(1.5, 5))
        if random.random() < 0.2:
            sound = band(sound, random.uniform(30, 200), random.uniform(2500, 8000))
        if random.random() < 0.5:
            sound = reverb(sound, random, seconds=random.uniform(0.4, 2.5), wet=0.2)
        return sound


def _chiptune(composer: Composer) -> None:
    composer.arpeggio()
    composer.bass()
    composer.drums(0.5)


def _drums_and_bass(composer: Composer) -> None:
    composer.drums()
    composer.bass()


def _band(composer: Composer) -> None:
    composer.drums()
    composer.bass()
    composer.chords(each=float(composer.random.choice([1.0, 2.0, 4.0])))
    composer.melody()


def _synthesiser(composer: Composer) -> None:
    composer.arpeggio()
    composer.chords()
    composer.bass()


def _keyboard(composer: Composer) -> None:
    composer.chords(each=float(composer.random.choice([1.0, 2.0])))
    composer.melody()


def _solo(composer: Composer) -> None:
    composer.melody(octave=int(composer.random.choice([1, 2])))


def _pad(composer: Composer) -> None:
    composer.chords(each=4.0)
    composer.melody(0.2)


def _guitar(composer: Composer) -> None:
    composer.strings()
    composer.melody(0.4)


KINDS: dict[str, Callable[[Composer], None]] = {
    "chiptune": _chiptune,
    "drums and bass": _drums_and_bass,
    "band": _band,
    "synthesiser": _synthesiser,
    "keyboard": _keyboard,
    "solo": _solo,
    "pad": _pad,
    "drums": Composer.drums,
    "guitar": _guitar,
}


def tunes(each: int = 6, seed: int = 3) -> Iterator[Tune]:
    """So many tunes of each kind."""
    for place, (kind, play) in enumerate(KINDS.items()):
        for number in range(each):
            random = np.random.default_rng([seed, place, number])
            composer = Composer(random)
            play(composer)
            sound = composer.mixed()
            peak = random.uniform(0.2, 0.9) / max(np.abs(sound).max(), 1e-9)
            # As of a recording: what is digital silence is left out of what is classified.
            noise = random.normal(0, 10 ** random.uniform(-5, -3), len(sound))
            yield Tune(kind, (peak * sound + noise).astype(np.float32))
