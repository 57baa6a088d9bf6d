"""From a few liked and disliked tracks to more of the kind, each with a reason in words.

Score
-----
Of a track and one like counts the likeness of `genrescope.library.similar`, less the mean likeness
of that like's ten nearest: some tracks are close to many and would else speak for all likes (so do
Conneau et al., Word Translation without Parallel Data, ICLR 2018, in CSLS). Over several likes the
score is a soft maximum, the log of the mean of exponentials, which is the log density of a mixture
of von Mises-Fisher kernels around the likes (Hall, Watson and Cabrera, Kernel Density Estimation
with Spherical Data, Biometrika 1987). A maximum alone would let one like speak for a track that no
other supports; a mean finds what lies between two things that somebody likes, and is neither.

A third of the likeness to the nearest disliked track is taken off, where there is any. Rocchio's
formula (Relevance Feedback in Information Retrieval, 1971) takes off their mean, and with that
rewards what is far away from them, wherever it is; to which of them a track is nearest is what
Pampalk, Pohle and Widmer ask (Dynamic Playlist Generation Based on Skipping Behavior, ISMIR 2005).

Diversity
---------
Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998) chooses one track after another
among the best three times as many as are wanted, by `(1 - diversity) * score - diversity *
likeness to the nearest that is chosen already`. Such a likeness below 0 counts as 0.

docs/recommendation.md has what all this is worth on real tracks, beside the alternatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import GenrescopeError
from genrescope.library.similar import Query, Space, Wanted
from genrescope.library.store import Entry

DIVERSITY = 0.3
"""What is usual: it costs little."""

_NEIGHBOURS = 10
_TEMPERATURE = 0.2
_PUSH = 1 / 3
_POOL = 3
# A genre that is given less in either of two tracks is not what they share.
_SHARED = 0.1


@dataclass(frozen=True, eq=False)
class Recommendation:
    """A track that is recommended, and why.

    Attributes
    ----------
    entry
        The track.
    score
        See the module; with one like and no dislike it is the likeness.
    near, likeness
        The liked track that it is most like, and how much.
    shared
        Names of the genres that were heard in both, at most two; one where both are named so.
    against, dislikeness
        The disliked track that it is most like, and how much; None and 0 where it is like none.
    """

    entry: Entry
    score: float
    near: Query
    likeness: float
    shared: tuple[str, ...]
    against: Query | None = None
    dislikeness: float = 0.0

    @property
    def reason(self) -> str:
        """Why it is recommended, in words."""
        likeness = round(self.likeness, 2) + 0.0  # no minus before a zero
        near = f"near {self.near.name}" if likeness > 0 else f"least far from {self.near.name}"
        words = f"{near} ({likeness:.2f})"
        if self.near.entry.genre == self.entry.genre:
            words += f", both {self.entry.genre}"
        elif self.shared:
            words += f", shares {' and '.join(self.shared)} with it"
        if self.against is not None:
            words += f"; but somewhat like {self.against.name} ({self.dislikeness:.2f})"
        return words

    def to_dict(self) -> dict[str, Any]:
        """What JSON says of it."""
        return self.entry.to_dict() | {
            "score": round(self.score, 6),
            "near": self.near.name,
            "likeness": round(self.likeness, 6),
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
    wanted: Sequence[Wanted] = (),
) -> list[Recommendation]:
    """Tracks of a library that somebody may like, the best first.

    Neither the tracks that were named, nor copies of their audio, nor two copies of one are among
    them. The same library and the same tracks give the same list.

    Parameters
    ----------
    space
        The library's tracks.
    likes, dislikes
        Tracks as `Space.find` finds them; what is named twice counts once.
    n
        At most so many.
    diversity
        From 0, the best by score, to 1, those of the best that are least alike.
    wanted
        What a track has to be, by each of these.

    Raises
    ------
    GenrescopeError
        Nothing is liked, a track is liked and disliked at once, or diversity is not from 0 to 1.
    """
    if not 0 <= diversity <= 1:
        raise GenrescopeError(f"diversity goes from 0 to 1, not {diversity:g}")
    liked, disliked = _by_content(likes), _by_content(dislikes)
    if not liked:
        raise GenrescopeError("at least one liked track is needed")
    if both := liked.keys() & disliked.keys():
        name = next(query.name for content, query in liked.items() if content in both)
        raise GenrescopeError(f"{name}: liked and disliked at once")
    places = _candidates(space, wanted, {*liked, *disliked})
    if not places:
        return []
    directions = space.directions[places]
    near, far = (_likeness(directions, [*each.values()]) for each in (liked, disliked))
    scores = pushed(nearness(near), far)
    genres = space.library.model.genres
    found = []
    for chosen in diversified(scores, directions, n, diversity):
        entry, like = space.entries[places[chosen]], [*liked.values()][near[:, chosen].argmax()]
        against = [*disliked.values()][far[:, chosen].argmax()] if len(far) else None
        dislikeness = float(far[:, chosen].max(initial=0))
        found.append(
            Recommendation(
                entry,
                float(scores[chosen]),
                like,
                float(near[:, chosen].max()),
                _shared(entry, like.entry, genres),
                against if round(dislikeness, 2) > 0 else None,
                dislikeness,
            )
        )
    return found


def nearness(likeness: NDArray[np.float64]) -> NDArray[np.float64]:
    """The score of tracks over several likes, on the scale of their likeness, `[tracks]`.

    Parameters
    ----------
    likeness
        Float `[likes, tracks]`, at least one of each.
    """
    neighbours = min(_NEIGHBOURS, likeness.shape[1])
    nearest = np.partition(likeness, -neighbours, axis=1)[:, -neighbours:]
    # A like that nothing is near to is not helped to find something.
    usual = np.maximum(nearest.mean(axis=1, keepdims=True), 0)
    odds = np.exp((likeness - usual) / _TEMPERATURE)
    return np.asarray(usual.mean() + _TEMPERATURE * np.log(odds.mean(axis=0)))


def pushed(scores: NDArray[np.float64], likeness: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores less what lies near disliked tracks, `[tracks]`.

    Parameters
    ----------
    scores
        Float `[tracks]`.
    likeness
        To the disliked tracks, float `[dislikes, tracks]`; there may be none.
    """
    return np.asarray(scores - _PUSH * likeness.max(axis=0, initial=0))


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
        How many, where there are so many.
    diversity
        From 0, which is the order of the scores, to 1.
    """
    best = np.argsort(-scores, kind="stable")[: _POOL * n]
    alike = np.zeros(len(best))
    left = np.ones(len(best), bool)
    chosen: list[int] = []
    for _ in range(min(n, len(best))):
        worth = (1 - diversity) * scores[best] - diversity * alike
        place = int(np.where(left, worth, -np.inf).argmax())
        left[place] = False
        chosen.append(int(best[place]))
        alike = np.maximum(alike, directions[best] @ directions[best[place]])
    return chosen


def _by_content(queries: Sequence[Query]) -> dict[str, Query]:
    """Each recording once; a file outside the library is known by its audio as well."""
    found: dict[str, Query] = {}
    for query in queries:
        found.setdefault(query.entry.content, query)
    return found


def _candidates(space: Space, wanted: Sequence[Wanted], named: set[str]) -> list[int]:
    """Places of the tracks that may be recommended, one of each recording."""
    places, seen = [], set(named)
    for place, entry in enumerate(space.entries):
        if entry.content not in seen and all(each.allows(entry) for each in wanted):
            seen.add(entry.content)
            places.append(place)
    return places


def _likeness(directions: NDArray[np.float32], queries: Sequence[Query]) -> NDArray[np.float64]:
    """Float `[queries, tracks]`."""
    rows = [directions @ query.direction.astype(np.float32) for query in queries]
    return np.array(rows, np.float64).reshape(len(queries), len(directions))


def _shared(entry: Entry, like: Entry, genres: Sequence[str]) -> tuple[str, ...]:
    """The genres that were heard in both, most first; one where both are named so."""
    if like.genre == entry.genre and entry.genre is not None:
        return (entry.genre,)
    both = np.minimum(entry.probabilities, like.probabilities)
    order = np.argsort(-both, kind="stable")[:2]
    return tuple(genres[place] for place in order if both[place] >= _SHARED)
