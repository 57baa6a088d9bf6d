"""A recipe carried out on a small data set: the run folder, resuming, export, leaks."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

pytest.importorskip("torch", reason="needs genrescope[train]")

import torch
from torch import nn

from clips import write_spectrograms
from genrescope.datasets import scan
from genrescope.encoders.graph import to_onnx
from genrescope.errors import GenrescopeError, RecipeError
from genrescope.inference import Bundle, Classifier
from genrescope.models import make_model
from genrescope.training.augment import TrainingTrack
from genrescope.training.recipe import load_recipe
from genrescope.training.reporter import DefaultReporter
from genrescope.training.run import execute
from genrescope.training.trainers.lightning import fit

SMALL = [
    "training.epochs=20",
    "training.batch_size=4",
    "training.learning_rate=0.02",
    "model.channels=[8, 16]",
    "segments.seconds=3",
    "ensemble=[]",
]
QUICK = [*SMALL, "scale=track", "training.precision=fp32"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_spectrograms(tmp_path_factory.mktemp("data"), tracks=10)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "quick"
    execute(load_recipe("default-random", QUICK), scan(data), folder)
    return folder


def test_a_run_learns_and_writes_its_files(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["accuracy"] > 0.7  # energy in different bands is easily told apart
    assert metrics["n"] == 4
    assert (metrics["train_tracks"], metrics["validation_tracks"]) == (12, 4)
    assert metrics["interval"]["accuracy"][0] <= metrics["accuracy"]
    for picture in ("confusion.png", "curves.png", "reliability.png"):
        with Image.open(run / picture) as image:
            assert min(image.size) > 300
    rows = (run / "predictions.csv").read_text().splitlines()
    assert len(rows) == 1 + metrics["n"]


def test_the_bundle_says_how_it_was_made_and_works(run: Path, data: Path) -> None:
    classifier = Classifier.load(run)
    manifest = classifier.manifest
    assert manifest.genres == ["high", "low"]
    assert manifest.provenance["recipe"]["seed"] == 0
    assert manifest.provenance["data"]["tracks"] == 20
    assert manifest.metrics["n"] == 4
    assert str(data.parent) not in manifest.model_dump_json()
    prediction = classifier.predict(data / "low" / "low.00000.png")
    assert sum(prediction.probabilities.values()) == pytest.approx(1)


def test_predictions_of_the_run_are_those_of_the_bundle(run: Path, data: Path) -> None:
    classifier = Classifier.load(run)
    for row in (run / "predictions.csv").read_text().splitlines()[1:]:
        track, _, genre, named, confidence, *_ = row.split(",")
        prediction = classifier.predict(data / genre / f"{track}.png")
        assert prediction.genre == named
        assert prediction.confidence == pytest.approx(float(confidence), abs=1e-6)


class _Stop(DefaultReporter):
    def epoch(self, part, epoch, epochs, loss, accuracy) -> None:
        if epoch == 3:
            raise KeyboardInterrupt


@pytest.mark.parametrize("stop", ["in an epoch's end", "by a signal"])
def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(
    run: Path, data: Path, tmp_path: Path, stop: str
) -> None:
    folder = tmp_path / "run"
    settings = [word for change in QUICK for word in ("--set", change)]
    if stop == "by a signal":
        command = [sys.executable, "-m", "genrescope", "train", "default-random", *settings]
        process = subprocess.Popen([*command, "--data", data, "--out", folder])
        checkpoint = folder / "jobs/only/checkpoint.ckpt"
        while not checkpoint.exists() and process.poll() is None:
            time.sleep(0.01)
        process.kill()
        process.wait()
        assert checkpoint.exists()
    else:
        with pytest.raises(KeyboardInterrupt):
            recipe = load_recipe("default-random", QUICK)
            execute(recipe, scan(data), folder, reporter=_Stop())
    execute(load_recipe("default-random", QUICK), scan(data), folder)
    ours, theirs = Bundle.load(run), Bundle.load(folder)
    assert ours.manifest.sha256 == theirs.manifest.sha256
    assert (run / "predictions.csv").read_text() == (folder / "predictions.csv").read_text()


def test_a_finished_run_is_not_trained_again(run: Path, data: Path) -> None:
    class Never(DefaultReporter):
        def epoch(self, part, epoch, epochs, loss, accuracy) -> None:
            raise AssertionError("trained again")

    execute(load_recipe("default-random", QUICK), scan(data), run, reporter=Never())


def test_another_recipe_does_not_go_on_from_it(run: Path, data: Path) -> None:
    other = load_recipe("default-random", [*QUICK, "seed=1"])
    with pytest.raises(RecipeError, match="another recipe"):
        execute(other, scan(data), run)


def test_cross_validation_tests_every_track_once(data: Path, tmp_path: Path) -> None:
    recipe = load_recipe(
        "default", [*QUICK, "training.epochs=2", "split.folds=3", "split.by_artist=false"]
    )
    scores = execute(recipe, scan(data), tmp_path / "run")
    assert scores.n == 20
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert sorted(metrics["folds"]) == ["fold-1", "fold-2", "fold-3"]
    assert metrics["train_tracks"] == 20  # the network that is kept is trained on all


def test_without_artists_the_split_is_by_track_and_says_so(data: Path, tmp_path: Path) -> None:
    recipe = load_recipe("default", [*QUICK, "training.epochs=1", "split.folds=2"])
    assert recipe.split.by_artist
    with pytest.warns(UserWarning, match="no artists are known: the split is by track alone"):
        result = execute(recipe, scan(data), tmp_path / "run")
    assert result.split is not None
    assert not result.split.by_artist


def test_a_broken_track_is_left_out_and_named(tmp_path: Path) -> None:
    data = write_spectrograms(tmp_path / "data")
    (data / "low" / "broken.png").write_bytes(b"not a picture")
    result = execute(
        load_recipe("default-random", [*QUICK, "training.epochs=1"]), scan(data), tmp_path / "run"
    )
    ((name, reason),) = [(e.track, e.reason) for e in result.left_out]
    assert name == "broken"
    assert reason


def test_export_refuses_a_graph_that_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    network = make_model({"kind": "cnn", "channels": [4]}, shape=(8, 16), genres=3).eval()
    model = to_onnx(network, (8, 16), ("logits", "embedding"))
    outputs = ort.InferenceSession(model).run(None, {"segments": np.ones((2, 8, 16), np.float32)})
    assert [output.shape for output in outputs] == [(2, 3), (2, 4)]

    class Unsteady(nn.Module):
        """Adds another number at each call, so that its export can't equal it."""

        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def forward(self, segments: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            self.calls += 1
            flat = segments.flatten(1)[:, :3] + self.calls
            return flat, flat * 2

    with pytest.raises(GenrescopeError, match="differ from torch"):
        to_onnx(Unsteady(), (8, 16), ("logits", "embedding"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "nonsense"}, "no model 'nonsense'; there are: classical"),
        ({"kind": "cnn", "chanels": [4]}, "chanels"),
        ({"kind": "cnn", "channels": [4] * 9}, "512"),
    ],
)
def test_a_wrong_model_is_one_line(settings: dict, words: str) -> None:
    with pytest.raises(RecipeError, match=words.replace("[", r"\[")):
        make_model(settings, shape=(96, 128), genres=10)


