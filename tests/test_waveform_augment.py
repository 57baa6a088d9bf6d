"""Changes of waveforms: each does exactly what its name says."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genrescope.audio import Waveform, load
from genrescope.audio.augment import gain, noise, semitones
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
