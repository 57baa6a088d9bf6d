"""`read_dataset`: a data set of any known layout, recognised by what is there.

Conventions
-----------
Reading looks at names, tables and single headers and decodes nothing, so it is fast; what is wrong
inside the files is found by `genrescope.datasets.check`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path

from genrescope.datasets import fma, gtzan, listing
from genrescope.datasets.dataset import Dataset
from genrescope.datasets.tracks import Track, scan
from genrescope.errors import DatasetError


def read_dataset(
    path: str | PathLike[str],
    *,
    subset: str | None = None,
    genres: Iterable[str] | None = None,
) -> Dataset:
    """List the tracks of a data set with genre and, where known, artist and official split.

    These are recognised, in this order:

    - FMA: a folder with `fma_small/000/000002.mp3` and so on next to `fma_metadata/tracks.csv`, one
      of the two folders, or the table itself. Without the audio the tracks are read from the table
      alone, for use with feature tables; their file is then the table.
    - GTZAN: a folder of genre folders (`.au`, `.wav`, others), or what holds it as `genres/` or
      `genres_original/`.
    - A folder of genre folders: audio, or stored spectrograms (8-bit grey PNG).
    - A CSV file with the columns path and genre and, if known, artist and split.

    Parameters
    ----------
    path
        A folder or a CSV file.
    subset
        Of FMA: small, medium, large or full; told by the folder's name by default.
    genres
        Only these genres; all by default.

    Raises
    ------
    DatasetError
        When nothing of this kind is there, or it holds no track of these genres.
    """
    root = Path(path)
    wanted = None if genres is None else frozenset(genres)
    if not root.exists():
        raise DatasetError(f"{root}: no such file or folder")
    place = fma.find(root, subset)
    if place is not None:
        return fma.read(place, subset=subset, genres=wanted)
    if subset is not None:
        raise DatasetError(f"{root}: is not FMA, which alone has subsets")
    if root.is_file():
        return listing.read(root, genres=wanted)
    folder = gtzan.genre_folders(root)
    tracks = scan(folder, genres=wanted)
    _refuse_pictures(tracks)
    if gtzan.is_gtzan(tracks):
        return gtzan.read(tracks)
    return Dataset(root.resolve().name, "folders", tracks, [])


def _refuse_pictures(tracks: Sequence[Track]) -> None:
    """Refuse pictures of spectrograms in colour, such as the Kaggle copy of GTZAN has too."""
    picture = tracks[0].path
    if any(track.path.suffix.lower() != ".png" for track in tracks):
        return  # one cover among the music is no reason to refuse all of it
    try:
        with picture.open("rb") as file:
            head = file.read(26)
    except OSError:
        return  # reading it will say what is wrong
    # The 26th byte of a PNG is its colour type: 0 is grey (PNG specification, 11.2.2).
    if head[:4] == b"\x89PNG" and len(head) == 26 and head[25] != 0:
        raise DatasetError(
            f"{picture}: a picture in colour, not a stored spectrogram (8-bit grey); "
            "wanted is the folder of the audio (genres_original)"
        )
