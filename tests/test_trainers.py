"""Another package's model with a trainer of its own: recipes, runs and bundles take both as is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs genrescope[train]")
pytest.importorskip("torch", reason="needs genrescope[train]")

from onnx import TensorProto, helper, numpy_helper

from genrescope.datasets import Track
from genrescope.errors import RecipeError
from genrescope.inference import Classifier
from genrescope.models.registry import MODELS
from genrescope.training.data import TrainingData
from genrescope.training.protocols import TrainingJob
from genrescope.training.recipe import Recipe
from genrescope.training.reporter import DefaultReporter
from genrescope.training.run import execute
from genrescope.training.trainers import TRAINERS, make_trainer
from genrescope.training.trainers.base import TrainedModel

RANDOM = np.random.default_rng(0)
GENRES = ("blues", "disco", "metal")
VECTORS = {
    f"{genre}{n}": (3 * np.eye(3, 4)[g] + RANDOM.normal(size=(2, 4))).astype(np.float32)
    for g, genre in enumerate(GENRES)
    for n in range(10)
}
TRACKS = [Track(name, Path("x.npz"), name[:-1]) for name in VECTORS]


class Centroids:
    """The nearest mean of a genre's segments; it is a linear function of the segment."""

    trainer: ClassVar[str] = "centroids"


class Trainer:
    def check(self, recipe: Recipe) -> None:
        if recipe.ensemble:
            raise RecipeError("no ensembles of centroids")

    def needs_validation(self, recipe: Recipe) -> bool:
        return False

    def train(
        self,
        job: TrainingJob,
        data: TrainingData,
        recipe: Recipe,
        checkpoint: Path,
        report: Callable[[int, float, float | None], None],
    ) -> TrainedModel:
        means = np.stack(
            [
                np.concatenate(
                    [data.segments(t) for t in job.train if data.tracks[t].genre == genre]
                ).mean(axis=0)
                for genre in data.genres
            ]
        ).reshape(len(data.genres), -1)
        report(1, 0.0, None)
        return TrainedModel(_linear(means.T, -(means**2).sum(axis=1) / 2, data.shape))


def _linear(weights: np.ndarray, bias: np.ndarray, shape: tuple[int, int]) -> bytes:
    values = {"weights": weights.astype(np.float32), "bias": bias.astype(np.float32)}
    sizes = {"segments": shape, "logits": bias.shape, "embedding": (shape[0] * shape[1],)}
    infos = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *size])
        for name, size in sizes.items()
    }
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["segments"], ["embedding"]),
            helper.make_node("Gemm", ["embedding", "weights", "bias"], ["logits"]),
        ],
        "centroids",
        [infos["segments"]],
        [infos["logits"], infos["embedding"]],
        [numpy_helper.from_array(array, name) for name, array in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """As two entry points of an installed package would: a model, and its trainer."""
    monkeypatch.setitem(MODELS._places, "centroids", f"{__name__}:Centroids")
    monkeypatch.setitem(TRAINERS._places, "centroids", f"{__name__}:Trainer")
    return Recipe.model_validate(
        {
            "name": "centroids",
            "feature": {"kind": "stored", "name": "net", "width": 4},
            "scale": "none",
            "segments": {"seconds": 30, "overlap": 0},
            "model": {"kind": "centroids"},
            "split": {"kind": "folds", "folds": 3},
        }
    )


def test_a_run_trains_by_the_trainer_that_the_model_names(recipe: Recipe, tmp_path: Path) -> None:
    epochs: list[str] = []

    class Epochs(DefaultReporter):
        def epoch(self, job: str, *_: Any) -> None:
            epochs.append(job)

    result = execute(recipe, TRACKS, tmp_path / "run", vectors=VECTORS, reporter=Epochs())
    assert epochs == ["fold-1", "fold-2", "fold-3", "final"]
    assert result.n == 30
    assert result.accuracy > 0.8
    classifier = Classifier.load(tmp_path / "run")
    right = [classifier.predict(VECTORS[t.id]).genre == t.genre for t in TRACKS]
    assert np.mean(right) > 0.8


def test_a_trainer_refuses_what_it_cannot_do(recipe: Recipe) -> None:
    with pytest.raises(RecipeError, match="no ensembles of centroids"):
        make_trainer(recipe.model_copy(update={"ensemble": ({},)}))


def test_an_unknown_trainer_is_named(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Centroids, "trainer", "centroid")
    with pytest.raises(RecipeError, match=r"no trainer 'centroid' \(did you mean 'centroids'\?\)"):
        make_trainer(recipe)
