"""The tracks that a library knows before a scan, compared with the files that the scan finds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from genrescope.legacy import is_passing_problem
from genrescope.library.files import Found, has_files, is_missing
from genrescope.library.moves import unfinished_moves
from genrescope.library.rows import Entry


class KnownTracks:
    """Rows of a library, and what a scan finds out about their files.

    Parameters
    ----------
    entries
        The rows.
    roots
        The folders and addresses that are scanned.

    Attributes
    ----------
    rows
        By file.
    by_content
        Rows of each content, except those that say only that a file could not be read.
    found
        The files that the scan has found.
    kept
        Folders whose missing files are not taken for deleted.
    outdated
        Rows of moved files, which are to be removed.
    """

    def __init__(self, entries: Iterable[Entry], roots: Sequence[Path]) -> None:
        self.rows = {entry.file: entry for entry in entries}
        self.roots = roots
        self.by_content: defaultdict[str, list[Entry]] = defaultdict(list)
        for entry in self.rows.values():
            if not is_passing_problem(entry.problem):
                self.by_content[entry.content].append(entry)
        self.found: dict[Path, Found] = {}
        self.kept: list[Path] = []
        self.outdated: list[Entry] = []
        self._moved: set[Path] = set()  # former paths of moved files

    def moved_from(self, content: str, found: Found) -> Entry | None:
        """The row of a file that is gone which had the same audio; it is outdated from now on."""
        for entry in self.by_content[content]:
            if entry.file not in self._moved and self._is_gone(entry, found):
                self._moved.add(entry.file)
                self.outdated.append(entry)
                return entry
        return None

    def missing(self) -> list[Entry]:
        """The rows whose files are gone from the scanned folders, where those are readable."""
        return [
            entry
            for file, entry in self.rows.items()
            if file not in self.found
            and file not in self._moved
            and not entry.deleted
            and self._is_searched(file)
        ]

    def _is_gone(self, entry: Entry, found: Found) -> bool:
        """Whether the file of a row is gone, so that `found`, of equal audio, takes its place."""
        if entry.is_remote:
            return entry.file not in self.found and self._is_searched(entry.file)
        if not is_missing(entry.file):
            return False
        if found.inode is not None and found.inode == entry.inode:
            return True  # renamed, on the same disk
        if (str(entry.file), str(found.file)) in self._sorted_moves:
            return True
        # A copy does not tell that the files of a disk which is not mounted are gone.
        is_kept = any(map(entry.file.is_relative_to, self.kept))
        return not is_kept and (has_files(entry.root) or self._is_searched(entry.file))

    @cached_property
    def _sorted_moves(self) -> set[tuple[str, str]]:
        """From where to where `genrescope sort --move` has moved files into the scanned folders."""
        return set().union(*map(unfinished_moves, self.roots))

    def _is_searched(self, file: Path) -> bool:
        """Whether a file would have been found if it existed: it is below the roots, not kept."""
        below = any(map(file.is_relative_to, self.roots))
        return below and not any(map(file.is_relative_to, self.kept))
