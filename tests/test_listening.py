"""Reading parts of long tracks: which parts, and what comes out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from clips import music, write_wav
from genrescope import CancelledError, Classifier, Prediction
from genrescope.audio import compressed, info, load
from genrescope.inference.labels import GenreEvidence, LabelHead
from genrescope.inference.listening import (
    AUTO_FEWEST,
    Listen,
    check_listen,
    is_clear,
    reading_order,
    spread,
)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.load("default")


@pytest.fixture(scope="module")
def long_track(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wav(tmp_path_factory.mktemp("music") / "long.wav", 200)


def same(one: Prediction, other: Prediction) -> bool:
    return one.timeline == other.timeline and np.array_equal(one.embedding, other.embedding)


@pytest.mark.parametrize("seconds", [5, 30, 31, 60, 100, 299])
def test_windows_cover_the_track_evenly_and_do_not_overlap(seconds: float) -> None:
    windows = spread(seconds, 330.0)
    assert sum(length for _, length in windows) == pytest.approx(seconds)
    assert max(length for _, length in windows) <= 30
    edges = [0.0, *(edge for start, length in windows for edge in (start, start + length)), 330.0]
    assert edges == sorted(edges)
    gaps = np.diff(edges)[::2]
    assert gaps[0] == pytest.approx(gaps[-1])
    assert gaps[1:-1] == pytest.approx(2 * gaps[0])


def test_as_many_seconds_are_read_as_were_asked_for(
    classifier: Classifier, long_track: Path
) -> None:
    starts = [segment.start for segment in classifier.predict(long_track, listen=45).timeline]
    first, second = starts[0], next(start for start in starts if start > 100)
    assert (first, second) == (pytest.approx(50 - 11.25), pytest.approx(150 - 11.25))


def test_half_a_minute_is_the_middle_of_the_track(classifier: Classifier, long_track: Path) -> None:
    part = classifier.predict(long_track, listen=30)
    alone = classifier.predict(load(long_track, offset=85.0, duration=30.0))
    assert part.probabilities == alone.probabilities
    assert np.array_equal(part.embedding, alone.embedding)
    assert part.duration == pytest.approx(200)
    assert part.timeline[0].start == 85.0
    assert part.timeline[-1].end == pytest.approx(115.0, abs=0.1)


def seconds_of(prediction: Prediction) -> float:
    """Seconds of a track that lie in some segment of a prediction."""
    second = np.zeros(math.ceil(prediction.duration) + 1, bool)
    for segment in prediction.timeline:
        second[round(segment.start) : round(segment.end)] = True
    return float(second.sum())


def test_auto_stops_where_the_genre_is_clear(
    classifier: Classifier, long_track: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genrescope.inference.listening.CLEAR", -99.0)
    few = classifier.predict(long_track, listen="auto")
    assert same(few, classifier.predict(long_track.read_bytes(), listen="auto"))
    assert few.duration == pytest.approx(200)
    assert seconds_of(few) == pytest.approx(AUTO_FEWEST * 30, rel=0.05)
    assert few.listen == few.to_dict()["listen"] == "auto"
    starts = np.array([segment.start for segment in few.timeline])
    assert np.diff(starts).max() > 200 / (AUTO_FEWEST + 2)


def test_auto_reads_all_where_the_genre_is_not_clear(
    classifier: Classifier, long_track: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genrescope.inference.listening.CLEAR", 1e9)
    part, full = (classifier.predict(long_track, listen=each) for each in ("auto", "full"))
    assert part.timeline == full.timeline
    assert list(part.probabilities.values()) == pytest.approx(
        [full.probabilities[genre] for genre in part.probabilities], abs=1e-9
    )
    assert full.listen == "full"
    assert "listen" not in full.to_dict()


def test_clear_is_a_lead_of_some_standard_errors() -> None:
    one, other = np.array([3.0, 0.0, 0.0]), np.array([0.0, 3.0, 0.0])
    assert not is_clear([one] * (AUTO_FEWEST - 1), 0.0)
    assert is_clear([2 * one] * 8, 0.5)
    assert not is_clear([one, other] * 4, 0.5)  # a draw
    assert is_clear([one, one, other] * 4, 0.0)  # all has been read
    assert not is_clear([one, other, one, other, one], 0.9)
    assert not is_clear([one + other] * 8, 0.5)  # the second genre is as probable
    assert is_clear([2 * one] * 4, 0.5, [2.0, 2.0, 2.5, 1.5])
    assert is_clear([2 * one] * 4, 0.5, [-2.0, -2.0, -2.5, -1.5])  # clearly no music
    assert is_clear([one, other] * 2, 0.5, [-2.0, -2.0, -2.5, -1.5])  # of which no genre is told
    assert is_clear([], 0.5, [-2.0, -2.0])
    assert not is_clear([], 0.5, [2.0, 2.0])
    assert not is_clear([2 * one] * 4, 0.5, [2.0, -2.0, 2.5, -1.5])
    assert not is_clear([2 * one] * 4, 0.5, [])
    small = one / 20
    assert not is_clear([small] * AUTO_FEWEST, 0.9)
    assert is_clear([small] * 1000, 0.001)


def test_clearly_no_music_is_what_reading_all_calls_so() -> None:
    pair = {name: GenreEvidence(labels=(number,)) for number, name in enumerate(("jazz", "rock"))}
    head = LabelHead(size=3, genres=pair, music=2, music_above=0.5)
    # Windows of speech, of which the model is sure, and of slightly more music.
    probabilities = np.tile([1e-6, 0.95], 20)
    probabilities[[8, 28]] = 0.95
    log_odds = np.log(probabilities / (1 - probabilities))
    windows = [np.array([[0.0, 0.0, each]]) for each in log_odds]
    assert np.mean(log_odds) < -3
    assert head.read(np.concatenate(windows)).kind == "music"
    margins = [head.margin(window) for window in windows]
    assert sum(margins) > 0
    for count in range(AUTO_FEWEST, len(windows)):
        assert not is_clear([], 1 - count / len(windows), margins[:count]), "no music after all"
    assert is_clear([], 0.5, [head.margin(windows[0])] * 4)


@pytest.mark.parametrize("count", [1, 2, 3, 8, 13, 24])
def test_each_window_is_far_from_those_read_before(count: int) -> None:
    order = reading_order(count)
    assert sorted(order) == list(range(count))
    if count >= 8:
        quarters = [count / 8, 3 * count / 8, 5 * count / 8, 7 * count / 8]
        assert sorted(order[:4]) == [int(middle) for middle in quarters]
        assert abs(order[0] - order[1]) >= count // 2


def test_short_tracks_are_read_in_full(classifier: Classifier, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "short.wav", 80)
    brief = write_wav(tmp_path / "brief.wav", 50)
    full = classifier.predict(path)
    assert classifier.predict(brief, listen="auto") == classifier.predict(brief)
    assert same(classifier.predict(path, listen=60), full)
    assert not same(classifier.predict(path, listen=30), full)
    (many,) = classifier.predict_many([path], listen=30)
    assert same(many, classifier.predict(path, listen=30))


def decoded_seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of each frame that FFmpeg decodes from now on."""
    seconds: list[float] = []
    channels = compressed._channels

    def counted(frame: Any) -> Any:
        seconds.append(frame.samples / frame.sample_rate)
        return channels(frame)

    monkeypatch.setattr(compressed, "_channels", counted)
    return seconds


