"""A folder of genre folders as a list of tracks, with what is known and what is wrong of each.

Conventions
-----------
`FOLDER/<genre>/<file>`: the folder's name is the genre, a file's name without its suffix is the
track's id. Files are audio or stored spectrograms (PNG). Where the same id is there twice in a
genre, audio is preferred.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

from genrescope.audio import AUDIO_SUFFIXES
from genrescope.datasets.rows import csv_rows, first_of
from genrescope.errors import DatasetError


@dataclass(frozen=True)
class Track:
    """One piece of music: an id, a file, a genre and, where known, an artist.

    Attributes
    ----------
    split
        The side that the data set's authors put it on, "train", "validation" or "test".
    """

    id: str
    path: Path
    genre: str
    artist: str | None = None
    split: str | None = None


def scan(folder: str | PathLike[str], *, genres: Iterable[str] | None = None) -> list[Track]:
    """List the tracks of a folder of genre folders, sorted by id.

    Parameters
    ----------
    folder
        Holds one folder for each genre.
    genres
        Only these genres; all by default.

    Raises
    ------
    DatasetError
        When the folder is missing, or holds no track of these genres.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder")
    wanted = None if genres is None else set(genres)
    found: dict[tuple[str, str], Track] = {}
    for path in sorted(root.glob("*/*")):
        genre, suffix = path.parent.name, path.suffix.lower()
        if path.name.startswith(".") or genre.startswith(".") or not path.is_file():
            continue
        if not (suffix in AUDIO_SUFFIXES or suffix == ".png"):
            continue
        if wanted is not None and genre not in wanted:
            continue
        key = (genre, path.stem)
        if key not in found or suffix != ".png":
            found[key] = Track(path.stem, path, genre)
    if not found:
        only = "" if wanted is None else f" of {', '.join(sorted(wanted))}"
        raise DatasetError(f"{root}: no tracks{only} in it; wanted is FOLDER/<genre>/<file>")
    # Names may repeat from genre to genre (001.mp3 in each): then the genre belongs to the id.
    unique = len({name for _, name in found}) == len(found)
    tracks = (t if unique else replace(t, id=f"{t.genre}/{t.id}") for t in found.values())
    return sorted(tracks, key=lambda track: track.id)


def with_artists(tracks: Iterable[Track], table: str | PathLike[str]) -> list[Track]:
    """Add the artist of each track from a CSV with a `track` and an `artist` column.

    A column called `artist_group` (a number that stands for an artist) does as well.

    Raises
    ------
    DatasetError
        When the table can't be read, lacks the columns, or knows none of the tracks.
    """
    rows = csv_rows(table)
    header = next(rows, [])
    column = first_of(("artist", "artist_group"), header)
    if "track" not in header or column is None:
        raise DatasetError(f"{table}: wanted are the columns track and artist (or artist_group)")
    place = header.index("track")
    artist = {row[place]: row[column] for row in rows if len(row) > max(place, column)}
    named = [replace(track, artist=artist.get(track.id) or None) for track in tracks]
    if not any(track.artist for track in named):
        raise DatasetError(f"{table}: knows none of these tracks")
    return named


def map_genres(
    tracks: Sequence[Track], mapping: Mapping[str, str], genres: Iterable[str]
) -> tuple[list[Track], list[str]]:
    """Call genres by a model's names, and leave out those that it does not know.

    Parameters
    ----------
    tracks
        Of any data set.
    mapping
        The model's name for a genre of the tracks; a genre that is not in it keeps its own.
    genres
        The model's.

    Returns
    -------
    tuple
        The tracks that are kept, and the sorted names of the genres that were left out.

    Raises
    ------
    DatasetError
        When the mapping names a genre that the tracks or the model do not have, or nothing is left.
    """
    known, there = set(genres), {track.genre for track in tracks}
    for theirs, ours in mapping.items():
        if theirs not in there:
            raise DatasetError(
                f"no track is of the genre {theirs!r}; there are {', '.join(sorted(there))}"
            )
        if ours not in known:
            raise DatasetError(
                f"{theirs!r} can't become {ours!r}; the model knows {', '.join(sorted(known))}"
            )
    named = [replace(track, genre=mapping.get(track.genre, track.genre)) for track in tracks]
    kept = [track for track in named if track.genre in known]
    if not kept:
        raise DatasetError(
            f"none of {', '.join(sorted(there))} is a genre of the model: "
            f"{', '.join(sorted(known))}"
        )
    return kept, sorted(genre for genre in there if mapping.get(genre, genre) not in known)
