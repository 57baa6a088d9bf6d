"""Trains classifiers of scikit-learn and XGBoost, and chooses among a few settings for them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import GenrescopeError, RecipeError
from genrescope.models import make_model, model_class
from genrescope.training.data import FloatArray, TrainingData
from genrescope.training.protocols import TrainingJob
from genrescope.training.recipe import Recipe
from genrescope.training.trainers.base import EpochReport, TrainedModel

Labels = NDArray[np.intp]


class Trainer:
    """Fits a classifier to all segments of the training tracks, flattened to vectors.

    With `tuned: true` in the recipe's model, each of the model's candidate settings is fitted, and
    the one with the highest accuracy on the segments of the validation tracks is kept; the first of
    equals, since candidates begin with the simplest.
    """

    def check(self, recipe: Recipe) -> None:
        """Classifiers see each segment once, unchanged, and are not averaged."""
        if recipe.augmentation.changes_segments:
            raise RecipeError(f"{recipe.name}: classifiers have no augmentation of segments")
        if "seed" in recipe.model:
            raise RecipeError(f"{recipe.name}: a classifier's seed is the recipe's own: seed")
        if recipe.ensemble:
            raise RecipeError(f"{recipe.name}: an ensemble has to be of networks")

    def needs_validation(self, recipe: Recipe) -> bool:
        """Whether the classifier's settings are chosen."""
        return bool(recipe.model.get("tuned"))

    def train(
        self,
        job: TrainingJob,
        data: TrainingData,
        recipe: Recipe,
        checkpoint: Path,  # noqa: ARG002 - there is nothing to resume
        report: EpochReport,  # noqa: ARG002 - it has no epochs
    ) -> TrainedModel:
        """Fit the classifier, with chosen settings where the recipe asks for that."""

        def classifier(settings: dict[str, Any]) -> Any:
            settings = {**settings, "seed": recipe.seed}
            return make_model(settings, shape=data.shape, genres=len(data.genres))

        settings, chosen = dict(recipe.model), dict[str, Any]()
        train = _vectors(data, job.train, copies=True)
        if settings.pop("tuned", False):
            validation = _vectors(data, job.validation)
            scores, refused = [], None
            for candidate in model_class(settings).candidates(settings):
                model = classifier({**settings, **candidate})
                try:
                    model.fit(*train)
                except GenrescopeError as error:  # such as 200 neighbours among fewer segments
                    refused = error
                    continue
                predicted = model.pipeline.predict(validation[0])
                scores.append((float((predicted == validation[1]).mean()), candidate))
            if refused and not scores:
                raise refused
            accuracy, best = max(scores, key=lambda score: score[0])
            chosen = {**best, "accuracy": round(accuracy, 6), "of": len(scores)}
            settings |= best
        model = classifier(settings)
        model.fit(*train)
        return TrainedModel(model.onnx(), chosen=chosen)


def _vectors(
    data: TrainingData, tracks: Iterable[str], *, copies: bool = False
) -> tuple[FloatArray, Labels]:
    """Flattened segments `[n, size * frames]` and their labels; if asked for, of copies too."""
    parts, labels = [], []
    for track in tracks:
        changed = data.copies.get(track, ()) if copies else ()
        for segments in (data.segments(track), *(c.segments(data.frontend) for c in changed)):
            # In this memory order scikit-learn's sums are those of version 0.1, to the last bit.
            parts.append(np.asfortranarray(segments.reshape(len(segments), -1)))
            labels.append(np.full(len(segments), data.label(track)))
    return np.concatenate(parts), np.concatenate(labels)
