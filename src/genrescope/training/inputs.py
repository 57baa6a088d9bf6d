"""Read everything a run is given: a data set, stored vectors, artists, a teacher's targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genrescope.datasets import Track, read_dataset, read_table, with_artists
from genrescope.errors import DatasetError
from genrescope.training.distillation import load_targets


@dataclass(frozen=True)
class Inputs:
    """Inputs of a run.

    Attributes
    ----------
    name
        Name of the data set, or of the files of stored vectors where there is no other.
    tracks
        With artists where they are known.
    vectors
        Stored vectors `[frames, size]` by track id.
    teacher
        A teacher's targets `[n, targets]` by track id.
    notices
        One line for each reason that tracks of the data set were left out for.
    """

    name: str
    tracks: Sequence[Track]
    vectors: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    teacher: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    notices: Sequence[str] = ()


def read_inputs(
    data: Path | None = None,
    *,
    features: Sequence[Path] = (),
    artists: Path | None = None,
    teacher: Sequence[Path] = (),
) -> Inputs:
    """Read a data set and what belongs to it.

    Parameters
    ----------
    data
        A data set; without one the files of `features` have to name genres.
    features
        Files of stored vectors, see `genrescope.datasets.tables`.
    artists
        CSV with the columns track and artist.
    teacher
        Files of a teacher's targets, see `genrescope.training.distillation`.

    Raises
    ------
    DatasetError
        When there are no tracks, or a file can't be read.
    """
    table = read_table(list(features)) if features else None
    notices: Sequence[str] = ()
    if data is not None:
        dataset = read_dataset(data, artists=artists)
        name, tracks, notices = dataset.name, dataset.tracks, dataset.notices()
    elif table is not None:
        name, tracks = ", ".join(path.resolve().name for path in features), table.tracks()
        if artists is not None:
            tracks = with_artists(tracks, artists)
    else:
        raise DatasetError("no data: expected a data set, or stored vectors that name genres")
    return Inputs(name, tracks, table.vectors if table else {}, load_targets(teacher), notices)
