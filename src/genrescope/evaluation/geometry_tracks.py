"""The genre geometry of a run or a bundle: which tracks are used, and their embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from genrescope.datasets import Dataset, Track, group_tracks
from genrescope.datasets.fingerprints import training_note, used_in_training
from genrescope.errors import BundleError, DatasetError, FileError
from genrescope.evaluation.geometry import EmbeddedTracks, LayerGeometry, check_genres, measure
from genrescope.evaluation.predictions import read_predictions
from genrescope.evaluation.run_result import RECIPE_FILE, RunResult
from genrescope.inference import Classifier
from genrescope.wording import counted, was

Subset = Literal["test", "all"]

TEST = "test"
TRAINING = "training or validation"
UNKNOWN = "subset not known"
UNUSED = "not used in training"

_BY_TRACK = "Split by track: the network may have been trained on other tracks by the same artists."
_MEMORISED = (
    "tracks that it was trained on form clusters in all trained layers, because it memorised them"
)


@dataclass(frozen=True, eq=False)
class Geometry:
    """The geometry of a network's layers, and how it was computed.

    Attributes
    ----------
    model, data
        Names of the network and of the data set.
    command, seed
        To compute it again.
    split
        The run's, in words; empty where it is not known.
    tracks, layers
        The tracks that were embedded, and the geometry of each layer.
    alarms, notes
        Sentences that nobody may miss, and others.
    """

    model: str
    data: str
    command: str
    split: str
    seed: int
    tracks: EmbeddedTracks
    layers: tuple[LayerGeometry, ...]
    alarms: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def subsets(self) -> dict[str, int]:
        """Number of tracks of each subset."""
        names = self.tracks.subsets
        return {name: names.count(name) for name in dict.fromkeys(names)}

    @property
    def majority_accuracy(self) -> float:
        """Accuracy of always predicting the most frequent genre."""
        return max(map(self.tracks.genres.count, self.tracks.names)) / len(self.tracks.genres)


def compute_geometry(
    model: str | PathLike[str],
    dataset: Dataset,
    *,
    layers: Sequence[str] = (),
    subset: Subset | None = None,
    maps: bool = True,
    seed: int = 0,
    command: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Geometry, list[FileError]]:
    """Embed tracks in the layers of a network, and measure how their genres are separated.

    Parameters
    ----------
    model
        A run folder, a bundle or the name of a shipped model.
    layers
        Names of layers; by default all depths of the network, or its one embedding.
    subset
        For a run: the tracks that it was tested on ("test", by default), or all of the data set. A
        bundle by itself does not list its test tracks; all are used, those that it was trained on
        as a subset of their own.
    maps
        Whether to compute t-SNE.
    seed
        Seed of t-SNE and of the bootstrap.
    command
        The command line, to be stored with the result.
    progress
        Called after each track with the number of tracks done and their total.

    Returns
    -------
    geometry, failures
        Failures are of the tracks that could not be decoded.

    Raises
    ------
    BundleError
        When there is no such model or layer, or its test tracks are not known.
    FileError
        When the run leaks, or its network was trained on all of its tracks.
    DatasetError
        When no track or only one genre is left, or no genre has two tracks.
    """
    classifier = _load(model)
    names = _layer_names(classifier, layers)
    chosen = _choose(Path(model), classifier, dataset, subset)
    check_genres([track.genre for track in chosen.tracks])
    positions, vectors, failures = _embed(classifier, chosen.tracks, names, progress)
    tracks = _embedded(chosen, positions)
    alone = check_genres(tracks.genres)
    single = f"At least two tracks of each genre are needed; there is one of: {', '.join(alone)}."
    geometry = Geometry(
        model=classifier.manifest.name,
        data=dataset.name,
        command=command,
        split=chosen.split,
        seed=seed,
        tracks=tracks,
        layers=tuple(measure(vectors.items(), tracks, maps=maps, seed=seed)),
        alarms=chosen.alarms,
        notes=(*chosen.notes, *[single] * bool(alone), *_equal_layers(vectors)),
    )
    return geometry, failures


@dataclass(frozen=True)
class _Chosen:
    """Tracks to embed, the subset of each, and what the report says about them."""

    tracks: Sequence[Track]
    subsets: Sequence[str]
    split: str = ""
    alarms: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def _load(model: str | PathLike[str]) -> Classifier:
    folder = Path(model)
    if (folder / RECIPE_FILE).is_file() and not (folder / "bundle").is_dir():
        raise BundleError(model, "a run without a bundle: it is not finished")
    return Classifier.load(model)


def _layer_names(classifier: Classifier, chosen: Iterable[str]) -> list[str]:
    depths = [name for name in classifier.layers if name != "embedding"] or ["embedding"]
    names = list(dict.fromkeys(chosen))
    for name in names:
        if name not in classifier.layers:
            known = ", ".join(classifier.layers)
            raise BundleError(classifier.manifest.name, f"no layer {name!r}; there are: {known}")
    return names or depths


def _choose(
    model: Path, classifier: Classifier, dataset: Dataset, subset: Subset | None
) -> _Chosen:
    if (model / RECIPE_FILE).is_file():
        return _choose_of_run(model, dataset, subset or "test")
    if subset == "test":
        raise BundleError(
            model, "its test tracks are not known; name its run folder, or add --tracks all"
        )
    used = used_in_training(classifier.manifest.training_tracks, dataset.tracks, data=dataset.name)
    if used is not None:
        return _choose_by_fingerprint(dataset, used)
    trained_on = (classifier.manifest.provenance.get("data") or {}).get("name")
    alarm = f"The network was trained on {trained_on}, perhaps on these tracks: {_MEMORISED}."
    return _Chosen(
        dataset.tracks,
        [UNKNOWN] * len(dataset.tracks),
        alarms=(alarm,) if trained_on == dataset.name else (),
    )


def _choose_by_fingerprint(dataset: Dataset, used: Sequence[bool | None]) -> _Chosen:
    """All tracks, in subsets, by whether the bundle lists them as training tracks."""
    names = {True: TRAINING, False: UNUSED, None: UNKNOWN}
    labels = [names[each] for each in used]
    order = sorted(range(len(labels)), key=lambda i: (used[i] is None, used[i] is True))
    note = training_note(used)
    alarms = (f"{note}: {_MEMORISED}.",) if note else ()
    return _Chosen([dataset.tracks[i] for i in order], [labels[i] for i in order], alarms=alarms)


def _choose_of_run(run: Path, dataset: Dataset, subset: Subset) -> _Chosen:
    """A run's test tracks, identified by id and genre in its predictions, or all tracks."""
    result = RunResult.read(run)
    if result.leaked:
        raise FileError(run, "LEAKED: it was trained on segments of every track")
    tested = _test_tracks(run, result)
    if subset == "test" and not tested:
        reason = (
            f"its network was trained on all of its tracks ({result.protocol}); add --tracks all"
        )
        raise FileError(run, reason)
    tracks, labels = dataset.tracks, [TRAINING] * len(dataset.tracks)
    new = [i for i, track in enumerate(tracks) if (track.id, track.genre) in tested]
    if tested and not new:
        raise DatasetError(
            f"{dataset.name}: holds none of the tracks that {run} was tested on; "
            f"for other music name its bundle, {run / 'bundle'}"
        )
    notes = _notes(result, len(new), len(tested))
    if subset == "test":
        note = f"The network was neither trained nor validated on these tracks: {_MEMORISED}."
        chosen = [tracks[i] for i in new]
        return _Chosen(chosen, [TEST] * len(new), result.protocol, notes=(note, *notes))
    for i in new:
        labels[i] = TEST
    known = len(tracks) - len(new)
    alarm = (
        f"The network was trained or validated on {known} of {counted(len(tracks), 'track')}: "
        f"{_MEMORISED}."
    )
    # Test tracks come first, so that tables and legends show them first.
    order = sorted(range(len(tracks)), key=lambda i: labels[i] != TEST)
    ordered = [tracks[i] for i in order]
    return _Chosen(ordered, [labels[i] for i in order], result.protocol, (alarm,), notes)


