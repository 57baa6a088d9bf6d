"""What the papers state about segments, augmentation, regularisation and networks."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs genrescope[train]")

import torch

from clips import RATE, music, write_spectrograms, write_wav
from genrescope.audio import Waveform
from genrescope.datasets import Track, read_table, scan
from genrescope.encoders.weights import WeightsError
from genrescope.features.descriptors import SHORT_NAMES
from genrescope.features.segments import segment_starts
from genrescope.models.finetuned import FineTuned
from genrescope.training.augment import Batches, TrainingTrack, crop
from genrescope.training.data import changed_copies
from genrescope.training.recipe import expand, load_recipe
from genrescope.training.recipe_files import shipped_recipes
from genrescope.training.run import execute
from genrescope.training.settings import Augmentation, WaveformAugmentation
from genrescope.training.trainers.held_out import HeldOut
from genrescope.training.trainers.lightning import _Task

# As long as GTZAN's clips.
CLIP = Waveform(music(30.01), RATE)


class TestSegments:
    """A last segment that repeats nearly all of the one before is left out."""

    @given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 3000))
    def test_the_last_two_begin_a_tenth_of_a_step_apart(
        self, length: int, step: int, more: int
    ) -> None:
        starts = segment_starts(length + more, length, step, reach_end=True)
        steps = np.diff(starts)
        assert starts[0] == 0
        assert (steps[:-1] == step).all()
        assert all(steps[-1:] >= max(1, step // 10))
        assert 0 <= more - starts[-1] < max(1, step // 10)

    def test_those_of_the_default_model_are_as_before(self) -> None:
        frontend = load_recipe("default").frontend
        length, step = frontend.segment_frames, frontend.segment_step
        assert (length, step) == (34, 17)
        for frames in range(length, 345):  # of a window of half a minute
            before = [*range(0, frames - length, step), frames - length]
            assert segment_starts(frames, length, step, reach_end=True) == before

    @pytest.mark.parametrize(
        ("name", "count", "frames"),
        [
            ("kth-table3/mlp/mfcc", 1, 1290),
            ("kth-table4/cnn/mfcc", 18, 129),
            ("kth-table4-5-epochs/lstm/mfcc", 18, 129),
            ("deepsound-mfcc", 1, 1270),
            ("leiden-scratch/30s-clean", 1, 1270),
            ("leiden-scratch/10s-clean", 3, 431),
            ("leiden-scratch/5s-augmented", 6, 215),
            ("leiden-table2/mobilenet_v2/5s-clean/frozen", 6, 215),
            ("berkeley-fig7", 1, 2976),
            ("berkeley-fig7-examples", 31, 96),
            ("berkeley-fig6-embedding/LR", 1, 2976),
            ("default", 20, 34),
        ],
    )
    def test_a_clip_has_as_many_as_the_paper_says(self, name: str, count: int, frames: int) -> None:
        frontend = load_recipe(name).frontend
        (window,) = frontend.windows(CLIP)
        found = frontend.segments_of(window)
        assert len(found) == count
        assert {segment.values.shape[1] for segment in found} == {frames}

    def test_the_dense_network_of_the_kth_paper_has_25800_inputs(self) -> None:
        assert np.prod(load_recipe("kth-table3/mlp/mfcc").frontend.shape) == 25_800
        assert np.prod(load_recipe("kth-table3/mlp/mfcc-delta").frontend.shape) == 77_400

    def test_no_crop_straddles_two_segments(self) -> None:
        values = torch.arange(4.0).repeat_interleave(5).expand(3, 20)
        random = torch.Generator().manual_seed(0)
        track = TrainingTrack(values, 0, separate=True)
        crops = [crop(track, 5, Augmentation(), random)[0] for _ in range(200)]
        assert all((part == part[0, 0]).all() for part in crops)
        assert {float(part[0, 0]) for part in crops} == {0, 1, 2, 3}


class TestAugmentation:
    """The leiden paper's: each segment gets one of three changes or none."""

    def test_a_quarter_is_unchanged_and_no_segment_has_two_changes(self) -> None:
        settings = load_recipe("leiden-scratch/5s-augmented").augmentation
        copies = tuple(torch.full((4, 40), float(n)) for n in (1, 2, 3))
        track = TrainingTrack(torch.zeros(4, 40), 0, torch.full((1, 0), torch.nan), copies)
        batches = Batches([track] * 2000, 2, 8, 2000, 0.0, settings, 0, 0)
        segments, _, _ = next(iter(batches))
        # A gain, a roll or noise on top of a copy would leave no segment of one whole number.
        assert (segments == segments[:, :1, :1]).all()
        counts = Counter(segments[:, 0, 0].tolist())
        assert set(counts) == {0, 1, 2, 3}
        assert counts[0] / 2000 == pytest.approx(0.25, abs=0.03)

    def test_each_segment_of_a_copy_has_its_own_change_and_gain_is_in_the_picture(
        self, tmp_path: Path
    ) -> None:
        frontend = load_recipe("leiden-table2/mobilenet_v2/5s-augmented/frozen").frontend
        path = write_wav(tmp_path / "a.wav", 15.0)
        settings = WaveformAugmentation(semitones=0)
        louder, _, _ = changed_copies(frontend, Track("a", path, "g"), settings, 0)
        (clean,) = frontend.windows(path)
        difference = louder.windows[0].values - clean.values
        sounding = (clean.values > 0.3) & (louder.windows[0].values > 0.3)
        length = frontend.segment_frames
        gains = []
        for first in range(0, 2 * length + 1, length):
            part = slice(first + 8, first + length - 8)  # apart from frames across two segments
            inside = difference[:, part][sounding[:, part]]
            assert inside.std() < 1e-3
            gains.append(float(inside.mean()))
        assert len({round(gain, 2) for gain in gains}) == 3


