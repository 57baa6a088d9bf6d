"""`genrescope.torch`: segments as a data set of PyTorch, with workers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch")

from torch.utils.data import DataLoader  # noqa: E402

from clips import RATE, music, write_wav  # noqa: E402
from genrescope import AudioError, Classifier, Waveform  # noqa: E402
from genrescope.torch import SegmentDataset  # noqa: E402


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("tracks")
    return [write_wav(folder / f"{i}.wav", 4 + 3 * i, seed=i) for i in range(3)]


def test_items_are_the_segments_of_the_front_end(tracks: list[Path]) -> None:
    dataset = SegmentDataset(tracks, ["b", "a", "b"], ids=["x", "y", "z"])
    assert dataset.classes == ["a", "b"]
    frontend = Classifier.load().manifest.frontend
    expected = [
        (segment, label, name)
        for track, label, name in zip(tracks, [1, 0, 1], "xyz", strict=True)
        for window in frontend.windows(track)
        for segment in frontend.segments_of(window)
    ]
    assert len(dataset) == len(expected)
    for i, (segment, label, name) in enumerate(expected):
        values, found, track = dataset[i]
        np.testing.assert_array_equal(values.numpy(), segment.values)
        assert (found, track) == (label, name)
        assert dataset.times(i) == (segment.start, segment.end)
    assert dataset[-1][2] == "z"
    assert dataset.times(-1) == dataset.times(len(dataset) - 1)
    with pytest.raises(IndexError):
        dataset[len(dataset)]


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_read_it(tracks: list[Path], start: str) -> None:
    # In a process without threads, which may hold locks when another is forked.
    code = "import sys; from test_torch import read_by_workers; read_by_workers(*sys.argv[1:])"
    subprocess.run(
        [sys.executable, "-c", code, start, *tracks], cwd=Path(__file__).parent, check=True
    )


def read_by_workers(start: str, *tracks: str) -> None:
    dataset = SegmentDataset(tracks)
    options = {"num_workers": 2, "multiprocessing_context": start}
    batches = list(DataLoader(dataset, batch_size=4, **options))
    values = torch.cat([batch[0] for batch in batches])
    assert torch.equal(values, torch.stack([dataset[i][0] for i in range(len(dataset))]))
    assert set(torch.cat([batch[1] for batch in batches]).tolist()) == {-1}
    assert batches[0][2][0] == tracks[0]


def test_waveforms_and_misuse(tmp_path: Path) -> None:
    dataset = SegmentDataset([Waveform(music(5), RATE)])
    assert dataset[0][2] == "waveform"
    assert len(SegmentDataset([])) == 0
    with pytest.raises(ValueError, match="1 labels for 2 tracks"):
        SegmentDataset(["a", "b"], ["x"])
    with pytest.raises(AudioError, match="no such file"):
        SegmentDataset([tmp_path / "absent.wav"])
