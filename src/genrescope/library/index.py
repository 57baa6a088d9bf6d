"""An index of a large library: similar tracks are found without comparing all tracks.

Conventions
-----------
The index is a table of its own: each track's direction around the mean (see
`genrescope.library.similar`) as float16, the number of its row, and the columns that searches are
filtered by. LanceDB divides it into cells (IVF, 8 bits a number) and searches the nearest of them.
The tracks that it finds are candidates, whose similarity is then computed from their embeddings.

The mean and the row numbers belong to one version of the tracks, which the index names. In any
other version it is not used: all tracks are compared, until the end of a scan makes a new index.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.library.places import reading
from genrescope.library.queries import living_copies
from genrescope.library.rows import Entry, matrix
from genrescope.library.store import INDEX, Library

INDEX_FROM = 100_000
_SMALLEST = 1e-12
_FEWEST_CANDIDATES = 100
_CANDIDATES_A_TRACK = 4
_MORE = 8
_CELLS = 20


@dataclass(frozen=True, eq=False)
class Index:
    """The index of a library in one version; made by `Index.open`.

    Attributes
    ----------
    mean
        Mean of all embeddings, float64 `[size]`.
    """

    library: Library
    mean: NDArray[np.float64]
    _table: Any
    _version: int

    @classmethod
    def open(cls, library: Library) -> Index | None:
        """The index of a library; None where it has none, or that of another version."""
        table = library.further_table(INDEX)
        if table is None:
            return None
        about = json.loads((table.schema.metadata or {}).get(b"genrescope", b"{}"))
        # Those of earlier versions of Genrescope lack a column that searches are filtered by.
        if about.get("version") != library.version or "content" not in table.schema.names:
            return None
        return cls(library, np.array(about["mean"]), table, library.version)

    @property
    def is_current(self) -> bool:
        """Whether the library is still in the version that it was made of."""
        return self._version == self.library.version

    def nearest(
        self,
        direction: NDArray[np.float64],
        n: int,
        where: str | None,
        allows: Callable[[Entry], bool],
    ) -> list[tuple[Entry, float]]:
        """The `n` tracks most similar to a direction; fewer only where there are fewer.

        One of each recording, each with its similarity.

        Parameters
        ----------
        direction
            Unit vector around the mean, float64 `[size]`.
        where
            SQL on `genre`, `content` and `year` for what `allows` refuses; it need not be exact.
        allows
            Which tracks may be found.
        """
        count = max(_FEWEST_CANDIDATES, _CANDIDATES_A_TRACK * n)
        while True:
            rows = self._candidates(direction, count, where)
            entries = [entry for entry in self.library.take(rows) if allows(entry)] if rows else []
            found = self._ranked(direction, living_copies(entries))
            if len(found) >= n or len(rows) < count:
                return found[:n]
            count *= _MORE

    def _candidates(
        self, direction: NDArray[np.float64], count: int, where: str | None
    ) -> list[int]:
        """Row numbers of the nearest tracks, as far as the index can tell, at most `count`."""
        with reading(self.library.place):
            query = self._table.search(direction.astype(np.float32), "direction")
            query = query.distance_type("cosine").limit(count).select(["row", "_distance"])
            # With a filter the nearest cells may hold too little: then more are searched.
            query = query.minimum_nprobes(_CELLS).maximum_nprobes(0)
            found = (query.where(where) if where else query).to_arrow()
        # In the order of storage, so that of copies the same one is found as without an index.
        return sorted(int(row) for row in found["row"].to_pylist())

    def _ranked(
        self, direction: NDArray[np.float64], entries: list[Entry]
    ) -> list[tuple[Entry, float]]:
        if not entries:
            return []
        centred = np.stack([entry.embedding for entry in entries]) - self.mean
        similarity = unit(centred).astype(np.float32) @ direction.astype(np.float32)
        best: dict[str, tuple[Entry, float]] = {}
        for row in np.argsort(-similarity, kind="stable"):
            best.setdefault(entries[row].content, (entries[row], float(similarity[row])))
        return list(best.values())


def refresh(library: Library) -> bool:
    """Make a large library's index unless it is current; return whether it was made.

    Raises
    ------
    LibraryError
        When it can't be written.
    """
    import pyarrow as pa
    from lancedb.index import IvfSq

    index = library.further_table(INDEX)
    is_whole = index is not None and len(index.list_indices()) > 0
    if library.count() < INDEX_FROM or (is_whole and Index.open(library) is not None):
        return False
    size = library.model.embedding_size
    tracks = library.columns(["embedding", "genre", "content", "year"])
    embeddings = matrix(tracks["embedding"], size)
    mean = embeddings.mean(axis=0, dtype=np.float64)
    # Rounded in blocks: a million at once would take another gigabyte.
    directions = np.empty(embeddings.shape, np.float16)
    for start in range(0, len(directions), INDEX_FROM):
        block = slice(start, start + INDEX_FROM)
        directions[block] = unit(embeddings[block] - mean)
    about = json.dumps({"version": library.version, "mean": mean.tolist()})
    columns = {
        "row": tracks["_rowid"],
        "genre": tracks["genre"],
        "content": tracks["content"],
        "year": tracks["year"],
        "direction": pa.FixedSizeListArray.from_arrays(pa.array(directions.ravel()), size),
    }
    library.write_table(INDEX, pa.table(columns, metadata={"genrescope": about}))
    written = library.further_table(INDEX)
    cells = IvfSq(distance_type="cosine")
    library.commit(lambda: written.create_index("direction", config=cells), INDEX)
    return True


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of length 1; zeros stay."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, _SMALLEST))
