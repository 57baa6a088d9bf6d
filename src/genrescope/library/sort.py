"""Music files into one folder a genre: planned first, never over another file, undone on request.

Conventions
-----------
A plan is a list of steps. It is written beside the sorted files, as JSON, before the first is
taken, so that what was done can be undone after an interruption too. No step ever replaces a file:
where a name is taken by another, the new one is numbered, `song (2).mp3`. Undoing touches only what
is still as the step left it.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from genrescope.atomic import write_atomic
from genrescope.errors import FileError
from genrescope.library.playlist import write_m3u8
from genrescope.library.rows import Entry
from genrescope.library.tags import genre_name

Action = Literal["copy", "link", "move"]
_FORMAT = 1


class SortError(FileError):
    """A file can't be sorted, or a sorting can't be undone."""


@dataclass(frozen=True)
class Step:
    """One file to be put in its genre's folder.

    Attributes
    ----------
    source, target
        From where, to where; absolute. A link at `target` points to `source`.
    size, mtime_ns
        Of the source when it was planned, in bytes and nanoseconds since 1970.
    """

    source: str
    target: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Plan:
    """What a sorting does.

    Attributes
    ----------
    action
        What happens to each file.
    folder
        Where the genres' folders are made.
    steps
        What is to be done.
    placed
        Where each sorted track will be, also those that are there already.
    there
        Tracks that are in their place already.
    skipped
        Tracks without a genre, or whose file is gone.
    """

    action: Action
    folder: Path
    steps: tuple[Step, ...]
    placed: tuple[tuple[Entry, Path], ...]
    there: int
    skipped: int


def plan(entries: Iterable[Entry], folder: Path, action: Action) -> Plan:
    """Tell where each track goes; changes nothing."""
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - links stay
    steps: list[Step] = []
    placed: list[tuple[Entry, Path]] = []
    taken: dict[str, str] = {}  # names to contents
    there = skipped = 0
    for entry in sorted(entries, key=lambda each: each.file):
        try:
            status = entry.file.stat()
        except OSError:
            skipped += 1
            continue
        if not entry.has_embedding or entry.genre is None:
            skipped += 1
            continue
        wanted = folder / _in_a_name(entry.genre) / entry.file.name
        target, is_there = _free(wanted, entry, action, taken)
        # Some file systems hold upper and lower case to be the same.
        taken[str(target).casefold()] = entry.content
        placed.append((entry, target))
        there += is_there
        if not is_there:
            steps.append(Step(str(entry.file), str(target), status.st_size, status.st_mtime_ns))
    return Plan(action, folder, tuple(steps), tuple(placed), there, skipped)


def carry_out(
    planned: Plan, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> tuple[Path | None, list[SortError]]:
    """Do what was planned.

    Returns
    -------
    Path or None
        The file that undoes it; None where there was nothing to do.
    list of SortError
        Files that could not be sorted; they are where they were.

    Raises
    ------
    SortError
        The folder can't be written to; nothing was done.
    """
    if not planned.steps:
        return None, []
    undo_file = _write_undo(planned)
    failures = []
    for done, step in enumerate(planned.steps, 1):
        try:
            _take(step, planned.action)
        except OSError as error:
            failures.append(SortError(step.source, f"not sorted: {error.strerror or error}"))
        progress(done, len(planned.steps))
    return undo_file, failures


def undo(file: Path) -> tuple[int, list[SortError]]:
    """Take a sorting back, as far as its files are still as it left them.

    The undo file is removed once nothing is left to undo, and so are folders that are empty then.

    Returns
    -------
    int
        Files put back, or copies and links removed.
    list of SortError
        What was changed since, and stays.

    Raises
    ------
    SortError
        It is no undo file.
    """
    try:
        stored = json.loads(file.read_text(encoding="utf-8", errors="surrogateescape"))
        action, steps = stored["action"], [Step(**step) for step in stored["steps"]]
        if stored["format"] != _FORMAT or action not in get_args(Action):
            raise ValueError("another format")
    except OSError as error:
        raise SortError(file, f"can't be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError) as error:
        raise SortError(file, "not an undo file of genrescope sort") from error
    undone, failures = 0, []
    for step in reversed(steps):
        try:
            undone += _take_back(step, action)
        except OSError as error:
            failures.append(SortError(step.target, f"not undone: {error.strerror or error}"))
    for folder in {Path(step.target).parent for step in steps}:
        with suppress(OSError):  # not empty
            folder.rmdir()
    if not failures:
        file.unlink()
    return undone, failures


def write_playlists(placed: Sequence[tuple[Entry, Path]], folder: Path) -> list[Path]:
    """One playlist a genre, `Jazz.m3u8`, surest tracks first; older ones are replaced.

    Parameters
    ----------
    placed
        Tracks and where their files are.
    folder
        Where the playlists are written; made where it is missing.

    Raises
    ------
    FileError
        When they can't be written.
    """
    genres: defaultdict[str, list[tuple[Entry, Path]]] = defaultdict(list)
    for entry, file in placed:
        if entry.genre is not None:
            genres[_in_a_name(entry.genre)].append((entry, file))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SortError(folder, f"can't be made: {error.strerror}") from None
    written = []
    for genre, tracks in sorted(genres.items()):
        tracks.sort(key=lambda track: (-track[0].confidence, track[1]))
        written.append(folder / f"{genre}.m3u8")
        write_m3u8(written[-1], [entry for entry, _ in tracks], [file for _, file in tracks])
    return written


def _in_a_name(genre: str) -> str:
    """A genre as a folder or a file is called by it."""
    return genre_name(genre).replace("/", "-").lstrip(".") or "-"


def _free(wanted: Path, entry: Entry, action: Action, taken: dict[str, str]) -> tuple[Path, bool]:
    """The first name that is free, or that holds this very track already."""
    number = 1
    target = wanted
    while True:
        planned = taken.get(str(target).casefold())
        if planned is None and not os.path.lexists(target):
            return target, False
        if planned is None and _holds(target, entry.file, action):
            return target, True
        # A copy beside its original is one track, unless both have to go somewhere.
        if planned == entry.content and action != "move":
            return target, True
        number += 1
        target = wanted.with_name(f"{wanted.stem} ({number}){wanted.suffix}")


def _holds(target: Path, source: Path, action: Action) -> bool:
    """Whether the file is there already: moved or linked there, or copied."""
    with suppress(OSError):
        if target.samefile(source):
            return True
        return action == "copy" and filecmp.cmp(target, source, shallow=False)
    return False


def _take(step: Step, action: Action) -> None:
    """Carry out one step; a file that came to stand at its target meanwhile is left alone."""
    source, target = Path(step.source), Path(step.target)
    target.parent.mkdir(parents=True, exist_ok=True)
    if action == "link":
        target.symlink_to(source)
        return
    if action == "move" and os.stat(source).st_dev == os.stat(target.parent).st_dev:  # noqa: PTH116
        _rename_to_new(source, target)
        return
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".genrescope-")
    os.close(handle)
    copy = Path(name)
    try:
        shutil.copy2(source, copy)
        with copy.open("rb") as written:
            os.fsync(written.fileno())
        _rename_to_new(copy, target)
    except BaseException:
        copy.unlink(missing_ok=True)
        raise
    if action == "move":
        source.unlink()


def _rename_to_new(source: Path, target: Path) -> None:
    """Rename a file, but never onto another.

    Raises
    ------
    FileExistsError
        When there is one.
    """
    try:
        target.hardlink_to(source)  # fails where the name is taken, unlike a rename
    except FileExistsError:
        raise
    except OSError:  # a file system without links, such as a memory card's
        if os.path.lexists(target):
            raise FileExistsError(17, "the name was taken meanwhile") from None
        source.rename(target)
    else:
        source.unlink()


def _take_back(step: Step, action: Action) -> bool:
    """Undo one step; False where it was never taken, or was undone before."""
    source, target = Path(step.source), Path(step.target)
    if not os.path.lexists(target):
        return False
    if action == "link":
        if not target.is_symlink() or str(target.readlink()) != step.source:
            raise FileExistsError(17, "it is no longer the link that was made")
        target.unlink()
        return True
    status = target.lstat()
    if (status.st_size, status.st_mtime_ns) != (step.size, step.mtime_ns):
        raise FileExistsError(17, "it was changed since")
    if action == "copy":
        target.unlink()
        return True
    if os.path.lexists(source):
        raise FileExistsError(17, f"another file is at {source} now")
    source.parent.mkdir(parents=True, exist_ok=True)
    _take(Step(step.target, step.source, step.size, step.mtime_ns), "move")
    return True


def _write_undo(planned: Plan) -> Path:
    stored = {
        "format": _FORMAT,
        "action": planned.action,
        "steps": [asdict(step) for step in planned.steps],
    }
    text = json.dumps(stored, indent=1, ensure_ascii=False) + "\n"
    stamp = time.strftime("%Y%m%d-%H%M%S")
    file, number = planned.folder / f"undo-{stamp}.json", 1
    try:
        planned.folder.mkdir(parents=True, exist_ok=True)
        while file.exists():
            number += 1
            file = planned.folder / f"undo-{stamp}-{number}.json"
        write_atomic(file, text.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise SortError(planned.folder, f"can't be written: {error.strerror}") from None
    return file
