"""Mel bands of single frames: the same from audio as from FMA's stored pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genrescope.audio import Waveform
from genrescope.errors import RecipeError
from genrescope.features import Frontend, SegmentSettings, make_feature
from genrescope.features.descriptors import FAMILIES
from genrescope.features.sampled_mel import FAMILIES_OF_BANDS, load_sampled_mel

RATE = 44100


def tune(seconds: float = 30.0) -> np.ndarray:
    """Decaying notes over noise, so that frames differ."""
    random = np.random.default_rng(0)
    time = np.arange(int(seconds * RATE)) / RATE
    sound = 0.01 * random.standard_normal(len(time))
    for start in np.arange(0, seconds, 0.5):
        after = np.maximum(time - start, 0)
        pitch = 110 * 2 ** random.uniform(0, 5)
        sound += (time >= start) * np.exp(-3 * after) * np.sin(2 * np.pi * pitch * after) * 0.2
    return sound.astype(np.float32)


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture made of audio by librosa, as FMA's were."""
    librosa = pytest.importorskip("librosa", reason="needs genrescope[lab]")
    mel = librosa.feature.melspectrogram(y=tune(), sr=RATE)
    level = librosa.power_to_db(mel, ref=np.max)
    kept = level[:, np.floor((np.arange(128) + 0.5) / 128 * level.shape[1]).astype(int)]
    pixels = np.clip(np.round((kept + 80) / 80 * 255) // 4, 0, 63).astype(np.uint8)
    path = tmp_path_factory.mktemp("fma") / "000002.png"
    Image.fromarray(pixels[::-1]).save(path)
    return path


@pytest.mark.parametrize(
    ("settings", "rate"),
    [({}, 22050), ({"sample_rate": 44100, "hop_length": 10336, "n_mels": 128}, 44100)],
    ids=["22 kHz", "44 kHz"],
)
def test_audio_gives_what_the_picture_has(picture: Path, settings: dict, rate: int) -> None:
    feature = make_feature({"kind": "sampled_mel", **settings})
    stored, _ = feature.of_picture(load_sampled_mel(picture))
    assert stored.shape == (feature.size, 128)
    # The picture's first frame is centred on sample 10 x 512.
    audio = Waveform(tune()[10 * 512 - 1024 :], RATE).resampled(rate)
    computed, silent = feature.compute(audio)
    assert not silent.any()
    # Later frames drift apart by up to half a hop of 512, since 10336 is no multiple of it.
    difference = computed[:, :20] - stored[:, :20]
    # The upper edge of the last bands is where the resampler's filter begins.
    assert np.abs(difference[:-3]).mean() < 1.5
    assert abs(difference.mean()) < 1.0


def test_a_picture_is_one_window_that_segments_are_cut_from(picture: Path) -> None:
    frontend = Frontend(
        feature={"kind": "sampled_mel"}, scale="bands", segments=SegmentSettings(seconds=15.0)
    )
    (window,) = frontend.windows(picture)
    assert window.values.shape == (106, 128)
    np.testing.assert_allclose(window.values.mean(axis=1), 0, atol=1e-5)
    assert [s.values.shape for s in frontend.segments_of(window)] == [(106, 64)] * 3
    (whole,) = frontend.windows(Waveform(tune(), RATE))
    assert whole.values.shape == (106, 128)


def test_grey_levels_are_those_of_the_picture(picture: Path) -> None:
    settings = {"kind": "sampled_mel", "sample_rate": RATE, "hop_length": 10336, "n_mels": 128}
    feature = make_feature(settings | {"grey": True})
    levels, _ = feature.of_picture(load_sampled_mel(picture))
    pixels = np.asarray(Image.open(picture))
    np.testing.assert_allclose(levels, (4 * pixels.astype(float) + 1.5) / 255, atol=1e-6)
    with pytest.raises(RecipeError, match="not MFCCs"):
        make_feature(settings | {"grey": True, "n_mfcc": 20})


def test_silence_in_a_picture_is_left_out(tmp_path: Path) -> None:
    pixels = np.zeros((128, 128), np.uint8)
    pixels[:, 64:] = 40
    Image.fromarray(pixels).save(tmp_path / "a.png")
    feature = make_feature({"kind": "sampled_mel"})
    _, silent = feature.of_picture(load_sampled_mel(tmp_path / "a.png"))
    assert silent.sum() == 64 and silent[:64].all()


def test_mfccs_are_the_cosine_transform_of_the_bands(picture: Path) -> None:
    fft = pytest.importorskip("scipy.fft", reason="needs genrescope[lab]")
    settings = {"kind": "sampled_mel", "sample_rate": 44100, "hop_length": 10336, "n_mels": 128}
    bands = load_sampled_mel(picture)
    found, _ = make_feature({**settings, "n_mfcc": 20}).of_picture(bands)
    np.testing.assert_allclose(found, fft.dct(bands, axis=0, norm="ortho")[:20], atol=1e-2)


def rows(family: str, samples: np.ndarray) -> np.ndarray:
    """A family from mel bands, and the same by librosa from all bins, `[2, frames]`."""
    librosa = pytest.importorskip("librosa", reason="needs genrescope[lab]")
    settings = {"kind": "sampled_mel", "sample_rate": RATE, "hop_length": 10336, "n_mels": 128}
    feature = make_feature({**settings, "families": [family]})
    found = feature(Waveform(samples.astype(np.float32), RATE))
    magnitude = np.abs(librosa.stft(samples, n_fft=2048, hop_length=10336, center=False))
    if family == "rmse":
        expected = librosa.feature.rms(S=magnitude, frame_length=2048)
    else:
        expected = getattr(librosa.feature, family)(S=magnitude, sr=RATE)
    return np.concatenate([found, expected])


def tone(hz: float) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(RATE) / RATE)


