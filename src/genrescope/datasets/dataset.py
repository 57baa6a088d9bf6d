"""What reading a data set gives: its tracks, and what was left out of it and why."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from genrescope.datasets.tracks import Track

NO_FILE = "no such file"
NO_GENRE = "no genre"


@dataclass(frozen=True)
class Dataset:
    """A data set as it was found.

    Attributes
    ----------
    name
        "GTZAN", "FMA small", or the folder's name.
    kind
        "gtzan", "fma", "folders" or "csv".
    tracks
        Sorted by id.
    left_out
        Id of what is not among the tracks, and the reason.
    """

    name: str
    kind: str
    tracks: list[Track]
    left_out: list[tuple[str, str]]

    def notices(self, *, at_most: int = 8) -> list[str]:
        """One line for each reason that something was left out for, naming the first few."""
        of_reason: dict[str, list[str]] = defaultdict(list)
        for name, reason in self.left_out:
            of_reason[reason].append(name)
        return [
            f"left out, {reason}: {some(names, at_most)}" for reason, names in of_reason.items()
        ]


def some(names: list[str] | tuple[str, ...], at_most: int) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - at_most
    return ", ".join(names[:at_most]) + (f" and {more} more" if more > 0 else "")
