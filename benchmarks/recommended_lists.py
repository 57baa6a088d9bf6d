"""The tracks, vectors and lists of `benchmarks/recommendation.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genrescope.datasets import Track, read_dataset, with_artists
from genrescope.errors import DatasetError, FileError
from genrescope.evaluation.predictions import read_predictions
from genrescope.evaluation.run_result import RunResult
from genrescope.features import Frontend
from genrescope.inference import Classifier
from genrescope.library.recommend import diversified, nearness, pushed, recommend
from genrescope.library.rows import Entry, Model
from genrescope.library.similar import Query, Space, TrackFilter
from genrescope.library.store import Library

LENGTHS = (1, 5, 10)
LIST = 10
DIVERSITIES = (0.0, 0.3, 0.7)
# The further tracks of a query are drawn this many times, and the figures averaged.
DRAWS = 5
OURS = "the model's embedding"
MFCC = "means and deviations of 20 MFCCs"
RANDOM = "random"
BEST = "upper bound"

Floats = NDArray[np.float64]
Places = NDArray[np.intp]
# Scores of tracks from their similarity to the likes and to the dislikes, each `[queries, tracks]`.
Rule = Callable[[Floats, Floats], Floats]

LIKE_RULES: dict[str, Rule] = {
    "soft maximum, each like by its own nearest": lambda likes, _: nearness(likes),
    "maximum": lambda likes, _: likes.max(axis=0),
    "mean": lambda likes, _: likes.mean(axis=0),
}
DISLIKE_RULES: dict[str, Rule] = {
    "a third of the similarity to the nearest is subtracted": lambda likes, far: pushed(
        nearness(likes), far
    ),
    "none: dislikes are ignored": lambda likes, _: nearness(likes),
    "Rocchio's: the mean of the likes less a fifth of the mean of the dislikes": (
        lambda likes, far: likes.mean(axis=0) - 0.2 * far.mean(axis=0)
    ),
    "tracks nearer to a dislike than to all likes come last": (
        lambda likes, far: nearness(likes) - 9 * (far.max(axis=0) > likes.max(axis=0))
    ),
}


@dataclass(frozen=True)
class Evaluated:
    """The evaluated tracks, and each method's library of them.

    Attributes
    ----------
    names, genres, artists
        Of each track, `[tracks]`; the genre is the true one.
    spaces
        By method.
    left_out
        How many test tracks have no known artist, or can't be decoded.
    """

    names: NDArray[np.str_]
    genres: NDArray[np.str_]
    artists: NDArray[np.str_]
    spaces: dict[str, Space]
    left_out: int

    def others(self, places: Sequence[int] | Places) -> Places:
        """Tracks by other artists than these tracks'."""
        return np.flatnonzero(~np.isin(self.artists, self.artists[np.asarray(places)]))

    def directions(self, method: str) -> NDArray[np.float32]:
        """In the order of the names; a table of LanceDB has none of its own."""
        space = self.spaces[method]
        place = {entry.path: number for number, entry in enumerate(space.entries)}
        return space.directions[[place[name] for name in self.names]]


# Tracks and vectors --------------------------------------------------------------------------


def test_tracks(run: RunResult, data: Path, artists: Path) -> tuple[list[Track], int]:
    """The run's test tracks whose artist is known, and how many others there are."""
    predictions = read_predictions(run.folder)
    if run.leaked or set(predictions.folds) != {"only"}:
        reason = "expected a run that trains one network and has a test subset, for its"
        raise FileError(run.folder, f"{reason} network must not be trained on the evaluated tracks")
    here = {track.id: track for track in with_artists(read_dataset(data).tracks, artists)}
    tested = [here[name] for name in predictions.tracks if name in here]
    tracks = [track for track in tested if track.artist]
    if len(tracks) <= LIST:
        raise DatasetError(f"{data}: {len(tracks)} of the run's test tracks are too few")
    return tracks, len(predictions.tracks) - len(tracks)


