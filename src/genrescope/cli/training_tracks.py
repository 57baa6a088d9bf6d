"""Notes of `classify --verbose` and `map` about files that the model was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from genrescope.cli.terminal import notice, progress
from genrescope.wording import counted

_NAMED = 4


def note_training_tracks(
    fields: Mapping[str, str] | None, files: Sequence[Path], *, jobs: int | None = None
) -> list[bool | None] | None:
    """Print how many of the files a model was trained on, and the first of them.

    Parameters
    ----------
    fields
        `training_tracks` of the bundle's manifest.
    files
        Decoded for half a minute each, unless their fingerprints are cached.
    jobs
        Files decoded at once; as many as cores by default.

    Returns
    -------
    list or None
        Whether each file was used, None where that is not known; None for all where the
        bundle does not list its tracks.
    """
    from genrescope.datasets import Track
    from genrescope.datasets.dataset import first_names
    from genrescope.datasets.fingerprints import training_note, used_in_training

    # By the sound alone: a file's name says nothing about the data set it may be of.
    tracks = [Track(str(number), path, "") for number, path in enumerate(files)]
    with progress("files") as bar:
        task = bar.add_task("Comparing with training tracks", total=len(files))
        used = used_in_training(
            fields, tracks, jobs=jobs, report=lambda done: bar.update(task, completed=done)
        )
    if used is None:
        notice("the model does not list the tracks it was trained on")
    elif note := training_note(used):
        names = [str(file) for file, each in zip(files, used, strict=True) if each is not False]
        notice(f"{note}: {first_names(names, _NAMED)}")
    else:
        notice(f"of {counted(len(files), 'file')}, none was used in training")
    return used
