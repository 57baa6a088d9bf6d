"""A map of a library: its embeddings in two dimensions, similar tracks close together.

Conventions
-----------
A map is drawn from the tracks' directions around the library's mean (see
`genrescope.library.similar`) by t-SNE (L. van der Maaten and G. Hinton, JMLR 2008) or UMAP
(L. McInnes et al., 2018), both with cosine distances. PCA draws the two directions of the largest
variance of the embeddings themselves. Distances on a map have no unit, and those between groups far
apart mean little.

The library stores one map for each method, so that its owner can get to know it: later tracks are
placed into it and no other moves. A track is identified by its root, path and content, or if it was
moved by its content alone. Placed tracks do not shape the map; where more tracks are new than were
on it, it is drawn again as a whole.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import GenrescopeError
from genrescope.library.places import LibraryError
from genrescope.library.rows import Entry
from genrescope.library.similar import Query, Space
from genrescope.library.store import Library, read_table
from genrescope.parallel import available_cores

_FORMAT = 1
_SEED = 0
_PERPLEXITY = 30.0
_ITERATIONS = 750  # openTSNE's 250 of early exaggeration, then 500
_PLACING = 250
_PLACING_PERPLEXITY = 5.0
_PROGRESS_EVERY = 25
_NEIGHBOURS = 15  # of UMAP
_FEWEST = 5  # fewer tracks are drawn by PCA alone
_MANY = 20_000
_BLOCK = 512

Positions = NDArray[np.float64]
Progress = Callable[[int, int], None]


class Method(StrEnum):
    """How a map is drawn."""

    tsne = "tsne"
    umap = "umap"
    pca = "pca"

    @property
    def label(self) -> str:
        """Its name in print."""
        return {"tsne": "t-SNE", "umap": "UMAP", "pca": "PCA"}[self.value]


@dataclass(frozen=True, eq=False)
class Map:
    """Tracks in two dimensions.

    Attributes
    ----------
    library
        The library's place, a folder or an address.
    method
        How it was drawn.
    genres
        The model's, in the order that gives them their colours.
    entries, positions
        The tracks and their positions, float64 `[tracks, 2]`, in no unit.
    kept, placed, gone
        How many tracks stayed, were placed into the stored map, and left it. All 0 where the
        map was drawn as a whole.
    not_stored
        Why the library could not store the map; None where it did.
    """

    library: str
    method: Method
    genres: tuple[str, ...]
    entries: list[Entry]
    positions: Positions
    kept: int = 0
    placed: int = 0
    gone: int = 0
    not_stored: str | None = None

    @property
    def is_fresh(self) -> bool:
        """Whether it was drawn as a whole."""
        return self.kept == 0


def draw_map(
    library: Library,
    method: Method = Method.tsne,
    *,
    redraw: bool = False,
    progress: Progress = lambda _done, _total: None,
) -> Map:
    """Draw a library's tracks, or place new ones into the map that the library stores.

    Parameters
    ----------
    library
        The tracks with an embedding are drawn; the library stores the map.
    method
        The same tracks give the same map.
    redraw
        Ignore the stored map.
    progress
        Called with the number of steps done, and of all steps.

    Raises
    ------
    GenrescopeError
        When the method's package is not installed.
    LibraryError
        When no track can be drawn.
    """
    space = Space(library)
    about = (library.place, method, library.model.genres, space.entries)
    stored = None if redraw else _Stored.read(library, method)
    if stored is not None:
        own = stored.rows_of(space.entries)
        is_new = own < 0
        new = int(np.count_nonzero(is_new))
        if new <= len(own) - new:
            positions = stored.positions[own]
            if new:
                positions[is_new] = _place(space, method, stored, is_new, positions, progress)
            gone = len(stored.positions) - (len(own) - new)
            now = _Stored(tuple(map(_key, space.entries)), positions, stored.axes)
            problem = now.write(library, method) if now.keys != stored.keys else None
            return Map(*about, positions, len(own) - new, new, gone, not_stored=problem)
    positions, axes = _draw(space, method, progress)
    now = _Stored(tuple(map(_key, space.entries)), positions, axes)
    return Map(*about, positions, not_stored=now.write(library, method))


def position_of(drawn: Map, space: Space, query: Query) -> tuple[float, float]:
    """Where a further track would be on a map: the median of the most similar tracks' positions.

    The map stays as it is.
    """
    rows = {_key(entry): row for row, entry in enumerate(drawn.entries)}
    found = space.nearest(query, int(_PLACING_PERPLEXITY))
    near = [rows[_key(entry)] for entry, _ in found if _key(entry) in rows] or [*rows.values()]
    x, y = np.median(drawn.positions[near], axis=0)
    return float(x), float(y)


# --- The stored map ------------------------------------------------------------------------------

_Key = tuple[str, str, str]  # root, path and content


def _key(entry: Entry) -> _Key:
    return entry.root, entry.path, entry.content


@dataclass(frozen=True, eq=False)
class _Stored:
    """A map as the library stores it: tracks, positions, and for PCA the axes."""

    keys: tuple[_Key, ...]
    positions: Positions
    axes: _Axes | None

    @classmethod
    def read(cls, library: Library, method: Method) -> _Stored | None:
        """The stored map; None where there is none, or it belongs to another model."""
        table = read_table(library, f"map-{method}")
        if table is None:
            return None
        about = json.loads((table.schema.metadata or {}).get(b"genrescope", "{}"))
        if (about.get("format"), about.get("model")) != (_FORMAT, library.model.sha256):
            return None
        rows = table.to_pydict()
        keys = tuple(zip(rows["root"], rows["path"], rows["content"], strict=True))
        axes = _Axes(*map(np.array, about["axes"])) if about["axes"] else None
        return cls(keys, np.stack([rows["x"], rows["y"]], axis=1), axes)

    def write(self, library: Library, method: Method) -> str | None:
        """Store it in the place of the one before; return why that is not possible."""
        import pyarrow as pa

        axes = self.axes and [self.axes.middle.tolist(), self.axes.across.tolist()]
        about = {"format": _FORMAT, "model": library.model.sha256, "axes": axes}
        roots, paths, contents = zip(*self.keys, strict=True)
        columns = {"root": roots, "path": paths, "content": contents}
        columns |= dict(zip("xy", self.positions.T, strict=True))
        table = pa.table({name: pa.array(values) for name, values in columns.items()})
        table = table.replace_schema_metadata({"genrescope": json.dumps(about)})
        try:
            library.write_table(f"map-{method}", table)
        except LibraryError as error:  # a read-only library can be drawn all the same
            return error.reason
        return None

    def rows_of(self, entries: Sequence[Entry]) -> NDArray[np.intp]:
        """For each track its row here, -1 for new tracks; no row is given twice."""
        exact = {key: row for row, key in enumerate(self.keys)}
        own = [exact.pop(_key(entry), -1) for entry in entries]
        moved: defaultdict[str, list[int]] = defaultdict(list)
        for (_, _, content), row in exact.items():
            moved[content].append(row)
        for number, entry in enumerate(entries):
            if own[number] < 0 and moved[entry.content]:
                own[number] = moved[entry.content].pop(0)
        return np.array(own, np.intp)


# --- Drawing and placing -------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Axes:
    """The axes of PCA: the mean embedding `[size]` and two directions `[size, 2]`."""

    middle: NDArray[np.float64]
    across: NDArray[np.float64]

    @classmethod
    def of(cls, vectors: NDArray[np.floating]) -> _Axes:
        """The two directions of the largest variance of vectors `[tracks, size]`."""
        middle = vectors.mean(axis=0, dtype=np.float64)
        centred = vectors - middle
        across = np.linalg.eigh(centred.T @ centred)[1][:, :-3:-1]
        # An eigenvector has no sign of its own; without this the map could be its mirror image.
        signs = np.sign(across[np.argmax(np.abs(across), axis=0), [0, 1]])
        return cls(middle, across * signs)

    def project(self, vectors: NDArray[np.floating]) -> Positions:
        return np.asarray((vectors - self.middle) @ self.across, np.float64)


def _draw(space: Space, method: Method, progress: Progress) -> tuple[Positions, _Axes | None]:
    if method is Method.pca:
        embeddings = _embeddings(space)
        axes = _Axes.of(embeddings)
        return axes.project(embeddings), axes
    start = _Axes.of(space.directions).project(space.directions)
    if len(start) < _FEWEST:
        return start, None
    # Copies would otherwise stay on one point.
    spread = max(float(start.std()), 1e-12)
    start = start / spread + np.random.default_rng(_SEED).normal(0, 0.01, start.shape)
    by = _by_tsne if method is Method.tsne else _by_umap
    return by(space.directions, start, progress), None


def _by_tsne(directions: NDArray[np.float32], start: Positions, progress: Progress) -> Positions:
    openTSNE = _import("openTSNE")  # noqa: N806
    count = min(int(3 * _PERPLEXITY), len(directions) - 1)
    steps = _Steps(_ITERATIONS, progress)
    tsne = openTSNE.TSNE(
        random_state=_SEED,
        n_jobs=_jobs(len(directions)),
        callbacks=steps,
        callbacks_every_iters=_PROGRESS_EVERY,
    )
    affinities = openTSNE.affinity.PerplexityBasedNN(
        knn_index=_Neighbours(directions, count),
        perplexity=count / 3,
        n_jobs=_jobs(len(directions)),
    )
    return np.array(tsne.fit(affinities=affinities, initialization=1e-4 * start))


def _by_umap(directions: NDArray[np.float32], start: Positions, _: Progress) -> Positions:
    umap = _import("umap")
    model = umap.UMAP(
        n_neighbors=min(_NEIGHBOURS, len(directions) - 1),
        metric="cosine",
        init=start,
        random_state=_SEED,
        n_jobs=1,
    )
    return np.array(model.fit_transform(directions), np.float64)


def _place(
    space: Space,
    method: Method,
    stored: _Stored,
    is_new: NDArray[np.bool_],
    positions: Positions,
    progress: Progress,
) -> Positions:
    """Positions of new tracks among those whose positions are known."""
    if stored.axes is not None:
        return stored.axes.project(_embeddings(space)[is_new])
    new, old = space.directions[is_new], space.directions[~is_new]
    reference = positions[~is_new]
    neighbours = _Neighbours(old, min(_NEIGHBOURS, len(old)))
    if method is Method.umap or len(old) < _FEWEST:
        nearest, _ = neighbours.query(new, min(int(_PLACING_PERPLEXITY), len(old)))
        return np.asarray(np.median(reference[nearest], axis=1))
    openTSNE = _import("openTSNE")  # noqa: N806
    affinities = openTSNE.affinity.PerplexityBasedNN(
        knn_index=neighbours, perplexity=neighbours.k / 3
    )
    # openTSNE moves the reference to the middle, in place.
    middle = (reference.max(axis=0) + reference.min(axis=0)) / 2
    embedding = openTSNE.TSNEEmbedding(
        reference - middle,
        affinities,
        negative_gradient_method="bh",
        n_jobs=_jobs(len(new)),
        callbacks=_Steps(_PLACING, progress),
        callbacks_every_iters=_PROGRESS_EVERY,
    )
    perplexity = min(_PLACING_PERPLEXITY, len(old) / 3)
    moved = embedding.transform(new, perplexity=perplexity, n_iter=_PLACING)
    return np.asarray(np.array(moved) + middle, np.float64)


class _Neighbours:
    """Exact nearest neighbours by cosine, as the index that openTSNE expects.

    openTSNE's own search is approximate, and differs with the number of threads.
    """

    def __init__(self, directions: NDArray[np.float32], k: int) -> None:
        self.directions, self.k = directions, k
        self.n_samples = len(directions)

    def build(self) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Each track's `k` nearest others and their distances, 1 - cosine, both `[tracks, k]`."""
        return self._search(self.directions, self.k, others=True)

    def query(
        self, directions: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """The same for tracks that are not among these."""
        return self._search(directions, k, others=False)

    def _search(
        self, directions: NDArray[np.float32], k: int, *, others: bool
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        found, distances = [], []
        for start in range(0, len(directions), _BLOCK):
            far = 1 - directions[start : start + _BLOCK] @ self.directions.T
            rows = np.arange(len(far))[:, None]
            if others:
                far[rows[:, 0], start + rows[:, 0]] = np.inf
            nearest = np.argpartition(far, k - 1, axis=1)[:, :k]
            nearest = nearest[rows, np.argsort(far[rows, nearest], axis=1, kind="stable")]
            found.append(nearest)
            distances.append(np.maximum(far[rows, nearest], 0).astype(np.float64))
        return np.concatenate(found), np.concatenate(distances)


class _Steps:
    """Reports openTSNE's steps over all its phases."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.done, self.total, self.progress = 0, total, progress
        progress(0, total)

    def __call__(self, _iteration: int, _error: float, _positions: Positions) -> None:
        self.done += _PROGRESS_EVERY
        self.progress(self.done, self.total)


def _jobs(tracks: int) -> int:
    """Number of threads: with few tracks they would only wait for each other."""
    return available_cores() if tracks >= _MANY else 1


def _embeddings(space: Space) -> NDArray[np.float32]:
    return np.stack([entry.embedding for entry in space.entries])


def _import(name: str) -> Any:
    """Import a package that draws maps.

    Raises
    ------
    GenrescopeError
        When it is not installed.
    """
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        how = {
            "openTSNE": "t-SNE needs openTSNE: pip install 'genrescope[library]'",
            "umap": "UMAP needs umap-learn: pip install 'genrescope[umap]'",
        }[name]
        raise GenrescopeError(how) from error