def _test_tracks(run: Path, result: RunResult) -> set[tuple[str, str]]:
    """Id and genre of the tracks that a run's network was tested on.

    The network in the bundle of a cross-validation was trained on all tracks.
    """
    if result.split is None or result.split.kind == "folds":
        return set()
    found = read_predictions(run)
    genres = (found.genres[genre] for genre in found.truth)
    return set(zip(found.tracks, genres, strict=True))


def _notes(result: RunResult, new: int, tested: int) -> tuple[str, ...]:
    notes = []
    if missing := tested - new:
        there = f"{missing} {was(missing)} not found"
        notes.append(f"Of {counted(tested, 'track')} that it was tested on, {there}.")
    split = result.split
    if new and split and split.kind == "random" and not split.by_artist:
        notes.append(_BY_TRACK)
    return tuple(notes)


def _embed(
    classifier: Classifier,
    tracks: Sequence[Track],
    layers: Sequence[str],
    progress: Callable[[int, int], None] | None,
) -> tuple[list[int], dict[str, NDArray[np.float32]], list[FileError]]:
    """Indices of the tracks that were decoded, each layer's vectors `[decoded, size]`, failures."""
    sizes = classifier.layers
    # Filled in place, so that the largest layer of a large data set is in memory once.
    vectors = {name: np.zeros((len(tracks), sizes[name]), np.float32) for name in layers}
    decoded: list[int] = []
    failures: list[FileError] = []
    with closing(classifier.embed_many((track.path for track in tracks), layers)) as results:
        for index, (track, found) in enumerate(zip(tracks, results, strict=True)):
            if isinstance(found, FileError):
                failures.append(found)
            # The embedding of a track without any segment is zero.
            elif not any(values.any() for values in found.values()):
                failures.append(FileError(track.path, "digital silence"))
            else:
                for name, values in found.items():
                    vectors[name][len(decoded)] = values
                decoded.append(index)
            if progress:
                progress(index + 1, len(tracks))
    return decoded, {name: values[: len(decoded)] for name, values in vectors.items()}, failures


def _embedded(chosen: _Chosen, indices: Sequence[int]) -> EmbeddedTracks:
    tracks = [chosen.tracks[i] for i in indices]
    # Of two copies of a recording often only one is in the table of artists.
    copies = group_tracks(tracks, by_artist=False)
    artist = {copies[track.id]: track.artist for track in tracks if track.artist}
    return EmbeddedTracks(
        ids=tuple(track.id for track in tracks),
        genres=tuple(track.genre for track in tracks),
        subsets=tuple(chosen.subsets[i] for i in indices),
        groups=tuple(
            f"artist {artist[copies[t.id]]}" if copies[t.id] in artist else f"track {copies[t.id]}"
            for t in tracks
        ),
        artists_known=bool(artist),
    )


def _equal_layers(vectors: Mapping[str, NDArray[np.float32]]) -> list[str]:
    """A sentence for each two layers whose vectors are equal."""
    names = list(vectors)
    return [
        f"{first} and {second} are equal: this network has no layer between them."
        for i, first in enumerate(names)
        for second in names[i + 1 :]
        if np.array_equal(vectors[first], vectors[second])
    ]
