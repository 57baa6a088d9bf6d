"""Which track of a library is meant: by its file, by its name, or by a part of its name.

A track can be named by its file (also by a symbolic or a hard link to it), by its path below the
scanned folder, by its title, by artist and title ("Artist - Title"), by its file name with or
without the ending, or by a part of any of these. Case, accents and punctuation do not matter, see
`genrescope.names`: "acdc" means "AC/DC". The more exact of two matches is meant. Tracks that are
marked as deleted are never meant, and of several matches those are preferred whose files exist. Of
copies of one recording the first by path is meant.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePath
from typing import Any

from genrescope.audio.addresses import local_path, names_address
from genrescope.audio.files import identity
from genrescope.errors import FileError, GenrescopeError
from genrescope.library.rows import Entry, inode_of
from genrescope.library.store import Library, quoted
from genrescope.names import folded, has_words, name_key
from genrescope.registry import did_you_mean
from genrescope.wording import is_text

_LISTED = 3
# Comparing a name with this many for "did you mean" takes a second.
_MOST_COMPARED = 20_000
_LIVING = "NOT deleted"


def find_track(library: Library, track: str | os.PathLike[str]) -> Entry | None:
    """The one track that is meant; None for a file that exists but is not in the library.

    Raises
    ------
    FileError
        Neither such a file nor such a track exists, or the file is gone.
    GenrescopeError
        Several tracks match.
    """
    text = local_path(os.fspath(track))
    file = absolute(text)
    if not is_text(os.fspath(file)):  # no library holds such names
        if file.exists():
            return None
        raise FileError(text, "no such file")
    entries = (
        library.entries(f"{_at_address(text)} AND {_LIVING}")
        if names_address(text)
        else _tracks_of_file(library, file)
    )
    if not entries and file.exists():
        return None
    entries = entries or _tracks_named(library, text)
    if not entries:
        raise FileError(text, _why_missing(library, text, file))
    if len({entry.content for entry in entries}) > 1:
        listed = "; ".join(entry.place for entry in entries[:_LISTED])
        more = "; …" if len(entries) > _LISTED else ""
        raise GenrescopeError(f"{text}: {len(entries)} tracks match, name one: {listed}{more}")
    return entries[0]


def absolute(file: str | os.PathLike[str]) -> Path:
    """A file's path as a library stores it: absolute, its folder without links."""
    path = Path(os.path.abspath(file))  # noqa: PTH100
    return path.parent.resolve() / path.name


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, by symbolic or hard links; False where one is missing."""
    try:
        return one == other or one.samefile(other)
    except OSError:
        return False


def distinct_files(entries: Iterable[Entry]) -> list[Entry]:
    """Tracks without those whose file is another's by a link; the first of each is kept.

    Files are the same where device and inode are. Missing files are told apart by their paths.
    """
    seen: set[tuple[int, int] | Path] = set()
    kept = []
    for entry in entries:
        key = identity(entry.file)
        if key not in seen:
            seen.add(key)
            kept.append(entry)
    return kept


def living_copies(entries: Sequence[Entry]) -> list[Entry]:
    """Tracks without copies that are the same file by a link, or whose file is missing.

    If none of a recording's files exists, all are kept: their disk may not be mounted.
    """
    copies: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        copies[entry.content].append(entry)
    dropped: set[int] = set()
    for group in copies.values():
        if len(group) > 1:
            kept = distinct_files([each for each in group if _exists(each)] or group)
            dropped |= {id(each) for each in group} - {id(each) for each in kept}
    return [entry for entry in entries if id(entry) not in dropped]


def _tracks_of_file(library: Library, file: Path) -> list[Entry]:
    """The living tracks at an absolute path: one, or one for each root that it lies below."""
    real = Path(os.path.realpath(file))
    found = library.entries(f"({_at(file)} OR {_at(real)}) AND {_LIVING}")
    if not found:
        found = _hard_links(library, real)
    exact = [entry for entry in found if entry.file == file]
    return distinct_files(exact or found)


def _at(file: Path) -> str:
    """SQL for the rows of a file, whatever root they have."""
    rows = (
        f"(root = {quoted(str(root))} AND path = {quoted(str(file.relative_to(root)))})"
        for root in file.parents
    )
    return f"({' OR '.join(rows) or 'false'})"


def _at_address(address: str) -> str:
    """SQL for the rows of a file at an address, whatever root they have."""
    steps = address.split("/")
    rows = (
        f"(root = {quoted('/'.join(steps[:n]))} AND path = {quoted('/'.join(steps[n:]))})"
        for n in range(3, len(steps))
    )
    return f"({' OR '.join(rows) or 'false'})"


def _hard_links(library: Library, file: Path) -> list[Entry]:
    try:
        inode = inode_of(file.stat())
    except OSError:
        return []
    found = library.entries(f"inode = {inode} AND {_LIVING}") if inode else []
    return [entry for entry in found if same_file(entry.file, file)]


def _tracks_named(library: Library, text: str) -> list[Entry]:
    """The living tracks that match a name best, by the first way in which any does."""
    name = quoted(text)
    exact = library.entries(
        f"(path = {name} OR title = {name} OR concat(artist, ' - ', title) = {name}) AND {_LIVING}"
    )
    if exact:
        return _preferred(exact)
    query = folded(text)
    if not query:
        return []
    catalog = _catalog(library)
    for matches in _WAYS:
        ids = [row["_rowid"] for row in catalog if matches(query, row)]
        if ids:
            return _preferred(library.take(ids))
    return []


def _preferred(entries: Sequence[Entry]) -> list[Entry]:
    """Existing files before missing ones, each file once, in the order of their paths."""
    entries = sorted(entries, key=lambda entry: entry.file)
    return distinct_files([e for e in entries if _exists(e)] or entries)


def _exists(entry: Entry) -> bool:
    """Whether a track's file exists; at an address, the last scan has seen it."""
    return entry.is_remote or entry.file.exists()