def _fitted(data: Path, folder: Path, *changes: str) -> tuple[dict, Path]:
    recipe = load_recipe("default-random", [*QUICK, *changes])
    execute(recipe, scan(data), folder)
    return json.loads((folder / "jobs/only/training.json").read_text()), folder


def test_the_best_epoch_is_kept_by_validation_accuracy(data: Path, tmp_path: Path) -> None:
    # A learning rate at which the accuracy falls again.
    wild = ["training.keep=best", "training.schedule=constant", "training.ema_decay=0"]
    notes, _ = _fitted(data, tmp_path / "run", *wild)
    accuracies = [epoch["accuracy"] for epoch in notes["history"]]
    assert len(accuracies) == 20, "measured after every epoch"
    best = accuracies.index(max(accuracies)) + 1
    # The same training stopped at that epoch is the same network.
    again, _ = _fitted(data, tmp_path / "short", *wild, f"training.epochs={best}")
    assert again["history"] == notes["history"][:best]
    names = ["run/bundle", "short/bundle"]
    one, other = (Bundle.load(tmp_path / name).manifest.sha256 for name in names)
    assert one == other


def test_accumulated_batches_make_one_step(data: Path, tmp_path: Path) -> None:
    two, _ = _fitted(data, tmp_path / "two", "training.accumulate=2", "training.epochs=3")
    one, _ = _fitted(data, tmp_path / "one", "training.epochs=3")
    assert two["history"] != one["history"]
    assert all(np.isfinite(epoch["loss"]) for epoch in two["history"])


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 4])
def test_each_batch_has_its_own_dropout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulate: int
) -> None:
    changes = ["training.epochs=2", "training.batch_size=2", f"training.accumulate={accumulate}"]
    recipe = load_recipe("default-random", [*QUICK, *changes, "seed=3"])
    tracks = [TrainingTrack(torch.ones(16, 40), label % 2) for label in range(12)]
    seeds: list[int] = []
    draw = torch.manual_seed
    monkeypatch.setattr(torch, "manual_seed", lambda seed: seeds.append(seed) or draw(seed))
    fit(
        recipe,
        tracks,
        2,
        shape=(16, 32),
        checkpoint=tmp_path / "checkpoint.ckpt",
        report=lambda *_: None,
        curves={},
    )
    # Six batches an epoch: with 4 for a step, the second step of an epoch has two.
    steps = range(12) if accumulate == 1 else [*range(6), *range(8, 14)]
    assert [seed - 3 * 1_000_003 for seed in seeds if seed > 3] == [*steps]
