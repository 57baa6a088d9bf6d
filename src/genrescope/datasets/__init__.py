"""Music with known genres as tracks, feature tables of it, and honest splits.

`read_dataset` reads GTZAN, FMA, a folder of genre folders or a CSV file; `read_table` reads vectors
that somebody has computed; `genrescope.datasets.check` finds what is wrong with a data set.
"""

from genrescope.datasets.dataset import Dataset
from genrescope.datasets.reading import read_dataset
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
from genrescope.datasets.tracks import Track, map_genres, scan, with_artists

__all__ = [
    "Dataset",
    "Split",
    "Table",
    "Track",
    "fold_splits",
    "group_tracks",
    "listed_split",
    "map_genres",
    "official_split",
    "random_split",
    "read_dataset",
    "read_table",
    "repeated_folds",
    "scan",
    "with_artists",
]