def _catalog(library: Library) -> list[dict[str, Any]]:
    """Names, case-folded, by which each track that exists can be found, with its row's number."""
    columns = ["root", "path", "title", "artist", "album", "album_artist"]
    rows: list[dict[str, Any]] = library.columns(columns, _LIVING).to_pylist()
    for row in rows:
        path = PurePath(row["path"])
        title, artist = row["title"] or "", row["artist"] or ""
        row["names"] = {
            folded(each)
            for each in (row["path"], path.name, path.stem, title, f"{artist} - {title}")
        }
        row["parts"] = [folded(each) for each in (title, f"{artist} - {title}", row["path"])]
        tags = [row.get(name) or "" for name in ("album", "album_artist")]
        row["words"] = " ".join([artist, title, *tags, row["path"]])
    return rows


def _is_called(text: str, row: dict[str, Any]) -> bool:
    return text in row["names"]


def _is_part(text: str, row: dict[str, Any]) -> bool:
    return any(text in part for part in row["parts"])


def _is_called_otherwise(text: str, row: dict[str, Any]) -> bool:
    return name_key(text) in map(name_key, row["names"])


def _is_part_otherwise(text: str, row: dict[str, Any]) -> bool:
    return any(name_key(text) in name_key(part) for part in row["parts"])


def _has_words(text: str, row: dict[str, Any]) -> bool:
    return has_words(row["words"], text)


_WAYS: tuple[Callable[[str, dict[str, Any]], bool], ...] = (
    *(_is_called, _is_called_otherwise),
    *(_is_part, _is_part_otherwise),
    _has_words,
)


def _why_missing(library: Library, text: str, file: Path) -> str:
    """Why a name means no track."""
    at = _at_address(text) if names_address(text) else _at(file)
    if library.entries(f"({at} OR path = {quoted(text)}) AND deleted"):
        return "its file is gone since the last scan"
    rows = library.columns(["path", "title", "artist"], _LIVING).to_pylist()
    names = {PurePath(row["path"]).name for row in rows}
    names |= {row["title"] for row in rows if row["title"]}
    names |= {f"{row['artist']} - {row['title']}" for row in rows if row["artist"] and row["title"]}
    if len(names) > _MOST_COMPARED:
        names = {each for each in names if each[:1].casefold() == text[:1].casefold()}
    near = did_you_mean(text, names) or did_you_mean(PurePath(text).name, names)
    return f"no such file, and no such track in the library{near}"
