"""From trained models and their logits to predictions, scores and the result of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from genrescope.aggregation import aggregate_logits
from genrescope.evaluation.calibration import fit_temperature
from genrescope.evaluation.metrics import compute_scores
from genrescope.evaluation.predictions import Predictions
from genrescope.evaluation.run_result import RunResult
from genrescope.features.segments import SEGMENT_RULE
from genrescope.training.data import TrainingData
from genrescope.training.protocols import Protocol, TrainingJob
from genrescope.training.recipe import Recipe
from genrescope.training.run_folder import Logits
from genrescope.training.trainers.base import TrainedModel


@dataclass(frozen=True)
class Outcome:
    """Result of one training job.

    Attributes
    ----------
    job, model
        The job and the model it trained.
    logits
        Logits of the job's predicted tracks.
    """

    job: TrainingJob
    model: TrainedModel
    logits: Logits


def temperatures(
    outcomes: Mapping[str, Outcome], data: TrainingData, recipe: Recipe
) -> dict[str, float]:
    """Fit the temperature of each job, by its name, see `TrainingJob.calibration`."""
    found = dict.fromkeys(outcomes, 1.0)
    for name, outcome in outcomes.items():
        if calibration := outcome.job.calibration:
            found[name] = fit_temperature(
                [outcomes[job].logits[track] for job, track in calibration],
                [data.label(track) for _, track in calibration],
                recipe.aggregation,
            )
    return found


def predictions_of(
    protocol: Protocol,
    outcomes: Mapping[str, Outcome],
    temperature: Mapping[str, float],
    data: TrainingData,
    recipe: Recipe,
) -> Predictions:
    """Predictions of the scored tracks, sorted by job and track."""
    pairs = sorted(
        (job.name, track) for job in protocol.jobs for track in protocol.scored_tracks(job)
    )
    return Predictions(
        genres=data.genres,
        tracks=tuple(track for _, track in pairs),
        folds=tuple(job for job, _ in pairs),
        truth=np.array([data.label(track) for _, track in pairs]),
        probabilities=np.stack(
            [
                aggregate_logits(outcomes[job].logits[track], temperature[job], recipe.aggregation)
                for job, track in pairs
            ]
        ),
        artists=tuple(data.tracks[track].artist or "" for _, track in pairs),
    )


def result_of(
    protocol: Protocol,
    outcomes: Mapping[str, Outcome],
    temperature: Mapping[str, float],
    predictions: Predictions,
    data: TrainingData,
    recipe: Recipe,
    /,
    **fields: Any,
) -> RunResult:
    """Score the predictions, and add what describes the run.

    Parameters
    ----------
    fields
        Fields of the result that are known before the run: data, command, number of teacher
        tracks.
    """
    scores = compute_scores(
        predictions.truth,
        predictions.probabilities,
        data.genres,
        groups=[data.groups[track] for track in predictions.tracks],
    )
    correct = predictions.predicted == predictions.truth
    jobs = np.array(predictions.folds)
    final = outcomes[protocol.final.name]

    def accuracy(tracks: Iterable[str]) -> float | None:
        """Accuracy of the final model on some of its predicted tracks."""
        tracks = list(tracks)
        if not tracks or not set(tracks) <= set(final.logits):
            return None
        rule, own = recipe.aggregation, temperature[final.job.name]
        right = [
            aggregate_logits(final.logits[track], own, rule).argmax() == data.label(track)
            for track in tracks
        ]
        return round(float(sum(right)) / len(right), 6)

    return RunResult.from_scores(
        scores,
        # Repeated folds predict each track several times.
        n=len(set(predictions.tracks)),
        recipe=recipe.name,
        seed=recipe.seed,
        segment_rule=SEGMENT_RULE,
        split=recipe.split.model_dump(mode="json", exclude={"folder"}),
        leaked=recipe.split.i_know_this_leaks,
        grouped_by_artist=recipe.split.by_artist,
        published=recipe.published and recipe.published.model_dump(),
        train_tracks=len(final.job.train),
        validation_tracks=len(protocol.validation),
        train_accuracy=accuracy(final.job.train),
        segment_train_accuracy=_segment_train_accuracy(final, recipe),
        validation_accuracy=accuracy(protocol.validation),
        temperature=round(temperature[final.job.name], 4),
        test_tracks_of_training_artists=_of_training_artists(protocol, predictions, data),
        left_out=[{"track": track, "reason": why} for track, why in data.left_out.items()],
        chosen_settings=final.model.chosen,
        folds={
            job.name: {
                "train_tracks": len(job.train),
                "test_tracks": int((jobs == job.name).sum()),
                "accuracy": round(float(correct[jobs == job.name].mean()), 6),
            }
            for job in protocol.jobs
            if protocol.scored_tracks(job)
        },
        **fields,
    )


def _segment_train_accuracy(outcome: Outcome, recipe: Recipe) -> float | None:
    """Accuracy on segments in the last epoch, if the model has the weights of that epoch."""
    if recipe.ensemble or recipe.training.keep != "last" or not outcome.model.history:
        return None
    found = outcome.model.history[-1].get("segment_accuracy")
    return None if found is None else round(found, 6)


def _of_training_artists(
    protocol: Protocol, predictions: Predictions, data: TrainingData
) -> int | None:
    """How many scored tracks are by an artist of whom their model was trained on other tracks."""
    artist = {name: track.artist for name, track in data.tracks.items() if track.artist}
    if not artist:
        return None
    known = {job.name: {artist.get(t) for t in job.train} - {None} for job in protocol.jobs}
    pairs = zip(predictions.tracks, predictions.folds, strict=True)
    return len({track for track, job in pairs if artist.get(track) in known[job]})
