"""Maintenance of a library: its content, rows to forget, moved folders, changed files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from genrescope.audio.addresses import current_stamp_of, is_address, local_path, names_address
from genrescope.errors import FileError
from genrescope.library import places
from genrescope.library.content import content_of
from genrescope.library.remote import fetched
from genrescope.library.rows import Entry
from genrescope.library.store import Library
from genrescope.locks import scratch_folder
from genrescope.wording import counted


@dataclass(frozen=True)
class Root:
    """A scanned folder.

    Attributes
    ----------
    path
        The folder.
    tracks, deleted
        How many rows are below it, and how many of them are marked as deleted.
    exists
        Whether it is there now; no address is asked.
    """

    path: str
    tracks: int
    deleted: int
    exists: bool


@dataclass(frozen=True)
class Info:
    """Summary of a library.

    Attributes
    ----------
    tracks, deleted, failed, silent, no_music, not_classified
        All rows; those whose files were missing at the last scan; of the others, those that could
        not be decoded, those without a genre because of silence, or because they are no music, and
        those that a stopped scan has left to the next one.
    roots
        The scanned folders.
    bytes
        Size of its files; None on object storage.
    """

    tracks: int
    deleted: int
    failed: int
    silent: int
    no_music: int
    not_classified: int
    roots: tuple[Root, ...]
    bytes: int | None


@dataclass
class Verified:
    """How the files of a library are, compared with its rows.

    Attributes
    ----------
    unchanged
        How many are as they were.
    missing, changed
        Tracks whose files are gone, or differ in size, time or, where asked for, content.
    unreadable
        Files that can't be read, with the reason.
    """

    unchanged: int = 0
    missing: list[Entry] = field(default_factory=list)
    changed: list[Entry] = field(default_factory=list)
    unreadable: list[FileError] = field(default_factory=list)


def describe(library: Library) -> Info:
    """Summary of a library."""
    entries = library.entries()
    rows = Counter(entry.root for entry in entries)
    deleted = Counter(entry.root for entry in entries if entry.deleted)
    living = [entry for entry in entries if not entry.deleted]
    left = sum(entry.is_unclassified for entry in living)
    failed = sum(entry.problem is not None for entry in living) - left
    no_genre = [entry for entry in living if entry.genre is None and entry.problem is None]
    no_music = sum(entry.kind is not None for entry in no_genre)
    size = None
    if not places.is_address(library.place):
        files = (file for file in Path(library.place).rglob("*") if file.is_file())
        size = sum(file.stat().st_size for file in files)
    return Info(
        len(entries),
        deleted.total(),
        failed,
        len(no_genre) - no_music,
        no_music,
        left,
        tuple(
            Root(root, count, deleted[root], is_address(root) or Path(root).is_dir())
            for root, count in sorted(rows.items())
        ),
        size,
    )


def typed_place(name: str) -> Path | str:
    """A folder or a file as it is typed, for `below`: an absolute path, or an address as text."""
    name = local_path(name)
    return name if names_address(name) else Path(name).absolute()


def below(entries: Sequence[Entry], folder: Path | str) -> list[Entry]:
    """The tracks below a folder, or of a file; its links are resolved where it exists.

    A text is an address.
    """
    if isinstance(folder, str):
        address = folder.rstrip("/")
        return [e for e in entries if f"{e.place}/".startswith(f"{address}/")]
    paths = {folder, folder.resolve()}
    return [e for e in entries if any(e.file.is_relative_to(path) for path in paths)]


def to_forget(
    library: Library, folders: Sequence[Path | str], *, deleted: bool = False
) -> list[Entry]:
    """The rows to forget: those below folders or of files; only those marked as deleted.

    A text among the folders is an address.

    Raises
    ------
    FileError
        No row is below one of the folders.
    """
    entries = library.entries()
    chosen: dict[tuple[str, str], Entry] = {}
    for folder in folders:
        found = below(entries, folder)
        if not found:
            raise FileError(folder, "no track of the library is there")
        chosen |= {(e.root, e.path): e for e in found}
    rows = list(chosen.values()) if folders else entries
    return [entry for entry in rows if entry.deleted or not deleted]


def relocate(library: Library, old: Path, new: Path) -> tuple[int, int]:
    """Give tracks their new paths after their folder was moved or mounted elsewhere.

    Parameters
    ----------
    library
        The library.
    old, new
        The folder that was, and where it is now.

    Returns
    -------
    int
        How many tracks were relocated.
    int
        How many of them have no file at their new path; those are marked as deleted.

    Raises
    ------
    FileError
        `new` is not a folder or the same as `old`, no track is below `old`, or none of their files
        is in `new`.
    """
    new = new.resolve()
    if not new.is_dir():
        raise FileError(new, "not a folder")
    entries = library.entries()
    moved = below(entries, old)
    if not moved:
        raise FileError(old, "no track of the library is there")
    # Where the folder itself is gone, its path in the library may have been reached by links.
    base = old if any(e.file.is_relative_to(old) for e in moved) else old.resolve()
    if base == new:
        raise FileError(new, "the library has its tracks by this path already")
    gone = {(entry.root, entry.path) for entry in moved}
    known = {e.file for e in entries if not e.deleted and (e.root, e.path) not in gone}
    rows, missing = [], 0
    for entry in moved:
        file = new / entry.file.relative_to(base)
        root = _new_root(entry, base, new)
        exists = file.is_file()
        missing += not exists
        if file not in known:
            path = str(file.relative_to(root))
            rows.append(replace(entry, root=str(root), path=path, deleted=not exists))
    if missing == len(moved):
        raise FileError(new, f"of {counted(missing, 'track')} below {old}, none is there")
    # First the new rows, then without the old: a kill in between loses nothing.
    library.put(rows)
    kept = {(row.root, row.path) for row in rows}  # one folder may be in the other
    library.remove([entry for entry in moved if (entry.root, entry.path) not in kept])
    return len(moved), missing


def _new_root(entry: Entry, old: Path, new: Path) -> Path:
    root = Path(entry.root)
    if root.is_relative_to(old):
        return new / root.relative_to(old)
    return root if new.is_relative_to(root) else new


def verify(
    library: Library,
    *,
    contents: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Verified:
    """Compare the rows of a library with the files.

    Parameters
    ----------
    library
        The library; nothing is changed.
    contents
        Read all files, and compare their coded audio, too.
    progress
        Called with how many files of how many are done.
    """
    entries = [entry for entry in library.entries() if not entry.deleted]
    found = Verified()
    for done, entry in enumerate(sorted(entries, key=lambda each: each.file), 1):
        try:
            if _is_unchanged(entry, contents):
                found.unchanged += 1
            else:
                found.changed.append(entry)
        except (FileNotFoundError, NotADirectoryError):
            found.missing.append(entry)
        except OSError as error:
            found.unreadable.append(FileError(entry.place, f"not readable: {error.strerror}"))
        except FileError as error:
            found.unreadable.append(error)
        progress(done, len(entries))
    return found


def _is_unchanged(entry: Entry, contents: bool) -> bool:
    if entry.is_remote:
        # A server may tell neither size nor version; a scan takes such a file for unchanged, too.
        stamp = current_stamp_of(entry.place) or [0, 0]
        if contents:
            with scratch_folder("fetch") as folder, fetched(entry.place, folder) as file:
                return content_of(file) == entry.content
        return stamp == [entry.size, entry.mtime_ns]
    status = entry.file.stat()
    if contents:
        return content_of(entry.file) == entry.content
    return (status.st_size, status.st_mtime_ns) == (entry.size, entry.mtime_ns)


def mark_deleted(library: Library, entries: Sequence[Entry]) -> int:
    """Mark rows as deleted whose files are missing still; return how many there are.

    Their predictions are kept, in case the files come back.
    """
    chosen = {(entry.root, entry.path) for entry in entries}
    # As the rows are now: another scan may have stored them anew since they were read.
    rows = [e for e in library.entries() if (e.root, e.path) in chosen and not e.deleted]
    missing = [replace(e, deleted=True) for e in rows if e.is_remote or _is_gone(e.file)]
    library.put(missing)
    return len(missing)


def _is_gone(file: Path) -> bool:
    """Whether a file is missing, as `verify` has it; False where its folder can't be read."""
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        pass
    return False
