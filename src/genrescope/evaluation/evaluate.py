"""Evaluation of a finished model on a data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from os import PathLike
from pathlib import Path

from genrescope.datasets import Dataset, map_genres, read_dataset
from genrescope.datasets.fingerprints import used_in_training
from genrescope.errors import DatasetError, FileError
from genrescope.evaluation.metrics import compute_scores
from genrescope.evaluation.predict import TrackPredictions, predict_tracks
from genrescope.evaluation.predictions import write_predictions
from genrescope.evaluation.report import write_report
from genrescope.evaluation.run_result import RECIPE_FILE, RunResult
from genrescope.evaluation.run_values import DataDescription, LeftOut, Provenance
from genrescope.genres import find_genre
from genrescope.inference import Classifier
from genrescope.legacy import renamed_recipe
from genrescope.taxonomy import taxonomy


def evaluate(
    model: Classifier | str | PathLike[str],
    data: Dataset | str | PathLike[str],
    *,
    genre_map: Mapping[str, str] | None = None,
    closed_set: bool = False,
    jobs: int | None = None,
    folder: str | PathLike[str] | None = None,
    command: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> RunResult:
    """Evaluate a model on tracks whose genres are known.

    Only tracks of the model's genres are used, and of genres that are mapped to one of them. The
    model may predict any of its genres, also where the data have only some of them. Intervals are
    95 % bootstrap intervals over tracks; the tracks of an artist are drawn together where artists
    are known. Tracks that the model was trained on are recognised where its bundle lists them, see
    `genrescope.datasets.fingerprints`; they are scored all the same, and counted.

    Parameters
    ----------
    model
        A classifier, or what `Classifier.load` takes.
    data
        A data set, or what `read_dataset` takes.
    genre_map
        The model's genre for a genre of the data that has another name.
    closed_set
        Whether the model chooses among the genres of the data only; their probabilities are scaled
        to sum to 1. By default it may predict any of its genres.
    jobs
        Files decoded at once; as many as there are cores by default.
    folder
        Where to write `metrics.json`, `predictions.csv`, pictures and the report; nothing is
        written by default.
    command
        The command line, to be stored with the result.
    progress
        Called after each track with the number of tracks done and their total.

    Returns
    -------
    RunResult
        Tracks that could not be decoded are in its `left_out`.

    Raises
    ------
    DatasetError
        When no track can be used.
    FileError
        When the folder holds a run, or can't be written.

    Examples
    --------
    Two tracks as a data set; a folder or a table of tracks is read by its path.

    >>> from pathlib import Path
    >>> from genrescope.datasets import Dataset, Track
    >>> from genrescope.evaluation.evaluate import evaluate
    >>> tracks = [
    ...     Track("1", Path("walking-bass.flac"), "jazz"),
    ...     Track("2", Path("palm-muted-guitars.flac"), "metal"),
    ... ]
    >>> result = evaluate("default", Dataset("two clips", "csv", tracks))
    >>> result.n, result.name
    (2, 'default on two clips')
    >>> result.percent("accuracy") in (0, 50, 100)
    True
    """
    target = None if folder is None else Path(folder)
    if target is not None and (target / RECIPE_FILE).is_file():
        raise FileError(target, "holds a run, whose result would be lost; choose another folder")
    classifier = model if isinstance(model, Classifier) else Classifier.load(model)
    dataset = data if isinstance(data, Dataset) else read_dataset(Path(data))
    mapping = dict(genre_map or {})
    if classifier.manifest.labels is not None:
        mapping = {**_usual_names(dataset, classifier.genres), **mapping}
    tracks, unknown = map_genres(dataset.tracks, mapping, classifier.genres)
    done = count(1)

    def step() -> None:
        if progress:
            progress(next(done), len(tracks))

    try:
        found = predict_tracks(classifier, tracks, closed_set=closed_set, jobs=jobs, progress=step)
    except DatasetError as error:
        raise DatasetError(f"{dataset.name}: {error}") from None
    listed = classifier.manifest.training_tracks
    used = used_in_training(listed, found.tracks, data=dataset.name, jobs=jobs)
    result = _result(classifier, dataset, found).model_copy(
        update={
            "genre_map": mapping,
            "unknown_genres": unknown,
            "command": command,
            "tracks_used_in_training": None if used is None else used.count(True),
            "tracks_perhaps_used_in_training": None if used is None else used.count(None),
        }
    )
    if target is not None:
        _write(result, found, target)
        result = result.model_copy(update={"folder": target})
    return result


def _usual_names(dataset: Dataset, genres: list[str]) -> dict[str, str]:
    """The model's genre for each genre of the data that the taxonomy knows by another name."""
    found = {}
    for name in {track.genre for track in dataset.tracks}:
        meant = taxonomy().find(name)
        if find_genre(name, genres) is None and meant in genres and meant is not None:
            found[name] = meant
    return found


def _result(classifier: Classifier, dataset: Dataset, found: TrackPredictions) -> RunResult:
    scores = compute_scores(
        found.predictions.truth,
        found.predictions.probabilities,
        classifier.genres,
        # Ids may repeat from genre to genre, files do not.
        groups=[f"artist {t.artist}" if t.artist else f"file {t.path}" for t in found.tracks],
    )
    provenance = Provenance.model_validate(classifier.manifest.provenance)
    return RunResult.from_scores(
        scores,
        model=classifier.manifest.name,
        data=DataDescription(
            name=dataset.name,
            tracks=len(dataset.tracks),
            with_artist=sum(track.artist is not None for track in dataset.tracks),
        ),
        grouped_by_artist=any(track.artist for track in found.tracks),
        left_out=[LeftOut(track=f.path, reason=f.reason) for f in found.failures],
        seed=provenance.recipe.get("seed"),
        published=provenance.recipe.get("published"),
        temperature=round(classifier.manifest.temperature, 4),
        provenance=provenance,
        settings=renamed_recipe(provenance.recipe)[0],
    )


def _write(result: RunResult, found: TrackPredictions, folder: Path) -> None:
    """Write a folder that reads like a run's."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        result.write(folder)
        write_predictions(found.predictions, folder)
        write_report(folder)
    except OSError as error:
        raise FileError(folder, f"can't be written: {error.strerror}") from None
