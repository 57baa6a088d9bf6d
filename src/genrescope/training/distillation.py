"""Targets of a teacher: what a larger network predicts for the training tracks (distillation).

A file of targets is a NumPy `.npz` with `X` `[n, targets]` and `IDS` `[n]`, the file that each row
was computed from, or `track_id` `[n]`. The rows of one track are in time order and evenly spaced
over it. Ids of tracks become those of the data set by `genrescope.datasets.file_names`: of `IDS`
without folders where names stay unique, of `track_id` without an audio file's suffix alone.
Activations between 0 and 1 become log-odds; other numbers, such as embeddings, are taken
as they are. The published MusiCNN taggrams of GTZAN have this form, and VGGish's embeddings of FMA.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genrescope.datasets.file_names import refuse_collisions, track_ids, without_suffix
from genrescope.errors import DatasetError
from genrescope.untrusted import open_npz

Targets = dict[str, NDArray[np.float32]]


def load_targets(files: Iterable[str | PathLike[str]]) -> Targets:
    """Read the targets, `[n, targets]` by track id: log-odds of activations, or embeddings.

    Raises
    ------
    DatasetError
        When a file is not of this form, has another number of targets than the one before, or two
        of its names, or two files, are about one track.
    """
    targets: Targets = {}
    origin: dict[str, str | PathLike[str]] = {}
    for file in files:
        try:
            with open_npz(Path(file)) as arrays:
                values = arrays["X"].astype(np.float32)
                key = "IDS" if "IDS" in arrays else "track_id"
                names = arrays[key].astype(str)
        except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise DatasetError(
                f"{file}: not a file of a teacher's targets with X and IDS or track_id: {error}"
            ) from None
        if values.ndim != 2 or len(values) != len(names):
            raise DatasetError(f"{file}: X {values.shape} does not match IDS {names.shape}")
        if targets and values.shape[1] != next(iter(targets.values())).shape[1]:
            raise DatasetError(f"{file}: {values.shape[1]} targets, unlike the file before it")
        if not np.isfinite(values).all():
            raise DatasetError(f"{file}: some of the targets are not finite numbers")
        if values.min(initial=0.0) >= 0 and values.max(initial=0.0) <= 1:
            clipped = np.clip(values, 1e-3, 1 - 1e-3)
            values = np.log(clipped / (1 - clipped))
        for track, rows in _rows(file, names.tolist(), are_files=key == "IDS").items():
            if track in targets:
                raise DatasetError(f"track {track} is in {origin[track]} and in {file}")
            targets[track], origin[track] = values[rows], file
    return targets


def _rows(
    file: str | PathLike[str], names: Sequence[str], *, are_files: bool
) -> dict[str, list[int]]:
    """The rows of each track, in order, by id."""
    try:
        if are_files:
            ids = track_ids(names)
        else:
            ids = [without_suffix(name) for name in names]
            refuse_collisions(dict(zip(names, ids, strict=True)))
    except ValueError as error:
        raise DatasetError(f"{file}: {error}") from None
    rows: dict[str, list[int]] = {}
    for index, track in enumerate(ids):
        rows.setdefault(track, []).append(index)
    return dict(sorted(rows.items()))


def standardised_targets(
    targets: Mapping[str, NDArray[np.float32]], train: Iterable[str]
) -> Targets:
    """Scale the targets of the training tracks to mean 0 and standard deviation 1 over them.

    Those of all other tracks are left out, so that nothing about them can be trained on.

    Raises
    ------
    DatasetError
        When there are targets for none of the training tracks.
    """
    known = {track: targets[track] for track in train if track in targets}
    if not known:
        raise DatasetError("the teacher has targets for none of the training tracks")
    stacked = np.concatenate(list(known.values()))
    mean, deviation = stacked.mean(axis=0), np.maximum(stacked.std(axis=0), 1e-6)
    return {track: (values - mean) / deviation for track, values in known.items()}
