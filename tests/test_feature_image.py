"""Spectrograms as pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("librosa", reason="needs genrescope[lab]")

import librosa

from genrescope.audio import Waveform, load
from genrescope.features import load_spectrogram, make_feature

RATE = 22050
TIME = np.arange(2 * RATE) / RATE


def rising() -> Waveform:
    """A tone that rises from 200 Hz to 8 kHz."""
    tone = np.sin(2 * np.pi * (200 * TIME + 1950 * TIME**2))
    return Waveform((0.5 * tone).astype(np.float32), RATE)


def test_it_is_librosas_db_mel_spectrogram_from_0_to_1_and_upside_down() -> None:
    sound = rising()
    mel = librosa.feature.melspectrogram(y=sound.samples, sr=RATE, n_mels=96)
    expected = 1 + librosa.power_to_db(mel, ref=np.max, top_db=80)[::-1] / 80
    picture = make_feature({"kind": "image", "n_mels": 96})(sound)
    assert picture.dtype == np.float32
    np.testing.assert_allclose(picture, expected, atol=1e-4)
    assert picture.min() == 0
    assert picture.max() == 1


def test_a_rising_tone_climbs_to_the_top_row() -> None:
    picture = make_feature({"kind": "image"})(rising())
    rows = picture[:, 5:-5].argmax(axis=0)
    assert (np.diff(rows) <= 0).all()
    assert rows[0] > 100
    assert rows[-1] < 25


@pytest.mark.parametrize("factor", [1e-5, 0.5, 100.0])
def test_the_level_of_a_recording_does_not_show(factor: float) -> None:
    feature, sound = make_feature({"kind": "image"}), rising()
    louder = Waveform(sound.samples * np.float32(factor), RATE)
    np.testing.assert_allclose(feature(louder), feature(sound), atol=2e-3)


def test_silence_is_black() -> None:
    picture = make_feature({"kind": "image"})(Waveform(np.zeros(RATE, np.float32), RATE))
    assert picture.shape == (128, 44)
    assert not picture.any()


@pytest.mark.shared
def test_the_picture_of_a_stored_spectrogram_is_that_of_its_audio(shared: Path) -> None:
    """But for the step of its dB scale, which is lost: the pictures correlate."""
    settings = {"kind": "image", "hop_length": 1920, "center": False, "n_bins": 544, "n_mels": 96}
    feature = make_feature({**settings, "fmin": 20})
    stored = shared / "data/gtzan-spectrograms/rock/rock.00004.png"
    audio = shared / "data/gtzan-audio/rock/rock.00004.flac"
    ours = feature.of_spectrogram(load_spectrogram(stored))
    decoded = feature(load(audio))[:, : ours.shape[1]]
    assert ours.shape == (96, 344)
    assert np.corrcoef(ours.ravel(), decoded.ravel())[0, 1] > 0.99
