"""The tracks that a library knows before a scan, compared with the files that the scan finds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from genrescope.errors import FileError
from genrescope.inference.labels import MUSIC
from genrescope.legacy import is_passing_problem
from genrescope.library.files import Found, has_files, is_missing
from genrescope.library.moves import unfinished_moves
from genrescope.library.rows import NOT_YET, Entry
from genrescope.wording import valid_text


class KnownTracks:
    """Rows of a library, and what a scan finds out about their files.

    Parameters
    ----------
    entries
        The rows.
    roots
        The folders and addresses that are scanned.
    detector
        What the scan's model decides by whether a track is music, see `Entry.detector`.

    Attributes
    ----------
    rows
        By file.
    by_content
        Rows of each content, except those that `is_settled` leaves to be classified again.
    found
        The files that the scan has found.
    kept
        Folders whose missing files are not taken for deleted.
    outdated
        Rows of moved files, which are to be removed.
    """

    def __init__(
        self, entries: Iterable[Entry], roots: Sequence[Path], detector: str | None
    ) -> None:
        self.detector = detector
        self.rows = {entry.file: entry for entry in entries}
        self.roots = roots
        self.by_content: defaultdict[str, list[Entry]] = defaultdict(list)
        self._unsettled: defaultdict[str, list[Entry]] = defaultdict(list)
        for entry in self.rows.values():
            known = self.by_content if self.is_settled(entry) else self._unsettled
            known[entry.content].append(entry)
        self.found: dict[Path, Found] = {}
        self.kept: list[Path] = []
        self.outdated: list[Entry] = []
        self._moved: set[Path] = set()  # former paths of moved files

    def is_settled(self, entry: Entry) -> bool:
        """Whether a row stays as it is while its file does; otherwise it is classified again."""
        is_passing = entry.is_unclassified or is_passing_problem(entry.problem)
        return not (is_passing or self.is_rejected_before(entry))

    def still_unclassified(self, error: FileError, file: Path) -> list[Entry]:
        """The row of a file that could not be read, with the reason, where it was unclassified."""
        entry = self.rows.get(file)
        if entry is None or not entry.is_unclassified:
            return []
        return [replace(entry, problem=valid_text(f"{NOT_YET}: {error.reason}"))]

    def is_rejected_before(self, entry: Entry) -> bool:
        """Whether a track was taken for no music by other rules than those of the present model."""
        return entry.kind not in (None, MUSIC) and entry.detector != self.detector

    def moved_from(self, content: str, found: Found) -> Entry | None:
        """The row of a file that is gone which had the same audio; it is outdated from now on.

        Its prediction is of use only where it is in `by_content`.
        """
        for entry in [*self.by_content[content], *self._unsettled[content]]:
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
