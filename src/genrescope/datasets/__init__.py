"""A folder of music as tracks with genre and artist, and honest splits of it."""

from genrescope.datasets.splits import (
    Split,
    fold_splits,
    group_tracks,
    listed_split,
    random_split,
)
from genrescope.datasets.tracks import Track, scan, with_artists

__all__ = [
    "Split",
    "Track",
    "fold_splits",
    "group_tracks",
    "listed_split",
    "random_split",
    "scan",
    "with_artists",
]
