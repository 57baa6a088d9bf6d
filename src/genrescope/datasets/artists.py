"""Who a track is by: from a table, or from the tags of its file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from genrescope.datasets.csv_files import CsvTable, is_nothing
from genrescope.datasets.file_names import possible_ids
from genrescope.datasets.tracks import Track
from genrescope.errors import DatasetError
from genrescope.names import name_key
from genrescope.parallel import available_cores

_TRACK_COLUMNS = ("track", "track_id", "id", "filename", "file", "path")
_ARTIST_COLUMNS = ("artist", "artist_group", "artist_name", "artist_id")

# ID3, Vorbis comments and "easy" keys, MP4, APEv2, ASF.
_TAGS = ("TPE1", "artist", "\xa9ART", "Artist", "Author")
# Of the album, the same; foobar2000 wrote it as a text of its own.
_ALBUM_TAGS = (
    *("TPE2", "albumartist", "album artist", "aART", "WM/AlbumArtist"),
    *("TXXX:ALBUM ARTIST", "TXXX:ALBUMARTIST"),
)
_UNKNOWN = {"", "unknown", "unknown artist", "various", "various artists", "va", "n/a", "none"}
_GUEST = re.compile(r"\s*[(\[]?\b(?:feat|ft|featuring)\b\.?\s.*$", re.IGNORECASE)


def with_artists(tracks: Iterable[Track], table: str | PathLike[str]) -> list[Track]:
    """Add the artist of each track from a table with a `track` and an `artist` column.

    The first holds ids of tracks, or names of their files, with folders or without. In the place of
    the second a column `artist_group` does as well, a number that stands for an artist. Tracks that
    the table does not name have no artist then.

    Raises
    ------
    DatasetError
        When the table can't be read, lacks the columns, or names none of the tracks.
    """
    rows = CsvTable(table)
    track_at = rows.required("tracks", _TRACK_COLUMNS)
    artist_at = rows.required("artists", _ARTIST_COLUMNS)
    artist = {row.cells[track_at]: row.cells[artist_at] for row in rows}
    artist = {name: who for name, who in artist.items() if known_artist(who) is not None}
    artist = _of_files(artist) | artist
    named = [replace(track, artist=artist.get(track.id)) for track in tracks]
    if not any(track.artist for track in named):
        raise DatasetError(f"{table}: names none of these tracks")
    return named


def _of_files(artist: Mapping[str, str]) -> dict[str, str]:
    """The artists by the ids that files of these names may have in a data set.

    An id has as many folders as make it unique there. One that files of two artists could have says
    nothing.
    """
    found: dict[str, set[str]] = {}
    for name, who in artist.items():
        for one in possible_ids(name):
            found.setdefault(one, set()).add(who)
    return {name: own.pop() for name, own in found.items() if len(own) == 1}


def artists_from_tags(tracks: Sequence[Track]) -> list[Track]:
    """Add the artist that each track's file names in its tags, where it names one.

    The artist is the track's own, since a network may recognise a musician on a compilation, too.
    Where the tags name none, it is the album's. Guests ("feat. …") don't count, and neither does
    how a name is spelled, see `genrescope.names`; "Various Artists" and the like are no artist. A
    file that can't be read has none.
    """
    with ThreadPoolExecutor(available_cores()) as pool:
        names = list(pool.map(_artist, [track.path for track in tracks]))
    spelling: dict[str, str] = {}
    for name in names:
        if name is not None:
            spelling.setdefault(name_key(name), name)
    return [
        replace(track, artist=None if name is None else spelling[name_key(name)])
        for track, name in zip(tracks, names, strict=True)
    ]


def known_artist(name: str) -> str | None:
    """A name of an artist as it is; None for "Various Artists" and the like, who are no artist."""
    return None if is_nothing(name) or _is_nobody(name) else name


def without_guests(artist: str) -> str:
    """A name without "feat. …" and the like."""
    return _GUEST.sub("", artist).strip()


def _is_nobody(name: str) -> bool:
    return " ".join(name.casefold().split()) in _UNKNOWN


def _artist(path: Path) -> str | None:
    """The artist in the tags of one file."""
    import mutagen

    try:
        file = mutagen.File(path)
        tags = (None if file is None else file.tags) or {}
        keys = (*_TAGS, *_ALBUM_TAGS)
        found = (without_guests(_text_of(tags, key)) for key in keys)
        return next((name for name in found if not _is_nobody(name)), None)
    # mutagen raises what it likes on damaged files, also where a tag's value is taken; they are
    # named when they are decoded.
    except Exception:
        return None


def _text_of(tags: Any, key: str) -> str:
    """The first text of a tag, which may have one or several; "" where there is none."""
    try:
        value = tags[key]
    except (KeyError, ValueError):  # ValueError: no tag of this kind can have such a name
        return ""
    texts = value if isinstance(value, list) else getattr(value, "text", [value])
    return str(texts[0]) if len(texts) else ""
