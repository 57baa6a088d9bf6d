"""Several data sets in one training: genres by the taxonomy, a loss for each set, no leaks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs genrescope[train]")
pytest.importorskip("lightning", reason="needs genrescope[train]")

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import nn
from typer.testing import CliRunner

from clips import write_song
from genrescope import Classifier
from genrescope.cli import app
from genrescope.datasets import Track, read_dataset
from genrescope.errors import DatasetError, RecipeError
from genrescope.training.further import with_taxonomy
from genrescope.training.recipe import load_recipe
from genrescope.training.run import execute
from genrescope.training.trainers.losses import frozen_batch_statistics, genre_loss

SETTINGS = [
    "model={kind: cnn, channels: [4, 4]}",
    "training={epochs: 2, batch_size: 4, teacher_weight: 0}",
    "augmentation={mixup: 0.3}",
    "split={kind: random, by_artist: false}",
    "segments.seconds=4",
]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of two genres, another of three, of which one is not in the taxonomy."""
    folder = tmp_path_factory.mktemp("sets")
    names = [f"own/{genre}/{genre}{n}" for genre in ("Hip Hop", "rock") for n in range(5)]
    names += [f"other/{genre}/{genre}{n}" for genre in ("Electronic", "Rock") for n in range(3)]
    names += ["other/Experimental/x"]
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_song(folder / f"{name}.wav", 6.0, seed=number)
    return folder


def test_the_genres_are_those_of_all_sets(sets: Path, tmp_path: Path) -> None:
    recipe = load_recipe("fma", SETTINGS)
    own, other = read_dataset(sets / "own"), read_dataset(sets / "other")
    result = execute(recipe, own.tracks, tmp_path / "run", name="own", also=[other])
    assert result.n == 2  # only the set's own tracks are tested
    assert len(result.confusion) == 3
    classifier = Classifier.load(tmp_path / "run")
    assert classifier.genres == ["electronic", "hiphop", "rock"]
    assert set(classifier.predict(sets / "own/rock/rock0.wav").probabilities) == {
        *("electronic", "hiphop", "rock")
    }
    listed = classifier.manifest.training_tracks
    assert "other: Electronic0" in listed["ids"] or "other: Electronic/Electronic0" in listed["ids"]
    stored = json.loads((tmp_path / "run/bundle/bundle.json").read_text("utf-8"))
    assert [each["name"] for each in stored["provenance"]["data"]["also"]] == ["other"]
    # The same command resumes; another further set is another run.
    execute(recipe, own.tracks, tmp_path / "run", name="own", also=[other])
    with pytest.raises(RecipeError):
        execute(recipe, own.tracks, tmp_path / "run", name="own")


def test_music_that_is_tested_on_is_refused(sets: Path, tmp_path: Path) -> None:
    recipe = load_recipe("fma", SETTINGS)
    own = read_dataset(sets / "own")
    shutil.copytree(sets / "other", tmp_path / "leaks")
    for file in (sets / "own/rock").glob("*.wav"):
        shutil.copy(file, tmp_path / "leaks/Rock" / f"copy of {file.name}")
    with pytest.raises(DatasetError, match=r"leaks: track .* has the same file as a track that is"):
        execute(recipe, own.tracks, tmp_path / "run", also=[read_dataset(tmp_path / "leaks")])


def test_only_networks_take_several_sets(sets: Path, tmp_path: Path) -> None:
    recipe = load_recipe("fma", [*SETTINGS, "model={kind: classical, name: LR}"])
    own = read_dataset(sets / "own")
    with pytest.raises(RecipeError, match="only a network is trained on several data sets"):
        execute(recipe, own.tracks, tmp_path, also=[read_dataset(sets / "other")])


def test_the_command_takes_further_sets(sets: Path, tmp_path: Path) -> None:
    words = ["train", "fma", "--data", sets / "own", "--also", sets / "other", "-o", tmp_path / "r"]
    words += [word for each in SETTINGS for word in ("--set", each)]
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert not done.exit_code, done.output
    fields = json.loads((tmp_path / "r/metrics.json").read_text("utf-8"))
    assert "--also other" in fields["command"]


def test_genres_get_the_taxonomys_names() -> None:
    names = ("Hip-Hop", "International", "Soul-RnB", "Experimental")
    tracks = [Track(name, Path(name), name) for name in names]
    assert [t.genre for t in with_taxonomy(tracks)] == ["hiphop", "world", "soul", ""]


def test_the_loss_of_a_set_knows_only_its_own_genres() -> None:
    logits = torch.tensor([[1.0, 2.0, 50.0], [0.5, -1.0, 50.0], [3.0, 1.0, 50.0]])
    labels = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 0]])
    own = torch.tensor([0, 1])
    expected = F.cross_entropy(logits[:2, :2], labels[:2, :2])
    torch.testing.assert_close(genre_loss(logits, labels, own), expected)
    assert genre_loss(logits[2:], labels[2:], own) == 0  # no label, no loss
    # Label smoothing is spread over the set's own genres.
    smooth = labels[:2] * 0.9 + 0.1 / 3
    shares = smooth[:, :2] / smooth[:, :2].sum(dim=1, keepdim=True)
    expected = F.cross_entropy(logits[:2, :2], shares)
    torch.testing.assert_close(genre_loss(logits[:2], smooth, own), expected)


def test_another_sets_statistics_stay_out_of_the_network() -> None:
    layer = nn.BatchNorm1d(2).train()
    with frozen_batch_statistics(layer):
        found = layer(torch.randn(64, 2) * 3 + 5)
    torch.testing.assert_close(found.mean(dim=0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(layer.running_mean, torch.zeros(2))
    torch.testing.assert_close(layer.running_var, torch.ones(2))
    layer(torch.full((4, 2), 5.0))
    assert layer.running_mean[0] > 0
