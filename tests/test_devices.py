"""Training in several processes on this machine: the loss of one process, resuming, refusals."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs genrescope[train]")

from genrescope.datasets import Track
from genrescope.errors import GenrescopeError, RecipeError
from genrescope.inference import Classifier
from genrescope.parallel import available_cores
from genrescope.training.recipe import Recipe
from genrescope.training.reporter import DefaultReporter
from genrescope.training.run import execute
from genrescope.training.trainers import make_trainer

RANDOM = np.random.default_rng(0)
VECTORS = {
    f"{genre}{n}": (np.eye(3, 4)[g] + RANDOM.normal(size=(3, 4))).astype(np.float32)
    for g, genre in enumerate(("blues", "disco", "metal"))
    for n in range(9)
}
TRACKS = [Track(name, Path("x.npz"), name[:5]) for name in VECTORS]
several_cores = pytest.mark.skipif(available_cores() < 2, reason="one core")


def make_recipe(**changes: Any) -> Recipe:
    training = {"epochs": 6, "batch_size": 5, "learning_rate": 0.02, "precision": "fp32"}
    fields = {
        "name": "small",
        "feature": {"kind": "stored", "name": "net", "width": 4},
        "scale": "standard",
        "segments": {"seconds": 30, "overlap": 0},
        "model": {"kind": "mlp", "hidden": [8], "dropout": 0.0},
        "training": {**training, "label_smoothing": 0.1, "gradient_clip": 1.0},
        "augmentation": {"mixup": 0.4, "noise": 0.1},
        "split": {"kind": "random"},
        **changes,
    }
    return Recipe.model_validate(fields)


def history(run: Path) -> list[dict[str, float]]:
    return json.loads((run / "jobs/only/training.json").read_text())["history"]


class After(DefaultReporter):
    """Does something after an epoch."""

    def __init__(self, epoch: int, act: Callable[[], None]) -> None:
        self.at, self.act = epoch, act

    def epoch(self, job: str, epoch: int, *_: Any) -> None:
        if epoch == self.at:
            self.act()


def interrupt() -> None:
    raise KeyboardInterrupt


def kill() -> None:
    os.kill(multiprocessing.active_children()[-1].pid, signal.SIGKILL)


@several_cores
@pytest.mark.slow
def test_two_processes_resume_train_and_die_as_one_does(tmp_path: Path) -> None:
    """Batches of five segments: one process has three of them, the other two."""
    recipe = make_recipe()
    execute(recipe, TRACKS, tmp_path / "one", vectors=VECTORS)
    two = tmp_path / "two"
    with pytest.raises(KeyboardInterrupt):
        execute(recipe, TRACKS, two, vectors=VECTORS, reporter=After(3, interrupt))
    shown: list[int] = []
    with pytest.raises(GenrescopeError, match="a process of the training died") as caught:
        execute(recipe, TRACKS, two, vectors=VECTORS, devices=2, reporter=After(6, kill))
    assert "\n" not in str(caught.value)
    assert not multiprocessing.active_children()
    assert not [*two.glob("jobs/*/*.pt")]
    execute(recipe, TRACKS, two, vectors=VECTORS, reporter=After(6, lambda: shown.append(6)))
    assert shown == [6], "the epochs before were trained by two processes"
    one_epochs, two_epochs = history(tmp_path / "one"), history(two)
    assert [own["epoch"] for own in two_epochs] == [1, 2, 3, 4, 5, 6]
    for one, own in zip(one_epochs, two_epochs, strict=True):
        assert own == pytest.approx(one, rel=1e-4)
    assert len({round(own["loss"], 3) for own in one_epochs}) == 6
    models = [Classifier.load(run) for run in (tmp_path / "one", two)]
    for track in TRACKS[:5]:
        one, other = (model.predict(VECTORS[track.id]).probabilities for model in models)
        np.testing.assert_allclose([*one.values()], [*other.values()], atol=1e-4)


@several_cores
@pytest.mark.slow
def test_processes_keep_the_best_epoch_from_the_start(tmp_path: Path) -> None:
    training = {"epochs": 2, "batch_size": 9, "precision": "fp32", "keep": "best"}
    recipe = make_recipe(training=training, augmentation={})
    one = execute(recipe, TRACKS, tmp_path / "one", vectors=VECTORS)
    two = execute(recipe, TRACKS, tmp_path / "two", vectors=VECTORS, devices=2)
    assert two.accuracy == one.accuracy
    assert len(history(tmp_path / "two")) == 2


def test_refusals_name_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"10000 devices: this machine has \d+ (core|GPU)"):
        make_trainer(make_recipe(), 10_000)
    classical = make_recipe(model={"kind": "classical", "name": "LDA"}, augmentation={})
    with pytest.raises(RecipeError, match="small: only networks are trained on several devices"):
        make_trainer(classical, 2)
