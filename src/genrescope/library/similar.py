"""What sounds alike: the tracks of a library as directions around their middle.

Conventions
-----------
Likeness is the cosine between two embeddings from which the library's mean was taken off. Raw
embeddings share most of their direction (what all music has in common), so that their cosines crowd
near 1; around the mean, 0 says "no more alike than any two tracks here", 1 "the same", and below 0
"less alike than most". The figures therefore belong to one library. Search is exact: every track
is looked at.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import FileError, GenrescopeError
from genrescope.library.store import Entry, Library, LibraryError

_SMALLEST = 1e-12


@dataclass(frozen=True, eq=False)
class Query:
    """A track that others are compared with.

    Attributes
    ----------
    name
        What people call it.
    direction
        Unit vector around the library's mean, float64 `[size]`.
    entry
        Its row, where it is in the library.
    """

    name: str
    direction: NDArray[np.float64]
    entry: Entry | None


@dataclass(frozen=True)
class Wanted:
    """Which tracks may be found; None for no wish."""

    genre: str | None = None
    years: tuple[int, int] | None = None
    not_artist: str | None = None
    not_album: str | None = None

    def allows(self, entry: Entry) -> bool:
        """Whether a track is as wished. One without a year or a genre is not in any."""
        return (
            (self.genre is None or _same(self.genre, entry.genre))
            and (
                self.years is None
                or (entry.year is not None and self.years[0] <= entry.year <= self.years[1])
            )
            and not (self.not_artist and _same(self.not_artist, entry.artist))
            and not (self.not_album and _same(self.not_album, entry.album))
        )


class Space:
    """The tracks of a library that have an embedding, around their mean.

    Attributes
    ----------
    entries
        The tracks.
    directions
        Unit vectors, float32 `[tracks, size]`; zeros for a track that is the mean itself.

    Raises
    ------
    LibraryError
        When the library has no such track.
    """

    def __init__(self, library: Library) -> None:
        self.library = library
        self._all = library.entries()
        self.entries = [entry for entry in self._all if entry.is_placed]
        if not self.entries:
            raise LibraryError(library.folder, "no track in it can be compared with anything")
        embeddings = np.stack([entry.embedding for entry in self.entries])
        self._mean = embeddings.mean(axis=0, dtype=np.float64)
        self.directions = _unit(embeddings - self._mean).astype(np.float32)

    def find(self, track: str | os.PathLike[str]) -> Query:
        """Look a track up, by its file, or by its path or name as the library shows it.

        A file that is not in the library is heard, by the model that heard the library.

        Raises
        ------
        GenrescopeError
            There is no such file or track, there are several, or it can't be heard.
        """
        file, wanted = in_place(track), os.fspath(track)
        here = [entry for entry in self._all if entry.file == file]
        here = here or ([] if file.exists() else [e for e in self._all if wanted in _names(e)])
        if len(here) > 1:
            places = ", ".join(str(entry.file) for entry in here[:3])
            raise GenrescopeError(f"{wanted}: there are {len(here)} of it, name one: {places}")
        if not here:
            if not file.exists():
                raise FileError(wanted, "no such file, and no such track in the library")
            return Query(wanted, self._place(self._hear(file)), None)
        (entry,) = here
        if entry.genre is None:
            raise FileError(entry.file, entry.problem or "nothing but silence was heard in it")
        return Query(entry.name, self._place(entry.embedding), entry)

    def nearest(
        self, query: Query, n: int = 10, wanted: Wanted | None = None
    ) -> list[tuple[Entry, float]]:
        """The `n` tracks most like one, most alike first, with their likeness.

        The track itself and copies of its audio are left out.
        """
        likeness = self.directions @ query.direction.astype(np.float32)
        wanted = wanted or Wanted()
        content = query.entry.content if query.entry else None
        found: list[tuple[Entry, float]] = []
        for place in np.argsort(-likeness, kind="stable"):
            entry = self.entries[place]
            if entry.content != content and wanted.allows(entry):
                found.append((entry, float(likeness[place])))
                if len(found) == n:
                    break
        return found

    def _place(self, embedding: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(_unit((embedding - self._mean)[None])[0])

    def _hear(self, file: Path) -> NDArray[np.float32]:
        from genrescope.inference import Classifier

        model = self.library.model
        classifier = Classifier.load(model.source)
        if classifier.manifest.sha256 != model.sha256:
            reason = f"the model {model.source} is no longer the one that heard it: scan --rescan"
            raise LibraryError(self.library.folder, reason)
        prediction = classifier.predict(file)
        if prediction.genre is None:
            raise FileError(file, "nothing but silence was heard in it")
        return prediction.embedding


def in_place(file: str | os.PathLike[str]) -> Path:
    """A file's path as a library has it: absolute, without links but for the file itself."""
    path = Path(os.path.abspath(file))  # noqa: PTH100
    return path.parent.resolve() / path.name


def mean_likeness(directions: NDArray[np.float32], order: Sequence[int]) -> float:
    """The mean likeness of neighbours in an order of tracks."""
    chosen = directions[list(order)]
    return float(np.mean(np.sum(chosen[1:] * chosen[:-1], axis=1)))


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of length 1; zeros stay."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, _SMALLEST))


def _names(entry: Entry) -> tuple[str, str]:
    return entry.path, entry.name


def _same(one: str, other: str | None) -> bool:
    return other is not None and one.strip().casefold() == other.strip().casefold()
