"""Drawn mel spectrograms, as the Kaggle copy of GTZAN has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from genrescope.datasets import read_dataset
from genrescope.datasets.check import check_dataset
from genrescope.errors import FileError
from genrescope.features import Frontend, StreamInfo
from genrescope.features.plotted import is_plotted, load_plotted

matplotlib = pytest.importorskip("matplotlib", reason="needs genrescope[lab]")


def draw(path: Path, *, colours: str = "magma", axes: bool = False) -> np.ndarray:
    """Draw levels of 128 bands by 1293 frames as librosa's display does; return the levels."""
    from matplotlib.figure import Figure

    rng = np.random.default_rng(0)
    coarse = rng.random((16, 56)).astype(np.float32)
    levels = np.asarray(Picture.fromarray(coarse).resize((1293, 128), Picture.Resampling.BICUBIC))
    levels = (levels - levels.min()) / np.ptp(levels)
    figure = Figure(figsize=(6, 4), dpi=72)
    drawing = figure.add_subplot()
    drawing.pcolormesh(levels, cmap=colours)
    if not axes:
        drawing.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return levels


@pytest.mark.parametrize("axes", [False, True])
@pytest.mark.parametrize("colours", ["magma", "viridis"])
def test_levels_are_read_back(tmp_path: Path, colours: str, axes: bool) -> None:
    levels = draw(tmp_path / "a.png", colours=colours, axes=axes)
    assert Picture.open(tmp_path / "a.png").size == (432, 288)
    found = load_plotted(tmp_path / "a.png")
    assert abs(found.shape[1] - 336) <= 3
    assert abs(found.shape[0] - 222) <= 3
    size = found.shape[::-1]
    expected = np.asarray(Picture.fromarray(levels).resize(size, Picture.Resampling.BOX))
    assert np.corrcoef(expected.ravel(), found.ravel())[0, 1] > (0.97 if axes else 0.99)
    assert np.abs(expected - found).mean() < 0.03


def test_a_picture_without_margins_is_kept_whole(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    whole = load_plotted(tmp_path / "a.png")
    with Picture.open(tmp_path / "a.png") as image:
        height, width = whole.shape
        image.crop((54, 34, 54 + width, 34 + height)).save(tmp_path / "b.png")
    assert np.abs(load_plotted(tmp_path / "b.png").shape[1] - width) <= 1


def test_other_pictures_are_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (288, 432, 3), dtype=np.uint8)
    Picture.fromarray(noise).save(tmp_path / "photo.png")
    with pytest.raises(FileError, match=r"photo.png: a picture, but not a spectrogram in"):
        load_plotted(tmp_path / "photo.png")
    Picture.new("RGB", (432, 288), "white").save(tmp_path / "white.png")
    with pytest.raises(FileError, match="an empty picture"):
        load_plotted(tmp_path / "white.png")
    (tmp_path / "bad.png").write_bytes(b"none")
    assert not is_plotted(tmp_path / "bad.png")
    with pytest.raises(FileError, match="not a readable PNG"):
        load_plotted(tmp_path / "bad.png")


def test_the_folder_of_the_kaggle_copy(tmp_path: Path) -> None:
    for name in ("blues/blues00000", "blues/blues00001", "rock/rock00016"):
        draw(tmp_path / f"Data/images_original/{name}.png")
    dataset = read_dataset(tmp_path / "Data/images_original")
    assert (dataset.kind, dataset.content) == ("gtzan_pictures", "drawn spectrograms")
    assert [track.id for track in dataset.tracks] == ["blues.00000", "blues.00001", "rock.00016"]
    Picture.new("RGB", (432, 288), "white").save(dataset.tracks[-1].path)
    report = check_dataset(dataset)
    assert [(p.kind, p.tracks) for p in report.problems if p.kind == "corrupt"] == [
        ("corrupt", ("rock.00016",))
    ]
    frontend = Frontend.model_validate(
        {
            "feature": {"kind": "image", "hop_length": 1969, "n_mels": 128, "center": False},
            "scale": "none",
            "segments": {"seconds": 29.5, "overlap": 0},
        }
    )
    info = StreamInfo()
    (window,) = frontend.windows(dataset.tracks[0].path, info)
    assert window.values.shape == (128, 335)
    assert 29.5 < info.duration < 30.1
    # The highest band is on top, as in a picture computed from audio.
    found = load_plotted(dataset.tracks[0].path)[::-1]
    assert window.values[0].mean() == pytest.approx(found[:2].mean(), abs=0.05)
