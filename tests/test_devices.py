"""Training in several processes on this machine: the loss of one process, resuming, refusals."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="needs genrescope[train]")

import torch

from genrescope.cli import app
from genrescope.datasets import Track
from genrescope.errors import GenrescopeError, RecipeError
from genrescope.inference import Classifier
from genrescope.parallel import available_cores
from genrescope.training.augment import TrainingTrack
from genrescope.training.recipe import Recipe
from genrescope.training.reporter import DefaultReporter
from genrescope.training.run import execute
from genrescope.training.trainers import make_trainer
from genrescope.training.trainers.group import Group
from genrescope.training.trainers.lightning import fit, is_finished
from genrescope.training.trainers.processes import fit_in_processes

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
    newest = max(each.pid or 0 for each in multiprocessing.active_children())
    os.kill(newest, signal.SIGKILL)


@several_cores
@pytest.mark.slow
def test_two_processes_resume_train_and_die_as_one_does(tmp_path: Path) -> None:
    """Batches of five segments: one process has three of them, the other two."""
    recipe, others = make_recipe(), {*multiprocessing.active_children()}
    execute(recipe, TRACKS, tmp_path / "one", vectors=VECTORS)
    two = tmp_path / "two"
    with pytest.raises(KeyboardInterrupt):
        execute(recipe, TRACKS, two, vectors=VECTORS, reporter=After(3, interrupt))
    shown: list[int] = []
    with pytest.raises(GenrescopeError, match="a process of the training died") as caught:
        execute(recipe, TRACKS, two, vectors=VECTORS, devices=2, reporter=After(6, kill))
    assert "\n" not in str(caught.value)
    assert not {*multiprocessing.active_children()} - others
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


def free_port() -> int:
    """A free port below those that systems hand out, so that no other program is given it soon."""
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        with socket.socket() as opened, suppress(OSError):
            opened.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


def start_process(rank: int, port: int, cwd: Path, *words: str | Path) -> subprocess.Popen[str]:
    """`genrescope train` as the only process of a machine, one of two."""
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    group |= {"RANK": str(rank), "LOCAL_RANK": "0"}
    return subprocess.Popen(
        [sys.executable, "-m", "genrescope", "train", *words],
        env=os.environ | group,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@several_cores
@pytest.mark.slow
def test_processes_that_were_started_apart_train_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second has neither the recipe nor the data."""
    here, other = tmp_path / "here", tmp_path / "other"
    here.mkdir()
    other.mkdir()
    monkeypatch.chdir(here)
    fields = make_recipe().model_dump(mode="json", exclude_defaults=True)
    fields["training"] |= {"epochs": 3}
    Path("recipe.yaml").write_text(json.dumps(fields))
    names = [name for name in VECTORS for _ in range(3)]
    table = np.concatenate([*VECTORS.values()])
    values = [",".join(map(str, row)) for row in table]
    rows = [f"{name},{name[:5]},{row}" for name, row in zip(names, values, strict=True)]
    Path("net.csv").write_text("\n".join(["track,label,a,b,c,d", *rows]))
    words = ["recipe.yaml", "--features", "net.csv", "--out"]
    port = free_port()
    processes = [
        start_process(rank, port, cwd, *words, "two") for rank, cwd in ((0, here), (1, other))
    ]
    train = CliRunner().invoke(app, ["train", *words, "one"])
    assert train.exit_code == 0, train.output
    for process in processes:
        _, err = process.communicate(timeout=900)
        assert process.returncode == 0, err
        assert "Traceback" not in err
    assert not [*other.iterdir()]
    assert len(history(Path("two"))) == 3
    for one, two in zip(history(Path("one")), history(Path("two")), strict=True):
        assert two == pytest.approx(one, rel=1e-4)


@several_cores
@pytest.mark.slow
def test_processes_share_a_teacher_and_further_data_sets(tmp_path: Path) -> None:
    """Some tracks have no targets, some of the further ones no genre.

    What predicts the targets has dropout, which is another one in each process.
    """
    fields = {"epochs": 3, "batch_size": 9, "precision": "fp32", "teacher_weight": 0.5}
    recipe = make_recipe(training={**fields, "further_weight": 0.5}, augmentation={})
    rng = np.random.default_rng(0)

    def tracks(labels: list[int], targets: int = 0) -> list[TrainingTrack]:
        unknown = np.full((1, targets), np.nan)
        return [
            TrainingTrack(
                torch.from_numpy((np.eye(4)[[label]].T + rng.normal(size=(4, 3))).astype("f4")),
                label,
                torch.from_numpy((rng.normal(size=(2, targets)) if n else unknown).astype("f4")),
            )
            for n, label in enumerate(labels)
        ]

    own, further = tracks([0, 1, 2] * 6, targets=5), tracks([1, 3, -1] * 4)
    losses = {}
    for devices in (1, 2):
        checkpoint = tmp_path / f"{devices}.ckpt"
        given: dict[str, Any] = {"shape": (4, 1), "curves": {}, "further": [further]}
        given |= {"checkpoint": checkpoint, "report": lambda *_: None}
        if devices > 1:
            fit_in_processes(devices, recipe, own, 4, **given)
            assert is_finished(checkpoint, recipe)
        losses[devices] = [epoch["loss"] for epoch in fit(recipe, own, 4, **given)[1]]
    assert len(losses[1]) == 3
    assert losses[2] == pytest.approx(losses[1], rel=0.03)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"MASTER_PORT": ""}, "WORLD_SIZE is set, but not MASTER_PORT"),
        ({"RANK": "two"}, "RANK=two: expected a number"),
        ({"RANK": "2"}, "RANK=2: expected less than 2"),
        ({"LOCAL_RANK": "1"}, "LOCAL_RANK=1: expected less than 1"),
        ({"WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "2"}, "the same number of processes on each"),
        ({}, "process 0 of 2: no group at 127.0.0.1"),
    ],
)
def test_a_group_that_can_not_be_is_one_line(
    changes: dict[str, str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the last case the other process never comes."""
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    group["LOCAL_WORLD_SIZE"] = "1"
    for name, value in {**group, "RANK": "0", "LOCAL_RANK": "0", **changes}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(GenrescopeError, match=reason) as caught:
        Group.join(timedelta(seconds=1))
    assert "\n" not in str(caught.value)