def _optimizer(name: str) -> torch.optim.Optimizer:
    from genrescope.models import make_model

    recipe = load_recipe(name)
    shape = (20, 34)
    network = make_model(recipe.model, shape=shape, genres=10)
    track = TrainingTrack(torch.zeros(shape), 0, torch.zeros(1, 0))
    found: torch.optim.Optimizer = _Task(recipe, network, [track], 10, 34).configure_optimizers()
    return found


@pytest.mark.parametrize("model", ["cnn", "lstm"])
def test_the_kth_paper_penalises_weights_and_no_biases(model: str) -> None:
    groups = _optimizer(f"kth-table4/{model}/mfcc").param_groups
    decay = {
        weights.ndim > 1: group["weight_decay"] for group in groups for weights in group["params"]
    }
    assert decay == {True: 2 * 1e-4, False: 0}


def test_and_not_its_dense_network() -> None:
    groups = _optimizer("kth-table3/mlp/mfcc").param_groups
    assert {group["weight_decay"] for group in groups} == {0}


def test_no_papers_recipe_clips_gradients() -> None:
    for family in shipped_recipes():
        recipe = load_recipe(expand(family)[0])
        # `fma` is a system of our own next to a paper's row.
        if recipe.published and family != "fma":
            classical = recipe.model["kind"] == "classical"
            assert classical or recipe.training.gradient_clip == 0, family


def test_the_best_epoch_is_chosen_by_tracks() -> None:
    """Of two tracks, one has a segment more of the wrong genre: its mean is right."""
    logits = torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 2.0]])

    class Known(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, segments: Any) -> Any:
            return segments[:, :, 0], segments[:, :, 0]

    held_out = HeldOut(logits[:, :, None], [3, 1], [0, 0], "mean_logits")
    assert held_out.accuracy(Known()) == 0.5
    majority = HeldOut(logits[:, :, None], [3, 1], [0, 1], "majority")
    assert majority.accuracy(Known()) == 0.5


def test_31_embeddings_lie_side_by_side_below_the_hidden_layer() -> None:
    recipe = load_recipe("berkeley-fig7")
    settings = {k: v for k, v in recipe.model.items() if k != "kind"}
    network = FineTuned(recipe.frontend.shape, 8, **settings, weights_seed=0).eval()
    assert [tuple(layer.weight.shape) for layer in (network.head[0], network.output)] == [
        (256, 31 * 128),
        (8, 256),
    ]
    segment = torch.rand(1, *recipe.frontend.shape)
    with torch.inference_mode():
        whole = network.outputs(segment)["immediate"].reshape(31, 128)
        one = network.encoder(segment[:, :, 96 * 30 :])[network.layer]
    assert torch.allclose(whole[30:], one, atol=1e-5)
    with pytest.raises(ValueError, match="or of a multiple, not of 100"):
        FineTuned((64, 100), 8, **settings, weights_seed=0)


def test_a_picture_has_the_colours_of_matplotlib() -> None:
    from matplotlib import colormaps

    from genrescope.encoders._imagenet import CAFFE, PictureNetwork

    levels = torch.rand(2, 8, 8)
    expected = colormaps["magma"](levels.numpy())[..., :3].transpose(0, 3, 1, 2)
    network = PictureNetwork(torch.nn.Flatten(), 8, 1.0, (0.0, 0.0, 0.0))
    network.paint(colormaps["magma"](range(256))[:, :3].tolist())
    found = network(levels)["immediate"].reshape(2, 3, 8, 8)
    assert np.allclose(found, expected, atol=1e-6)
    caffe = PictureNetwork(torch.nn.Flatten(), 8, *CAFFE)
    caffe.paint(colormaps["magma"](range(256))[:, :3].tolist())
    blue = caffe(levels)["immediate"].reshape(2, 3, 8, 8)[:, 0]
    assert np.allclose(blue, 255 * expected[:, 2] - 103.939, atol=1e-3)


