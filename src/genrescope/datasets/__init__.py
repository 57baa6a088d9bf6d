"""Music with known genres as tracks, tables of feature vectors, and splits that do not leak.

`read_dataset` reads any data set that `genrescope.datasets.layouts` knows, a folder of genre
folders or a table of tracks; `read_table` reads vectors that were computed elsewhere;
`genrescope.datasets.check` finds what is wrong with a data set.
"""

from genrescope.datasets.artists import artists_from_tags, with_artists
from genrescope.datasets.dataset import Dataset, LeftOut
from genrescope.datasets.fingerprints import fingerprint, fingerprints
from genrescope.datasets.layout import About, Layout
from genrescope.datasets.layouts import LAYOUTS
from genrescope.datasets.reading import read_dataset, scan
from genrescope.datasets.splits import (
    Split,
    fold_splits,
    group_tracks,
    listed_split,
    official_split,
    random_split,
    repeated_folds,
)
from genrescope.datasets.tables import Table, read_table
from genrescope.datasets.tracks import Track, map_genres, mark_repeats

__all__ = [
    "LAYOUTS",
    "About",
    "Dataset",
    "Layout",
    "LeftOut",
    "Split",
    "Table",
    "Track",
    "artists_from_tags",
    "fingerprint",
    "fingerprints",
    "fold_splits",
    "group_tracks",
    "listed_split",
    "map_genres",
    "mark_repeats",
    "official_split",
    "random_split",
    "read_dataset",
    "read_table",
    "repeated_folds",
    "scan",
    "with_artists",
]
