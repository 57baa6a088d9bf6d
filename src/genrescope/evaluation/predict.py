"""Predictions of tracks whose genres are known, always through the classifier that users run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genrescope.datasets import Track
from genrescope.errors import DatasetError, FileError
from genrescope.evaluation.predictions import Predictions
from genrescope.features import Window
from genrescope.inference import Classifier
from genrescope.wording import counted

# Name of the single fold of an evaluation.
ONLY = "only"


def segment_logits(classifier: Classifier, windows: Iterable[Window]) -> NDArray[np.float32]:
    """Logits of all segments of a track, `[segments, genres]`, from its windows."""
    return np.concatenate([logits for _, logits, _ in classifier.logits_of(windows)])


@dataclass(frozen=True)
class TrackPredictions:
    """Predictions of the tracks of a data set.

    Attributes
    ----------
    predictions
        Predictions of the tracks that could be decoded and have sound.
    tracks
        The tracks that were predicted, in the same order.
    failures
        Errors of the other tracks, in their order.
    """

    predictions: Predictions
    tracks: tuple[Track, ...]
    failures: tuple[FileError, ...]


def predict_tracks(
    classifier: Classifier,
    tracks: Sequence[Track],
    *,
    closed_set: bool = False,
    jobs: int | None = None,
    progress: Callable[[], None] | None = None,
) -> TrackPredictions:
    """Predict the genres of tracks, on all cores.

    A track in which the model finds no music counts as wrong. A silent track is left out, here as
    in training: there is nothing in it to classify.

    Parameters
    ----------
    tracks
        Tracks whose genres are genres of the classifier.
    closed_set
        Whether the model chooses among the genres of the tracks only, instead of all of its own.
    jobs
        Files decoded at once; as many as there are cores by default.
    progress
        Called after each track.

    Raises
    ------
    DatasetError
        When none of the tracks can be decoded.
    """
    decoded: list[Track] = []
    rows: list[NDArray[np.float64]] = []
    failures: list[FileError] = []
    present = {track.genre for track in tracks}
    allowed = np.array([not closed_set or genre in present for genre in classifier.genres])
    with closing(classifier.predict_many((t.path for t in tracks), jobs=jobs)) as results:
        for track, result in zip(tracks, results, strict=True):
            if isinstance(result, FileError):
                failures.append(result)
            elif result.genre is None and result.labels is None:  # no segment has sound
                failures.append(FileError(track.path, result.warnings[-1]))
            else:
                decoded.append(track)
                row = np.array([result.probabilities[genre] for genre in classifier.genres])
                if result.genre is None:
                    # All genres are equally probable; the right one must not win by its position.
                    row[classifier.genres.index(track.genre)] *= 0.999
                rows.append(row * allowed / (row * allowed).sum())
            if progress:
                progress()
    if not rows:
        raise DatasetError(f"of {counted(len(tracks), 'track')}, none could be decoded")
    predictions = Predictions(
        genres=tuple(classifier.genres),
        tracks=tuple(track.id for track in decoded),
        folds=(ONLY,) * len(decoded),
        truth=np.array([classifier.genres.index(track.genre) for track in decoded]),
        probabilities=np.array(rows),
        artists=tuple(track.artist or "" for track in decoded),
    )
    return TrackPredictions(predictions, tuple(decoded), tuple(failures))
