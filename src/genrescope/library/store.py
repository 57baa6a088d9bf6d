"""A library on disk: one row a track, in a LanceDB table that other programs can read too.

A library is a folder with `tracks.lance`, or the same on object storage. Every write is one commit
of the table: a reader finds the state before or after it, never a part. What a row holds is in
`genrescope.library.rows`, addresses and locks are in `genrescope.library.places`.

Two scans of one library
------------------------
A lock lets only one process of a machine write at a time, wherever the library is. Object storage
has no locks: two *machines* may scan into one address at once. A commit is tried again on top of
the other's, so nothing is lost, but both may classify a new file and store its row. Of such rows
one is read, and `Library.compact` removes the rest.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrescope.genres import find_genre
from genrescope.library import places, recovery
from genrescope.library.migrations import has_failed, migrate, needs_migration
from genrescope.library.places import LibraryError, Place, default_library
from genrescope.library.rows import (
    FORMAT,
    HAS_EMBEDDING,
    Entry,
    Model,
    from_table,
    read_metadata,
    to_table,
)

if TYPE_CHECKING:
    import pyarrow

CORRECTIONS = "corrections"
INDEX = "index"
TRACKS = "tracks"
# Readers that began before a scan ended keep their state for so long.
_KEEP_OLD = timedelta(hours=1)
_KEEP_ALL = timedelta(days=36_500)
_MOST_SMALL_FILES = 64


class Library:
    """An open library; made by `Library.open` and `Library.create`.

    Attributes
    ----------
    place
        A folder, or an address such as ``s3://bucket/music``.
    model
        The model that classified its tracks.
    """

    def __init__(self, place: str, connection: Any, table: Any, model: Model) -> None:
        self.place, self.model = place, model
        self._connection, self._table = connection, table
        self._small_files = 0
        self._corrections: dict[str, str] | None = None

    def __repr__(self) -> str:
        return f"Library({self.place!r}, model={self.model.name!r})"

    @classmethod
    def open(cls, place: Place | None = None) -> Library:
        """Open an existing library; None for the default place.

        A library of an older version is migrated first. Where it can't be written to, it is read
        as it is.

        Raises
        ------
        LibraryError
            When there is none, or it is damaged or of a newer version.
        """
        place = places.place_of(place or default_library())
        connection = table = None
        # LanceDB makes the folder that it connects to.
        if places.is_address(place) or is_library(place):
            connection = places.connect(place)
            table = places.open_table(place, connection, TRACKS)
        if table is None:
            raise LibraryError(place, "no library there: make one with `genrescope scan FOLDER`")
        try:
            version, model = read_metadata(table.schema)
        except (KeyError, ValueError, TypeError) as error:
            raise LibraryError(place, "not a library, or damaged (it names no model)") from error
        if version > FORMAT:
            raise LibraryError(place, "made by a newer version of Genrescope: update this one")
        if needs_migration(table) and not has_failed(place, table):
            with suppress(LibraryError):  # read-only: its rows can be read all the same
                table = migrate(place, connection, TRACKS)
        return cls(place, connection, table, model)

    @classmethod
    def create(cls, place: Place, model: Model, entries: Sequence[Entry] = ()) -> Library:
        """Make a library; one that exists, even if damaged, is replaced in one commit.

        Raises
        ------
        LibraryError
            When the folder can't be written to.
        """
        place = places.place_of(place)
        with places.writing(place):
            if not places.is_address(place):
                Path(place).mkdir(parents=True, exist_ok=True)
            connection = places.connect(place)
            try:
                exists = places.open_table(place, connection, TRACKS) is not None
            except LibraryError:  # LanceDB can't replace a damaged table
                exists = False
            if not exists:  # versions begin anew, so an old index could be taken for one of them
                for name in (TRACKS, INDEX):
                    connection.drop_table(name, ignore_missing=True)
            table = connection.create_table(TRACKS, to_table(entries, model), mode="overwrite")
        return cls(place, connection, table, model)

    def entries(self, where: str | None = None) -> list[Entry]:
        """All tracks, including those that are deleted or could not be decoded.

        Parameters
        ----------
        where
            SQL that selects rows.

        Raises
        ------
        LibraryError
            When the library can't be read; so do the other methods that read.
        """
        with places.reading(self.place):
            self._table.checkout_latest()
            table = self._table.search().where(where).to_arrow() if where else None
            table = self._table.to_arrow() if table is None else table
            try:
                corrections = self.corrections()
            except LibraryError as error:  # tracks are not lost with their corrections
                self._corrections = corrections = {}
                warnings.warn(f"corrected genres are left out: {error}", stacklevel=2)
            entries = from_table(table, self.model, corrections)
        return list({(entry.root, entry.path): entry for entry in entries}.values())

    @property
    def version(self) -> int:
        """A number that every commit raises."""
        return int(self._table.version)

    def count(self) -> int:
        """How many tracks have an embedding."""
        with places.reading(self.place):
            return int(self._table.count_rows(HAS_EMBEDDING))

    def columns(self, names: Sequence[str], where: str | None = HAS_EMBEDDING) -> pyarrow.Table:
        """Columns of the rows that SQL selects, and their `_rowid`s in this version."""
        with places.reading(self.place):
            known = [name for name in names if name in self._table.schema.names]
            query = self._table.search().select(known).with_row_id(True)
            table: pyarrow.Table = (query.where(where) if where else query).to_arrow()
        return table

    def take(self, row_ids: Sequence[int]) -> list[Entry]:
        """The tracks of these `_rowid`s, in no particular order."""
        with places.reading(self.place):
            rows = self._table.take_row_ids(list(row_ids)).to_arrow()
            # Not read anew: a search takes some rows after others.
            corrections = self.corrections() if self._corrections is None else self._corrections
        return from_table(rows, self.model, corrections)

    def corrections(self) -> dict[str, str]:
        """The genres that the owner corrected tracks to, by content, as they are now.

        They are spelled as the model does it, unless another model has classified the tracks since
        and this one does not know the genre.
        """
        table = read_table(self, CORRECTIONS)
        rows = {"content": [], "genre": []} if table is None else table.to_pydict()
        spelled = {name: find_genre(name, self.model.genres) or name for name in {*rows["genre"]}}
        genres = [spelled[name] for name in rows["genre"]]
        self._corrections = dict(zip(rows["content"], genres, strict=True))
        return self._corrections

    def put(self, entries: Sequence[Entry]) -> None:
        """Add tracks, or replace those of the same root and path, in one commit.

        Raises
        ------
        LibraryError
            When the library can't be written; so do the other methods that write.
        """
        if entries:
            if needs_migration(self._table):  # it could not be written to when it was opened
                self._table = migrate(self.place, self._connection, TRACKS)
            merge = self._table.merge_insert(["root", "path"])
            merge = merge.when_matched_update_all().when_not_matched_insert_all()
            rows = to_table(entries, self.model)
            self.commit(lambda: merge.execute(rows))
            self._small_files += 1
            if self._small_files >= _MOST_SMALL_FILES:
                # Each commit reads a column of every file, see `recovery.is_whole`.
                self._merge_files(_KEEP_ALL)

    def remove(self, entries: Sequence[Entry]) -> None:
        """Remove the rows of tracks, in one commit."""
        paths: defaultdict[str, list[str]] = defaultdict(list)
        for entry in entries:
            paths[entry.root].append(quoted(entry.path))
        # A condition for each row would be a tree as deep as there are rows: too deep.
        rows = [f"(root = {quoted(r)} AND path IN ({', '.join(p)}))" for r, p in paths.items()]
        if rows:
            self.commit(lambda: self._table.delete(" OR ".join(rows)))

    def compact(self) -> None:
        """Merge the many small files of a scan into few, and drop old versions.

        Rows that two machines stored for one file become one.
        """
        self._table.checkout_latest()
        seen: set[tuple[str, str]] = set()
        repeated: set[tuple[str, str]] = set()
        for row in self._table.search().select(["root", "path"]).to_arrow().to_pylist():
            key = row["root"], row["path"]
            (repeated if key in seen else seen).add(key)
        if repeated:
            entries = [e for e in self.entries() if (e.root, e.path) in repeated]
            self.remove(entries)
            self.put(entries)
        # Old versions go when the new one is known to be on disk.
        for age in (_KEEP_ALL, _KEEP_OLD):
            self._merge_files(age)

    def _merge_files(self, keep_versions: timedelta) -> None:
        self.commit(partial(self._table.optimize, cleanup_older_than=keep_versions))
        self._small_files = 0

    def further_table(self, name: str) -> Any:
        """A further table of the library, as LanceDB opens it; None where it does not exist.

        Raises
        ------
        LibraryError
            When it is damaged, or can't be reached.
        """
        return places.open_table(self.place, self._connection, _further(name))

    def write_table(self, name: str, table: pyarrow.Table) -> None:
        """Store a further table with its metadata, in one commit; one of that name is replaced."""
        name = _further(name)
        write = partial(self._connection.create_table, name, table, mode="overwrite")
        self.commit(write, name)

    def commit(self, write: Callable[[], Any], name: str = TRACKS) -> None:
        """Write to a table; again, on top of it, where another machine committed in between.

        A commit that a full disk has cut is taken back.

        Raises
        ------
        LibraryError
            When it can't be written.
        """
        places.commit(self.place, self._table, write)
        recovery.check_commit(self.place, name)


def is_library(place: Place) -> bool:
    """Whether a place holds a library, damaged or not.

    Raises
    ------
    LibraryError
        When it can't be reached.
    """
    if places.is_address(place):
        place = places.place_of(place)
        return places.has_table(place, places.connect(place), TRACKS)
    return places.has_table(str(place), None, TRACKS)


def read_table(library: Library, name: str) -> pyarrow.Table | None:
    """The rows of a further table of a library; None where it does not exist.

    Raises
    ------
    LibraryError
        When it is damaged, or can't be reached.
    """
    found = library.further_table(name)
    with places.reading(library.place):
        return None if found is None else found.to_arrow()


def quoted(text: str) -> str:
    """A text as a SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def _further(name: str) -> str:
    """The name of a table other than the tracks'."""
    if name == TRACKS:
        raise ValueError(f"{name} are written by Library.put")
    return name
