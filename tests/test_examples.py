"""The synthetic clips: what was asked for, repeatable, and each in its style."""

from __future__ import annotations

import os
import stat
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import soundfile

from genrescope.errors import FileError, GenrescopeError
from genrescope.examples import PIECES, SAMPLE_RATE, render, write_examples
from genrescope.examples.instruments import PIANO, hertz, note, plucked_string

HOP = 220  # about 10 ms


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips") / "new" / "folder"
    write_examples(folder)
    return folder


@pytest.fixture(scope="module")
def clips(folder: Path) -> dict[str, np.ndarray]:
    return {piece: soundfile.read(folder / f"{piece}.flac")[0] for piece in PIECES}


def power(sound: np.ndarray) -> np.ndarray:
    """Return power by window and frequency: shape (windows, 513)."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, 1024)[::HOP]
    return np.abs(np.fft.rfft(frames * np.hanning(1024))) ** 2


def centroid(sound: np.ndarray) -> float:
    """Return the mean frequency in Hz, weighted by power."""
    spectrum = power(sound).sum(axis=0)
    return float(spectrum @ np.fft.rfftfreq(1024, 1 / SAMPLE_RATE) / spectrum.sum())


def onsets(sound: np.ndarray) -> np.ndarray:
    """Return by how much the sound grows from window to window, over all frequencies."""
    level = np.log(power(sound) + 1e-3)
    return np.maximum(np.diff(level, axis=0), 0).mean(axis=1)


def beat_strength(sound: np.ndarray, bpm: float) -> float:
    """Return the autocorrelation of the onsets at a tempo, 1 being that at lag 0."""
    growth = onsets(sound) - onsets(sound).mean()
    lag = 60 / bpm * SAMPLE_RATE / HOP
    correlation = [float(growth[n:] @ growth[: len(growth) - n]) for n in range(round(lag) + 3)]
    return max(correlation[round(lag) - 1 :]) / correlation[0]


def test_files_are_16_bit_mono_flac_of_the_right_length(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {f"{s}.flac" for s in PIECES}
    assert len(PIECES) >= 6
    for path in folder.iterdir():
        info = soundfile.info(path)
        assert (info.format, info.subtype, info.channels) == ("FLAC", "PCM_16", 1)
        assert (info.samplerate, info.frames) == (22050, 12 * 22050)


@pytest.mark.parametrize("seconds", [1.0, 3.21])
def test_the_length_is_as_asked_and_the_end_is_faded(seconds: float) -> None:
    for piece in PIECES:
        clip = render(piece, seconds=seconds)
        assert clip.shape == (round(seconds * SAMPLE_RATE),)
        assert abs(int(clip[-1])) < 50, "an abrupt end would click"


def test_loud_but_not_clipped_and_never_silent(clips: dict[str, np.ndarray]) -> None:
    for piece, clip in clips.items():
        assert np.abs(clip).max() == pytest.approx(10 ** (-1 / 20), abs=1e-4), piece
        assert abs(clip.mean()) < 0.01, f"{piece} has an offset"
        seconds = clip.reshape(12, -1)
        assert seconds.std(axis=1).min() > 0.03, f"{piece} has a silent second"


@pytest.mark.slow
def test_one_seed_gives_one_sound_and_another_seed_another(
    folder: Path, clips: dict[str, np.ndarray], tmp_path: Path
) -> None:
    paths = write_examples(tmp_path)
    assert paths == [tmp_path / f"{piece}.flac" for piece in PIECES]
    for piece, path in zip(PIECES, paths, strict=True):
        assert path.read_bytes() == (folder / path.name).read_bytes()
        other = render(piece, seed=1) / 32768
        assert abs(np.corrcoef(other, clips[piece])[0, 1]) < 0.9, f"{piece} ignores the seed"


def test_pieces_differ_in_sound(clips: dict[str, np.ndarray]) -> None:
    spectra = {piece: np.log(power(clip).mean(axis=0)) for piece, clip in clips.items()}
    for one, other in combinations(PIECES, 2):
        decibels = 10 / np.log(10) * np.abs(spectra[one] - spectra[other]).mean()
        assert decibels > 3, f"{one} sounds like {other}"
    tone = {piece: centroid(clip) for piece, clip in clips.items()}
    assert max(tone, key=lambda piece: tone[piece]) == "palm-muted-guitars"
    assert min(tone, key=lambda piece: tone[piece]) == "offbeat-organ"
    assert tone["palm-muted-guitars"] > 4 * tone["offbeat-organ"]


def test_classical_has_no_drums_and_metal_is_dense(clips: dict[str, np.ndarray]) -> None:
    # Drums stand out: the strongest onsets against the usual ones.
    attack = {s: np.quantile(onsets(c), 0.95) - np.median(onsets(c)) for s, c in clips.items()}
    assert min(attack, key=lambda piece: attack[piece]) == "strings-and-harp"
    # Sixteenths at 170 leave no gaps, a one drop at 75 does.
    loudness = {s: power(c)[:, :200].sum(axis=1) for s, c in clips.items()}
    gaps = {s: float(np.mean(x < 0.05 * np.quantile(x, 0.95))) for s, x in loudness.items()}
    assert gaps["palm-muted-guitars"] < gaps["offbeat-organ"]


@pytest.mark.parametrize(
    ("piece", "bpm"),
    [
        ("guitar-shuffle", 100),
        ("four-on-the-floor", 120),
        ("piano-loop", 90),
        ("walking-bass", 150),
        ("palm-muted-guitars", 170),
        ("offbeat-organ", 75),
    ],
)
def test_the_beat_is_where_the_tempo_says(
    piece: str, bpm: float, clips: dict[str, np.ndarray]
) -> None:
    beat = beat_strength(clips[piece], bpm)
    assert beat > 0.3
    for wrong in (0.83, 0.9, 1.11, 1.2):
        assert beat > 1.5 * beat_strength(clips[piece], wrong * bpm), (
            f"as strong at {wrong * bpm:.0f}"
        )


def test_disco_stamps_on_every_beat(clips: dict[str, np.ndarray]) -> None:
    frames = power(clips["four-on-the-floor"])
    bass = frames[:, : round(100 * 1024 / SAMPLE_RATE) + 1].sum(axis=1)
    growth = np.maximum(np.diff(np.log(bass + 1e-3)), 0)
    growth -= growth.mean()
    lags = np.arange(20, 80)  # 0.2 s to 0.8 s
    correlation = [growth[lag:] @ growth[:-lag] for lag in lags]
    best = 60 * SAMPLE_RATE / HOP / lags[int(np.argmax(correlation))]
    assert best == pytest.approx(120, rel=0.02)


@pytest.mark.parametrize("pitch", [40, 52, 64, 76])
def test_instruments_are_in_tune(pitch: int) -> None:
    for sound in (
        note(PIANO, pitch, 1.0),
        plucked_string(pitch, 1.0, np.random.default_rng(3), damping=0.4),
    ):
        spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 1 << 18))
        near = round(hertz(pitch) * (1 << 18) / SAMPLE_RATE)
        window = spectrum[round(near * 0.94) : round(near * 1.06)]
        found = (round(near * 0.94) + int(np.argmax(window))) / near
        assert abs(1200 * np.log2(found)) < 25, "a quarter of a semitone off"


def test_a_rerun_replaces_each_file_in_one_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_examples(tmp_path, seconds=1)
    before = [path.read_bytes() for path in paths]
    for path in paths:
        path.chmod(0o604)
    paths[0].unlink()
    mask = os.umask(0o027)
    try:
        write_examples(tmp_path, seconds=1, seed=5)
    finally:
        os.umask(mask)
    assert all(path.read_bytes() != old for path, old in zip(paths, before, strict=True))
    modes = [stat.S_IMODE(path.stat().st_mode) for path in paths]
    assert modes == [0o640, *[0o604] * (len(paths) - 1)]
    before = [path.read_bytes() for path in paths]

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_examples(tmp_path, seconds=1)
    assert [path.read_bytes() for path in paths] == before
    assert sorted(tmp_path.iterdir()) == sorted(paths), "a part was left behind"


def test_bad_requests_are_refused_in_plain_words(tmp_path: Path) -> None:
    with pytest.raises(GenrescopeError, match="no example 'polka'; there are: guitar-shuffle"):
        render("polka")
    for seconds in (0.0, 0.5, 601.0, float("nan"), float("inf")):
        with pytest.raises(GenrescopeError, match="from 1 to 600 seconds"):
            write_examples(tmp_path, seconds=seconds)
    with pytest.raises(GenrescopeError, match="a seed is not negative"):
        render("four-on-the-floor", seed=-1)
    occupied = tmp_path / "a-file"
    occupied.touch()
    with pytest.raises(FileError, match="exists"):
        write_examples(occupied, seconds=1)
    assert list(tmp_path.iterdir()) == [occupied]
