"""Similar tracks: the embeddings of a library as directions around their mean.

Conventions
-----------
Similarity is the cosine between two embeddings from which the library's mean embedding was
subtracted. Raw embeddings share most of their direction (what all music has in common), so that
their cosines crowd near 1; around the mean, 0 stands for "no more alike than any two tracks here",
1 for "the same", and negative values for "less alike than most". The figures therefore belong to
one library. Search compares all tracks; in a library of 100,000 and more it uses the index
(`genrescope.library.index`) instead.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import FileError, GenrescopeError
from genrescope.genres import find_genre, same_genre
from genrescope.library.content import content_of
from genrescope.library.corrections import marked
from genrescope.library.files import Found, classified, described
from genrescope.library.index import Index, unit
from genrescope.library.places import LibraryError
from genrescope.library.queries import absolute, find_track, living_copies
from genrescope.library.rows import Entry, labels_of
from genrescope.library.store import Library, quoted
from genrescope.names import name_key
from genrescope.registry import did_you_mean


class ModelMismatchError(LibraryError):
    """A library was made with another model than the one at hand; it has to be scanned anew."""


@dataclass(frozen=True, eq=False)
class Query:
    """A track that others are compared with.

    Attributes
    ----------
    name
        Artist and title, or the path; as the caller named it, where it is not in the library.
    direction
        Unit vector around the library's mean, float64 `[size]`.
    entry
        Its row; where it is not in the library, the row that it would have.
    """

    name: str
    direction: NDArray[np.float64]
    entry: Entry


@dataclass(frozen=True)
class TrackFilter:
    """Which tracks may be found; None where it does not matter.

    Attributes
    ----------
    genre
        In any spelling.
    years
        The first and the last.
    not_artist, not_album
        Artist and album whose tracks are left out.
    max_duration
        Seconds; longer tracks are left out.
    """

    genre: str | None = None
    years: tuple[int, int] | None = None
    not_artist: str | None = None
    not_album: str | None = None
    style: str | None = None
    instrument: str | None = None
    mood: str | None = None
    # Not `float | None`: a caller hands the texts of several fields over as one dictionary.
    max_duration: Any = None

    def allows(self, entry: Entry) -> bool:
        """Whether a track passes. One without a year or a genre fails where that is asked for."""
        return (
            (self.genre is None or _same_genre(self.genre, entry.effective_genre))
            and (
                self.years is None
                or (entry.year is not None and self.years[0] <= entry.year <= self.years[1])
            )
            and has_label(entry.styles, self.style)
            and has_label(entry.instruments, self.instrument)
            and has_label(entry.moods, self.mood)
            and (self.max_duration is None or entry.duration <= self.max_duration)
            and not (self.not_artist and _same(self.not_artist, entry.artist))
            and not (self.not_album and _same(self.not_album, entry.album))
        )

    def sql(self, genres: Sequence[str], corrections: Mapping[str, str]) -> str | None:
        """Genre and years as SQL for the index.

        `genres` are those of the model, `corrections` the owner's by content.

        The rest of the filter is left to `allows`.
        """
        conditions = []
        if self.genre is not None:
            named = [genre for genre in genres if same_genre(self.genre, genre)]
            either = [f"genre = {quoted(genre)}" for genre in named]
            corrected = [
                quoted(content) for content, genre in corrections.items() if genre in named
            ]
            if corrected:
                either.append(f"content IN ({', '.join(corrected)})")
            conditions.append(" OR ".join(either) or "false")
        if self.years is not None:
            conditions.append(f"year >= {self.years[0]} AND year <= {self.years[1]}")
        return " AND ".join(f"({each})" for each in conditions) or None


class Space:
    """The tracks of a library that have an embedding, around their mean.

    In a library with an index, `find` and `nearest` read no more rows than they need.

    Raises
    ------
    LibraryError
        When the library has no such track.
    """

    def __init__(self, library: Library) -> None:
        self.library = library
        self._index = Index.open(library)
        if self._index is None and not self.entries:
            raise LibraryError(library.place, "no track in it can be compared with anything")

    @cached_property
    def entries(self) -> list[Entry]:
        """The tracks; of copies only those whose files exist, and each file once."""
        return living_copies([entry for entry in self.library.entries() if entry.has_embedding])

    def mark(self, corrections: Mapping[str, str]) -> None:
        """Let tracks that were read have these corrections (by content) from now on."""
        if "entries" in vars(self):
            self.entries = marked(self.entries, corrections)

    @cached_property
    def directions(self) -> NDArray[np.float32]:
        """Unit vectors, float32 `[tracks, size]`; zeros for a track that is the mean itself."""
        return unit(self._embeddings - self._mean).astype(np.float32)

    @property
    def _embeddings(self) -> NDArray[np.float32]:
        return np.stack([entry.embedding for entry in self.entries])

    @cached_property
    def _mean(self) -> NDArray[np.float64]:
        if self._index is not None:
            return self._index.mean
        return np.asarray(self._embeddings.mean(axis=0, dtype=np.float64))

    def find(self, track: str | os.PathLike[str]) -> Query:
        """Find a track by its file or name (see `genrescope.library.queries`).

        A file that is not in the library is classified, with the library's own model.

        Raises
        ------
        GenrescopeError
            No such file or track exists, the name fits several, or the file can't be decoded.
        """
        entry = find_track(self.library, track)
        name = os.fspath(track) if entry is None else entry.name
        if entry is None:
            entry = self._classify(absolute(track))
        if entry.genre is None:
            raise FileError(
                entry.place, entry.problem or "it has no genre: only silence, or no music"
            )
        return self.query(name, entry)

    def query(self, name: str, entry: Entry) -> Query:
        """A track as a query, from its row; `name` is what it is called in results."""
        return Query(name, self._direction(entry.embedding), entry)

    def nearest(
        self, query: Query, n: int = 10, allowed: TrackFilter | None = None
    ) -> list[tuple[Entry, float]]:
        """The `n` most similar tracks, most similar first, with their similarity.

        The track itself and copies of its audio are left out. Of each other recording that the
        library holds more than once, one is found.
        """
        allowed = allowed or TrackFilter()
        content = query.entry.content
        index = self._usable_index
        if index is not None:
            return index.nearest(
                query.direction,
                n,
                allowed.sql(self.library.model.genres, self.library.corrections()),
                lambda entry: entry.content != content and allowed.allows(entry),
            )
        similarity = self.directions @ query.direction.astype(np.float32)
        seen = {content}
        found: list[tuple[Entry, float]] = []
        for row in np.argsort(-similarity, kind="stable"):
            entry = self.entries[row]
            if entry.content not in seen and allowed.allows(entry):
                seen.add(entry.content)
                found.append((entry, float(similarity[row])))
                if len(found) == n:
                    break
        return found

    @property
    def _usable_index(self) -> Index | None:
        """The index, unless the rows were read already: then comparing all is simpler."""
        were_read = "entries" in vars(self)
        return self._index if self._index and self._index.is_current and not were_read else None

    def _direction(self, embedding: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(unit((embedding - self._mean)[None])[0])

    def _classify(self, file: Path) -> Entry:
        """The row that a file outside the library would have."""
        from genrescope.inference import Classifier

        model = self.library.model
        classifier = Classifier.load(model.source)
        if classifier.manifest.sha256 != model.sha256:
            reason = f"the model {model.source} has changed since the library was made"
            raise ModelMismatchError(self.library.place, reason)
        prediction = classifier.predict(file)
        found = Found.of(file)
        return classified(described(found, file.parent, content_of(file)), prediction, model.genres)


def genre_of(library: Library, name: str) -> str:
    """A genre as the library's model spells it, from any spelling.

    Raises
    ------
    GenrescopeError
        The model has no genre of that name.
    """
    return chosen_genre(name, library.model.genres)


def chosen_genre(name: str, genres: Sequence[str]) -> str:
    """One of a model's genres, from any spelling; errors are those of `genre_of`."""
    found = find_genre(name, genres)
    if found is None:
        near, known = did_you_mean(name, genres), ", ".join(genres)
        raise GenrescopeError(f"{name}: no genre of the library's model{near}; it knows {known}")
    return found


