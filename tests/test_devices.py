"""Training in several processes on this machine: the loss of one process, resuming, refusals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
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
# Targets of a teacher for some tracks only: one process may have a batch without any.
TEACHER = {name: VECTORS[name][:, :2] for name in [*VECTORS][::3]}
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


class Stop(DefaultReporter):
    """Ends the run after an epoch, as Ctrl-C does."""

    def epoch(self, job: str, epoch: int, *_: Any) -> None:
        if epoch == 3:
            raise KeyboardInterrupt


@several_cores
@pytest.mark.slow
def test_two_processes_train_as_one_does_and_resume(tmp_path: Path) -> None:
    """Batches of five segments: one process has three of them, the other two."""
    recipe = make_recipe()
    execute(recipe, TRACKS, tmp_path / "one", vectors=VECTORS)
    two = tmp_path / "two"
    with pytest.raises(KeyboardInterrupt):
        execute(recipe, TRACKS, two, vectors=VECTORS, devices=2, reporter=Stop())
    assert sorted(path.name for path in (two / "jobs/only").iterdir()) == [
        "checkpoint.ckpt", "tracks.json",
    ]  # fmt: skip
    execute(recipe, TRACKS, two, vectors=VECTORS, devices=2)
    one_epochs, two_epochs = history(tmp_path / "one"), history(two)
    assert [own["epoch"] for own in two_epochs] == [1, 2, 3, 4, 5, 6]
    for one, own in zip(one_epochs, two_epochs, strict=True):
        assert own.keys() == one.keys()
        for name, value in own.items():
            assert value == pytest.approx(one[name], rel=1e-4), name
    assert one_epochs[0]["loss"] != pytest.approx(one_epochs[-1]["loss"], rel=0.01)
    models = [Classifier.load(run) for run in (tmp_path / "one", two)]
    for track in TRACKS[:5]:
        one, other = (model.predict(VECTORS[track.id]).probabilities for model in models)
        np.testing.assert_allclose([*one.values()], [*other.values()], atol=1e-4)
    assert not [*two.glob("jobs/*/*.pt")]


@several_cores
@pytest.mark.slow
def test_a_process_that_dies_ends_the_training_with_one_line(tmp_path: Path) -> None:
    killed: list[int] = []

    class Kill(DefaultReporter):
        def epoch(self, *_: Any) -> None:
            if not killed:
                killed.append(_children()[-1])
                os.kill(killed[0], signal.SIGKILL)

    recipe = make_recipe(training={"epochs": 400, "batch_size": 5, "precision": "fp32"})
    with pytest.raises(GenrescopeError, match="a process of the training died") as caught:
        execute(
            recipe, TRACKS, tmp_path / "run", vectors=VECTORS, teacher=TEACHER, devices=2,
            reporter=Kill(),
        )  # fmt: skip
    assert "\n" not in str(caught.value)
    assert killed


def _children() -> list[int]:
    found = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True
    )
    return [int(line.split()[0]) for line in found.stdout.splitlines() if "spawn_main" in line]


def test_refusals_name_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"10000 devices: this machine has \d+ (core|GPU)"):
        make_trainer(make_recipe(), 10_000)
    classical = make_recipe(model={"kind": "classical", "name": "LDA"}, augmentation={})
    with pytest.raises(RecipeError, match="small: only networks are trained on several devices"):
        make_trainer(classical, 2)
