"""Libraries of older formats are brought to the present one, in place and in one commit.

The rewritten table replaces the old one in a single commit of LanceDB, so that a reader and a kill
find the old rows or the new ones. Further tables (maps) stay; an index belongs to one state of the
rows and is made again by the next scan.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from genrescope.library import places
from genrescope.library.rows import (
    FORMAT,
    Entry,
    Model,
    from_table,
    inode_of,
    read_metadata,
    to_table,
)

if TYPE_CHECKING:
    import pyarrow


_failed: dict[str, int] = {}  # of each place, the version of the table that could not be replaced


def has_failed(place: str, table: Any) -> bool:
    """Whether this process could not migrate a table as it is; reading all of it again is slow."""
    return bool(_failed.get(place) == table.version)


def needs_migration(table: Any) -> bool:
    """Whether a library's LanceDB table has an older format than the present one."""
    return read_metadata(table.schema)[0] < FORMAT


def migrate(place: str, connection: Any, name: str) -> Any:
    """Rewrite a library's table in the present format; return it, opened again.

    Another process may do the same at the same time: the lock lets one work, and the other then
    finds it done.

    Raises
    ------
    LibraryError
        When the place can't be written to. The table is as it was.
    """
    with places.locked(place):
        table = places.open_table(place, connection, name)
        if table is None or not needs_migration(table):
            return table
        try:
            with places.reading(place):
                _, model = read_metadata(table.schema)
                rows = migrated(table.to_arrow(), model)
            with places.writing(place):
                return connection.create_table(name, rows, mode="overwrite")
        except places.LibraryError:
            _failed[place] = table.version
            raise


def migrated(rows: pyarrow.Table, model: Model) -> pyarrow.Table:
    """Rows of any older format in the present one.

    Format 1 (version 0.1) knew no inodes: those that are missing are looked up where the files
    still are what was classified, and left unknown otherwise. Formats 1 and 2 knew no styles,
    instruments and moods: these columns are empty until the tracks are classified again. Before
    format 4 all tracks were read in full. Before format 5 it was not stored what had decided that a
    track is no music: such tracks are classified again by the next scan. Before format 6 nobody
    read album artists, which the next scan does; of files at addresses, `--rescan`.
    """
    entries = from_table(rows, model)
    return to_table((replace(entry, inode=_inode(entry)) for entry in entries), model)


def _inode(entry: Entry) -> int | None:
    if entry.inode is not None:
        return entry.inode
    try:
        status = entry.file.stat()
    except OSError:
        return None
    unchanged = (status.st_size, status.st_mtime_ns) == (entry.size, entry.mtime_ns)
    return inode_of(status) if unchanged else None