def has_label(labels: Mapping[str, float], name: str | None) -> bool:
    """Whether a track has a label, however it is spelt; it has None."""
    return name is None or any(same_genre(name, each) for each in labels)


def find_label(library: Library, group: str, name: str) -> str:
    """A style, instrument or mood as the library spells it, from any spelling.

    Parameters
    ----------
    group
        One of `genrescope.library.rows.LABELS`.
    name
        The label.

    Raises
    ------
    GenrescopeError
        No track of the library has it.
    """
    column = library.columns([group])
    stored = column[group].to_pylist() if group in column.column_names else []
    known = {label for each in stored for label in labels_of(each)}
    return chosen_label(name, group, sorted(known))


def chosen_label(name: str, group: str, known: Sequence[str]) -> str:
    """One of the labels that tracks of a library have; errors are those of `find_label`."""
    found = find_genre(name, known)
    if found is not None:
        return found
    if known:
        reason = (
            f"no track in the library has this {group.removesuffix('s')}{did_you_mean(name, known)}"
            f"; its {group} are {', '.join(known)}"
        )
    else:
        reason = (
            f"the library has no {group}: a model that knows them finds them, "
            "such as genrescope scan --rescan --model audioset"
        )
    raise GenrescopeError(f"{name}: {reason}")


def mean_similarity(directions: NDArray[np.float32], order: Sequence[int]) -> float:
    """The mean similarity of neighbours in a sequence of tracks."""
    chosen = directions[list(order)]
    return float(np.mean(np.sum(chosen[1:] * chosen[:-1], axis=1)))


def _same_genre(one: str, other: str | None) -> bool:
    return other is not None and same_genre(one, other)


def _same(one: str, other: str | None) -> bool:
    return other is not None and name_key(one) == name_key(other)
