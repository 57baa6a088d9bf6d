"""`Track`, one labelled piece of music, and what can be done with lists of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from genrescope.errors import DatasetError
from genrescope.genres import find_genre, same_genre
from genrescope.registry import no_such


@dataclass(frozen=True)
class Track:
    """One piece of music: an id, a file, a genre and, where known, an artist.

    Attributes
    ----------
    id
        Unique in its data set: the file's name without its suffix, unless names repeat.
    path
        The audio file or stored spectrogram; the table, where the track is known from a table of
        vectors alone.
    genre
        The label, as the data set spells it.
    artist
        Name or number of the artist; None where it is not known.
    split
        The subset that the makers of the data set assigned it to, "train", "validation" or "test";
        None where they assigned it to none.
    recording
        Id of the recording, where the data set is known to hold it more than once: tracks with the
        same one belong in the same subset. None where no repeat is known.
    """

    id: str
    path: Path
    genre: str
    artist: str | None = None
    split: str | None = None
    recording: str | None = None


def mark_repeats(tracks: Iterable[Track], repeats: Iterable[Sequence[str]]) -> list[Track]:
    """Give the tracks of each known repeat the same `recording`, the first of their ids.

    Parameters
    ----------
    tracks
        Tracks of one data set.
    repeats
        Ids of tracks that are one recording; those of which fewer than two are there are ignored.
    """
    tracks = list(tracks)
    known = {track.id for track in tracks}
    recording: dict[str, str] = {}
    for ids in repeats:
        present = [name for name in ids if name in known]
        if len(present) > 1:
            recording |= dict.fromkeys(present, present[0])
    return [
        replace(track, recording=recording[track.id]) if track.id in recording else track
        for track in tracks
    ]


def map_genres(
    tracks: Sequence[Track], mapping: Mapping[str, str], genres: Iterable[str]
) -> tuple[list[Track], list[str]]:
    """Give the tracks a model's names of their genres, and leave out genres it does not know.

    Spellings don't matter: "Hip-Hop" is a model's "hiphop" (see `genrescope.genres`).

    Parameters
    ----------
    tracks
        Tracks of any data set.
    mapping
        The model's genre for a genre of the tracks; a genre that is not in it keeps its own name.
    genres
        The model's.

    Returns
    -------
    tuple
        The tracks that are kept, and the sorted names of the genres that were left out.

    Raises
    ------
    DatasetError
        When the mapping names a genre that the tracks or the model do not have, or no track is
        left.
    """
    known, there = list(genres), sorted({track.genre for track in tracks})
    renamed: dict[str, str] = {}
    for theirs, ours in mapping.items():
        named = [genre for genre in there if same_genre(genre, theirs)]
        if not named:
            raise DatasetError(no_such("no track is of the genre", theirs, there))
        if find_genre(ours, known) is None:
            raise DatasetError(
                f"{theirs!r} can't become {ours!r}; the model knows {', '.join(sorted(known))}"
            )
        renamed |= dict.fromkeys(named, ours)
    name = {genre: find_genre(renamed.get(genre, genre), known) for genre in there}
    kept = [replace(track, genre=new) for track in tracks if (new := name[track.genre]) is not None]
    if not kept:
        raise DatasetError(
            f"none of {', '.join(there)} is a genre of the model: {', '.join(sorted(known))}"
        )
    return kept, [genre for genre in there if name[genre] is None]
