"""The outcome of a scan, as values."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from genrescope.audio.files import PassedOver
from genrescope.errors import FileError
from genrescope.inference.listening import Listen, setting_of
from genrescope.library.rows import HAS_EMBEDDING, NOT_CLASSIFIED
from genrescope.library.store import Library, quoted


@dataclass
class Counts:
    """Result of a scan.

    Attributes
    ----------
    classified, unchanged, moved, recognised
        See the module's conventions.
    deleted
        Files that are gone since the last scan.
    failed
        Files that could not be decoded, or not even read, at this scan.
    """

    classified: int = 0
    unchanged: int = 0
    moved: int = 0
    recognised: int = 0
    deleted: int = 0
    failed: int = 0


@dataclass
class Report:
    """The outcome of a scan.

    Attributes
    ----------
    library
        The library, open.
    counts
        What happened to how many files.
    failures
        The files that failed at this scan, with the reason.
    failed_before
        Unchanged files that could not be decoded at an earlier scan, and were not tried again.
    interrupted
        The scan was stopped; what was classified until then is in the library.
    passed_over
        What the search of the folders left out.
    restored
        The last write of an earlier scan was damaged, and the library was taken back to its state
        before it.
    read_in_part
        See `read_otherwise`.
    decided_again
        Tracks classified again because they were taken for no music by other rules than those of
        the present model.
    unfinished
        See `not_classified`.
    """

    library: Library
    counts: Counts = field(default_factory=Counts)
    failures: list[FileError] = field(default_factory=list)
    failed_before: int = 0
    interrupted: bool = False
    passed_over: PassedOver = field(default_factory=PassedOver)
    restored: bool = False
    read_in_part: dict[str, int] = field(default_factory=dict)
    decided_again: int = 0
    unfinished: dict[str, int] = field(default_factory=dict)

    def fail(self, error: FileError) -> None:
        """Add a file, or a folder, that failed."""
        self.failures.append(error)
        self.counts.failed += 1


def read_otherwise(library: Library, listen: Listen) -> dict[str, int]:
    """How many tracks of a library were read in part, but not by this setting.

    Returns
    -------
    dict
        From the settings by which they were read (`Entry.listen`) to the number of tracks. Tracks
        that were read in full are not counted.
    """
    where = f"{HAS_EMBEDDING} AND listen NOT IN ('full', '{setting_of(listen)}')"
    return dict(Counter(library.columns(["listen"], where)["listen"].to_pylist()))


def not_classified(library: Library) -> dict[str, int]:
    """How many tracks `scan --rescan` has not reached before it was stopped, by scanned folder."""
    where = f"NOT deleted AND problem = {quoted(NOT_CLASSIFIED)}"
    return dict(sorted(Counter(library.columns(["root"], where)["root"].to_pylist()).items()))
