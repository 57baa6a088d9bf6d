"""Track ids of the names of files that a table or an array states.

An id is a file's name without suffix; folders belong to it where names repeat, as many as make it
unique. Only suffixes of music are taken off: not every name has one, and the ids of GTZAN have a
dot inside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from genrescope.audio import AUDIO_SUFFIXES

# Of music, of pictures of its spectrogram, and of features.
_SUFFIXES = {*AUDIO_SUFFIXES, ".png", ".npy", ".npz"}


def without_suffix(name: str) -> str:
    """A name without the suffix of a file of music, or of its features.

    Examples
    --------
    >>> without_suffix("blues.00000.wav"), without_suffix("blues.00000"), without_suffix("a/b.mp3")
    ('blues.00000', 'blues.00000', 'a/b')
    """
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in _SUFFIXES else name


def track_ids(files: Sequence[str]) -> list[str]:
    """The id of each of these files, which may repeat: with as many folders as all of them need.

    Raises
    ------
    ValueError
        When two files differ in their suffix alone.

    Examples
    --------
    >>> track_ids(["jazz/a.wav", "rock/b.wav"]), track_ids(["jazz/1.wav", "rock/1.wav"])
    (['a', 'b'], ['jazz/1', 'rock/1'])
    """
    bare = {file: _parts(file) for file in dict.fromkeys(files)}
    refuse_collisions({file: _joined(parts) for file, parts in bare.items()})
    deepest = max(map(len, bare.values()), default=1)
    depth = next(n for n in (1, 2, deepest) if len({p[-n:] for p in bare.values()}) == len(bare))
    return [_joined(bare[file][-depth:]) for file in files]


def refuse_collisions(ids: Mapping[str, str]) -> None:
    """Refuse two names that have become one id.

    Raises
    ------
    ValueError
        Names both.
    """
    first: dict[str, str] = {}
    for name, own in ids.items():
        if first.setdefault(own, name) != name:
            raise ValueError(f"{first[own]} and {name} would both be the track {own}")


def possible_ids(file: str) -> set[str]:
    """All that `track_ids` may make of a file, whatever other files there are."""
    parts = _parts(file)
    return {_joined(parts[-depth:]) for depth in (1, 2, len(parts))}


def _joined(parts: Sequence[str]) -> str:
    return str(PurePosixPath(*parts))


def _parts(file: str) -> tuple[str, ...]:
    """Folders and name, without suffix."""
    return PurePosixPath(without_suffix(file.replace("\\", "/"))).parts or ("",)
