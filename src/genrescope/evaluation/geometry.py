"""Genre geometry: how alike the tracks of genres are, layer by layer of a network.

The question is the leiden paper's: at which depth of a network do tracks of one genre lie together,
and which genres are neighbours?

Conventions
-----------
Vectors are float `[n, size]`, one row a track; `labels` is int `[n]`, the number of each track's
genre; cosines are float `[n, n]`. A layer's vectors may be huge (the picture itself), and all that
is asked of them is in their products, so everything is computed from those, the Gram matrix
`[n, n]`. A vector of zeros has a cosine of 0 with all others.

Cosines are *raw*, as the paper has them, or *centred*: of what is left of the vectors when the mean
of all tracks is taken off. Raw ones crowd near 1, because all tracks share most of their direction;
centred ones are around 0.

Metrics
-------
The mean cosine over all pairs of tracks of two genres (within a genre without a track and itself);
the silhouette with 1 - cosine as distance (Rousseeuw 1987), the mean over the tracks, from -1 to 1;
the part of the tracks that the vote of their k nearest others names right, among all others, and
among those by other artists alone. Intervals are percentiles of a bootstrap over tracks, or over
groups of tracks, which are drawn whole; a track's neighbours stay those that it has. A figure that
is not defined is NaN.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import DatasetError, GenrescopeError
from genrescope.evaluation.bootstrap import Figure, mean

Floats = NDArray[np.float64]
Labels = NDArray[np.intp]
Cosine = Literal["raw", "centred"]

NEIGHBOURS = 5
COMPONENTS = 50
PERPLEXITY = 30
_SMALLEST = 1e-12
# Numbers of a layer that are widened to float64 at once.
_AT_ONCE = 2**22


def gram(vectors: NDArray[np.floating[Any]]) -> Floats:
    """Products of all pairs of rows, float64 `[n, n]`, without a wider copy of the vectors."""
    n, size = vectors.shape
    products = np.zeros((n, n))
    step = max(1, _AT_ONCE // max(n, 1))
    for first in range(0, size, step):
        part = vectors[:, first : first + step].astype(np.float64)
        products += part @ part.T
    return products


def centred(products: Floats) -> Floats:
    """The Gram matrix of the same vectors after their mean was taken off."""
    rows = products.mean(axis=0)
    moved: Floats = products - rows[:, None] - rows[None, :] + rows.mean()
    # What rounding leaves of vectors that are all the same is no direction.
    lost = np.diagonal(moved) < _SMALLEST * np.maximum(np.diagonal(products), _SMALLEST)
    moved[lost], moved[:, lost] = 0, 0
    return moved


def cosines(products: Floats) -> Floats:
    """Cosines of all pairs; 1 of a track with itself, 0 where a vector is zeros."""
    lengths = np.sqrt(np.maximum(np.diagonal(products), 0))
    lengths = np.where(lengths > 0, lengths, np.inf)
    found: Floats = np.clip(products / lengths[:, None] / lengths[None, :], -1, 1)
    np.fill_diagonal(found, 1)
    return found


def between_genres(cosines: Floats, labels: Labels, genres: int) -> Floats:
    """Mean cosine of all pairs of tracks of two genres, `[genres, genres]`.

    Within a genre the pairs of a track with itself are left out: NaN where it has one track.
    """
    members = np.eye(genres)[labels]
    counts = members.sum(axis=0)
    sums = members.T @ (cosines - np.diag(np.diagonal(cosines))) @ members
    pairs = np.outer(counts, counts) - np.diag(counts)
    means = np.full(sums.shape, np.nan)
    np.divide(sums, pairs, out=means, where=pairs > 0)
    return means


def within_and_between(cosines: Floats, labels: Labels) -> tuple[float, float]:
    """Mean cosine over all pairs of one genre, and over all pairs of two."""
    same = labels[:, None] == labels[None, :]
    own = same & ~np.eye(len(labels), dtype=bool)
    return _mean(cosines[own]), _mean(cosines[~same])


def silhouettes(cosines: Floats, labels: Labels) -> Floats:
    """Silhouette of each track by the distance 1 - cosine, `[n]`.

    a is its mean distance to the others of its genre, b that to the genre next to it; the
    silhouette is (b - a) / max(a, b), and 0 of a track that is alone in its genre (Rousseeuw 1987,
    "Silhouettes: a graphical aid to the interpretation and validation of cluster analysis").

    Raises
    ------
    ValueError
        When there is one genre only.
    """
    present, own = np.unique(labels, return_inverse=True)
    if len(present) < 2:
        raise ValueError("one genre has no other to lie apart from")
    members = np.eye(len(present))[own]
    counts, each = members.sum(axis=0), np.arange(len(labels))
    distances = 1 - cosines
    sums = distances @ members
    alone = counts[own] == 1
    a = (sums[each, own] - np.diagonal(distances)) / np.maximum(counts[own] - 1, 1)
    means = sums / counts
    means[each, own] = np.inf
    b = means.min(axis=1)
    larger = np.maximum(a, b)
    values = np.divide(b - a, larger, out=np.zeros(len(a)), where=larger > 0)
    return np.where(alone, 0.0, values)


def named_right(
    cosines: Floats,
    labels: Labels,
    *,
    k: int = NEIGHBOURS,
    groups: Sequence[str] | NDArray[Any] | None = None,
) -> NDArray[np.bool_]:
    """Whether the vote of a track's k nearest others names its genre, `[n]`.

    Of genres with as many votes that of the nearest track wins. A track that has no other to ask
    is not named right.

    Parameters
    ----------
    groups
        Tracks of a track's own group are not asked; it alone is not if there are none.
    """
    n = len(labels)
    names = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    open_to = np.where(names[:, None] == names[None, :], -np.inf, cosines)
    nearest = np.argsort(-open_to, axis=1, kind="stable")[:, :k]
    asked = np.take_along_axis(open_to, nearest, axis=1) > -np.inf
    votes = np.zeros((n, int(labels.max()) + 1))
    each = np.broadcast_to(np.arange(n)[:, None], nearest.shape)
    np.add.at(votes, (each[asked], labels[nearest][asked]), 1)
    leads = asked & (votes[each, labels[nearest]] == votes.max(axis=1, keepdims=True))
    winner = labels[nearest[np.arange(n), leads.argmax(axis=1)]]
    return np.asarray((winner == labels) & asked.any(axis=1))


def components(products: Floats, number: int = COMPONENTS) -> Floats:
    """Principal components of the vectors behind a centred Gram matrix, `[n, number]`.

    With `G = U L Uᵀ` they are `U √L`; each has the sign that makes its largest entry positive.
    """
    values, vectors = np.linalg.eigh(products)
    order = np.argsort(-values)[: min(number, len(values) - 1)]
    scores: Floats = vectors[:, order] * np.sqrt(np.maximum(values[order], 0))
    largest = np.abs(scores).argmax(axis=0)
    signs = np.where(scores[largest, np.arange(scores.shape[1])] < 0, -1.0, 1.0)
    return scores * signs


def neighbour_map(products: Floats, *, seed: int = 0) -> Floats:
    """t-SNE of the vectors behind a centred Gram matrix, `[n, 2]`: cosines, after PCA.

    Raises
    ------
    GenrescopeError
        When openTSNE is not installed.
    """
    try:
        library: Any = import_module("openTSNE")
    except ModuleNotFoundError:
        raise GenrescopeError("t-SNE needs openTSNE: pip install 'genrescope[lab]'") from None
    scores = components(products)
    n = len(scores)
    start = np.zeros((n, 2))
    width = min(2, scores.shape[1])
    start[:, :width] = scores[:, :width] / max(float(scores[:, 0].std()), _SMALLEST) * 1e-4
    found = library.TSNE(
        perplexity=max(1.0, min(PERPLEXITY, (n - 1) / 3)),
        metric="cosine",
        initialization=start,
        neighbors="exact",
        negative_gradient_method="bh",
        random_state=seed,
        n_jobs=1,  # a fixed order of additions: the same picture every time
    ).fit(scores)
    return np.asarray(found, float)


def turned(places: Floats, towards: Floats) -> Floats:
    """A map turned or mirrored to lie as another does, which changes nothing that it says.

    The orthogonal Procrustes problem (Schönemann 1966), after both were centred.
    """
    here, there = places - places.mean(axis=0), towards - towards.mean(axis=0)
    left, _, right = np.linalg.svd(here.T @ there)
    return np.asarray(here @ left @ right)


def along_diagonal(places: Floats) -> Floats:
    """A map turned so that its longest way is a square's: from corner to corner."""
    centre = places - places.mean(axis=0)
    _, _, axes = np.linalg.svd(centre, full_matrices=False)
    return np.asarray(centre @ axes.T @ np.array([[1, 1], [-1, 1]]) / np.sqrt(2))