@pytest.mark.slow
def test_a_header_that_promises_too_much_is_no_silence(
    classifier: Classifier, tmp_path: Path
) -> None:
    """The parts lie beyond the end then; the file is read to where it ends."""
    path = tmp_path / "cut.flac"
    soundfile.write(path, music(150, rate=8000), 8000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 10])
    full = classifier.predict(path)
    assert full.genre is not None
    assert full.duration < 20
    assert classifier.predict(path, listen=30) == full
    auto = classifier.predict(path, listen="auto")
    assert same(auto, full)
    assert auto.duration == pytest.approx(full.duration, abs=0.01)


@pytest.mark.slow
def test_parts_beyond_the_end_are_not_looked_for(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cut.flac"
    soundfile.write(path, music(600, rate=8000), 8000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 10])
    monkeypatch.setattr("genrescope.inference.listening.CLEAR", 1e9)
    seconds = decoded_seconds(monkeypatch)
    prediction = classifier.predict(path, listen="auto")
    assert 50 < prediction.duration < 70
    assert sum(seconds) < 5 * prediction.duration


@pytest.mark.slow
@pytest.mark.parametrize("listen", ["auto", 100])
def test_where_no_jump_is_possible_a_track_is_decoded_once(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listen: Listen
) -> None:
    """A chain of Ogg streams, as recordings of internet radio are."""
    path = tmp_path / "radio.ogg"
    soundfile.write(path, music(60, rate=8000), 8000, format="OGG", subtype="VORBIS")
    path.write_bytes(path.read_bytes() * 4)
    assert not info(path).seekable
    monkeypatch.setattr("genrescope.inference.listening.CLEAR", 1e9)
    seconds = decoded_seconds(monkeypatch)
    part = classifier.predict(path, listen=listen)
    assert sum(seconds) <= 241
    if listen == "auto":
        assert part == classifier.predict(path)
        return
    starts = [segment.start for segment in part.timeline]
    assert starts[0] == pytest.approx(30 - 12.5)
    whole = load(path).samples
    parts = [whole[round((start - 12.5) * 22050) :][: 25 * 22050] for start in (30, 90, 150, 210)]
    alone = [classifier.predict((each, 22050)).embedding for each in parts]
    assert np.mean(alone, axis=0) == pytest.approx(part.embedding, abs=1e-6)


class SetWhenAskedTwice:
    """An event that another thread sets after it was looked at twice."""

    def __init__(self) -> None:
        self.looks = 0

    def is_set(self) -> bool:
        self.looks += 1
        return self.looks > 2


def test_cancel_is_looked_at_during_silence(classifier: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "silence.flac"
    soundfile.write(path, np.zeros(100 * 8000), 8000)
    with pytest.raises(CancelledError):
        classifier.predict(path, cancel=SetWhenAskedTwice())
    assert classifier.predict(path).genre is None


def test_other_settings_are_refused(classifier: Classifier, long_track: Path) -> None:
    assert check_listen("45") == 45.0
    with pytest.raises(ValueError, match="not None"):
        check_listen(None)  # type: ignore[arg-type]
    for wrong in ("some", 0, -3, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="full, auto or a number of seconds"):
            classifier.predict(long_track, listen=wrong)
