"""A library as the API shows it: tracks have ids, and paths of the disk are not shown."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePath
from typing import Any

import numpy as np

from genrescope.errors import FileError, GenrescopeError
from genrescope.library.corrections import correct, marked
from genrescope.library.map import position_of
from genrescope.library.map_page import look, within_one
from genrescope.library.places import LibraryBusyError
from genrescope.library.playlist import playlist_between
from genrescope.library.recommend import recommend
from genrescope.library.rows import Entry, Model
from genrescope.library.similar import (
    Query,
    Space,
    TrackFilter,
    chosen_genre,
    chosen_label,
    has_label,
)
from genrescope.library.store import Library
from genrescope.names import has_words
from genrescope.service.maps import Maps
from genrescope.service.problems import ProblemError

_log = logging.getLogger(__name__)
_CHECKED_EVERY = 2.0
_PATIENCE = 2.0  # seconds for another process that writes to the library
# The labels that requests name, and those of a track.
_GROUPS = {"style": "styles", "instrument": "instruments", "mood": "moods"}
_SORTED_BY = ("name", "artist", "album", "title", "year", "genre", "confidence", "duration")


@dataclass(frozen=True)
class Filter:
    """Which tracks a list holds; None where it does not matter."""

    text: str | None = None
    genre: str | None = None
    min_confidence: float | None = None
    max_confidence: float | None = None
    first_year: int | None = None
    last_year: int | None = None
    is_corrected: bool | None = None
    style: str | None = None
    instrument: str | None = None
    mood: str | None = None
    max_duration: float | None = None

    def allows(self, entry: Entry) -> bool:
        """Whether a track passes. Its genre is the corrected one, where there is one."""
        texts = (entry.title, entry.artist, entry.album, entry.album_artist, name_of(entry))
        year = entry.year
        return (
            (not self.text or has_words(" ".join(filter(None, texts)), self.text))
            and (self.genre is None or self.genre == entry.effective_genre)
            and (self.min_confidence is None or entry.confidence >= self.min_confidence)
            and (self.max_confidence is None or entry.confidence <= self.max_confidence)
            and (self.first_year is None or (year is not None and year >= self.first_year))
            and (self.last_year is None or (year is not None and year <= self.last_year))
            and (self.max_duration is None or entry.duration <= self.max_duration)
            and has_label(entry.styles, self.style)
            and has_label(entry.instruments, self.instrument)
            and has_label(entry.moods, self.mood)
            and (self.is_corrected is None or self.is_corrected == bool(entry.corrected_genre))
        )


def name_of(entry: Entry) -> str:
    """Artist and title, or the file's name without its folders."""
    return entry.name if entry.title else PurePath(entry.path).stem


def id_of(entry: Entry) -> str:
    """A track's id: the same as long as its file stays where it is."""
    return hashlib.sha256(f"{entry.root}\0{entry.path}".encode()).hexdigest()[:20]


def public(entry: Entry) -> dict[str, Any]:
    """A track as the command line's JSON has it, with its id and its name instead of its path."""
    fields = entry.to_dict()
    del fields["path"], fields["deleted"]
    return {"id": id_of(entry), "name": name_of(entry), "is_remote": entry.is_remote, **fields}


class _State:
    """A library as it was at one moment."""

    def __init__(self, library: Library) -> None:
        self.library, self.version = library, library.version
        self._lock = threading.Lock()
        self.tracks = {id_of(e): e for e in library.entries() if not e.deleted}
        self.corrections: dict[str, str] = {}
        self._space: Space | None = None
        self.mark(library.corrections())

    def mark(self, corrections: dict[str, str]) -> None:
        """Let the tracks have these corrections."""
        with self._lock:
            self.corrections = corrections
            marks = marked(self.tracks.values(), corrections)
            self.tracks = dict(zip(self.tracks, marks, strict=True))
            if self._space is not None:
                self._space.mark(corrections)

    @cached_property
    def labels(self) -> dict[str, list[str]]:
        """All styles, instruments and moods of the tracks."""
        entries = self.tracks.values()
        return {
            group: sorted({label for entry in entries for label in getattr(entry, group)})
            for group in _GROUPS.values()
        }

    @property
    def space(self) -> Space:
        """The tracks that can be compared."""
        if self._space is None:
            self.check_music()
            space = Space(self.library)
            with self._lock:  # tracks may have been corrected while they were read
                space.mark(self.corrections)
                self._space = space
        return self._space

    def check_music(self) -> None:
        """Refuse to compare and to draw where there is nothing yet.

        Raises
        ------
        ProblemError
            409, when no track has a genre.
        """
        if not any(entry.has_embedding for entry in self.tracks.values()):
            raise ProblemError(409, "the library has no track yet that has a genre")


