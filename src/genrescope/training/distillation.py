"""Targets of a teacher: what a larger network predicts for the training tracks (distillation).

A file of targets is a NumPy `.npz` with `X` `[n, targets]`, activations between 0 and 1, and `IDS`
`[n]`, the file that each row was computed from. The rows of one track are in time order and evenly
spaced over it. The published MusiCNN taggrams of GTZAN have this form.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import DatasetError

Targets = dict[str, NDArray[np.float32]]


def load_targets(files: Iterable[str | PathLike[str]]) -> Targets:
    """Read the log-odds of the activations, `[n, targets]` by track id.

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
            raise DatasetError(
                f"{file}: not a file of a teacher's targets with X and IDS: {error}"
            ) from None
        if values.ndim != 2 or len(values) != len(names):
            raise DatasetError(f"{file}: X {values.shape} does not match IDS {names.shape}")
        if targets and values.shape[1] != next(iter(targets.values())).shape[1]:
            raise DatasetError(f"{file}: {values.shape[1]} targets, unlike the file before it")
        clipped = np.clip(values, 1e-3, 1 - 1e-3)
        odds = np.log(clipped / (1 - clipped))
        for name in np.unique(names):
            targets[PurePosixPath(name).stem] = odds[names == name]
    return targets


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
