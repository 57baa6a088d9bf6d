"""Genrescope for PyTorch: `SegmentDataset`, the segments of tracks as a model sees them.

Examples
--------
>>> from torch.utils.data import DataLoader
>>> from genrescope.torch import SegmentDataset
>>> dataset = SegmentDataset(["walking-bass.flac", "palm-muted-guitars.flac"], ["calm", "loud"])
>>> dataset.classes
['calm', 'loud']
>>> values, labels, tracks = next(iter(DataLoader(dataset, batch_size=4)))
>>> values.shape[0], labels.tolist(), list(tracks)[0]
(4, [0, 0, 0, 0], 'walking-bass.flac')
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from os import PathLike

import numpy as np

from genrescope.audio import source_name
from genrescope.errors import MissingPackageError
from genrescope.features import Frontend, Segment, Source
from genrescope.inference import Bundle
from genrescope.parallel import available_cores

try:
    import torch
    from torch.utils.data import Dataset
except ImportError as _missing:
    raise MissingPackageError(
        "genrescope.torch needs PyTorch: pip install 'genrescope[train]'"
    ) from _missing


class SegmentDataset(Dataset[tuple[torch.Tensor, int, str]]):
    """Segments of tracks, each with the label and the id of its track.

    All tracks are decoded when the data set is made, on all cores, and their segments are kept in
    memory: about 1 MB for a minute of the default model's feature. Workers of a `DataLoader` may
    read it, as threads or processes.

    Parameters
    ----------
    tracks
        Paths or waveforms.
    labels
        A label for each track; the item has its index in `classes`. -1 without labels.
    frontend
        A front end, or the name or path of a model whose front end computes the segments.
    ids
        The id of each track; by default its path.
    jobs
        Tracks decoded at the same time; as many as there are cores by default.

    Attributes
    ----------
    classes
        The labels, sorted.

    Raises
    ------
    AudioError
        When a track can't be decoded.
    ValueError
        When there are not as many labels or ids as tracks.
    """

    def __init__(
        self,
        tracks: Sequence[Source],
        labels: Sequence[str] | None = None,
        frontend: Frontend | str | PathLike[str] = "default",
        *,
        ids: Sequence[str] | None = None,
        jobs: int | None = None,
    ) -> None:
        for name, values in (("labels", labels), ("ids", ids)):
            if values is not None and len(values) != len(tracks):
                raise ValueError(f"{len(values)} {name} for {len(tracks)} tracks")
        if not isinstance(frontend, Frontend):
            frontend = Bundle.load(frontend).manifest.frontend
        self.frontend = frontend
        self.ids = list(ids) if ids is not None else [source_name(track) for track in tracks]
        self.classes = sorted(set(labels)) if labels is not None else []
        index = {label: i for i, label in enumerate(self.classes)}
        self.labels = [-1] * len(tracks) if labels is None else [index[each] for each in labels]
        with ThreadPoolExecutor(jobs or available_cores()) as pool:
            self._segments = list(pool.map(self._read, tracks))
        self._ends = list(accumulate(map(len, self._segments)))

    def _read(self, track: Source) -> list[Segment]:
        windows = self.frontend.windows(track)
        return [segment for window in windows for segment in self.frontend.segments_of(window)]

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, str]:
        """The values `[size, frames]` of a segment, float32, and the label and id of its track."""
        track, segment = self._locate(index)
        values = torch.from_numpy(np.ascontiguousarray(segment.values))
        return values, self.labels[track], self.ids[track]

    def times(self, index: int) -> tuple[float, float]:
        """Start and end of a segment in its track, in seconds."""
        _, segment = self._locate(index)
        return segment.start, segment.end

    def _locate(self, index: int) -> tuple[int, Segment]:
        """The number of the track of a segment, and the segment."""
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        track = bisect_right(self._ends, index)
        return track, self._segments[track][index - self._ends[track]]
