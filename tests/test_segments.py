"""Streams of audio give the features and segments of the whole, in constant memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from clips import music
from genrescope.audio import Waveform
from genrescope.features import make_feature, segments
from genrescope.features.segments import segment_starts, stream_feature, stream_segments

KINDS = [
    {"kind": "mel"},
    {"kind": "geometric_mel", "center": False, "hop_length": 1920, "n_bins": 544, "n_mels": 64},
    {"kind": "log_mel"},
    {"kind": "mfcc", "deltas": 2},
    {"kind": "image"},
    {"kind": "image", "center": False, "hop_length": 1920, "n_bins": 544, "n_mels": 224},
    {"kind": "vggish_mel"},
    {"kind": "musicnn_mel"},
    {"kind": "efficientat_mel"},
    {"kind": "waveform"},
]


def test_segments_begin_at_whole_steps_or_reach_the_end() -> None:
    assert segment_starts(10, 4, 3) == [0, 3, 6]
    assert segment_starts(11, 4, 3) == [0, 3, 6]
    assert segment_starts(3, 4, 3) == []
    assert segment_starts(11, 4, 3, reach_end=True) == [0, 3, 6, 7]
    assert segment_starts(10, 4, 3, reach_end=True) == [0, 3, 6]
    assert segment_starts(11, 4, 3, first=5, reach_end=True) == [5, 7]


@pytest.mark.parametrize("settings", KINDS, ids=lambda settings: settings["kind"])
@pytest.mark.parametrize("seconds", [0.7, 3.0, 10.3])
def test_a_stream_gives_the_feature_of_the_whole(
    settings: dict, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "WHOLE_SECONDS", 2.0)
    feature = make_feature(settings)
    samples = music(seconds, rate=feature.sample_rate)
    step = 17_321

    def blocks() -> Iterator[np.ndarray]:
        return (samples[i : i + step] for i in range(0, len(samples), step))

    pieces = list(stream_feature(feature, blocks))
    whole = feature(Waveform(samples, feature.sample_rate))
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, atol=1e-6)
    if seconds == 0.7 or settings["kind"] in ("log_mel", "mfcc"):
        assert len(pieces) == 1
    elif seconds == 10.3:
        assert len(pieces) > 2, "computed piece by piece"


def test_segments_of_a_stream_are_those_of_the_whole() -> None:
    values = np.arange(2 * 50, dtype=np.float32).reshape(2, 50)
    for step in (2, 5, 9):
        pieces = [values[:, :3], values[:, 3:21], values[:, 21:22], values[:, 22:]]
        found = np.concatenate(list(stream_segments(pieces, 5, step)))
        starts = segment_starts(50, 5, step)
        np.testing.assert_array_equal(found, np.stack([values[:, s : s + 5] for s in starts]))
    assert not list(stream_segments([values[:, :4]], 5, 2))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vggish_mel", "image"])
def test_memory_does_not_grow_with_the_length(kind: str) -> None:
    feature = make_feature({"kind": kind})

    def peak(minutes: int) -> int:
        def blocks() -> Iterator[np.ndarray]:
            for number in range(minutes * 4):
                yield music(15, seed=number % 3, rate=feature.sample_rate)

        tracemalloc.start()
        for _ in stream_segments(stream_feature(feature, blocks), 96, 96):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(1)
    assert peak(12) < 1.2 * peak(3)
