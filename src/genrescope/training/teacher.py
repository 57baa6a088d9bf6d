"""Targets that another, larger network gives for the training tracks (distillation).

A teacher's file is a NumPy `.npz` with `X` `[stretches, targets]`, activations between 0 and 1, and
`IDS` `[stretches]`, the file each stretch was taken from; a track's stretches are in time order and
evenly spread over it. The published MusiCNN taggrams of GTZAN have this form.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from os import PathLike
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import DatasetError

Targets = dict[str, NDArray[np.float32]]


def load_teacher(files: Iterable[str | PathLike[str]]) -> Targets:
    """Read the log-odds of the activations, `[stretches, targets]` by track id.

    Raises
    ------
    DatasetError
        When a file is not of this form, or has another number of targets than the one before.
    """
    targets: Targets = {}
    for file in files:
        try:
            with np.load(Path(file), allow_pickle=False) as arrays:
                values, names = arrays["X"].astype(np.float32), arrays["IDS"].astype(str)
        except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise DatasetError(f"{file}: not a teacher's file with X and IDS: {error}") from None
        if values.ndim != 2 or len(values) != len(names):
            raise DatasetError(f"{file}: X {values.shape} does not go with IDS {names.shape}")
        if targets and values.shape[1] != next(iter(targets.values())).shape[1]:
            raise DatasetError(f"{file}: {values.shape[1]} targets, unlike the file before it")
        clipped = np.clip(values, 1e-3, 1 - 1e-3)
        odds = np.log(clipped / (1 - clipped))
        for name in np.unique(names):
            targets[PurePosixPath(name).stem] = odds[names == name]
    return targets


def standardised(targets: Targets, train: Iterable[str]) -> Targets:
    """The targets of the training tracks, each target at mean 0 and deviation 1 over them.

    Those of all other tracks are left out, so that nothing of them can be learned.

    Raises
    ------
    DatasetError
        When the teacher knows none of the training tracks.
    """
    known = {track: targets[track] for track in train if track in targets}
    if not known:
        raise DatasetError("the teacher knows none of the training tracks")
    stacked = np.concatenate(list(known.values()))
    mean, deviation = stacked.mean(axis=0), np.maximum(stacked.std(axis=0), 1e-6)
    return {track: (values - mean) / deviation for track, values in known.items()}
