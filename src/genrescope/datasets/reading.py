"""`read_dataset`: a data set of any known layout, recognised by what is there.

Conventions
-----------
Reading looks at names, tables, single headers and, for artists, tags; it decodes nothing, so it is
fast. What is wrong inside the files is found by `genrescope.datasets.check`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

from genrescope.datasets.artists import artists_from_tags, with_artists
from genrescope.datasets.dataset import Dataset
from genrescope.datasets.layout import Layout
from genrescope.datasets.layouts import LAYOUTS, builtin_repeats, layout
from genrescope.datasets.tracks import Track, mark_repeats
from genrescope.datasets.walk import genre_tree
from genrescope.errors import DatasetError
from genrescope.genres import genre_key, one_spelling
from genrescope.registry import no_such


def read_dataset(
    path: str | PathLike[str],
    *,
    subset: str | None = None,
    genres: Iterable[str] | None = None,
    artists: str | PathLike[str] | None = None,
    kind: str | None = None,
) -> Dataset:
    """List the tracks of a data set with genre and, where known, artist and official split.

    The layout is recognised by what is there: first the data sets that are known by name (see
    `genrescope datasets list`), then a folder of genre folders or a table of tracks.

    Different spellings of one genre ("Hip-Hop" and "hip hop") become one, the most frequent.

    Parameters
    ----------
    path
        A folder or a table.
    subset
        For FMA: small, medium, large or full; by default the one that the folder's name states.
    genres
        Only these genres, in any spelling; all by default.
    artists
        A table of track and artist. Without it artists come from the data set itself or, where it
        names none, from the tags of its files.
    kind
        Name of the layout, where it is not to be found out.

    Raises
    ------
    DatasetError
        When nothing of this kind is there, or it holds no track of these genres.
    """
    root = Path(path)
    if not root.exists():
        raise DatasetError(f"{root}: no such file or folder")
    found = layout(kind) if kind is not None else recognise(root)
    if subset is not None and subset not in found.subsets:
        what = f"{root}: {found.about.title} has no subset"
        raise DatasetError(no_such(what, subset, found.subsets))
    dataset = found.read(root) if subset is None else found.read_subset(root, subset)
    dataset = _one_spelling(dataset)
    if genres is not None:
        dataset = _only(root, dataset, genres)
    repeats = builtin_repeats() if found.generic else found.repeats
    tracks = mark_repeats(dataset.tracks, repeats)
    if artists is not None:
        tracks = with_artists(tracks, artists)
    elif dataset.content == "audio" and not any(track.artist for track in tracks):
        tracks = artists_from_tags(tracks)
    return replace(dataset, tracks=tracks)


def recognise(path: Path) -> Layout:
    """The layout of an existing file or folder.

    Raises
    ------
    DatasetError
        When it looks like several data sets, or like none.
    """
    layouts = {name: layout(name) for name in LAYOUTS.names()}
    for generic in (False, True):
        found = [n for n, each in layouts.items() if each.generic == generic and each.detect(path)]
        if len(found) > 1:
            raise DatasetError(f"{path}: looks like {' and '.join(found)}; name the kind of it")
        if found:
            return layouts[found[0]]
    raise DatasetError(f"{path}: not a data set; expected a folder or a table of tracks")


def scan(folder: str | PathLike[str], *, genres: Iterable[str] | None = None) -> list[Track]:
    """List the tracks of a folder of genre folders, sorted by id, whatever data set it is.

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
    tree = genre_tree(root)
    dataset = Dataset(root.name, "folders", tree.tracks())
    tracks = dataset.tracks if genres is None else _only(root, dataset, genres).tracks
    return mark_repeats(tracks, builtin_repeats())


def _one_spelling(dataset: Dataset) -> Dataset:
    spelling = one_spelling(track.genre for track in dataset.tracks)
    changed = sorted(name for name, usual in spelling.items() if name != usual)
    if not changed:
        return dataset
    tracks = [replace(track, genre=spelling[track.genre]) for track in dataset.tracks]
    note = "spellings of one genre: " + ", ".join(f"{n} -> {spelling[n]}" for n in changed)
    return replace(dataset, tracks=tracks, notes=(*dataset.notes, note))


def _only(root: Path, dataset: Dataset, genres: Iterable[str]) -> Dataset:
    """The part of a data set that is of these genres."""
    names: Sequence[str] = list(genres)
    keys = {genre_key(name) for name in names}
    tracks = [track for track in dataset.tracks if genre_key(track.genre) in keys]
    left_out = [left for left in dataset.left_out if genre_key(left.genre) in keys]
    if not tracks:
        raise DatasetError(f"{root}: no tracks of {', '.join(sorted(names))} in it")
    return replace(dataset, tracks=tracks, left_out=left_out)