class Collection:
    """An open library that other programs may write to meanwhile.

    Raises
    ------
    LibraryError
        When there is none at that place, or it is damaged.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self._lock = threading.RLock()
        self._state = _State(Library.open(place))
        self._checked = time.monotonic()
        self._maps = Maps()

    @property
    def model(self) -> Model:
        """The model that classified the tracks."""
        return self._now().library.model

    def count(self) -> int:
        """How many tracks there are."""
        return len(self._now().tracks)

    def tracks(
        self, chosen: Filter, sort: str, *, descending: bool, offset: int, limit: int
    ) -> tuple[list[Entry], int]:
        """A page of the tracks that pass a filter, and how many pass it.

        Raises
        ------
        ProblemError
            422, when the model knows no such genre, or no track has the style, instrument or mood.
        """
        state = self._now()
        named = {name: getattr(chosen, name) for name in ("genre", *_GROUPS)}
        spelled: dict[str, Any] = {**_named(state, named)}
        chosen = replace(chosen, **spelled)
        found = [entry for entry in state.tracks.values() if chosen.allows(entry)]
        found.sort(key=lambda entry: (name_of(entry).casefold(), id_of(entry)))
        if sort != "name":
            field = "effective_genre" if sort == "genre" else sort
            known = [e for e in found if getattr(e, field) is not None]
            known.sort(key=lambda e: _folded(getattr(e, field)), reverse=descending)
            found = known + [e for e in found if getattr(e, field) is None]
        elif descending:
            found.reverse()
        return found[offset : offset + limit], len(found)

    def track(self, track_id: str) -> Entry:
        """A track by its id, with its correction.

        Raises
        ------
        ProblemError
            404, when there is none.
        """
        entry = self._now().tracks.get(track_id)
        if entry is None:
            raise ProblemError(404, "no such track")
        return entry

    def correct(self, ids: Sequence[str], genre: str | None) -> list[Entry]:
        """Correct the genre of tracks, or take the corrections back; return the tracks.

        Raises
        ------
        ProblemError
            404, when there is no such track; 422, no such genre; 503, when a scan writes to the
            library.
        """
        state = self._now()
        entries = [self.track(each) for each in ids]
        if genre is not None:
            genre = _named(state, {"genre": genre})["genre"]
        try:
            # Not within our own lock, for a scan may hold the library for hours.
            corrections = correct(state.library, entries, genre, seconds=_PATIENCE)
        except LibraryBusyError:
            detail = "a scan writes to the library: try again when it is done"
            raise ProblemError(503, detail, Retry_After="10") from None
        with self._lock:  # a scan that ended meanwhile may have changed the state
            self._state.mark(corrections)
        return marked(entries, corrections)

    def query(self, track_id: str) -> Query:
        """A track of the library, to compare others with.

        Raises
        ------
        ProblemError
            409, when it has no genre.
        """
        entry = self.track(track_id)
        if not entry.has_embedding:
            raise ProblemError(409, f"{name_of(entry)} can't be compared: it has no genre")
        return self._now().space.query(name_of(entry), entry)

    def query_of(self, name: str, embedding: Sequence[float], content: str, genre: str) -> Query:
        """An upload that was classified by the library's model, to compare tracks with."""
        state = self._now()
        none = np.zeros(len(state.library.model.genres), np.float32)
        vector = np.array(embedding, np.float32)
        entry = Entry("", name, content, 0, 0, none, vector, genre=genre)
        return state.space.query(name, entry)

    def similar(self, query: Query, n: int, allowed: TrackFilter) -> list[dict[str, Any]]:
        """The tracks most similar to one, as `genrescope similar` names them."""
        state = self._now()
        found = state.space.nearest(query, n, allowed)
        return [public(entry) | {"similarity": round(value, 6)} for entry, value in found]

    def recommend(
        self,
        likes: Sequence[str],
        dislikes: Sequence[str],
        n: int,
        diversity: float,
        filters: Sequence[TrackFilter],
    ) -> list[dict[str, Any]]:
        """Tracks by liked and disliked ones, as `genrescope recommend` names them."""
        queries = [[self.query(each) for each in ids] for ids in (likes, dislikes)]
        space = self._now().space
        found = recommend(space, *queries, n=n, diversity=diversity, filters=filters)
        reasons = ("score", "near", "similarity", "shared", "reason")
        return [
            public(each.entry)
            | {name: value for name, value in each.to_dict().items() if name in reasons}
            for each in found
        ]

    def playlist(self, start: str, end: str, length: int) -> list[dict[str, Any]]:
        """Tracks from one to another in small steps, each with its similarity to the one before."""
        files = [self.query(each).entry.place for each in (start, end)]
        tracks, steps = playlist_between(self._now().space, files[0], files[1], length)
        return [
            public(entry) | {"similarity": None if step is None else round(step, 6)}
            for entry, step in zip(tracks, [None, *steps], strict=True)
        ]

    def map(self) -> dict[str, Any]:
        """The library's map: genres with colour and shape, and the tracks' positions.

        Raises
        ------
        ProblemError
            503, while a large library's is being drawn; 409, when no track has a genre.
        """
        state = self._now()
        state.check_music()
        drawn = self._maps.drawn(state.library, state.version)
        positions, extent = within_one(drawn.positions)
        genres = []
        for number, genre in enumerate(drawn.genres):
            colour, shape = look(number)
            genres.append({"name": genre, "colour": colour, "shape": shape})
        return {
            "method": drawn.method.value,
            "genres": genres,
            "extent": extent,
            "tracks": [
                {
                    "id": id_of(entry),
                    "name": name_of(entry),
                    "is_remote": entry.is_remote,
                    "genre": state.corrections.get(entry.content) or entry.genre,
                    "confidence": round(entry.confidence, 3),
                    "x": round(float(x), 5),
                    "y": round(float(y), 5),
                }
                for entry, (x, y) in zip(drawn.entries, positions, strict=True)
            ],
        }

    def position(self, query: Query) -> dict[str, float] | None:
        """Where a track that is not in the library would be on its map; None while it is drawn."""
        state = self._now()
        try:
            state.check_music()
            drawn = self._maps.drawn(state.library, state.version)
        except ProblemError:
            return None
        except GenrescopeError as error:  # such as a package that is not installed
            _log.error("no map: %s", error)
            return None
        place = position_of(drawn, state.space, query)
        scaled, _ = within_one(np.vstack([drawn.positions, place]))
        return {"x": round(float(scaled[-1, 0]), 5), "y": round(float(scaled[-1, 1]), 5)}

    def filters(
        self,
        queries: Sequence[Query],
        genre: str | None,
        years: tuple[int, int] | None,
        *,
        not_same_artist: bool,
        max_duration: float | None = None,
        **labels: str | None,
    ) -> list[TrackFilter]:
        """The filters that a request names, in the spelling of the library's genres.

        `labels` are the style, the instrument and the mood; `max_duration` is in seconds.

        Raises
        ------
        ProblemError
            422, when the model knows no such genre, or no track has the style, instrument or mood.
        """
        state = self._now()
        named = _named(state, {"genre": genre, **labels})
        found = [TrackFilter(**named, years=years, max_duration=max_duration)]
        if not_same_artist:
            found += [TrackFilter(not_artist=query.entry.artist) for query in queries]
        return found

    def _now(self) -> _State:
        """The library as it is, read again where another program has written to it."""
        with self._lock:
            if time.monotonic() - self._checked > _CHECKED_EVERY:
                self._checked = time.monotonic()
                try:
                    library = Library.open(self.place)
                    corrections = library.corrections()
                except FileError:  # being replaced by a scan
                    return self._state
                if library.version != self._state.version:
                    self._state = _State(library)
                elif corrections != self._state.corrections:
                    self._state.mark(corrections)
            return self._state


def _named(state: _State, names: Mapping[str, str | None]) -> dict[str, str | None]:
    """Genre, style, instrument and mood in the library's spelling; None where none is named.

    Raises
    ------
    ProblemError
        422, when the library has none of that name; it names the field.
    """
    found: dict[str, str | None] = {}
    for field, name in names.items():
        try:
            if name is None:
                found[field] = None
            elif field == "genre":
                found[field] = chosen_genre(name, state.library.model.genres)
            else:
                group = _GROUPS[field]
                found[field] = chosen_label(name, group, state.labels[group])
        except GenrescopeError as error:
            raise ProblemError(422, f"{field}: {error}") from None
    return found


def _folded(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value
