"""A recipe carried out on a data set, in a folder of its own; an interrupted run resumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genrescope.datasets import Dataset, Track
from genrescope.datasets.fingerprints import TrainingTracks
from genrescope.errors import RecipeError
from genrescope.evaluation.predict import segment_logits
from genrescope.evaluation.run_result import RunResult
from genrescope.features.cache import FeatureCache
from genrescope.inference import Bundle
from genrescope.inference.classifier import Classifier
from genrescope.models import trainer_of
from genrescope.onnx_session import onnx_session
from genrescope.training.adaptation import adapt
from genrescope.training.bundles import Origin
from genrescope.training.data import FloatArray, TrainingData, describe, load
from genrescope.training.further import (
    FurtherData,
    load_further,
    refuse_leaks,
    with_further,
    with_taxonomy,
)
from genrescope.training.graphs import join_graphs
from genrescope.training.identity import hash_files, hash_inputs
from genrescope.training.outcome import Outcome, predictions_of, result_of, temperatures
from genrescope.training.protocols import Subset, TrainingJob, make_protocol
from genrescope.training.ray_features import fill_cache
from genrescope.training.recipe import Recipe
from genrescope.training.reporter import DefaultReporter, Reporter
from genrescope.training.run_folder import JobFolder, Logits, RunFolder
from genrescope.training.settings import BundleSettings
from genrescope.training.trainers import make_trainer
from genrescope.training.trainers.base import TrainedModel, Trainer

if TYPE_CHECKING:
    from genrescope.inference.ray_engine import RayEngine
    from genrescope.training.trainers.group import Group


def execute(
    recipe: Recipe,
    tracks: Sequence[Track],
    folder: Path,
    *,
    name: str = "",
    command: str = "",
    vectors: Mapping[str, FloatArray] | None = None,
    teacher: Mapping[str, FloatArray] | None = None,
    also: Sequence[Dataset] = (),
    reporter: Reporter | None = None,
    scored: Subset = "test",
    devices: int | Group = 1,
    engine: RayEngine | None = None,
) -> RunResult:
    """Carry out a recipe: train, predict, score; write a report and the bundle.

    Parameters
    ----------
    recipe
        The recipe. It is adapted to the tracks, see `genrescope.training.adaptation.adapt`.
    tracks
        The data set, with artists where the split needs them.
    folder
        Folder of the run. An unfinished run of the same recipe and data resumes; what is finished
        is not trained again.
    name
        Name of the data set.
    command
        The command line, stored for readers of the report.
    vectors
        Stored vectors `[frames, size]` by track id, for features of the kind "stored".
    teacher
        A teacher's targets `[n, targets]` by track id, see `genrescope.training.distillation`.
    also
        Further data sets that are trained on, see `genrescope.training.further`. With them genres
        have the taxonomy's names, and tracks of other genres are left out.
    reporter
        Receives the progress, and the tracks that are left out.
    scored
        "validation" scores the validation tracks, as a search does; test tracks are not used then.
    devices
        Number of processes that train a network together, each on a GPU or its share of the cores.
        With more than one, a script has to guard its call by `if __name__ == "__main__"`. Or the
        group of processes that torchrun has started, of which this process is the first, see
        `genrescope.training.trainers.group`.
    engine
        A Ray cluster that computes the features which are not in the cache.

    Returns
    -------
    RunResult
        The content of `metrics.json`.

    Raises
    ------
    RecipeError
        When the recipe can't be carried out, or the folder holds another run.
    DatasetError
        When no tracks can be used, or the split can't be made of them.
    FileError
        When the folder can't be written to.
    """
    reporter = reporter or DefaultReporter()
    targets = _targets_of(tracks, teacher or {}, reporter)
    recipe = adapt(recipe, tracks, targets, reporter.notice)
    if also:
        tracks = _of_the_taxonomy(recipe, tracks, reporter)
    trainer = make_trainer(recipe, devices)
    origin = Origin(recipe, describe(tracks, name, vectors))
    if also:
        origin.data["also"] = [describe(each.tracks, each.name) for each in also]
    run = RunFolder.claim(folder, recipe, origin.data, targets, hash_inputs(recipe, targets))
    if engine is not None:
        for own in (tracks, *(each.tracks for each in also)):
            fill_cache(engine, recipe.frontend, own, reporter)
    cache = FeatureCache()
    data = load(
        recipe, tracks, vectors=vectors or {}, targets=targets, reporter=reporter, cache=cache
    )
    protocol = make_protocol(
        recipe.split,
        list(data.tracks.values()),
        data.groups,
        seed=recipe.seed,
        needs_validation=trainer.needs_validation(recipe),
        scored=scored,
    )
    further = [load_further(recipe, each, reporter, cache) for each in also]
    for each in further:
        refuse_leaks(each, data.tracks, protocol, by_artist=recipe.split.by_artist)
    if also:
        data = with_further(data, further)
    folders = {
        job.name: run.job(job, hash_files(recipe, _files_of(job, data, further), cache))
        for job in protocol.jobs
    }
    unfinished = [job for job in protocol.jobs if not folders[job.name].finished]
    data = data.with_copies(recipe, [track for job in unfinished for track in job.train])
    for job in unfinished:
        _train(job, data, origin, trainer, folders[job.name], reporter)
    outcomes = {job.name: Outcome(job, *folders[job.name].load()) for job in protocol.jobs}
    temperature = temperatures(outcomes, data, recipe)
    predictions = predictions_of(protocol, outcomes, temperature, data, recipe)
    result = result_of(
        protocol,
        outcomes,
        temperature,
        predictions,
        data,
        recipe,
        data=origin.data,
        command=command,
        teacher_tracks=len(targets),
    )
    used = [track for track in tracks if track.id in protocol.used_in_training]
    used += [replace(t, id=f"{each.name}: {t.id}") for each in also for t in each.tracks]
    listed = TrainingTracks.of(origin.data["name"], used)
    if encoder_tracks := _encoder_tracks(recipe):
        listed = encoder_tracks.joined(listed)
        test_tracks = {track: data.tracks[track] for track in predictions.tracks}
        overlap = encoder_tracks.contain_files([*test_tracks.values()], data=origin.data["name"])
        result = result.model_copy(
            update={
                "tracks_used_in_training": overlap.count(True),
                "tracks_perhaps_used_in_training": overlap.count(None),
            }
        )
    final = protocol.final.name
    graph = outcomes[final].model.onnx
    if data.encoder is not None:
        graph = join_graphs(data.encoder, graph)
    bundle = origin.bundle(graph, data, temperature[final], result.to_dict(), listed.to_fields())
    histories = {name: outcome.model.history for name, outcome in outcomes.items()}
    run.finish(result, predictions, histories, bundle)
    return result


def _targets_of(
    tracks: Sequence[Track], teacher: Mapping[str, FloatArray], reporter: Reporter
) -> dict[str, FloatArray]:
    """The teacher's targets of these tracks, by track id."""
    ids = {track.id for track in tracks}
    targets = {track: own for track, own in teacher.items() if track in ids}
    if teacher and not targets:
        first = next(iter(teacher))
        reporter.notice(f"the data set has none of the teacher's tracks ({first}, …)")
    return targets