@dataclass(frozen=True)
class Measured:
    """How well the genres lie apart in one layer.

    Attributes
    ----------
    cosine, side, n
        What was measured, and on how many tracks of which side.
    within, between
        Mean cosine over all pairs of one genre, and of two.
    silhouette, knn
        Mean silhouette, and the part of the tracks that their neighbours name right.
    knn_other_artists
        The same among tracks by other artists; None where artists are not known.
    """

    cosine: Cosine
    side: str
    n: int
    within: float
    between: float
    silhouette: Figure
    knn: Figure
    knn_other_artists: Figure | None


@dataclass(frozen=True, eq=False)
class Layer:
    """The geometry of one layer.

    Attributes
    ----------
    name, size
        Of the layer; numbers that it has for a track.
    between
        Mean cosines `[genres, genres]`, raw and centred.
    measured
        Figures, raw and centred, of each side.
    places
        t-SNE of the tracks `[n, 2]`; None where it was not wanted.
    """

    name: str
    size: int
    between: Mapping[Cosine, Floats]
    measured: tuple[Measured, ...]
    places: Floats | None


@dataclass(frozen=True, eq=False)
class Heard:
    """The tracks that a geometry is of, in one order.

    Attributes
    ----------
    ids, genres
        Of each track.
    sides
        Of each track: whether the network has learned from it.
    groups
        Of each track: one group are one artist's tracks, or copies of one recording.
    artists_known
        Whether the groups tell artists.
    """

    ids: tuple[str, ...]
    genres: tuple[str, ...]
    sides: tuple[str, ...]
    groups: tuple[str, ...]
    artists_known: bool

    def __post_init__(self) -> None:
        if len(set(self.genres)) < 2:
            there = ", ".join(sorted(set(self.genres))) or "no track"
            raise DatasetError(f"a geometry needs two genres at least; heard was: {there}")

    @property
    def names(self) -> list[str]:
        """The genres, sorted."""
        return sorted(set(self.genres))

    @property
    def labels(self) -> Labels:
        """Number of each track's genre."""
        return np.unique(self.genres, return_inverse=True)[1].astype(np.intp)


