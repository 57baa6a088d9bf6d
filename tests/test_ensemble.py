"""A recipe of several networks, whose logits are averaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs genrescope[train]")

from clips import write_spectrograms
from genrescope.datasets import scan
from genrescope.errors import RecipeError
from genrescope.inference import Bundle, Classifier
from genrescope.training.bundles import make_bundle
from genrescope.training.data import load
from genrescope.training.protocols import TrainingJob
from genrescope.training.recipe import Recipe, load_recipe
from genrescope.training.reporter import DefaultReporter
from genrescope.training.run import execute
from genrescope.training.trainers import make_trainer
from genrescope.training.trainers import torch as torch_trainer

SMALL = [
    "training.epochs=3",
    "training.batch_size=4",
    "training.precision=fp32",
    "model.channels=[8, 16]",
    "segments.seconds=3",
]
ENSEMBLE = "ensemble=[{}, {training: {epochs: 4}}, {model: {channels: [4, 8, 8]}}]"


def _recipe(*changes: str) -> Recipe:
    return load_recipe("default-random", [*SMALL, ENSEMBLE, *changes])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_spectrograms(tmp_path_factory.mktemp("data"), tracks=6)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "together"
    execute(_recipe(), scan(data), folder)
    return folder


def test_it_averages_the_networks_as_each_is_alone(run: Path, data: Path, tmp_path: Path) -> None:
    track = data / "low" / "low.00000.png"
    together = Classifier.load(run)
    _, logits, embeddings = next(together.logits(track))
    single = []
    for number, own in enumerate(_recipe().networks):
        tracks = json.loads((run / "jobs/only/tracks.json").read_text())["train"]
        loaded = load(own, scan(data), vectors={}, targets={}, reporter=DefaultReporter())
        model = torch_trainer.Trainer().train(
            TrainingJob("alone", train=tuple(tracks)),
            loaded,
            own,
            tmp_path / f"{number}.ckpt",
            lambda *_: None,
        )
        fields = {"name": "alone", "provenance": {}, "metrics": {}, "licence": ""}
        bundle = make_bundle(model.onnx, genres=["high", "low"], frontend=own.frontend, **fields)
        single.append(next(Classifier(bundle).logits(track)))
    np.testing.assert_allclose(logits, np.mean([s[1] for s in single], axis=0), atol=1e-4)
    np.testing.assert_allclose(embeddings, single[0][2], atol=1e-4)


def test_their_epochs_are_numbered_through(run: Path) -> None:
    history = json.loads((run / "jobs/only/training.json").read_text())["history"]
    assert [epoch["epoch"] for epoch in history] == list(range(1, 3 + 4 + 3 + 1))
    assert not list((run / "jobs/only").glob("*.ckpt"))


class _Stop(DefaultReporter):
    def __init__(self, at: int) -> None:
        self.at = at
        self.seen: list[tuple[int, int]] = []

    def epoch(self, part, epoch, epochs, loss, accuracy) -> None:
        self.seen.append((epoch, epochs))
        if epoch == self.at:
            raise KeyboardInterrupt


def test_a_run_that_was_stopped_in_a_later_network_resumes_there(
    run: Path, data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        execute(_recipe(), scan(data), folder, reporter=_Stop(6))
    again = _Stop(0)
    execute(_recipe(), scan(data), folder, reporter=again)
    assert again.seen[0] == (6, 10)
    assert Bundle.load(folder).manifest.sha256 == Bundle.load(run).manifest.sha256


def test_a_run_that_was_stopped_before_its_export_keeps_the_averaged_weights(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So many steps that the average is not the last weights.
    recipe = _recipe("training.epochs=12")

    def stop(*_: object) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(torch_trainer, "_exported", stop)
        execute(recipe, scan(data), tmp_path / "stopped")
    again = _Stop(0)
    execute(recipe, scan(data), tmp_path / "stopped", reporter=again)
    assert again.seen == []
    execute(recipe, scan(data), tmp_path / "whole")
    ours, theirs = (Bundle.load(tmp_path / name).manifest for name in ("stopped", "whole"))
    assert ours.sha256 == theirs.sha256


def test_runs_of_other_seeds_share_no_network() -> None:
    seeds = [[own.seed for own in _recipe(f"seed={seed}").networks] for seed in (0, 1, 2**31 - 1)]
    assert seeds[:2] == [[0, 1, 2], [3, 4, 5]]
    assert len(set().union(*seeds)) == 9


@pytest.mark.parametrize(
    ("recipe", "ensemble"),
    [
        ("leakage/by-track", "[{model: {kind: cnn, channels: [4]}}]"),
        ("leiden-scratch/30s-clean", "[{model: {kind: classical, name: NB}}]"),
    ],
)
def test_only_networks_make_an_ensemble(recipe: str, ensemble: str) -> None:
    with pytest.raises(RecipeError, match="an ensemble has to be of networks"):
        make_trainer(load_recipe(recipe, [f"ensemble={ensemble}"]))


@pytest.mark.parametrize(
    ("ensemble", "words"),
    [
        ("[{segments: {seconds: 5}}]", "augmentation, model, training, not in segments"),
        ("[{training.epochs: 3}]", "not in training.epochs"),
        ("[{augmentation: {waveform: {gain: 3}}}]", "augmentation.waveform"),
        ("[{training: {epochs: 0}}]", "ensemble, network 1: training.epochs"),
        ("[{}, {training: {epoch: 3}}]", "ensemble, network 2: training.epoch"),
        ("[3]", "ensemble"),
    ],
)
def test_a_wrong_ensemble_is_one_line(ensemble: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words) as caught:
        load_recipe("default-random", [f"ensemble={ensemble}"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ((), False),
        (("training.teacher_weight=5",), True),
        (("ensemble=[{}, {training: {teacher_weight: 5}}]",), True),
        (("ensemble=[{}, {training: {teacher_weight: 0}}]",), False),
    ],
)
def test_a_recipe_that_weighs_a_teacher_expects_one(
    changes: tuple[str, ...], expected: bool
) -> None:
    assert _recipe(*changes).expects_teacher is expected