@pytest.mark.parametrize("hz", [200.0, 3000.0, 12000.0])
@pytest.mark.parametrize("family", ["spectral_centroid", "spectral_bandwidth", "spectral_rolloff"])
def test_a_tone_is_where_librosa_has_it_within_a_band(family: str, hz: float) -> None:
    found, expected = rows(family, tone(hz))
    # A triangle of the filter bank is 62 Hz wide below 1 kHz, and a fifteenth of its centre above.
    width = max(62.0, hz / 15)
    np.testing.assert_allclose(found, expected, atol=width)


@pytest.mark.parametrize(
    ("family", "tolerance"),
    [("spectral_centroid", 0.02), ("spectral_bandwidth", 0.03), ("spectral_rolloff", 0.04)],
)
def test_bands_of_noise_weigh_as_much_as_their_bins(family: str, tolerance: float) -> None:
    noise = np.random.default_rng(0).standard_normal(RATE)
    found, expected = rows(family, noise)
    np.testing.assert_allclose(found, expected, rtol=tolerance)


def test_the_root_of_the_power_is_librosas_but_for_the_lost_level() -> None:
    louder = np.linspace(0.05, 1, RATE)
    found, expected = rows("rmse", louder * np.random.default_rng(0).standard_normal(RATE))
    np.testing.assert_allclose(found / found[-1], expected / expected[-1], rtol=0.01)


def test_families_lie_one_under_the_other(picture: Path) -> None:
    settings = {"kind": "sampled_mel", "sample_rate": 44100, "hop_length": 10336, "n_mels": 128}
    bands = load_sampled_mel(picture)
    feature = make_feature({**settings, "families": ["spectral_centroid", "mfcc", "rmse"]})
    assert FAMILIES_OF_BANDS.items() <= FAMILIES.items()
    found, _ = feature.of_picture(bands)
    assert found.shape == (feature.size, 128) == (22, 128)
    coefficients, _ = make_feature({**settings, "n_mfcc": 20}).of_picture(bands)
    np.testing.assert_allclose(found[1:21], coefficients, rtol=1e-5)


def test_a_frame_at_the_floor_has_no_spectrum() -> None:
    names = ["rmse", "spectral_bandwidth", "spectral_centroid", "spectral_rolloff"]
    feature = make_feature({"kind": "sampled_mel", "families": names})
    decibels = np.full((128, 2), -79.5, np.float32)
    decibels[10, 1] = -0.3
    found, silent = feature.of_picture(decibels)
    assert silent.tolist() == [True, False]
    assert (found[:, 0] == 0).all()
    # One band: no bandwidth, and its centre is the centroid as well as the roll-off.
    assert found[1, 1] < 1e-3 and found[2, 1] == found[3, 1] > 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"families": ["tonnetz"]}, "no family of mel bands 'tonnetz'; there are: mfcc, rmse, "),
        ({"families": ["mfc"]}, "did you mean 'mfcc'"),
        ({"families": ["rmse", "rmse"]}, "named twice"),
        ({"families": ["rmse"], "n_mfcc": 20}, "only one of families, n_mfcc and grey"),
        ({"families": ["mfcc"], "n_mels": 19}, "20 MFCCs can't be computed from 19 bands"),
        ({"n_mels": 128}, "audio at 22050 Hz has 106 of the bands"),
        ({"sample_rate": 16000}, "sample rate of 44100 or 22050"),
        ({"n_mfcc": 107}, "107 MFCCs can't be computed from 106 bands"),
    ],
)
def test_bands_that_are_not_there_are_refused(settings: dict, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        make_feature({"kind": "sampled_mel", **settings})


@pytest.mark.shared
def test_gtzans_pictures_are_near_to_its_audio(shared: Path) -> None:
    frontend = Frontend(
        feature={"kind": "sampled_mel"}, scale="bands", segments=SegmentSettings(seconds=15.0)
    )
    for name in ("blues/blues.00000", "metal/metal.00004"):
        (stored,) = frontend.windows(shared / f"data/gtzan-spectrograms/{name}.png")
        (played,) = frontend.windows(shared / f"data/gtzan-audio/{name}.flac")
        count = min(stored.values.shape[1], played.values.shape[1])
        assert count >= 126
        both = np.stack([stored.values[:, :count].ravel(), played.values[:, :count].ravel()])
        # Not more: frames of 93 ms against 46 ms, up to 87 ms apart.
        assert np.corrcoef(both)[0, 1] > 0.55