def measure(
    layers: Iterable[tuple[str, NDArray[np.floating[Any]]]],
    heard: Heard,
    *,
    maps: bool = True,
    seed: int = 0,
) -> list[Layer]:
    """The geometry of each layer.

    Parameters
    ----------
    layers
        Name and vectors `[n, size]` of each; asked for one at a time.
    heard
        The tracks, in the vectors' order. What is centred is centred around all of them; figures
        are of each side by itself.
    maps
        Whether t-SNE is wanted. Maps are turned to lie as that of the last layer, which is laid
        along the diagonal.
    seed
        Of t-SNE and of the bootstrap.
    """
    found = []
    for name, vectors in layers:
        raw = gram(vectors)
        around = centred(raw)
        of: dict[Cosine, Floats] = {"raw": cosines(raw), "centred": cosines(around)}
        layer = Layer(
            name,
            vectors.shape[1],
            {kind: between_genres(c, heard.labels, len(heard.names)) for kind, c in of.items()},
            tuple(found for kind, c in of.items() for found in _figures(kind, c, heard, seed)),
            neighbour_map(around, seed=seed) if maps else None,
        )
        found.append(layer)
    if not maps:
        return found
    last = along_diagonal(_there(found[-1].places))
    return [replace(one, places=turned(_there(one.places), last)) for one in found]


def _figures(kind: Cosine, cosines: Floats, heard: Heard, seed: int) -> Iterator[Measured]:
    """Figures of each side that has two genres or more."""
    sides, groups = np.array(heard.sides), np.array(heard.groups)
    for side in dict.fromkeys(heard.sides):
        there = sides == side
        labels, own, group = heard.labels[there], cosines[np.ix_(there, there)], groups[there]
        if len(np.unique(labels)) < 2:
            continue
        apart = silhouettes(own, labels)
        right = named_right(own, labels)
        strangers = named_right(own, labels, groups=group) if heard.artists_known else None
        yield Measured(
            kind,
            side,
            len(labels),
            *within_and_between(own, labels),
            mean(apart, group, seed=seed),
            mean(right, group, seed=seed),
            None if strangers is None else mean(strangers, group, seed=seed),
        )


def _mean(values: Floats) -> float:
    return float(values.mean()) if values.size else float("nan")


def _there(places: Floats | None) -> Floats:
    assert places is not None  # noqa: S101
    return places
