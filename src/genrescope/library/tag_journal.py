"""Journal of genre tags that were written, so that they can be undone.

Conventions
-----------
A journal is a file with one JSON object a line, in `journal` in `paths.data_folder`. A line is
stored before its file is changed, so that an interrupted run can be undone, too. Undoing touches
only files whose genres are still what was written. The last run is that of the journal which was
written to last: names hold the local time, which goes back at the end of summer time.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from genrescope.errors import FileError, TagError
from genrescope.library.tags import (
    GenreState,
    TagChange,
    plan_genre,
    read_state,
    restore_genre,
    write_genre,
)
from genrescope.paths import data_folder

_FORMAT = 1
_PREFIX, _SUFFIX = "tags-", ".jsonl"
_KEPT = "gone-"


class TagJournal:
    """A journal of one run; its file is made when the first change is recorded.

    Attributes
    ----------
    file
        Where it is; None before the first change.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or data_folder("journal")
        self.file: Path | None = None

    def write_genre(
        self,
        path: str | os.PathLike[str],
        genre: str | Sequence[str],
        *,
        overwrite: bool = False,
        append: bool = False,
        known: Sequence[str] | None = None,
    ) -> TagChange:
        """Write a genre as `tags.write_genre` does, and record what was there before.

        Raises
        ------
        TagError
            The file can't be tagged; it is as it was.
        FileError
            The journal can't be written; nothing was changed.
        """
        change = plan_genre(path, genre, overwrite=overwrite, append=append, known=known)
        if change.action == "write":
            self._record(Path(os.path.abspath(path)), read_state(path), change.after)  # noqa: PTH100
            write_genre(path, genre, overwrite=overwrite, append=append, known=known)
        return change

    def _record(self, path: Path, before: GenreState, after: str) -> None:
        line = {"format": _FORMAT, "path": str(path), "before": asdict(before), "after": after}
        place = self.file or self._folder
        try:
            if self.file is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self.file = _new_file(self._folder)
            _append(self.file, json.dumps(line) + "\n")
        except OSError as error:
            if self.file is not None and self.file != place:
                self.file.unlink(missing_ok=True)  # an empty one would be the last run's
                self.file = None
            raise FileError(place, f"can't be written: {error.strerror}") from None


class _GoneError(TagError):
    """A file is gone, so that nothing can undo it."""


def latest_journal(folder: Path | None = None) -> Path:
    """The journal of the last run that changed tags.

    Raises
    ------
    FileError
        There is none.
    """
    folder = folder or data_folder("journal")
    journals = _journals(folder)
    if not journals:
        raise FileError(folder, "no tags were written that could be undone")
    return journals[0]


def journal_before(journal: Path) -> Path | None:
    """The journal of the run before one, in its folder; None where there is none."""
    journals = _journals(journal.absolute().parent)
    names = [each.name for each in journals]
    older = journals[names.index(journal.name) + 1 :] if journal.name in names else []
    return older[0] if older else None


def undo(journal: Path) -> tuple[int, list[FileError]]:
    """Give files the genres that they had before a run, as far as they have what it wrote.

    The journal is removed once nothing is left to undo. Where all that is left are files that are
    gone, it gets another name, see `kept_journal`, in case they come back.

    Returns
    -------
    int
        Files whose genres were restored.
    list of FileError
        Files that were changed since, are gone, or can't be written; they stay as they are.

    Raises
    ------
    FileError
        It is no journal.
    """
    undone, failures = 0, list[FileError]()
    for path, before, after in reversed(_read(journal)):
        try:
            # Where the folder is missing, too, it may be on a disk that is only not mounted.
            if not os.path.lexists(path) and Path(path).parent.is_dir():
                raise _GoneError(path, "not undone: it is gone")
            now = read_state(path)
            if now == before:  # the run was interrupted before this file, or it was undone
                continue
            if "; ".join(value.strip() for value in now.values) != after:
                raise TagError(path, "not undone: its genre was changed since")
            restore_genre(path, before)
            undone += 1
        except TagError as error:
            failures.append(error)
    if not failures:
        journal.unlink()
    elif all(isinstance(failure, _GoneError) for failure in failures):
        journal.replace(kept_journal(journal))
    return undone, failures


def kept_journal(journal: Path) -> Path:
    """The name of a journal whose files are gone, which is not the latest one any more."""
    return journal.with_name(f"{_KEPT}{journal.name.removeprefix(_KEPT)}")


def _journals(folder: Path) -> list[Path]:
    """All journals in a folder, that of the last run first."""
    found = []
    for file in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with suppress(FileNotFoundError):  # another process has undone it
            found.append((file.stat().st_mtime_ns, file))
    return [file for _, file in sorted(found, reverse=True)]


def _append(journal: Path, line: str) -> None:
    """Add a line that is on the disk then, whole or not at all."""
    with journal.open("ab", buffering=0) as file:
        end = file.tell()
        try:
            data = line.encode("ascii")
            while data:
                data = data[file.write(data) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(end)  # what follows would be taken for the rest of this line
            raise


def _read(journal: Path) -> list[tuple[str, GenreState, str]]:
    entries = []
    try:
        lines = journal.read_text(encoding="ascii").splitlines(keepends=True)
        for line in lines:
            if not line.endswith("\n"):  # a crash cut it short, before its file was touched
                continue
            fields = json.loads(line)
            if fields["format"] != _FORMAT:
                raise ValueError("another format")
            before: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in fields["before"].items()
            }
            for name in ("leading", "quicktime"):  # earlier versions left such tags as they were
                if name not in before:
                    before[name] = _now(fields["path"], name)
            state = GenreState(**before)
            if not _is_whole(fields["path"], fields["after"], state):
                raise ValueError("values of other types")
            entries.append((fields["path"], state, fields["after"]))
    except OSError as error:
        raise FileError(journal, f"can't be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FileError(journal, "not a journal of genrescope") from error
    return entries


def _now(path: str, tag: Literal["leading", "quicktime"]) -> tuple[str, ...] | None:
    try:
        held: tuple[str, ...] | None = getattr(read_state(path), tag)
        return held
    except TagError:
        return None


def _is_whole(path: object, after: object, state: GenreState) -> bool:
    """Whether what was read from a line has values of its types."""
    further = (state.trailing, state.leading, state.quicktime)
    lists = [state.values, *(each for each in further if each is not None)]
    return (
        isinstance(path, str)
        and isinstance(after, str)
        and all(isinstance(each, tuple) for each in lists)
        and all(isinstance(each, str) for one in lists for each in one)
        and isinstance(state.id3v1, int | None)
        and isinstance(state.info, str | None)
    )


def _new_file(folder: Path) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    number = 1
    while True:
        name = f"{_PREFIX}{stamp}-{number:03d}{_SUFFIX}"
        try:
            (folder / name).touch(exist_ok=False)
        except FileExistsError:
            number += 1
        else:
            return folder / name
