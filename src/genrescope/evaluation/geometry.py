"""Genre geometry: how similar the embeddings of genres are, layer by layer of a network.

The question is the leiden paper's: at which depth of a network do tracks of one genre form a
cluster, and which genres are neighbours?

Conventions
-----------
Vectors are float `[n, size]`, one row a track; `labels` is int `[n]`, the index of each track's
genre; cosines are float `[n, n]`. A layer's vectors may be huge (the spectrogram image itself), and
everything here depends on their products alone, so it is computed from these, the Gram matrix
`[n, n]`. A vector of zeros has a cosine of 0 with all others.

Cosines are *raw*, as in the paper, or *centred*: of the vectors minus the mean of all tracks. Raw
ones are near 1, because all tracks share most of their direction; centred ones are around 0.

Metrics
-------
The mean cosine over all pairs of tracks of two genres (within a genre without a track and itself);
the silhouette with 1 - cosine as distance (Rousseeuw 1987), the mean over the tracks, from -1 to 1;
the accuracy of k nearest neighbours, leaving one track out at a time, among all other tracks, and
among those by other artists alone. Intervals are percentiles of a bootstrap over tracks, or over
groups of tracks, which are drawn whole; a track's neighbours stay the same. A genre needs at
least two tracks.
"""

from __future__ import annotations

from collections import Counter
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
# Elements of a layer that are converted to float64 at once.
_AT_ONCE = 2**22


