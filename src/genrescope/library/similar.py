"""What sounds alike: the tracks of a library as directions around their middle.

Conventions
-----------
Likeness is the cosine between two embeddings from which the library's mean was taken off. Raw
embeddings share most of their direction (what all music has in common), so that their cosines crowd
near 1; around the mean, 0 says "no more alike than any two tracks here", 1 "the same", and below 0
"less alike than most". The figures therefore belong to one library. Search looks at every track;
among 100,000 and more it asks the library's index (`genrescope.library.index`) instead.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import FileError, GenrescopeError
from genrescope.library.files import Found, content_of
from genrescope.library.index import Index, unit
from genrescope.library.store import Entry, Library, LibraryError


@dataclass(frozen=True, eq=False)
class Query:
    """A track that others are compared with.

    Attributes
    ----------
    name
        What people call it; the file as it was named, where it is not in the library.
    direction
        Unit vector around the library's mean, float64 `[size]`.
    entry
        Its row; that which it would have, where it is not in the library.
    """

    name: str
    direction: NDArray[np.float64]
    entry: Entry


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

    def sql(self, genres: Sequence[str]) -> str | None:
        """Genre and years as the index is asked for them; `genres` are those of the model."""
        wishes = []
        if self.genre is not None:
            named = (genre.replace("'", "''") for genre in genres if _same(self.genre, genre))
            wishes.append(" OR ".join(f"genre = '{genre}'" for genre in named) or "false")
        if self.years is not None:
            wishes.append(f"year >= {self.years[0]} AND year <= {self.years[1]}")
        return " AND ".join(f"({wish})" for wish in wishes) or None


class Space:
    """The tracks of a library that have an embedding, around their mean.

    Those of a library with an index are not read before they are asked for: `find` and `nearest` do
    without.

    Raises
    ------
    LibraryError
        When the library has no such track.
    """

    def __init__(self, library: Library) -> None:
        self.library = library
        self._index = Index.open(library)
        if self._index is None and not self.entries:
            raise LibraryError(library.folder, "no track in it can be compared with anything")

    @cached_property
    def entries(self) -> list[Entry]:
        """The tracks."""
        return [entry for entry in self._all if entry.is_placed]

    @cached_property
    def directions(self) -> NDArray[np.float32]:
        """Unit vectors, float32 `[tracks, size]`; zeros for a track that is the mean itself."""
        return unit(self._embeddings - self._mean).astype(np.float32)

    @cached_property
    def _all(self) -> list[Entry]:
        return self.library.entries()

    @property
    def _embeddings(self) -> NDArray[np.float32]:
        return np.stack([entry.embedding for entry in self.entries])

    @cached_property
    def _mean(self) -> NDArray[np.float64]:
        if self._index is not None:
            return self._index.mean
        return np.asarray(self._embeddings.mean(axis=0, dtype=np.float64))

    def find(self, track: str | os.PathLike[str]) -> Query:
        """Look a track up, by its file, or by its path or name as the library shows it.

        A file that is not in the library is heard, by the model that heard the library.

        Raises
        ------
        GenrescopeError
            There is no such file or track, there are several, or it can't be heard.
        """
        file, wanted = in_place(track), os.fspath(track)
        here = self._at(file) or ([] if file.exists() else self._called(wanted))
        if len(here) > 1:
            places = ", ".join(str(entry.file) for entry in here[:3])
            raise GenrescopeError(f"{wanted}: there are {len(here)} of it, name one: {places}")
        is_outside = not here
        if is_outside:
            if not file.exists():
                raise FileError(wanted, "no such file, and no such track in the library")
            here = [self._hear(file)]
        (entry,) = here
        if entry.genre is None:
            raise FileError(entry.file, entry.problem or "nothing but silence was heard in it")
        name = wanted if is_outside else entry.name
        return Query(name, self._place(entry.embedding), entry)

    def genre(self, name: str) -> str:
        """A genre as the library's model calls it, upper and lower case aside.

        Raises
        ------
        GenrescopeError
            It knows none of that name.
        """
        genres = self.library.model.genres
        for genre in genres:
            if _same(name, genre):
                return genre
        known = ", ".join(genres)
        raise GenrescopeError(f"{name}: no genre of the library's model; it knows {known}")

    def nearest(
        self, query: Query, n: int = 10, wanted: Wanted | None = None
    ) -> list[tuple[Entry, float]]:
        """The `n` tracks most like one, most alike first, with their likeness.

        The track itself and copies of its audio are left out; of each other recording that the
        library holds more than once, one is found.
        """
        wanted = wanted or Wanted()
        content = query.entry.content
        index = self._usable_index
        if index is not None:
            return index.nearest(
                query.direction,
                n,
                wanted.sql(self.library.model.genres),
                lambda entry: entry.content != content and wanted.allows(entry),
            )
        likeness = self.directions @ query.direction.astype(np.float32)
        seen = {content}
        found: list[tuple[Entry, float]] = []
        for place in np.argsort(-likeness, kind="stable"):
            entry = self.entries[place]
            if entry.content not in seen and wanted.allows(entry):
                seen.add(entry.content)
                found.append((entry, float(likeness[place])))
                if len(found) == n:
                    break
        return found

    def _at(self, file: Path) -> list[Entry]:
        if self._usable_index:
            return self.library.at(file)
        return [entry for entry in self._all if entry.file == file]

    def _called(self, name: str) -> list[Entry]:
        if self._usable_index:
            return self.library.called(name)
        return [entry for entry in self._all if name in (entry.path, entry.name)]

    @property
    def _usable_index(self) -> Index | None:
        """The index, where it is not simpler to look at what was read anyway."""
        read = "_all" in self.__dict__
        return self._index if self._index and self._index.is_current and not read else None

    def _place(self, embedding: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(unit((embedding - self._mean)[None])[0])

    def _hear(self, file: Path) -> Entry:
        from genrescope.inference import Classifier
        from genrescope.library.scan import about, heard

        model = self.library.model
        classifier = Classifier.load(model.source)
        if classifier.manifest.sha256 != model.sha256:
            reason = f"the model {model.source} is no longer the one that heard it: scan --rescan"
            raise LibraryError(self.library.folder, reason)
        prediction = classifier.predict(file)
        status = file.stat()
        found = Found(file, status.st_size, status.st_mtime_ns)
        return heard(about(found, file.parent, content_of(file)), prediction, model.genres)


def in_place(file: str | os.PathLike[str]) -> Path:
    """A file's path as a library has it: absolute, without links but for the file itself."""
    path = Path(os.path.abspath(file))  # noqa: PTH100
    return path.parent.resolve() / path.name


def mean_likeness(directions: NDArray[np.float32], order: Sequence[int]) -> float:
    """The mean likeness of neighbours in an order of tracks."""
    chosen = directions[list(order)]
    return float(np.mean(np.sum(chosen[1:] * chosen[:-1], axis=1)))


def _same(one: str, other: str | None) -> bool:
    return other is not None and one.strip().casefold() == other.strip().casefold()
