"""Features against librosa, and the properties that a model trained on stored ones leans on."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("librosa", reason="needs genrescope[lab]")

import librosa

from genrescope.audio import Waveform, load
from genrescope.errors import FileError, RecipeError
from genrescope.features import (
    Feature,
    Spectrogram,
    feature_kinds,
    load_spectrogram,
    make_feature,
    power_spectrogram,
    standardise,
)
from genrescope.features.filterbank import mel_filters, power_to_db
from genrescope.features.mfcc import delta
from genrescope.features.spectrogram import kept_bins

RATE = 22050
TIME = np.arange(3 * RATE) / RATE
MELS = {"default": (128, 0, 11025), "few": (40, 20, 8000), "narrow": (64, 300, 4000)}
# librosa's transform and ours both run in float32: an amplitude is exact to some 1e-7 of the
# loudest of its frame, and what is a billionth of the loudest power may be rounding in both.
LOUDEST = 1e-9
# What that leaves of a band 80 dB under the loudest, the least that is kept in dB.
DECIBELS = 1e-3
# A coefficient sums 128 bands, each weighted by up to 1/8.
MFCC = 4 * DECIBELS
STORED = {
    "kind": "geometric_mel",
    "hop_length": 1920,
    "center": False,
    "n_bins": 544,
    "n_mels": 96,
    "fmin": 20,
}


def chord() -> np.ndarray:
    notes = [220, 277.2, 329.6, 440, 1318.5]
    return 0.1 * np.sin(2 * np.pi * np.outer(notes, TIME)).sum(axis=0)


SOUNDS = {
    "noise": np.random.default_rng(1).normal(0, 0.2, len(TIME)),
    "chirp": 0.8 * np.sin(2 * np.pi * (50 * TIME + 1500 * TIME**2)),
    "chord": chord(),
    "chord in noise": chord() + np.random.default_rng(2).normal(0, 0.003, len(TIME)),
    "bursts": np.random.default_rng(3).normal(0, 0.3, len(TIME)) * (TIME % 0.5 < 0.1),
}


@pytest.fixture(params=SOUNDS)
def sound(request: pytest.FixtureRequest) -> Waveform:
    return Waveform(SOUNDS[request.param].astype(np.float32), RATE)


def assert_close(ours: np.ndarray, librosas: np.ndarray, scale: float = LOUDEST) -> None:
    atol = scale * np.abs(librosas).max()
    np.testing.assert_allclose(ours, librosas, rtol=1e-4, atol=atol)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize(("n_fft", "hop_length"), [(2048, 512), (2048, 1920), (512, 160)])
def test_power_spectrogram_equals_librosa(
    sound: Waveform, n_fft: int, hop_length: int, center: bool
) -> None:
    ours = power_spectrogram(sound, n_fft=n_fft, hop_length=hop_length, center=center)
    spectrum = librosa.stft(sound.samples, n_fft=n_fft, hop_length=hop_length, center=center)
    assert_close(ours.power, np.abs(spectrum) ** 2)
    assert_close(ours.frequencies, librosa.fft_frequencies(sr=RATE, n_fft=n_fft))
    assert ours.hop_seconds == hop_length / RATE


def test_kept_bins_are_those_of_the_whole_spectrogram(sound: Waveform) -> None:
    whole, part = power_spectrogram(sound), power_spectrogram(sound, n_bins=544)
    bins = [int((i + 0.5) / 544 * 1025) for i in range(544)]
    np.testing.assert_array_equal(part.power, whole.power[bins])
    np.testing.assert_array_equal(part.frequencies, whole.frequencies[bins])


def test_less_than_a_window_has_no_frame_without_padding() -> None:
    short = Waveform(np.ones(2047, np.float32), RATE)
    assert power_spectrogram(short, center=False).power.shape == (1025, 0)
    assert power_spectrogram(short).power.shape == (1025, 4)


@pytest.mark.parametrize("bins", [0, 1026])
def test_impossible_numbers_of_bins_are_refused(bins: int) -> None:
    with pytest.raises(ValueError, match=f"between 1 and 1025, not {bins}"):
        kept_bins(bins, 2048)


@pytest.mark.parametrize("bands", MELS)
@pytest.mark.parametrize(("rate", "n_fft"), [(22050, 2048), (44100, 4096), (22050, 8192)])
def test_mel_filters_equal_librosa(bands: str, rate: int, n_fft: int) -> None:
    n_mels, fmin, fmax = MELS[bands]
    ours = mel_filters(
        librosa.fft_frequencies(sr=rate, n_fft=n_fft), n_mels=n_mels, fmin=fmin, fmax=fmax
    )
    assert_close(
        ours, librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax)
    )


@pytest.mark.parametrize("bands", MELS)
def test_mel_and_log_mel_equal_librosa(sound: Waveform, bands: str) -> None:
    settings = dict(zip(("n_mels", "fmin", "fmax"), MELS[bands], strict=True))
    mel = librosa.feature.melspectrogram(y=sound.samples, sr=RATE, **settings)
    assert_close(make_feature({"kind": "mel", **settings})(sound), mel)
    np.testing.assert_allclose(
        make_feature({"kind": "log_mel", **settings})(sound),
        librosa.power_to_db(mel),
        rtol=1e-4,
        atol=DECIBELS,
    )


def librosa_mfcc(samples: np.ndarray, n_mfcc: int) -> np.ndarray:
    mfcc = librosa.feature.mfcc(y=samples, sr=RATE, n_mfcc=n_mfcc, n_fft=2048, hop_length=512)
    deltas = [librosa.feature.delta(mfcc, order=order) for order in (1, 2)]
    return np.concatenate([mfcc, *deltas])


@pytest.mark.parametrize("n_mfcc", [13, 20])
def test_mfcc_with_deltas_equals_librosa(sound: Waveform, n_mfcc: int) -> None:
    ours = make_feature({"kind": "mfcc", "n_mfcc": n_mfcc, "deltas": 2})(sound)
    wanted = librosa_mfcc(sound.samples, n_mfcc)
    np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=MFCC)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("frames", [9, 10, 50])
def test_delta_equals_librosa_to_the_edges(order: int, frames: int) -> None:
    values = np.random.default_rng(frames).normal(size=(5, frames)).astype(np.float32)
    # Sums of nine numbers near 1 in float32, which may cancel.
    assert_close(delta(values, order=order), librosa.feature.delta(values, order=order), 1e-6)


def test_delta_needs_its_width_in_frames() -> None:
    with pytest.raises(ValueError, match="8 frames are too few"):
        delta(np.zeros((2, 8), np.float32))


@pytest.mark.parametrize("top_db", [80, 30, None])
def test_decibels_equal_librosa(top_db: float | None) -> None:
    power = np.geomspace(1e-14, 1e4, 50, dtype=np.float32)
    assert_close(power_to_db(power, top_db=top_db), librosa.power_to_db(power, top_db=top_db))


@pytest.mark.parametrize("kind", sorted(set(feature_kinds()) - {"stored"}))
def test_a_feature_has_the_size_it_says(kind: str, sound: Waveform) -> None:
    feature = make_feature({"kind": kind})
    values = feature(sound.resampled(feature.sample_rate))
    assert values.dtype == np.float32
    assert values.shape[0] == feature.size
    assert values.shape[1] == pytest.approx(len(TIME) / 22050 / feature.hop_seconds + 1, abs=3)
    assert np.isfinite(values).all()


def test_a_feature_refuses_another_sample_rate() -> None:
    with pytest.raises(ValueError, match="audio at 44100 Hz, not at 22050 Hz"):
        make_feature({"kind": "mel"})(Waveform(np.zeros(9000, np.float32), 44100))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"kind": "spectrogram"},
            "no feature 'spectrogram'; there are: descriptors",
        ),
        ({}, "no kind given"),
        ({"kind": "mfcc", "n_mfccs": 20}, "feature mfcc.n_mfccs: there is no such setting"),
        ({"kind": "mfcc", "n_mfcc": 0}, "feature mfcc.n_mfcc: Input should be greater"),
        (
            {"kind": "mfcc", "n_mfcc": 30, "n_mels": 20},
            "30 MFCCs can't be computed from 20",
        ),
        ({"kind": "mel", "sample_rate": 16000}, "0, 11025 and 8000"),
        ({"kind": "mel", "fmin": 500, "fmax": 400}, "expected fmin < fmax"),
        ({"kind": "mel", "n_mels": 1000}, "1000 mel bands are too many for these 1025"),
        ({"kind": "mel", "n_bins": 2000}, "n_bins must be between 1 and 1025, not 2000"),
        ({"kind": "mel", "n_fft": 32768, "center": False}, "fewer than 1 frames in a second"),
        ({"kind": "mfcc", "hop_length": 4096, "deltas": 1}, "fewer than 9 frames in a second"),
    ],
)
def test_wrong_settings_are_refused_in_a_line(settings: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make_feature(settings)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def scaled(feature: Feature, spectrogram: Spectrogram) -> np.ndarray:
    return standardise(feature.of_spectrogram(spectrogram), spectrogram.silent)


def altered(spectrogram: Spectrogram, offset: float, step: float) -> Spectrogram:
    """Return the spectrogram with its dB axis shifted and stretched."""
    decibels = 10 * np.log10(spectrogram.power.astype(np.float64)) * step + offset
    power = (10 ** (decibels / 10)).astype(np.float32)
    return Spectrogram(power, spectrogram.frequencies, spectrogram.hop_seconds)


LOUD = power_spectrogram(
    Waveform((100 * SOUNDS["chord in noise"]).astype(np.float32), RATE),
    hop_length=1920,
    center=False,
    n_bins=544,
)


@given(offset=st.floats(-10, 60), step=st.floats(0.6, 1.3))
def test_geometric_mel_does_not_know_gain_and_step(offset: float, step: float) -> None:
    feature = make_feature(STORED)
    np.testing.assert_allclose(
        scaled(feature, altered(LOUD, offset, step)), scaled(feature, LOUD), atol=1e-4
    )


def test_summed_mel_knows_the_step_but_not_the_gain() -> None:
    feature = make_feature({**STORED, "kind": "log_mel"})
    louder, steeper = (scaled(feature, altered(LOUD, *change)) for change in [(20, 1), (0, 1.3)])
    np.testing.assert_allclose(louder, scaled(feature, LOUD), atol=1e-4)
    assert np.abs(steeper - scaled(feature, LOUD)).max() > 0.1


def test_standardise_leaves_silence_out() -> None:
    values = np.random.default_rng(0).normal(5, 3, (8, 30)).astype(np.float32)
    silent = np.arange(30) >= 20
    values[:, silent] = -200
    result = standardise(values, silent)
    np.testing.assert_array_equal(result[:, silent], 0)
    assert result[:, ~silent].mean() == pytest.approx(0, abs=1e-6)
    assert result[:, ~silent].std() == pytest.approx(1, abs=1e-6)


def test_by_band_does_not_know_what_filter_the_music_went_through() -> None:
    random = np.random.default_rng(0)
    values = random.normal(5, 3, (8, 30)).astype(np.float32)
    silent = np.arange(30) >= 25
    filtered = values + random.normal(0, 20, (8, 1)).astype(np.float32)
    once, again = (standardise(v, silent, by_band=True) for v in (values, 0.7 * filtered))
    np.testing.assert_allclose(once, again, atol=1e-4)
    np.testing.assert_allclose(once[:, ~silent].mean(axis=1), 0, atol=1e-6)
    assert once[:, ~silent].std() == pytest.approx(1, abs=1e-6)
    assert np.abs(standardise(values, silent) - standardise(filtered, silent)).max() > 0.5


@pytest.mark.parametrize("silent", [True, False])
def test_standardise_makes_nothing_of_nothing(silent: bool) -> None:
    flat = np.full((4, 6), -90, np.float32)
    np.testing.assert_array_equal(standardise(flat, np.full(6, silent)), 0)


def test_silence_is_found_per_frame() -> None:
    samples = np.zeros(40960, np.float32)
    samples[20480:] = np.random.default_rng(0).normal(0, 1e-3, 20480)
    silent = power_spectrogram(Waveform(samples, RATE), hop_length=2048, center=False).silent
    np.testing.assert_array_equal(silent, np.arange(20) < 10)


def test_stored_spectrogram_reads_back(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(1, 256, (544, 20), np.uint8)
    pixels[:, 7] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    stored = load_spectrogram(tmp_path / "a.png")
    np.testing.assert_array_equal(stored.silent, np.arange(20) == 7)
    decoded = np.delete(stored.power, 7, axis=1)
    np.testing.assert_allclose(
        10 * np.log10(decoded) / 0.644, np.delete(pixels[::-1], 7, axis=1), rtol=1e-4
    )
    assert stored.frequencies[0] == 0
    assert stored.frequencies[-1] == 1024 * RATE / 2048
    assert stored.hop_seconds == 1920 / RATE


def write_colour(path: Path) -> None:
    Image.new("RGB", (9, 9)).save(path)


def write_tall(path: Path) -> None:
    Image.new("L", (9, 1026)).save(path)


def write_cut(path: Path) -> None:
    Image.effect_noise((344, 544), 50).save(path)
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (write_colour, r"not an 8-bit grey image \(mode RGB\)"),
        (write_tall, "1026 rows"),
        (write_cut, "not a readable PNG"),
        (Path.touch, "not a readable PNG"),
        (Path.mkdir, "no such file"),
        (lambda path: None, "no such file"),
    ],
)
def test_what_is_no_stored_spectrogram_is_refused(tmp_path: Path, write, words: str) -> None:
    write(tmp_path / "a.png")
    with pytest.raises(FileError, match=f"a.png: {words}"):
        load_spectrogram(tmp_path / "a.png")


@pytest.mark.shared
@pytest.mark.parametrize("track", ["blues.00000", "classical.00002", "hiphop.00004", "metal.00008"])
def test_real_music_equals_librosa(shared: Path, track: str) -> None:
    genre = track.partition(".")[0]
    music = load(shared / f"data/gtzan-audio/{genre}/{track}.flac", sample_rate=RATE)
    assert_close(power_spectrogram(music).power, np.abs(librosa.stft(music.samples)) ** 2)
    np.testing.assert_allclose(
        make_feature({"kind": "mfcc", "deltas": 2})(music),
        librosa_mfcc(music.samples, 20),
        rtol=1e-4,
        atol=MFCC,
    )


@pytest.mark.shared
def test_mean_mfccs_are_the_published_ones(shared: Path) -> None:
    table = shared / "data/gtzan-features/librosa_features_30_sec.csv"
    with table.open() as file:
        published = {row["filename"][:-4]: row for row in csv.DictReader(file)}
    feature = make_feature({"kind": "mfcc"})
    tracks = sorted((shared / "data/gtzan-audio").glob("*/*.flac"))[::3]
    assert len(tracks) == 17
    for path in tracks:
        row = published[path.stem]
        wanted = [float(row[f"mfcc{i}_mean"]) for i in range(1, 21)]
        # The table was made when librosa still mirrored the sound at its edges, 4 frames in 1293.
        # The means lie between -552 and 193; the worst difference of all 51
        # tracks is 0.099.
        ours = feature(load(path, sample_rate=RATE)).mean(axis=1)
        np.testing.assert_allclose(ours, wanted, atol=0.12, err_msg=path.stem)


@pytest.mark.shared
def test_stored_spectrograms_agree_with_the_audio(shared: Path) -> None:
    feature = make_feature(STORED)
    tracks = sorted((shared / "data/gtzan-audio").glob("*/*.flac"))
    assert len(tracks) == 51
    for path in tracks:
        stored = load_spectrogram(
            shared / f"data/gtzan-spectrograms/{path.parent.name}/{path.stem}.png"
        )
        seen = scaled(feature, stored)
        music = load(path, sample_rate=RATE)
        decoded = scaled(feature, feature.spectrogram(music))[:, : seen.shape[1]]
        # Measured: at least 0.99993, and at most 0.0073 standard deviations in the mean.
        assert np.corrcoef(seen.ravel(), decoded.ravel())[0, 1] > 0.9999, path.stem
        assert np.abs(seen - decoded).mean() < 0.01, path.stem


@pytest.mark.shared
@pytest.mark.parametrize("number", [36, 37, 38])
def test_digital_silence_of_stored_spectrograms_is_found(shared: Path, number: int) -> None:
    path = shared / f"data/gtzan-spectrograms/hiphop/hiphop.{number:05d}.png"
    stored = load_spectrogram(path)
    columns = np.asarray(Image.open(path)).max(axis=0)
    np.testing.assert_array_equal(stored.silent, columns == 0)
    assert stored.silent.any()