def read_tracks(run: RunResult, data: Path, artists: Path, folder: Path) -> Evaluated:
    """Compute the vectors of all tracks by all methods, as libraries in a folder."""
    listed, left_out = test_tracks(run, data, artists)
    classifier = Classifier.load(run.folder)
    outcomes = classifier.predict_many(track.path for track in listed)
    decoded = [
        (track, each)
        for track, each in zip(listed, outcomes, strict=True)
        if not isinstance(each, FileError) and each.genre is not None
    ]
    tracks, predictions = zip(*decoded, strict=True)
    chances = [[each.probabilities[genre] for genre in classifier.genres] for each in predictions]
    mfcc = standardised(mfcc_statistics(classifier.manifest.frontend, tracks))
    vectors = {
        OURS: np.stack([each.embedding for each in predictions]),
        "the genres' probabilities": np.array(chances),
        MFCC: mfcc,
        "means of 20 MFCCs": mfcc[:, :20],
    }
    return Evaluated(
        np.array([track.id for track in tracks]),
        np.array([track.genre for track in tracks]),
        np.array([track.artist for track in tracks]),
        {name: space(folder / str(i), tracks, vectors[name]) for i, name in enumerate(vectors)},
        left_out + len(listed) - len(tracks),
    )


def mfcc_statistics(frontend: Frontend, tracks: Sequence[Track]) -> Floats:
    """Means and deviations of 20 MFCCs over each track, on the model's own STFT and mel bands."""
    names = ("sample_rate", "n_fft", "hop_length", "center", "n_bins", "n_mels", "fmin", "fmax")
    stft = {name: getattr(frontend.computed, name) for name in names}
    settings = {"kind": "mfcc", "n_mfcc": 20, **stft}
    pooled = Frontend.model_validate(
        {"feature": settings, "scale": "none", "segments": {"seconds": 30}, "pool": ("mean", "std")}
    )

    def of(track: Track) -> Floats:
        windows = pooled.windows(track.path)
        segments = [s.values.ravel() for window in windows for s in pooled.segments_of(window)]
        return np.asarray(np.mean(segments, axis=0, dtype=float))

    return np.stack([of(track) for track in tracks])


def standardised(values: Floats) -> Floats:
    """Each column with mean 0 and deviation 1 over the tracks."""
    return np.asarray((values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-12))


def space(folder: Path, tracks: Sequence[Track], vectors: Floats) -> Space:
    """A library of tracks with these vectors as their embeddings."""
    model = Model("measured", "0" * 64, "measured", ("a", "b"), vectors.shape[1])
    library, half = Library.create(folder, model), np.full(2, 0.5, np.float32)
    library.put(
        [
            Entry("", t.id, t.id, 1, 1, half, vector, artist=t.artist, genre=t.genre)
            for t, vector in zip(tracks, vectors.astype(np.float32), strict=True)
        ]
    )
    return Space(library)


# Lists ---------------------------------------------------------------------------------------


def lists_for_each(evaluated: Evaluated, method: str, diversity: float = 0.0) -> list[Places]:
    """What `recommend` gives for each track, by other artists."""
    space, place = evaluated.spaces[method], {name: i for i, name in enumerate(evaluated.names)}
    found: list[Places] = [np.zeros(0, np.intp)] * len(place)
    for entry, direction in zip(space.entries, space.directions, strict=True):
        query = Query(entry.name, direction.astype(np.float64), entry)
        filters = [TrackFilter(not_artist=entry.artist)]
        named = recommend(space, [query], n=LIST, diversity=diversity, filters=filters)
        found[place[entry.path]] = np.array([place[r.entry.path] for r in named], np.intp)
    return found


def random_lists(evaluated: Evaluated) -> list[Places]:
    """Ten random candidates, for each track."""
    random = np.random.default_rng(0)
    return [random.permutation(evaluated.others([i]))[:LIST] for i in range(len(evaluated.names))]


def best(
    directions: NDArray[np.float32],
    rule: Rule,
    evaluated: Evaluated,
    likes: list[int],
    dislikes: Sequence[int] = (),
) -> Places:
    """The best ten by a rule, by other artists than those of the given tracks."""
    places = evaluated.others([*likes, *dislikes])
    near, far = (
        (directions[list(each)] @ directions[places].T).astype(float) for each in (likes, dislikes)
    )
    return places[diversified(rule(near, far), directions[places], LIST, 0.0)]
