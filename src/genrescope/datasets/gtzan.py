"""GTZAN (Tzanetakis and Cook 2002): 10 genres of 100 tracks of half a minute.

Its files are `<genre>/<genre>.000NN.au`, or `.wav` in the Kaggle copy, which adds pictures and
feature tables around the folder `genres_original`. One file, jazz.00054, can't be decoded in the
common copies, so that 999 tracks are left.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from genrescope.audio import AudioError, info
from genrescope.datasets.dataset import Dataset
from genrescope.datasets.tracks import Track

GTZAN_GENRES = (
    *("blues", "classical", "country", "disco", "hiphop"),
    *("jazz", "metal", "pop", "reggae", "rock"),
)
TRACKS_A_GENRE = 100

_NAME = re.compile(rf"({'|'.join(GTZAN_GENRES)})\.\d{{5}}")
_WITHIN = ("genres_original", "genres", "Data/genres_original")
_SUSPECT = "jazz.00054"


def genre_folders(root: Path) -> Path:
    """Give the folder of genre folders in a copy of GTZAN, or `root` itself."""
    return next((root / name for name in _WITHIN if (root / name).is_dir()), root)


def is_gtzan(tracks: Sequence[Track]) -> bool:
    """Tell by the names of most of them whether tracks are GTZAN's."""
    return 2 * sum(_NAME.fullmatch(track.id) is not None for track in tracks) > len(tracks)


def read(tracks: Sequence[Track]) -> Dataset:
    """GTZAN without the track that can't be decoded, if this copy has it so."""
    left_out = []
    for track in tracks:
        if track.id == _SUSPECT and track.path.suffix.lower() != ".png":
            try:
                info(track.path)
            except AudioError as error:
                left_out.append((track.id, error.reason))
    bad = {name for name, _ in left_out}
    return Dataset("GTZAN", "gtzan", [t for t in tracks if t.id not in bad], left_out)


def absent(dataset: Dataset) -> dict[str, list[str]]:
    """Ids that GTZAN has and this copy has not, by genre; what was left out is not among them."""
    there = {track.id for track in dataset.tracks} | {name for name, _ in dataset.left_out}
    genres = sorted({track.genre for track in dataset.tracks} & set(GTZAN_GENRES))
    numbered = {g: [f"{g}.{n:05d}" for n in range(TRACKS_A_GENRE)] for g in genres}
    absent = {g: [name for name in names if name not in there] for g, names in numbered.items()}
    return {genre: names for genre, names in absent.items() if names}