def test_a_grey_network_stays_grey() -> None:
    shape = load_recipe("leiden-table1/mobilenet_v2/frozen").frontend.shape
    plain = FineTuned(shape, 2, encoder="mobilenet_v2", weights_seed=0, hidden=[4])
    assert plain.encoder.palette is None
    with pytest.raises(ValueError, match="no colour map"):
        FineTuned(shape, 2, encoder="mobilenet_v2", weights_seed=0, hidden=[4], colours="mauve")


def _fma_table(path: Path) -> Path:
    """FMA's features.csv of six tracks: its three header rows, 518 columns in its order."""
    from genrescope.features.descriptors import FAMILIES

    statistics = ["kurtosis", "max", "mean", "median", "min", "skew", "std"]
    columns = [
        (family, statistic, f"{number:02d}")
        for family, size in FAMILIES.items()
        for statistic in statistics
        for number in range(1, size + 1)
    ]
    rows = [["feature", *(c[0] for c in columns)], ["statistics", *(c[1] for c in columns)]]
    rows += [["number", *(c[2] for c in columns)], ["track_id", *[""] * len(columns)]]
    rows += [[str(track), *(f"{track * 1000 + n}" for n in range(518))] for track in range(1, 7)]
    path.write_text("\n".join(",".join(row) for row in rows))
    return path


def test_figure_8_reads_the_columns_of_fmas_own_table(tmp_path: Path) -> None:
    table = read_table([_fma_table(tmp_path / "features.csv")])
    vectors = table.vectors["1"]
    for member in expand("berkeley-fig8-table/LR"):
        recipe = load_recipe(member)
        families = member.rpartition("/")[2].split("-")
        names = {SHORT_NAMES.get(family, family) for family in families}
        feature = recipe.frontend.computed
        used = feature.used(np.arange(518)[None])[0]
        found = {table.columns[n].rsplit("_", 2)[0] for n in used}
        if families != ["all"]:
            assert found == names, member
            assert len(used) == sum(c.rsplit("_", 2)[0] in names for c in table.columns)
        (window,) = recipe.frontend.windows(vectors)
        assert (window.values[:, 0] == 1000 + used).all()


@pytest.mark.shared
def test_a_run_without_weights_can_be_repeated_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: Path
) -> None:
    monkeypatch.setenv("GENRESCOPE_OFFLINE", "1")
    tracks = scan(write_spectrograms(tmp_path / "data", tracks=4))
    changes = ["training.epochs=1", "split={kind: random, train: 0.5, validation: 0, test: 0.5}"]
    recipe = load_recipe("leiden-table1/mobilenet_v2/frozen", changes)
    with pytest.raises(WeightsError):
        execute(recipe, tracks, tmp_path / "run")
    # A folder stands for the file in it.
    folder = shared / "weights/mobilenet-v2-imagenet"
    result = execute(recipe.model_copy(update={"weights": folder}), tracks, tmp_path / "run")
    assert result.n == 4


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        pytest.param("deepsound-vggish", ["training.epochs=1"], marks=pytest.mark.slow),
        pytest.param(
            "berkeley-fig6-embedding/kNN",
            ["model.tuned=false", "model.n_neighbors=1"],
            marks=pytest.mark.slow,
        ),
        ("berkeley-fig6-pca/kNN", ["model.tuned=false", "model.n_neighbors=1", "model.pca=2"]),
        ("vellore-dense", ["split.folds=2", "training.epochs=1"]),
    ],
)
def test_vggish_recipes_take_audio(
    name: str, changes: list[str], vggish_clips: list[Track], tmp_path: Path
) -> None:
    halves = "split={kind: random, train: 0.5, validation: 0, test: 0.5}"
    split = [] if name == "vellore-dense" else [halves]
    recipe = load_recipe(
        name, ["feature.weights_seed=0", "segments.seconds=3.84", *changes, *split]
    )
    result = execute(recipe, vggish_clips, tmp_path / "run")
    assert result.n == (8 if name == "vellore-dense" else 4)
    assert json.loads((tmp_path / "run" / "bundle" / "bundle.json").read_text())


@pytest.fixture(scope="module")
def vggish_clips(tmp_path_factory: pytest.TempPathFactory) -> list[Track]:
    folder = tmp_path_factory.mktemp("clips")
    for genre, hertz in (("low", 110.0), ("high", 660.0)):
        (folder / genre).mkdir()
        for n in range(4):
            write_wav(folder / genre / f"{genre}{n}.wav", 4.0, seed=n, pitch=hertz)
    return scan(folder)


def test_settings_of_a_search_can_be_dropped() -> None:
    search = load_recipe("deepsound-mfcc-dense").search
    assert "model.filters" not in search and "model.hidden" in search
