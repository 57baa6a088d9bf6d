"""Reading parts of long tracks: which parts, and what comes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clips import write_wav
from genrescope import Classifier, Prediction
from genrescope.audio import load
from genrescope.inference.listening import check_listen, spread


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


def test_auto_reads_a_minute_or_where_that_is_not_clear_all(
    classifier: Classifier, long_track: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = classifier.predict(long_track)
    monkeypatch.setattr("genrescope.inference.classifier.CLEAR", -1.0)
    minute = classifier.predict(long_track, listen="auto")
    assert same(minute, classifier.predict(long_track.read_bytes(), listen="auto"))
    assert same(minute, classifier.predict(long_track, listen=60))
    assert minute.duration == pytest.approx(200)
    assert len(minute.timeline) < len(full.timeline) / 2
    monkeypatch.setattr("genrescope.inference.classifier.CLEAR", 1.1)
    assert same(classifier.predict(long_track, listen="auto"), full)


def test_short_tracks_are_read_in_full(classifier: Classifier, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "short.wav", 80)
    full = classifier.predict(path)
    assert same(classifier.predict(path, listen="auto"), full)
    assert same(classifier.predict(path, listen=60), full)
    assert not same(classifier.predict(path, listen=30), full)
    (many,) = classifier.predict_many([path], listen=30)
    assert same(many, classifier.predict(path, listen=30))


def test_other_settings_are_refused(classifier: Classifier, long_track: Path) -> None:
    assert check_listen("45") == 45.0
    with pytest.raises(ValueError, match="not None"):
        check_listen(None)  # type: ignore[arg-type]
    for wrong in ("some", 0, -3, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="full, auto or a number of seconds"):
            classifier.predict(long_track, listen=wrong)
