"""A folder of genre folders as a list of tracks, with what is known and what is wrong of each.

Conventions
-----------
`FOLDER/<genre>/<file>`: the folder's name is the genre, a file's name without its suffix is the
track's id. Files are audio or stored spectrograms (PNG). Where the same id is there twice in a
genre, audio is preferred.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

from genrescope.audio import AUDIO_SUFFIXES
from genrescope.errors import DatasetError

# Exact repeats in GTZAN by number (Sturm 2013, "The GTZAN dataset: its contents, its faults…",
# and identical spectrograms). Both sides of a pair always go to the same side of a split.
GTZAN_REPEATS = (
    ("pop.00067", "pop.00071"),
    ("pop.00054", "pop.00060"),
    ("hiphop.00039", "hiphop.00045"),
    ("hiphop.00076", "hiphop.00078"),
    ("disco.00098", "disco.00099"),
    ("reggae.00081", "reggae.00082"),
    ("reggae.00073", "reggae.00074"),
    ("metal.00034", "metal.00094"),
    *((f"metal.{40 + i:05d}", f"metal.{61 + i:05d}") for i in range(6)),
    ("metal.00058", "rock.00016"),
)


@dataclass(frozen=True)
class Track:
    """One piece of music: an id, a file, a genre and, where known, an artist."""

    id: str
    path: Path
    genre: str
    artist: str | None = None


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
    try:
        # Spreadsheets put a byte order mark in front, which is no part of the first name.
        with Path(table).open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{table}: {error}") from None
    columns = set(rows[0]) if rows else set()
    column = next((name for name in ("artist", "artist_group") if name in columns), None)
    if "track" not in columns or column is None:
        raise DatasetError(f"{table}: wanted are the columns track and artist (or artist_group)")
    artist = {row["track"]: row[column] for row in rows if row[column]}
    named = [replace(track, artist=artist.get(track.id)) for track in tracks]
    if not any(track.artist for track in named):
        raise DatasetError(f"{table}: knows none of these tracks")
    return named