def gram(vectors: NDArray[np.floating[Any]]) -> Floats:
    """Products of all pairs of rows, float64 `[n, n]`, without a float64 copy of the vectors."""
    n, size = vectors.shape
    products = np.zeros((n, n))
    step = max(1, _AT_ONCE // max(n, 1))
    for first in range(0, size, step):
        part = vectors[:, first : first + step].astype(np.float64)
        products += part @ part.T
    return products


def centred(products: Floats) -> Floats:
    """The Gram matrix of the same vectors minus their mean."""
    rows = products.mean(axis=0)
    moved: Floats = products - rows[:, None] - rows[None, :] + rows.mean()
    # Vectors that are all the same differ by rounding errors alone, which have no direction.
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

    a is its mean distance to the others of its genre, b that to the nearest other genre; the
    silhouette is (b - a) / max(a, b), and 0 for the only track of a genre (Rousseeuw 1987,
    "Silhouettes: a graphical aid to the interpretation and validation of cluster analysis").

    Raises
    ------
    ValueError
        When there is one genre only.
    """
    present, own = np.unique(labels, return_inverse=True)
    if len(present) < 2:
        raise ValueError("silhouettes need two genres or more")
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


def predicted_by_neighbours(
    cosines: Floats,
    labels: Labels,
    *,
    k: int = NEIGHBOURS,
    groups: Sequence[str] | NDArray[Any] | None = None,
) -> NDArray[np.bool_]:
    """Whether the k nearest other tracks predict a track's genre correctly, `[n]`.

    The most frequent genre among them is predicted; of equally frequent ones that of the nearest
    track. A track without another is not predicted correctly.

    Parameters
    ----------
    groups
        Group of each track; tracks of its own group are no neighbours of a track. Each track is a
        group by itself if not given.
    """
    n = len(labels)
    names = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    candidates = np.where(names[:, None] == names[None, :], -np.inf, cosines)
    nearest = np.argsort(-candidates, axis=1, kind="stable")[:, :k]
    valid = np.take_along_axis(candidates, nearest, axis=1) > -np.inf
    counts = np.zeros((n, int(labels.max()) + 1))
    each = np.broadcast_to(np.arange(n)[:, None], nearest.shape)
    np.add.at(counts, (each[valid], labels[nearest][valid]), 1)
    leads = valid & (counts[each, labels[nearest]] == counts.max(axis=1, keepdims=True))
    predicted = labels[nearest[np.arange(n), leads.argmax(axis=1)]]
    return np.asarray((predicted == labels) & valid.any(axis=1))


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


def tsne_map(products: Floats, *, seed: int = 0) -> Floats:
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
        n_jobs=1,  # a fixed order of additions gives the same map every time
    ).fit(scores)
    return np.asarray(found, float)


def align(positions: Floats, target: Floats) -> Floats:
    """A map rotated or mirrored to match another one; distances stay the same.

    The orthogonal Procrustes problem (Schönemann 1966), after both were centred.
    """
    source, target = positions - positions.mean(axis=0), target - target.mean(axis=0)
    left, _, right = np.linalg.svd(source.T @ target)
    return np.asarray(source @ left @ right)


def along_diagonal(positions: Floats) -> Floats:
    """A map rotated so that its longest axis is the diagonal of a square."""
    centre = positions - positions.mean(axis=0)
    _, _, axes = np.linalg.svd(centre, full_matrices=False)
    return np.asarray(centre @ axes.T @ np.array([[1, 1], [-1, 1]]) / np.sqrt(2))


@dataclass(frozen=True)
class LayerScores:
    """How well the genres are separated in one layer.

    Attributes
    ----------
    cosine
        Raw or centred.
    subset, n
        Name of the subset of the tracks, and how many it has.
    within, between
        Mean cosine over all pairs of one genre, and of two.
    silhouette, knn
        Mean silhouette, and the accuracy of the nearest neighbours.
    knn_other_artists
        The same among tracks by other artists; None where artists are not known.
    """

    cosine: Cosine
    subset: str
    n: int
    within: float
    between: float
    silhouette: Figure
    knn: Figure
    knn_other_artists: Figure | None


@dataclass(frozen=True, eq=False)
class LayerGeometry:
    """The geometry of one layer.

    Attributes
    ----------
    name, size
        Name of the layer; length of its embedding of a track.
    between
        Mean cosines `[genres, genres]`, raw and centred.
    scores
        Raw and centred, of each subset.
    positions
        t-SNE of the tracks `[n, 2]`; None where it was not computed.
    """

    name: str
    size: int
    between: Mapping[Cosine, Floats]
    scores: tuple[LayerScores, ...]
    positions: Floats | None


def check_genres(genres: Sequence[str]) -> list[str]:
    """Refuse tracks between which nothing can be measured, by the genre of each.

    Returns
    -------
    Genres of a single track: they have no cosine within, and a silhouette of 0.

    Raises
    ------
    DatasetError
        When there is one genre only, or no genre has two tracks.
    """
    counts = Counter(genres)
    if len(counts) < 2:
        there = ", ".join(counts) or "no track"
        raise DatasetError(f"genre geometry needs two genres or more; there is: {there}")
    alone = sorted(genre for genre, n in counts.items() if n < 2)
    if len(alone) == len(counts):
        raise DatasetError(
            "genre geometry needs at least two tracks of each genre; there is one of: "
            + ", ".join(alone)
        )
    return alone


@dataclass(frozen=True, eq=False)
class EmbeddedTracks:
    """The tracks of a geometry, in the order of the vectors.

    Attributes
    ----------
    ids, genres
        Id and genre of each track.
    subsets
        Subset of each track: whether the network was trained on it.
    groups
        Group of each track: tracks of one artist, or copies of one recording, share one.
    artists_known
        Whether the groups are artists.
    """

    ids: tuple[str, ...]
    genres: tuple[str, ...]
    subsets: tuple[str, ...]
    groups: tuple[str, ...]
    artists_known: bool

    def __post_init__(self) -> None:
        check_genres(self.genres)

    @property
    def names(self) -> list[str]:
        """The genres, sorted."""
        return sorted(set(self.genres))

    @property
    def labels(self) -> Labels:
        """Index of each track's genre."""
        return np.unique(self.genres, return_inverse=True)[1].astype(np.intp)


def measure(
    layers: Iterable[tuple[str, NDArray[np.floating[Any]]]],
    tracks: EmbeddedTracks,
    *,
    maps: bool = True,
    seed: int = 0,
) -> list[LayerGeometry]:
    """Compute the geometry of each layer.

    Parameters
    ----------
    layers
        Name and vectors `[n, size]` of each; only one is used at a time.
    tracks
        In the order of the vectors. Centring uses the mean of all of them; scores are computed for
        each subset by itself.
    maps
        Whether to compute t-SNE. Maps are rotated to match that of the last layer, whose longest
        axis is the diagonal.
    seed
        Seed of t-SNE and of the bootstrap.
    """
    found = []
    for name, vectors in layers:
        raw = gram(vectors)
        around = centred(raw)
        of: dict[Cosine, Floats] = {"raw": cosines(raw), "centred": cosines(around)}
        layer = LayerGeometry(
            name,
            vectors.shape[1],
            {kind: between_genres(c, tracks.labels, len(tracks.names)) for kind, c in of.items()},
            tuple(one for kind, c in of.items() for one in _scores(kind, c, tracks, seed)),
            tsne_map(around, seed=seed) if maps else None,
        )
        found.append(layer)
    if not maps:
        return found
    last = along_diagonal(_positions(found[-1]))
    return [replace(one, positions=align(_positions(one), last)) for one in found]


def _scores(
    kind: Cosine, cosines: Floats, tracks: EmbeddedTracks, seed: int
) -> Iterator[LayerScores]:
    """Scores of each subset that has two genres or more, and two tracks or more of one of them."""
    subsets, groups = np.array(tracks.subsets), np.array(tracks.groups)
    for subset in dict.fromkeys(tracks.subsets):
        chosen = subsets == subset
        labels, group = tracks.labels[chosen], groups[chosen]
        own = cosines[np.ix_(chosen, chosen)]
        if not 1 < len(np.unique(labels)) < len(labels):
            continue
        separation = silhouettes(own, labels)
        knn = predicted_by_neighbours(own, labels)
        others = None
        if tracks.artists_known:
            correct = predicted_by_neighbours(own, labels, groups=group)
            others = mean(correct, group, seed=seed)
        yield LayerScores(
            kind,
            subset,
            len(labels),
            *within_and_between(own, labels),
            mean(separation, group, lowest=-1, seed=seed),
            mean(knn, group, seed=seed),
            others,
        )


def _mean(values: Floats) -> float:
    return float(values.mean()) if values.size else float("nan")


def _positions(layer: LayerGeometry) -> Floats:
    assert layer.positions is not None  # noqa: S101
    return layer.positions
