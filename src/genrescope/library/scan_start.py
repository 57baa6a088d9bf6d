"""What a scan does first: it checks folders, and opens or makes the library."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from genrescope.errors import FileError
from genrescope.inference import Classifier
from genrescope.library.files import Found, Tags, described
from genrescope.library.places import LibraryError, is_address, writing
from genrescope.library.recovery import take_back
from genrescope.library.rows import NOT_CLASSIFIED, Entry, Model
from genrescope.library.search import Root, Search
from genrescope.library.similar import ModelMismatchError
from genrescope.library.store import TRACKS, Library, is_library
from genrescope.wording import counted


def check_missing(
    missing: Sequence[Path], place: str, is_gone: Callable[[Path, int], bool]
) -> None:
    """Refuse folders that don't exist, unless the library knows them and their files are gone.

    Raises
    ------
    FileError
        For a folder to refuse.
    """
    entries = Library.open(place).entries() if is_library(place) else []
    for root in missing:
        count = sum(not entry.deleted and entry.file.is_relative_to(root) for entry in entries)
        if root.exists() or not count:
            raise FileError(root, "not a folder" if root.exists() else "no such folder")
        if not is_gone(root, count):
            tracks = counted(count, "track")
            raise FileError(root, f"no such folder; the library has {tracks} from it")


def knows(place: str, roots: Sequence[Root]) -> bool:
    """Whether a library has rows below one of these folders, damaged or not."""
    if not is_library(place):
        return False
    try:
        entries = Library.open(place).entries()
    except LibraryError:
        return True
    return any(entry.file.is_relative_to(root.path) for entry in entries for root in roots)


def check_rescan(
    place: str,
    search: Search,
    roots: Sequence[Root],
    missing: Sequence[Path],
    is_gone: Callable[[Path, int], bool],
) -> None:
    """Refuse to make a library anew where tracks would be lost whose files can't be seen.

    Such are those below an address or a folder that can't be read, and those of a folder that is
    missing or empty, for its disk may only not be mounted: unless they are gone.

    Parameters
    ----------
    place
        The library.
    search
        What was found in the scanned and in the known folders.
    roots
        The scanned folders.
    missing
        Those of them that are missing; they were asked about already.
    is_gone
        As that of `scan.scan`.

    Raises
    ------
    FileError
        For the first such folder or address.
    """
    if not is_library(place):
        return
    try:
        living = [entry for entry in Library.open(place).entries() if not entry.deleted]
    except LibraryError:  # it has no rows to lose
        return

    below = Counter(path for entry in living for path in (entry.file, *entry.file.parents))

    def refusal(folder: str | Path, reason: str, count: int) -> FileError:
        lost = f"--rescan would lose {counted(count, 'track')} (see genrescope library forget)"
        return FileError(folder, f"{reason}; {lost}")

    for error in search.errors:
        if count := below[Path(error.path)]:
            raise refusal(error.path, error.reason, count)
    known = {root.path for root in roots} | {Root.of(entry.root).path for entry in living}
    for folder in sorted(known.difference(missing)):
        count = below[Path(folder)]
        if any(file.is_relative_to(folder) for file in search.found) or not count:
            continue
        if not is_gone(folder, count):
            reason = "no music files in this folder" if folder.is_dir() else "no such folder"
            raise refusal(folder, reason, count)


def model_of(classifier: Classifier, source: str) -> Model:
    """The model of a library that a classifier makes; `source` is what it was loaded from."""
    path = Path(source)
    return Model(
        classifier.manifest.name,
        classifier.manifest.sha256,
        str(path.resolve()) if path.exists() else source,
        tuple(classifier.genres),
        classifier.embedding_size,
    )


def open_or_create(place: str, model: Model) -> Library:
    """Open the library or make one; refuse one that was made with another model."""
    if not is_library(place):
        return Library.create(place, model)
    opened = Library.open(place)
    known = opened.model
    if known.sha256 != model.sha256:
        raise ModelMismatchError(
            place,
            f"made with the model {known.name} ({known.sha256[:8]}), not {model.name} "
            f"({model.sha256[:8]})",
        )
    return opened


def made_anew(place: str, model: Model, search: Search, roots: Sequence[Root]) -> Library:
    """Make the library anew for `rescan`: its tracks that were found are there, not classified.

    They are known from the beginning, so that a scan that is stopped forgets none of them.
    """
    try:
        known = Library.open(place).entries() if is_library(place) else []
    except LibraryError:  # a damaged one has no rows to keep
        known = []
    rows = {entry.file: entry for entry in known if entry.file in search.found}
    return Library.create(place, model, [_emptied(row, roots, model) for row in rows.values()])


def _emptied(entry: Entry, roots: Sequence[Root], model: Model) -> Entry:
    """The row of a track that is to be classified, under its outermost folder."""
    address = entry.place if entry.is_remote else ""
    found = Found(entry.file, entry.size, entry.mtime_ns, entry.inode, address)
    own = Tags(
        title=entry.title,
        artist=entry.artist,
        album=entry.album,
        album_artist=entry.album_artist or "",
        year=entry.year,
        genre_tag=entry.genre_tag,
    )
    return Entry(
        **described(found, outermost(roots, entry.file), entry.content, own),
        probabilities=np.zeros(len(model.genres), np.float32),
        embedding=np.zeros(model.embedding_size, np.float32),
        problem=NOT_CLASSIFIED,
    )


def outermost(roots: Iterable[Root], file: Path) -> Path | str:
    """The outermost folder or address above a file."""
    above = [root for root in roots if file.is_relative_to(root.path)]
    root = min(above, key=lambda each: len(each.path.parts))
    return root.address or root.path


def restored(place: str) -> bool:
    """Take back the last writes of an earlier scan where a full disk has cut them.

    Raises
    ------
    LibraryError
        When the folder can't be written to.
    """
    if is_address(place) or not is_library(place):
        return False
    with writing(place):
        return take_back(place, TRACKS)


def known_roots(place: str) -> list[Root]:
    """The folders that a library knows and that exist, and addresses; none of a damaged one."""
    try:
        known = {entry.root for entry in Library.open(place).entries()}
    except LibraryError:
        return []
    roots = [Root.of(root) for root in sorted(known)]
    return [root for root in roots if root.address or root.path.is_dir()]
