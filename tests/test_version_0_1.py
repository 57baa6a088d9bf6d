"""Runs that version 0.1 wrote: finished ones open, unfinished ones resume.

`files/runs-0.1.zip` was written by that version: a finished run of a classifier, and one of a
network in two folds that was interrupted at the end of the third epoch of its second fold.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("torch", reason="needs genrescope[train]")
pytest.importorskip("sklearn", reason="needs genrescope[lab]")

from genrescope.datasets import Track
from genrescope.evaluation.predictions import read_predictions
from genrescope.evaluation.report import write_report
from genrescope.evaluation.run_result import RunResult
from genrescope.inference import Classifier
from genrescope.training.recipe import Recipe
from genrescope.training.reporter import DefaultReporter
from genrescope.training.run import execute

RANDOM = np.random.default_rng(0)
VECTORS = {f"t{n:02d}": RANDOM.normal(size=(2, 8)).astype(np.float32) for n in range(30)}
TRACKS = [
    Track(name, Path("nowhere/noise.npz"), "ab"[n % 2], split="test" if n < 10 else "train")
    for n, name in enumerate(VECTORS)
]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    with zipfile.ZipFile(Path(__file__).parent / "files/runs-0.1.zip") as archive:
        archive.extractall(tmp_path)
    return tmp_path


def recipe(**settings: Any) -> Recipe:
    training = {"epochs": 4, "batch_size": 4, "ema_decay": 0.5, "precision": "fp32"}
    fields = {
        "name": "old",
        "feature": {"kind": "stored", "name": "noise", "width": 8},
        "scale": "none",
        "segments": {"seconds": 30, "overlap": 0},
        "aggregation": "mean_logits",
        "training": training,
    }
    return Recipe.model_validate(fields | settings)


class Epochs(DefaultReporter):
    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []

    def epoch(self, job: str, epoch: int, epochs: int, loss: float, accuracy: float | None) -> None:
        self.seen.append((job, epoch))


def test_a_finished_run_opens(runs: Path) -> None:
    folder = runs / "finished"
    result = RunResult.read(folder)
    assert (result.recipe, result.n, result.train_tracks) == ("old", 10, 20)
    assert result.settings["aggregation"] == "mean_logits"
    predictions = read_predictions(folder)
    assert len(predictions.tracks) == 10
    assert np.mean(predictions.predicted == predictions.truth) == pytest.approx(result.accuracy)
    classifier = Classifier.load(folder)
    for track, row in zip(predictions.tracks, predictions.probabilities, strict=True):
        own = classifier.predict(VECTORS[track]).probabilities
        assert [own[genre] for genre in predictions.genres] == pytest.approx(row, abs=1e-5)
    page, _ = write_report(folder)
    assert page.is_file()


def test_a_finished_run_is_not_trained_again(runs: Path) -> None:
    folder = runs / "finished"
    before = RunResult.read(folder)
    model = (folder / "parts/only/model.onnx").read_bytes()
    again = execute(
        recipe(model={"kind": "classical", "name": "NB"}, split={"kind": "official"}),
        TRACKS,
        folder,
        name="noise",
        vectors=VECTORS,
    )
    assert not (folder / "parts").exists()
    assert (folder / "jobs/only/model.onnx").read_bytes() == model
    assert again.scores == before.scores
    assert again.interval == before.interval


def test_an_unfinished_run_resumes(runs: Path) -> None:
    folder, reporter = runs / "unfinished", Epochs()
    first = (folder / "parts/fold-1/model.onnx").read_bytes()
    (job,) = {path.parent.name for path in folder.glob("parts/*/checkpoint.ckpt")}
    assert job == "fold-2"
    execute(
        recipe(model={"kind": "mlp", "hidden": [4]}, split={"kind": "folds", "folds": 2}),
        TRACKS,
        folder,
        name="noise",
        vectors=VECTORS,
        reporter=reporter,
    )
    assert (folder / "jobs/fold-1/model.onnx").read_bytes() == first
    # Its state is that of the end of the second epoch.
    assert reporter.seen == [("fold-2", 3), ("fold-2", 4), *(("final", n) for n in (1, 2, 3, 4))]
    history = json.loads((folder / "jobs/fold-2/training.json").read_text())["history"]
    assert [epoch["epoch"] for epoch in history] == [1, 2, 3, 4]
    assert RunResult.read(folder).n == 30
    written = yaml.safe_load((folder / "recipe.yaml").read_text())["recipe"]
    assert written["aggregation"] == "mean_logits"
    assert "slope" not in written["augmentation"]
