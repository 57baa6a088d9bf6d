"""A data set that was read: its tracks, and those that were left out, with the reason."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from genrescope.datasets.tracks import Track

NO_FILE = "no such file"
NO_GENRE = "no genre"

Content = Literal[
    "audio", "power spectrograms", "mel spectrograms", "drawn spectrograms", "vectors"
]


class LeftOut(NamedTuple):
    """Something that is not among the tracks of a data set.

    Attributes
    ----------
    id
        Id of the track, or the file's name.
    reason
        Why it was left out, in a few words.
    genre
        Its genre; empty where it has none.
    """

    id: str
    reason: str
    genre: str = ""


@dataclass(frozen=True)
class Dataset:
    """A data set as it was found.

    Attributes
    ----------
    name
        "GTZAN", "FMA small", or the folder's name.
    kind
        Name of its layout: "gtzan", "fma", "folders", "csv" and so on.
    tracks
        Sorted by id.
    left_out
        What is not among the tracks.
    content
        What the files of the tracks are: audio, power spectrograms as GTZAN's are stored here
        (8-bit grey PNG), mel spectrograms as FMA's are, drawn
        ones in colour, or vectors in tables.
    notes
        One line each on what was ignored, such as covers among the music.
    """

    name: str
    kind: str
    tracks: list[Track]
    left_out: Sequence[LeftOut] = ()
    content: Content = "audio"
    notes: tuple[str, ...] = ()

    def notices(self, *, at_most: int = 8) -> list[str]:
        """One line for each reason that something was left out, naming the first few."""
        of_reason: dict[str, list[str]] = defaultdict(list)
        for left in self.left_out:
            of_reason[left.reason].append(left.id)
        return [
            *(
                f"left out, {reason}: {first_names(names, at_most)}"
                for reason, names in of_reason.items()
            ),
            *self.notes,
        ]


def first_names(names: Sequence[str], at_most: int) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - at_most
    return ", ".join(names[:at_most]) + (f" and {more} more" if more > 0 else "")