def _files_of(job: TrainingJob, data: TrainingData, further: Sequence[FurtherData]) -> list[Track]:
    """The tracks whose files decide a job's result: its own and those of further data sets."""
    names = sorted({*job.train, *job.monitored, *job.predicted})
    own = [data.tracks[name] for name in names]
    return [*own, *(track for each in further for track in each.tracks.values())]


def _encoder_tracks(recipe: Recipe) -> TrainingTracks | None:
    """The tracks of the trained model whose embedding is the recipe's feature; None without one."""
    if not isinstance(recipe.embedding, BundleSettings):
        return None
    bundle = Bundle.load(recipe.embedding.bundle)
    return TrainingTracks.from_fields(bundle.manifest.training_tracks)


def _of_the_taxonomy(recipe: Recipe, tracks: Sequence[Track], reporter: Reporter) -> list[Track]:
    """The tracks under the taxonomy's names of their genres, without those of other genres."""
    if recipe.embedding or trainer_of(recipe.model) != "torch":
        raise RecipeError(f"{recipe.name}: only a network is trained on several data sets")
    named = with_taxonomy(tracks)
    for track, old in zip(named, tracks, strict=True):
        if not track.genre:
            reporter.left_out(track.id, f"the taxonomy has no genre {old.genre!r}")
    return [track for track in named if track.genre]


def _train(
    job: TrainingJob,
    data: TrainingData,
    origin: Origin,
    trainer: Trainer,
    folder: JobFolder,
    reporter: Reporter,
) -> None:
    """Train a job's model, predict its tracks, and store both."""
    epochs = origin.recipe.epochs
    model = trainer.train(
        job,
        data,
        origin.recipe,
        folder.checkpoint,
        lambda epoch, loss, accuracy: reporter.epoch(job.name, epoch, epochs, loss, accuracy),
    )
    folder.store(model, _predict(model, job, data, origin))


def _predict(model: TrainedModel, job: TrainingJob, data: TrainingData, origin: Origin) -> Logits:
    """Compute the logits of a job's tracks, by the classifier that users run."""
    if data.encoder is not None:
        # The encoder's graph, which the bundle will contain, has computed the embeddings.
        head = onnx_session(model.onnx, threads=0)
        return {
            track: np.asarray(
                head.run(["logits"], {"segments": data.segments(track)})[0], np.float32
            )
            for track in job.predicted
        }
    classifier = Classifier(origin.bundle(model.onnx, data))
    return {
        track: segment_logits(classifier, data.features[track].windows) for track in job.predicted
    }
