"""An index of a large library: what is alike is found without looking at every track.

Conventions
-----------
The index is a table of its own beside the tracks: each track's direction around the mean (see
`genrescope.library.similar`) as float16, the row it belongs to, and what search is narrowed down
by. LanceDB keeps it in cells (IVF, 8 bits a number) and looks through those that are nearest. What
it finds are candidates: their likeness is computed anew from the embeddings themselves.

The mean and the rows belong to one state of the tracks, whose number the index carries. In any
other state it is not used: everything is searched then, until the end of a scan makes a new one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.library.store import INDEX, Entry, Library, matrix

INDEX_FROM = 100_000
_SMALLEST = 1e-12
_FEWEST_CANDIDATES = 100
_CANDIDATES_A_TRACK = 4
_MORE = 8
_CELLS = 20


@dataclass(frozen=True, eq=False)
class Index:
    """The index of a library in one state; made by `Index.open`.

    Attributes
    ----------
    mean
        Of all embeddings, float64 `[size]`.
    """

    library: Library
    mean: NDArray[np.float64]
    _table: Any
    _version: int

    @classmethod
    def open(cls, library: Library) -> Index | None:
        """The index of a library; None where it has none, or that of another state."""
        table = library.lance_table(INDEX)
        if table is None:
            return None
        about = json.loads((table.schema.metadata or {}).get(b"genrescope", b"{}"))
        if about.get("version") != library.version:
            return None
        return cls(library, np.array(about["mean"]), table, library.version)

    @property
    def is_current(self) -> bool:
        """Whether the library is still in the state that it was made of."""
        return self._version == self.library.version

    def nearest(
        self,
        direction: NDArray[np.float64],
        n: int,
        where: str | None,
        allows: Callable[[Entry], bool],
    ) -> list[tuple[Entry, float]]:
        """The `n` tracks most like a direction, with their likeness; fewer only where there are.

        One of each recording.

        Parameters
        ----------
        direction
            Unit vector around the mean, float64 `[size]`.
        where
            SQL that leaves out what `allows` refuses, on `genre` and `year`; it need not be exact.
        allows
            Which tracks may be found.
        """
        count = max(_FEWEST_CANDIDATES, _CANDIDATES_A_TRACK * n)
        while True:
            rows = self._candidates(direction, count, where)
            entries = [entry for entry in self.library.rows(rows) if allows(entry)] if rows else []
            found = self._ranked(direction, entries)
            if len(found) >= n or len(rows) < count:
                return found[:n]
            count *= _MORE

    def _candidates(
        self, direction: NDArray[np.float64], count: int, where: str | None
    ) -> list[int]:
        """Rows of tracks, the nearest as far as the index can tell; all where there are fewer."""
        with self.library.reading():
            query = self._table.search(direction.astype(np.float32), "direction")
            query = query.distance_type("cosine").limit(count).select(["row", "_distance"])
            # More cells are looked through where what is wished for is not in the nearest.
            query = query.minimum_nprobes(_CELLS).maximum_nprobes(0)
            found = (query.where(where) if where else query).to_arrow()
        # As the tracks are stored, so that of copies the same one is found as without an index.
        return sorted(int(row) for row in found["row"].to_pylist())

    def _ranked(
        self, direction: NDArray[np.float64], entries: list[Entry]
    ) -> list[tuple[Entry, float]]:
        if not entries:
            return []
        centred = np.stack([entry.embedding for entry in entries]) - self.mean
        likeness = unit(centred).astype(np.float32) @ direction.astype(np.float32)
        best: dict[str, tuple[Entry, float]] = {}
        for place in np.argsort(-likeness, kind="stable"):
            best.setdefault(entries[place].content, (entries[place], float(likeness[place])))
        return list(best.values())


def refresh(library: Library) -> bool:
    """Make a large library's index, unless it is there; tell whether it was made.

    Raises
    ------
    LibraryError
        When it can't be written.
    """
    import pyarrow as pa
    from lancedb.index import IvfSq

    index = library.lance_table(INDEX)
    is_whole = index is not None and len(index.list_indices()) > 0
    if library.count() < INDEX_FROM or (is_whole and Index.open(library) is not None):
        return False
    size = library.model.embedding_size
    tracks = library.placed(["embedding", "genre", "year"])
    embeddings = matrix(tracks["embedding"], size)
    mean = embeddings.mean(axis=0, dtype=np.float64)
    # Not rounded in blocks, a million of them would take a gigabyte in between.
    directions = np.empty(embeddings.shape, np.float16)
    for start in range(0, len(directions), INDEX_FROM):
        block = slice(start, start + INDEX_FROM)
        directions[block] = unit(embeddings[block] - mean)
    about = json.dumps({"version": library.version, "mean": mean.tolist()})
    columns = {
        "row": tracks["_rowid"],
        "genre": tracks["genre"],
        "year": tracks["year"],
        "direction": pa.FixedSizeListArray.from_arrays(pa.array(directions.ravel()), size),
    }
    library.write_table(INDEX, pa.table(columns, metadata={"genrescope": about}))
    written = library.lance_table(INDEX)
    library.commit(lambda: written.create_index("direction", config=IvfSq(distance_type="cosine")))
    return True


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of length 1; zeros stay."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, _SMALLEST))
