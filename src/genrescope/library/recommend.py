"""Recommendation from a few liked and disliked tracks, each with a reason in words.

Score
-----
The score of a track for one liked track is their similarity (`genrescope.library.similar`) less the
mean similarity of that like's ten nearest neighbours: some tracks are close to many and would
otherwise dominate (CSLS; Conneau et al., Word Translation without Parallel Data, ICLR 2018). Over
several likes the score is a soft maximum, the log of the mean of exponentials, which is the log
density of a mixture of von Mises-Fisher kernels around the likes (Hall, Watson and Cabrera, Kernel
Density Estimation with Spherical Data, Biometrika 1987). A maximum would let one like decide alone;
a mean favours tracks between two likes that resemble neither.

A third of the similarity to the nearest disliked track is subtracted, where it is positive.
Rocchio's formula (Relevance Feedback in Information Retrieval, 1971) subtracts their mean, and with
that rewards tracks far away from them, wherever they are; the nearest disliked track is used by
Pampalk, Pohle and Widmer (Dynamic Playlist Generation Based on Skipping Behavior, ISMIR 2005).

Diversity
---------
Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998) chooses one track after another
among the best `3 * n`, by `(1 - diversity) * score - diversity * similarity to the nearest track
chosen already`. A similarity below 0 counts as 0.

docs/recommendation.md compares this with alternatives on real tracks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import GenrescopeError
from genrescope.library.rows import Entry
from genrescope.library.similar import Query, Space, TrackFilter

DIVERSITY = 0.3
"""The default; docs/recommendation.md has what it costs."""

_NEIGHBOURS = 10
_TEMPERATURE = 0.2
_PUSH = 1 / 3
_POOL = 3
# Two tracks share a genre if both have at least this probability of the genre.
_SHARED = 0.1


@dataclass(frozen=True, eq=False)
class Recommendation:
    """A recommended track and the reason.

    Attributes
    ----------
    entry
        The track.
    score
        See the module; with one like and no dislike it is the similarity.
    near, similarity
        The most similar liked track, and how similar it is.
    shared
        The genres that both have, at most two; one where both are classified as it.
    against, disliked_similarity
        The most similar disliked track, and how similar it is; None and 0 where none is similar.
    """

    entry: Entry
    score: float
    near: Query
    similarity: float
    shared: tuple[str, ...]
    against: Query | None = None
    disliked_similarity: float = 0.0

    @property
    def reason(self) -> str:
        """The reason in words."""
        similarity = round(self.similarity, 2) + 0.0  # no minus before a zero
        near = f"near {self.near.name}" if similarity > 0 else f"least far from {self.near.name}"
        words = f"{near} ({similarity:.2f})"
        if self.near.entry.effective_genre == self.entry.effective_genre:
            words += f", both {self.entry.effective_genre}"
        elif self.shared:
            words += f", shares {' and '.join(self.shared)} with it"
        if self.against is not None:
            words += f"; but somewhat like {self.against.name} ({self.disliked_similarity:.2f})"
        return words

    def to_dict(self) -> dict[str, Any]:
        """The fields that JSON shows."""
        return self.entry.to_dict() | {
            "score": round(self.score, 6),
            "near": self.near.name,
            "similarity": round(self.similarity, 6),
            "shared": list(self.shared),
            "reason": self.reason,
        }


def recommend(
    space: Space,
    likes: Sequence[Query],
    dislikes: Sequence[Query] = (),
    *,
    n: int = 20,
    diversity: float = DIVERSITY,
    filters: Sequence[TrackFilter] = (),
) -> list[Recommendation]:
    """Recommend tracks of a library, the best first.

    The liked and disliked tracks, copies of them, and second copies are left out. The same library
    and the same tracks give the same list.

    Parameters
    ----------
    space
        The library's tracks.
    likes, dislikes
        Tracks as `Space.find` finds them; one that is named twice counts once.
    n
        How many at most.
    diversity
        From 0, the best by score, to 1, the least similar among the best.
    filters
        A track has to pass all of them.

    Raises
    ------
    GenrescopeError
        No track is liked, a track is both liked and disliked, or diversity is not from 0 to 1.
    """
    if not 0 <= diversity <= 1:
        raise GenrescopeError(f"diversity has to be from 0 to 1, not {diversity:g}")
    liked, disliked = _by_content(likes), _by_content(dislikes)
    if not liked:
        raise GenrescopeError("at least one liked track is needed")
    if both := liked.keys() & disliked.keys():
        name = next(query.name for content, query in liked.items() if content in both)
        raise GenrescopeError(f"{name}: liked and disliked at once")
    rows = _candidates(space, filters, {*liked, *disliked})
    if not rows:
        return []
    directions = space.directions[rows]
    near, far = (_similarity(directions, [*each.values()]) for each in (liked, disliked))
    scores = pushed(nearness(near), far)
    genres = space.library.model.genres
    found = []
    for chosen in diversified(scores, directions, n, diversity):
        entry, like = space.entries[rows[chosen]], [*liked.values()][near[:, chosen].argmax()]
        against = [*disliked.values()][far[:, chosen].argmax()] if len(far) else None
        disliked_similarity = float(far[:, chosen].max(initial=0))
        found.append(
            Recommendation(
                entry,
                float(scores[chosen]),
                like,
                float(near[:, chosen].max()),
                _shared(entry, like.entry, genres),
                against if round(disliked_similarity, 2) > 0 else None,
                disliked_similarity,
            )
        )
    return found


def nearness(similarity: NDArray[np.float64]) -> NDArray[np.float64]:
    """The score of tracks over several likes, on the scale of their similarity, `[tracks]`.

    Parameters
    ----------
    similarity
        Float `[likes, tracks]`, at least one of each.
    """
    neighbours = min(_NEIGHBOURS, similarity.shape[1])
    nearest = np.partition(similarity, -neighbours, axis=1)[:, -neighbours:]
    # A like that nothing is near to is not helped to find something.
    usual = np.maximum(nearest.mean(axis=1, keepdims=True), 0)
    odds = np.exp((similarity - usual) / _TEMPERATURE)
    return np.asarray(usual.mean() + _TEMPERATURE * np.log(odds.mean(axis=0)))


def pushed(scores: NDArray[np.float64], similarity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores less what lies near disliked tracks, `[tracks]`.

    Parameters
    ----------
    scores
        Float `[tracks]`.
    similarity
        To the disliked tracks, float `[dislikes, tracks]`; there may be none.
    """
    return np.asarray(scores - _PUSH * similarity.max(axis=0, initial=0))


