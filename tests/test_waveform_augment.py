"""Changed copies of sounds: each does what its name says, exactly, and can be made again."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genrescope.audio import Waveform, load
from genrescope.audio.augment import (
    Drawn,
    apply,
    gain,
    leiden_rule,
    noise,
    segments,
    semitones,
)
from genrescope.errors import GenrescopeError

RATE = 22050


def sine(hertz: float, seconds: float = 1.0) -> Waveform:
    time = np.arange(int(seconds * RATE)) / RATE
    return Waveform((0.3 * np.sin(2 * np.pi * hertz * time)).astype(np.float32), RATE)


def pitch(sound: Waveform) -> float:
    """The strongest frequency, in Hz, from a parabola through the peak of the log spectrum."""
    spectrum = np.log(np.abs(np.fft.rfft(sound.samples * np.hanning(len(sound.samples)))) + 1e-9)
    peak = int(spectrum[1:-1].argmax()) + 1
    left, middle, right = spectrum[peak - 1 : peak + 2]
    offset = 0.5 * (left - right) / (left - 2 * middle + right)
    return float((peak + offset) * RATE / len(sound.samples))


def snr(clean: Waveform, noisy: Waveform) -> float:
    signal = clean.samples.astype(np.float64)
    added = noisy.samples - signal
    return float(10 * np.log10(np.mean(signal**2) / np.mean(added**2)))


@given(st.floats(-60, 60), st.integers(0, 99))
def test_gain_is_exact(decibels: float, seed: int) -> None:
    sound = Waveform(np.random.default_rng(seed).normal(0, 0.1, 50).astype(np.float32), RATE)
    expected = sound.samples.astype(np.float64) * 10 ** (decibels / 20)
    np.testing.assert_allclose(gain(sound, decibels).samples, expected, rtol=1e-6)


@pytest.mark.needs("lab")
@settings(max_examples=15, deadline=None)
@given(st.floats(-5, 5), st.sampled_from([220.0, 500.0, 1500.0]))
def test_the_pitch_moves_by_the_right_factor_and_the_length_stays(
    steps: float, hertz: float
) -> None:
    sound = sine(hertz)
    shifted = semitones(sound, steps)
    assert shifted.samples.shape == sound.samples.shape
    assert shifted.samples.dtype == np.float32
    # A tenth of a semitone.
    assert 12 * np.log2(pitch(shifted) / hertz) == pytest.approx(steps, abs=0.1)


@pytest.mark.needs("lab")
def test_a_shift_of_pitch_keeps_the_tempo() -> None:
    clicks = np.zeros(4 * RATE, np.float32)
    places = RATE // 2 + np.arange(6) * RATE // 2
    for place in places:
        clicks[place : place + 600] = sine(700).samples[:600]
    shifted = semitones(Waveform(clicks, RATE), 3).samples
    for place in places:
        around = np.abs(shifted[place - 5000 : place + 5000])
        assert abs(int(around.argmax()) - 5000) < 1500  # 0.07 s, less than the vocoder's window


@pytest.mark.needs("lab")
def test_no_steps_and_too_few_samples_stay_as_they_are() -> None:
    sound = sine(440)
    assert semitones(sound, 0) is sound
    for length in (0, 1, 3, 4, 100, 2047):
        assert len(semitones(Waveform(sound.samples[:length], RATE), 2).samples) == length


def test_without_librosa_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "librosa.effects", None)
    with pytest.raises(GenrescopeError, match=r"pip install 'genrescope\[lab\]'"):
        semitones(sine(440), 1)


@given(st.floats(-20, 60), st.integers(10, 3000), st.integers(0, 99))
def test_the_signal_to_noise_ratio_is_exact(decibels: float, length: int, seed: int) -> None:
    sound = Waveform(sine(440).samples[:length], RATE)
    noisy = noise(sound, decibels, np.random.default_rng(seed))
    assert snr(sound, noisy) == pytest.approx(decibels, abs=0.1)


def test_noise_is_white_and_silence_gets_none() -> None:
    sound = sine(440)
    added = noise(sound, 20, np.random.default_rng(0)).samples - sound.samples
    power = np.abs(np.fft.rfft(added)) ** 2
    low, high = np.array_split(power, 2)
    assert low.mean() / high.mean() == pytest.approx(1, abs=0.1)
    silence = Waveform(np.zeros(100, np.float32), RATE)
    assert not noise(silence, 20, np.random.default_rng(0)).samples.any()


def test_the_leiden_rule_makes_each_change_or_none_equally_often() -> None:
    sound = Waveform(sine(440).samples[:3], RATE)  # too short to shift, which is quick
    random = np.random.default_rng(0)
    drawn = [leiden_rule(sound, random, most_gain=6, most_semitones=2)[1] for _ in range(4000)]
    counts = Counter(d.name for d in drawn)
    assert set(counts) == {"none", "gain", "semitones", "noise"}
    # 1000 expected of each, standard deviation 27.
    assert all(abs(count - 1000) < 110 for count in counts.values())
    for name, most in (("gain", 6), ("semitones", 2)):
        parameters = [d.parameter for d in drawn if d.name == name]
        assert -most <= min(parameters) < -0.9 * most
        assert 0.9 * most < max(parameters) <= most
    assert {d.parameter for d in drawn if d.name == "noise"} == {20.0}


@pytest.mark.needs("lab")
def test_what_was_drawn_makes_the_same_copy_again() -> None:
    sound, random = sine(440, 0.3), np.random.default_rng(1)
    seen = set()
    for _ in range(20):
        changed, drawn = leiden_rule(sound, random)
        np.testing.assert_array_equal(apply(sound, drawn).samples, changed.samples)
        assert np.array_equal(changed.samples, sound.samples) == (drawn.name == "none")
        seen.add(drawn.name)
    assert len(seen) == 4


def test_a_seed_gives_the_same_changes() -> None:
    sound = sine(440, 0.1)
    first, second = (
        [leiden_rule(sound, random)[1] for _ in range(8)]
        for random in (np.random.default_rng(3), np.random.default_rng(3))
    )
    assert first == second
    assert len({drawn.seed for drawn in first}) == 8
    other_noise = apply(sound, Drawn("noise", 20.0, 1)), apply(sound, Drawn("noise", 20.0, 2))
    assert not np.array_equal(other_noise[0].samples, other_noise[1].samples)


# The shortest and the longest track of GTZAN, and one of exactly 30 s.
@pytest.mark.parametrize("seconds", [29.932, 30.0, 30.6489])
@pytest.mark.parametrize(
    ("length", "overlap", "most", "count"),
    [(3, 0.5, None, 19), (3, 0.5, 18, 18), (5, 0, None, 6), (10, 0, None, 3), (10, 0, 5, 3)],
)
def test_half_a_minute_makes_as_many_segments_as_the_papers_have(
    seconds: float, length: float, overlap: float, most: int | None, count: int
) -> None:
    track = Waveform(np.arange(round(seconds * RATE), dtype=np.float32), RATE)
    parts = segments(track, length, overlap, most)
    assert len(parts) == count
    assert {len(part.samples) for part in parts} == {length * RATE}
    starts = [int(part.samples[0]) for part in parts]
    step = length * (1 - overlap) * RATE
    np.testing.assert_allclose(np.diff(starts)[:-1], step, atol=1)
    assert starts[0] == 0
    assert 0.9 * step <= starts[-1] - starts[-2] <= step + 1


def test_a_sound_shorter_than_a_segment_gives_none() -> None:
    assert segments(sine(440, 2.9), 3) == []
    assert len(segments(sine(440, 3.0), 3)) == 1


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"overlap": 1}, {"overlap": -0.1}, {"most": 0}])
def test_impossible_segments_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="can't cut segments"):
        segments(sine(440), **{"seconds": 0.5, **wrong})


@pytest.mark.needs("lab")
@pytest.mark.shared
def test_a_real_track_is_shifted_by_its_semitones(shared: Path) -> None:
    """The chroma of a piece, shifted back, is its own."""
    import librosa

    sound = load(shared / "data/gtzan-audio/classical/classical.00000.flac", duration=8)
    shifted = semitones(sound, 3)
    assert shifted.samples.shape == sound.samples.shape
    own, moved = (
        librosa.feature.chroma_cqt(y=s.samples, sr=RATE, tuning=0.0).mean(axis=1)
        for s in (sound, shifted)
    )
    likeness = [np.corrcoef(own, np.roll(moved, -steps))[0, 1] for steps in range(12)]
    assert int(np.argmax(likeness)) == 3
    assert likeness[3] > 0.9
