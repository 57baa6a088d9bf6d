"""Further data sets that a network is trained on in addition to the run's own.

Only the run's own data set is split, validated and tested on; all tracks of a further one are used
for training. So that the network learns genres and not which collection a track is from:

- Genres of all sets are mapped into one taxonomy (`genrescope.taxonomy`). The loss of a set is the
  cross-entropy over the genres that this set has, so the network learns neither from genres
  that the set does not have, nor from which set a track is in. A track whose genre is not in the
  taxonomy has no genre loss, but may have a teacher's targets.
- A batch is of one set, and batch normalisation uses its own statistics. The network that is kept
  has those of the run's own data set.
- A track that is the same recording as one that is validated or tested on, or by the same artist
  where the split keeps artists apart, is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from genrescope.datasets import Dataset, Track
from genrescope.datasets.fingerprints import fingerprints, same_recording
from genrescope.errors import DatasetError
from genrescope.features.cache import FeatureCache
from genrescope.taxonomy import taxonomy
from genrescope.training.data import FloatArray, TrackFeatures, TrainingData, read_windows
from genrescope.training.protocols import Protocol
from genrescope.training.recipe import Recipe
from genrescope.training.reporter import Reporter
from genrescope.wording import counted


@dataclass(frozen=True)
class FurtherData:
    """The features of a further data set.

    Attributes
    ----------
    name
        Name of the data set.
    tracks
        Those that can be used, by id, with the taxonomy's name of the genre, or "".
    features
        By track id.
    """

    name: str
    tracks: Mapping[str, Track]
    features: Mapping[str, TrackFeatures]

    @property
    def genres(self) -> frozenset[str]:
        """Those of its tracks, as the taxonomy names them."""
        return frozenset(track.genre for track in self.tracks.values()) - {""}


def with_taxonomy(tracks: Iterable[Track]) -> list[Track]:
    """The tracks with the taxonomy's names of their genres; "" for what it does not have."""
    return [replace(track, genre=taxonomy().find(track.genre) or "") for track in tracks]


def load_further(
    recipe: Recipe, dataset: Dataset, reporter: Reporter, cache: FeatureCache | None = None
) -> FurtherData:
    """Read a further data set by the recipe's front end.

    Raises
    ------
    DatasetError
        When none of its tracks can be used.
    """
    tracks = with_taxonomy(dataset.tracks)
    windows, _ = read_windows(recipe.frontend, tracks, {}, reporter, cache)
    usable = {track.id: track for track in tracks if track.id in windows}
    if not usable:
        raise DatasetError(f"{dataset.name}: none of the tracks can be used")
    return FurtherData(
        dataset.name, usable, {name: TrackFeatures(windows[name]) for name in usable}
    )


def refuse_leaks(
    further: FurtherData, tracks: Mapping[str, Track], protocol: Protocol, *, by_artist: bool
) -> None:
    """Refuse a further data set that has music which is validated or tested on.

    Parameters
    ----------
    further
        The further data set; all its tracks are trained on.
    tracks
        Tracks of the run's own data set, by id.
    protocol
        The jobs, with the tracks that are validated and tested on.
    by_artist
        Whether the split keeps artists apart.

    Raises
    ------
    DatasetError
        Names the first such track. Files of the same content are found, and the same recording
        where both have a fingerprint (`genrescope.datasets.fingerprints`).
    """
    held_out = {
        name for job in protocol.jobs for name in (*job.validation, *job.test, *job.monitored)
    }
    kept = [tracks[name] for name in sorted(held_out) if name in tracks]
    others = list(further.tracks.values())
    if by_artist:
        artists = {track.artist for track in kept if track.artist}
        _refuse_first(further.name, others, [t.artist in artists for t in others], "artist")
    contents = {_content(track) for track in kept} - {None}
    _refuse_first(further.name, others, [_content(t) in contents for t in others], "file")
    known = [one for one in fingerprints([track.path for track in kept]) if one]
    table = np.frombuffer(b"".join(known), np.uint8).reshape(len(known), -1)
    if len(known):
        found = fingerprints([track.path for track in others])
        _refuse_first(further.name, others, same_recording(found, table), "recording")


def _refuse_first(name: str, tracks: Sequence[Track], same: Sequence[bool], what: str) -> None:
    for track, leaks in zip(tracks, same, strict=True):
        if leaks:
            raise DatasetError(
                f"{name}: track {track.id} has the same {what} as a track that is validated or "
                f"tested on ({counted(sum(same), 'such track')}): leave them out"
            )


def _content(track: Track) -> bytes | None:
    try:
        return hashlib.sha256(track.path.read_bytes()).digest()
    except OSError:
        return None


def with_further(data: TrainingData, further: Sequence[FurtherData]) -> TrainingData:
    """The data of a run whose genres are those of all sets, with the further sets' tracks."""
    genres = tuple(sorted({*data.genres, *(genre for each in further for genre in each.genres)}))

    def labelled(each: FurtherData) -> tuple[tuple[FloatArray, int], ...]:
        return tuple(
            (own.frames(data.frontend), genres.index(genre) if genre else -1)
            for own, genre in (
                (each.features[name], track.genre) for name, track in each.tracks.items()
            )
        )

    return replace(data, genres=genres, further=tuple(map(labelled, further)))