def diversified(
    scores: NDArray[np.float64], directions: NDArray[np.float32], n: int, diversity: float
) -> list[int]:
    """Choose by maximal marginal relevance; see the module.

    Parameters
    ----------
    scores
        Float `[tracks]`.
    directions
        Unit vectors `[tracks, size]`.
    n
        Largest number of tracks.
    diversity
        From 0, which is the order of the scores, to 1.
    """
    best = np.argsort(-scores, kind="stable")[: _POOL * n]
    redundancy = np.zeros(len(best))
    left = np.ones(len(best), bool)
    chosen: list[int] = []
    for _ in range(min(n, len(best))):
        worth = (1 - diversity) * scores[best] - diversity * redundancy
        row = int(np.where(left, worth, -np.inf).argmax())
        left[row] = False
        chosen.append(int(best[row]))
        redundancy = np.maximum(redundancy, directions[best] @ directions[best[row]])
    return chosen


def _by_content(queries: Sequence[Query]) -> dict[str, Query]:
    """Each recording once; a file outside the library is known by its audio as well."""
    found: dict[str, Query] = {}
    for query in queries:
        found.setdefault(query.entry.content, query)
    return found


def _candidates(space: Space, filters: Sequence[TrackFilter], named: set[str]) -> list[int]:
    """Places of the tracks that may be recommended, one of each recording."""
    rows, seen = [], set(named)
    for row, entry in enumerate(space.entries):
        if entry.content not in seen and all(each.allows(entry) for each in filters):
            seen.add(entry.content)
            rows.append(row)
    return rows


def _similarity(directions: NDArray[np.float32], queries: Sequence[Query]) -> NDArray[np.float64]:
    """Float `[queries, tracks]`."""
    rows = [directions @ query.direction.astype(np.float32) for query in queries]
    return np.array(rows, np.float64).reshape(len(queries), len(directions))


def _shared(entry: Entry, like: Entry, genres: Sequence[str]) -> tuple[str, ...]:
    """The genres that both have, most probable first; one where both are classified as it."""
    genre = entry.effective_genre
    if genre is not None and genre == like.effective_genre:
        return (genre,)
    both = np.minimum(entry.probabilities, like.probabilities)
    order = np.argsort(-both, kind="stable")[:2]
    return tuple(genres[row] for row in order if both[row] >= _SHARED)
