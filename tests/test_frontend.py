"""From tracks of any length to windows and segments, the same from a file, a waveform or blocks."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image
from pydantic import ValidationError

from genrescope.audio import Waveform
from genrescope.errors import AudioError, FileError, RecipeError
from genrescope.features import Frontend, Segment, StreamInfo, Window
from genrescope.features.windows import WindowReader
from genrescope.training.recipe import load_recipe

RATE = 22050
MFCC = {"kind": "mfcc", "deltas": 2}
# Segments of 128 frames (11.1 s) in windows of 344 frames (29.96 s).
LONG = load_recipe("default", ["segments={seconds: 11.15, overlap: 0.5}"]).frontend
PAPER = Frontend(feature=MFCC, segments={"seconds": 3.0, "overlap": 0.5})
SPARSE = Frontend(
    feature={"kind": "mel", "n_fft": 512, "hop_length": 2000, "center": False, "n_mels": 20},
    segments={"seconds": 5},
)
SHORT = Frontend(feature=LONG.feature, segments={"seconds": 0.05, "overlap": 0})
FRONTENDS = {"long": LONG, "paper": PAPER, "gaps between frames": SPARSE, "short": SHORT}


def noise(seconds: float, seed: int = 0) -> Waveform:
    samples = np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE))
    return Waveform(samples.astype(np.float32), RATE)


def windows(frontend: Frontend, seconds: float) -> list[Window]:
    return list(frontend.windows(noise(seconds)))


def reader_of(frontend: Frontend) -> WindowReader:
    return WindowReader(frontend.computed, frontend.scale, frontend.segment_frames)


def in_blocks(frontend: Frontend, waveform: Waveform, size: int) -> list[Window]:
    blocks = iter(np.split(waveform.samples, range(size, len(waveform.samples), size)))
    return list(reader_of(frontend).read_blocks(blocks, "blocks", StreamInfo()))


def assert_same(some: list[Window], others: list[Window]) -> None:
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        np.testing.assert_array_equal(one.silent, other.silent)
        assert (one.start, one.fresh) == (other.start, other.fresh)


def store(path: Path, columns: int, height: int = 544) -> Path:
    pixels = np.random.default_rng(0).integers(1, 256, (height, columns), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_half_a_minute_is_one_window() -> None:
    (window,) = windows(LONG, 30)
    assert window.values.shape == (96, 344)
    assert window.values.dtype == np.float32
    assert (window.start, window.fresh) == (0, 0)
    assert not window.silent.any()
    assert window.values.mean() == pytest.approx(0, abs=1e-5)
    assert window.values.std() == pytest.approx(1, abs=1e-5)


def test_unscaled_windows_are_the_feature_itself() -> None:
    frontend = Frontend(feature=MFCC, scale="none", segments={"seconds": 3})
    (window,) = frontend.windows(noise(10))
    np.testing.assert_array_equal(window.values, frontend.computed(noise(10)))


@pytest.mark.parametrize("frontend", FRONTENDS.values(), ids=FRONTENDS)
@pytest.mark.parametrize("size", [1000, 70_001, 700_000])
def test_blocks_of_any_size_give_the_same_windows(frontend: Frontend, size: int) -> None:
    music = noise(70)
    assert_same(in_blocks(frontend, music, size), list(frontend.windows(music)))


def test_a_file_gives_the_windows_of_its_samples(tmp_path: Path) -> None:
    music, info = noise(40), StreamInfo()
    soundfile.write(tmp_path / "a.wav", music.samples, RATE, subtype="FLOAT")
    assert_same(list(LONG.windows(tmp_path / "a.wav", info)), list(LONG.windows(music)))
    assert info.duration == pytest.approx(40)
    assert info.warnings == []


def test_another_sample_rate_is_brought_to_the_features() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(5 * 44100) / 44100).astype(np.float32)
    frontend = Frontend(feature={"kind": "mel"}, scale="none", segments={"seconds": 3})
    (window,) = frontend.windows(Waveform(tone, 44100))
    edges = np.linspace(0, 49.9, 130)  # in mel; 1 kHz is 15
    band = window.values.mean(axis=1).argmax()
    assert edges[band] < 15 < edges[band + 2]


@pytest.mark.parametrize("frontend", [LONG, SPARSE], ids=["long", "gaps between frames"])
def test_later_windows_are_the_track_from_there_on(frontend: Frontend) -> None:
    music = noise(95)
    step = frontend.computed.frame_count(30 * RATE) * frontend.computed.hop_length
    for number, window in enumerate(list(frontend.windows(music))[:3]):
        assert window.start == pytest.approx(number * step / RATE)
        part = Waveform(music.samples[number * step :][: 30 * RATE], RATE)
        (alone,) = frontend.windows(part)
        np.testing.assert_array_equal(window.values, alone.values)


def test_memory_does_not_grow_with_the_track() -> None:
    def blocks(seconds: int) -> Iterator[np.ndarray]:
        random = np.random.default_rng(0)
        for _ in range(seconds // 5):
            yield random.normal(0, 0.1, 5 * RATE).astype(np.float32)

    def peak(seconds: int) -> int:
        tracemalloc.start()
        for _ in reader_of(LONG).read_blocks(blocks(seconds), "radio", StreamInfo()):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(600) < 1.1 * peak(90)


@pytest.mark.parametrize(
    ("seconds", "frames", "starts"),
    [
        (30.9, [344], [0]),
        (31.2, [344, 344], [0, 1.17]),
        (40, [344, 344], [0, 9.97]),
        (45, [344, 172], [0, 29.95]),
        (60, [344, 344], [0, 29.95]),
        (70, [344, 344, 344], [0, 29.95, 39.97]),
    ],
)
def test_what_is_left_after_the_last_window(
    seconds: float, frames: list[int], starts: list[float]
) -> None:
    found = windows(LONG, seconds)
    assert [window.values.shape[1] for window in found] == frames
    assert [window.start for window in found] == pytest.approx(starts, abs=0.1)


def test_a_window_that_reaches_back_adds_one_segment_at_its_end() -> None:
    first, last = windows(LONG, 35)
    assert (first.fresh, last.fresh) == (0, 344 - 128)
    (segment,) = LONG.segments_of(last)
    assert segment.end == pytest.approx(35, abs=0.1)
    samples = noise(35).samples[-(343 * 1920 + 2048) :]
    (alone,) = LONG.windows(Waveform(samples, RATE))
    np.testing.assert_allclose(last.values, alone.values, atol=1e-4)


@pytest.mark.parametrize("seconds", [0, 0.5, 0.99])
def test_too_short_is_refused_in_plain_words(seconds: float) -> None:
    with pytest.raises(AudioError, match=rf"waveform: too short to classify: {seconds:.2f} s, at"):
        windows(LONG, seconds)


@pytest.mark.parametrize("frontend", FRONTENDS.values(), ids=FRONTENDS)
@pytest.mark.parametrize("seconds", [1, 1.05, 3, 29.99, 30.1, 31.05, 61.2])
def test_whatever_is_long_enough_gives_whole_segments(frontend: Frontend, seconds: float) -> None:
    found = windows(frontend, seconds)
    segments = [segment for window in found for segment in frontend.segments_of(window)]
    shape = (frontend.computed.size, frontend.segment_frames)
    assert {segment.values.shape for segment in segments} == {shape}
    assert segments[0].start == 0
    # At most a second at the end is left out, and padding of half a window may reach over it.
    assert seconds - 1.1 < segments[-1].end < seconds + 0.1


def window_of(frames: int, silent: slice = slice(0, 0), start: float = 0) -> Window:
    values = np.tile(np.arange(frames, dtype=np.float32), (96, 1))
    mask = np.zeros(frames, bool)
    mask[silent] = True
    return Window(values, mask, start)


def first_frames(segments: list[Segment]) -> list[float]:
    return [float(segment.values[0, 0]) for segment in segments]


def test_segments_overlap_by_half_and_end_with_the_window() -> None:
    assert (LONG.segment_frames, LONG.segment_step) == (128, 64)
    segments = LONG.segments_of(window_of(344, start=100))
    assert first_frames(segments) == [0, 64, 128, 192, 216]
    for segment in segments:
        begin = segment.values[0, 0]
        np.testing.assert_array_equal(segment.values[5], np.arange(begin, begin + 128))
        assert segment.start == pytest.approx(100 + begin * 1920 / RATE)
        assert segment.end == pytest.approx(100 + (begin + 128) * 1920 / RATE)


def test_segments_without_overlap() -> None:
    frontend = Frontend(feature=LONG.feature, segments={"seconds": 11.15, "overlap": 0})
    assert first_frames(frontend.segments_of(window_of(344))) == [0, 128, 216]


@pytest.mark.parametrize("frames", [11, 100, 127])
def test_a_short_clip_is_repeated_but_its_times_are_its_own(frames: int) -> None:
    (segment,) = LONG.segments_of(window_of(frames))
    np.testing.assert_array_equal(segment.values[0], np.arange(128) % frames)
    assert (segment.start, segment.end) == pytest.approx((0, frames * 1920 / RATE))


@pytest.mark.parametrize(
    ("silent", "starts"),
    [
        (slice(0, 64), [0, 64, 128, 192, 216]),  # half of the first segment: still kept
        (slice(0, 65), [64, 128, 192, 216]),
        (slice(200, 344), [0, 64, 128]),
        (slice(0, 344), []),
    ],
)
def test_mostly_silent_segments_are_left_out(silent: slice, starts: list[int]) -> None:
    assert first_frames(LONG.segments_of(window_of(344, silent))) == starts


def test_silence_within_music_does_not_change_how_the_music_is_scaled() -> None:
    music = noise(20).samples.copy()
    music[5 * RATE : 6 * RATE] = 0
    (window,) = LONG.windows(Waveform(music, RATE))
    assert window.silent.sum() == pytest.approx(RATE / 1920, abs=2)
    np.testing.assert_array_equal(window.values[:, window.silent], 0)
    edge = np.convolve(window.silent, [1, 1, 1], mode="same") > 0
    (alone,) = LONG.windows(noise(20))
    difference = window.values[:, ~edge] - alone.values[:, ~edge]
    assert np.abs(difference).mean() < 0.15


def test_segments_of_short_pieces_have_the_times_of_these() -> None:
    """After a minute of silence 20 pieces of 0.9 s, one every 3 s."""
    rng = np.random.default_rng(0)
    track = np.zeros(121 * RATE, np.float32)
    for begin in range(60, 120, 3):
        piece = rng.uniform(-0.5, 0.5, round(0.9 * RATE)).astype(np.float32)
        track[begin * RATE : begin * RATE + len(piece)] = piece
    (window,) = LONG.windows(Waveform(track, RATE))
    assert window.start == pytest.approx(60, abs=0.05)
    segments = LONG.segments_of(window)
    assert segments[0].start == window.start
    # A segment of 10.24 s holds what 11 or 12 pieces have.
    for segment in segments:
        assert 29 < segment.end - segment.start < 37
        assert (segment.start - 60) % 3 < 1
        assert (segment.end - 60) % 3 < 1
    assert segments[-1].end == pytest.approx(117.9, abs=0.1)
    one, other = (
        LONG.segments_of(window_of(344, start=5)),
        LONG.segments_of(replace(window_of(344, start=5), skipped=((0.5, 2.0), (900.0, 1.0)))),
    )
    assert [s.start - o.start for s, o in zip(other, one, strict=True)][:2] == [0, 2]
    assert [s.end - o.end for s, o in zip(other, one, strict=True)] == [2] * len(one)


@pytest.mark.parametrize("level", [0.0, 1 / 32768])
@pytest.mark.parametrize("gap", [2.5, 31.7, 90.0])
def test_a_long_silence_separates_a_track_into_parts(level: float, gap: float) -> None:
    """The windows of each part are those that it has alone."""
    random = np.random.default_rng(0)
    silence = (level * random.integers(-1, 2, round(gap * RATE))).astype(np.float32)
    first, second = noise(40), noise(12)
    track = np.concatenate([silence, first.samples, silence, second.samples, silence])
    info = StreamInfo()
    found = list(LONG.windows(Waveform(track, RATE), info))
    assert info.duration == pytest.approx(52 + 3 * gap, abs=0.01)
    alone = [*LONG.windows(first), *LONG.windows(second)]
    assert len(found) == len(alone)
    # Silence is found by chunks of 20 ms, and a part begins and ends within one.
    for one, other in zip(found, alone, strict=True):
        assert np.abs(one.values.shape[1] - other.values.shape[1]) <= 1
    assert found[0].start == pytest.approx(gap, abs=0.021)
    assert found[-1].start == pytest.approx(2 * gap + 40, abs=0.021)


@pytest.mark.parametrize("level", [0.0, 1 / 32768])
def test_a_track_of_silence_has_no_segment(level: float) -> None:
    random = np.random.default_rng(0)
    samples = (level * random.integers(-1, 2, 40 * RATE)).astype(np.float32)
    click = samples.copy()
    click[RATE : RATE + 400] = 0.5
    for sound in (samples, samples + np.float32(0.01), click):
        windows = list(LONG.windows(Waveform(sound, RATE)))
        assert [s for window in windows for s in LONG.segments_of(window)] == []


@pytest.mark.parametrize(
    ("columns", "frames", "starts", "fresh"),
    [
        (12, [12], [0], [0]),
        (344, [344], [0], [0]),
        (355, [344], [0], [0]),
        (360, [344, 344], [0, 16], [0, 216]),
        (500, [344, 156], [0, 344], [0, 0]),
    ],
)
def test_stored_spectrograms_are_cut_by_the_same_rules(
    tmp_path: Path, columns: int, frames: list[int], starts: list[int], fresh: list[int]
) -> None:
    info = StreamInfo()
    found = list(LONG.windows(store(tmp_path / "A.PNG", columns), info))
    assert [window.values.shape[1] for window in found] == frames
    assert [window.fresh for window in found] == fresh
    assert info.duration == pytest.approx(columns * 1920 / RATE)
    assert [window.start * RATE / 1920 for window in found] == pytest.approx(starts)


def test_stored_spectrograms_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"a.png: too short to classify: 0.95 s"):
        list(LONG.windows(store(tmp_path / "a.png", 11)))
    with pytest.raises(FileError, match=r"stored at a hop of 87.1 ms, but .* has one of 23.2 ms"):
        list(PAPER.windows(store(tmp_path / "a.png", 344)))


@pytest.mark.shared
def test_a_track_and_its_stored_spectrogram_give_the_same_segments(shared: Path) -> None:
    tracks = [
        shared / f"data/gtzan-{kind}/jazz/jazz.00004.{suffix}"
        for kind, suffix in [("audio", "flac"), ("spectrograms", "png")]
    ]
    (decoded,), (stored,) = (list(LONG.windows(track)) for track in tracks)
    for one, other in zip(LONG.segments_of(decoded), LONG.segments_of(stored), strict=False):
        assert np.abs(one.values - other.values).mean() < 0.02
        assert one.start == other.start


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"segments": {"seconds": 31}}, ValidationError, "less than or equal to 30"),
        ({"segments": {"seconds": 3, "overlap": 1}}, ValidationError, "less than 1"),
        ({"scale": "standard"}, ValidationError, "'track', 'bands' or 'none'"),
        ({"feature": {"kind": "wavelet"}}, RecipeError, "no feature 'wavelet'"),
    ],
)
def test_wrong_settings_are_refused(
    settings: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Frontend.model_validate({"feature": MFCC, "segments": {"seconds": 3}, **settings})


STORED = {"kind": "stored", "name": "net", "width": 4, "seconds": 2.0}


def stored(**settings: Any) -> Frontend:
    return Frontend.model_validate(
        {"feature": STORED, "scale": "none", "segments": {"seconds": 6, "overlap": 0.5}} | settings
    )


def vectors(frames: int) -> np.ndarray:
    return np.random.default_rng(frames).normal(3, 2, (frames, 4)).astype(np.float32)


def test_cuts_are_windows_that_become_the_segments() -> None:
    window = window_of(344, slice(0, 65), start=100)
    cuts = LONG.cuts(window)
    assert [cut.start for cut in cuts] == [s.start for s in LONG.segments_of(window)]
    for cut, segment in zip(cuts, LONG.segments_of(window), strict=True):
        np.testing.assert_array_equal(cut.values, segment.values)
        (again,) = LONG.segments_of(cut)
        np.testing.assert_array_equal(again.values, segment.values)
        assert (again.start, again.end) == pytest.approx((segment.start, segment.end))
    assert cuts[0].silent.tolist() == [True] + 127 * [False]  # the first frame of 64 to 192


def test_a_segment_is_pooled_to_statistics_of_its_frames() -> None:
    pooled = Frontend(feature=LONG.feature, segments=LONG.segments, pool=("mean", "max"))
    assert pooled.shape == (192, 1)
    assert LONG.shape == (96, 128)
    (window,) = windows(LONG, 30)
    whole, short = LONG.segments_of(window), pooled.segments_of(window)
    assert [s.start for s in whole] == [s.start for s in short]
    for one, other in zip(whole, short, strict=True):
        expected = np.concatenate([one.values.mean(axis=1), one.values.max(axis=1)])
        np.testing.assert_allclose(other.values, expected[:, None], atol=1e-5)
        assert other.values.dtype == np.float32


def test_silent_frames_have_no_say_in_what_is_pooled() -> None:
    pooled = Frontend(feature=LONG.feature, segments=LONG.segments, pool=("mean", "min"))
    window = window_of(128, slice(0, 28))  # frame t holds the number t
    (segment,) = pooled.segments_of(window)
    np.testing.assert_allclose(segment.values[:96], np.arange(28, 128).mean())
    np.testing.assert_allclose(segment.values[96:], 28)


@pytest.mark.parametrize("frames", [12, 100, 127])
def test_a_short_window_is_pooled_as_it_is(frames: int) -> None:
    pooled = Frontend(feature=LONG.feature, segments=LONG.segments, pool=("mean",))
    (segment,) = pooled.segments_of(window_of(frames))
    # Repeated to a whole segment, its beginning would count more.
    np.testing.assert_allclose(segment.values, (frames - 1) / 2)
    assert (segment.start, segment.end) == pytest.approx((0, frames * 1920 / RATE))


def test_silence_alone_gives_nothing_to_pool() -> None:
    pooled = Frontend(feature=LONG.feature, segments=LONG.segments, pool=("mean",))
    assert pooled.segments_of(window_of(344, slice(0, 344))) == []


def test_stored_vectors_are_one_window_however_many() -> None:
    info = StreamInfo()
    (window,) = stored().windows(vectors(40), info)
    assert info.duration == 80
    np.testing.assert_array_equal(window.values, vectors(40).T)
    segments = stored().segments_of(window)
    assert stored().shape == segments[0].values.shape == (4, 3)
    assert [s.start for s in segments][:3] == [0, 4, 8]
    assert segments[-1].end == 80


def test_one_stored_vector_is_a_track_too() -> None:
    single = stored(segments={"seconds": 2, "overlap": 0})
    one = vectors(1)
    for given in (one, one[0], one.astype(np.float64), np.round(one).astype(int)):
        (segment,) = single.segments_of(next(single.windows(given)))
        assert segment.values.shape == (4, 1)
        assert segment.values.dtype == np.float32
        np.testing.assert_allclose(segment.values[:, 0], np.ravel(given), rtol=1e-6)


def test_stored_vectors_are_scaled_where_asked_for() -> None:
    (window,) = stored(scale="bands").windows(vectors(40))
    np.testing.assert_allclose(window.values.mean(axis=1), 0, atol=1e-5)
    assert window.values.std() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "given",
    [
        np.zeros((5, 3)),
        np.zeros(3),
        np.zeros((0, 4)),
        np.zeros((2, 5, 4)),
        np.zeros((4, 2, 4)),
        np.float32(1),
        np.full((2, 4), np.nan),
        np.array([[1, 2, np.inf, 4]]),
        np.array([["a", "b", "c", "d"]]),
        np.array([[1, 2, 3, None]], dtype=object),
    ],
    ids=["narrow", "one, narrow", "none", "deep", "deep, as wide", "number", "nan", "inf", "text",
         "objects"],
)  # fmt: skip
def test_vectors_that_do_not_fit_are_one_line(given: np.ndarray) -> None:
    with pytest.raises(FileError, match=r"^(vectors: expected 4 finite numbers in each|float32)"):
        list(stored().windows(given))


def test_a_model_of_stored_vectors_takes_no_audio_and_the_reverse(tmp_path: Path) -> None:
    for source, name in [(tmp_path / "a.wav", "a.wav"), (noise(5), "waveform")]:
        with pytest.raises(
            FileError, match=rf"{name}: this model takes stored vectors \(feature stored\)$"
        ):
            list(stored().windows(source))
    with pytest.raises(
        FileError, match=r"ndarray: this model takes audio, not stored vectors \(feature mfcc\)$"
    ):
        list(PAPER.windows(vectors(3)))
