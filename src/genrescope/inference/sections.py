"""From overlapping segments to sections: stretches of a track that have one genre.

Conventions
-----------
The genres of the sections are the most probable sequence of genres, one for each segment, where a
change of genre costs as much as a factor of `exp(-CHANGE_COST)` in probability (the Viterbi
algorithm: A. Viterbi, IEEE Transactions on Information Theory 13(2), 1967). Without that cost an
hour of mixed music would be cut into hundreds of sections. A segment is weighted by the time that
it adds: two that overlap by half share information, and count half as much as two that do not
overlap. Sections do not overlap: where segments of two genres do, the section changes in the middle
of the overlap. Silence between segments separates sections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

CHANGE_COST = 12.0
"""In nats. About six consecutive segments that clearly have another genre outweigh it, if they
overlap by half."""

# A segment that overlaps no other counts twice (see `_weight`). Even then a single one that is
# certain of another genre must not make a section, which at the ends of a track takes only
# CHANGE_COST.
_SMALLEST = 2.5e-3


class _Segment(Protocol):
    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def probabilities(self) -> dict[str, float]: ...


@dataclass(frozen=True)
class Section:
    """A stretch of one genre.

    Attributes
    ----------
    start, end
        In seconds.
    genre
        The genre of the stretch.
    probability
        Its mean probability over the segments of the stretch.
    """

    start: float
    end: float
    genre: str
    probability: float

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.end - self.start


def find_sections(timeline: Sequence[_Segment]) -> list[Section]:
    """Join segments in order of time into sections of one genre each."""
    if not timeline:
        return []
    genres = list(timeline[0].probabilities)
    table = np.array([[s.probabilities[g] for g in genres] for s in timeline])
    path = _best_path(_weight(timeline) * np.log(np.maximum(table, _SMALLEST)))
    breaks = [0]
    breaks += [
        i
        for i in range(1, len(timeline))
        if path[i] != path[i - 1] or timeline[i].start > timeline[i - 1].end + 1e-6
    ]
    sections = []
    for first, after in zip(breaks, [*breaks[1:], len(timeline)], strict=True):
        start, end = timeline[first].start, timeline[after - 1].end
        if first:
            start = max(start, (start + timeline[first - 1].end) / 2)
        if after < len(timeline):
            end = min(end, (end + timeline[after].start) / 2)
        mean = float(table[first:after, path[first]].mean())
        sections.append(Section(start, end, genres[path[first]], mean))
    return sections


def shares_of(sections: Sequence[Section]) -> dict[str, float]:
    """The share of time of each genre, largest first."""
    seconds: dict[str, float] = {}
    for section in sections:
        seconds[section.genre] = seconds.get(section.genre, 0.0) + section.duration
    total = sum(seconds.values())
    ranked = sorted(seconds.items(), key=lambda item: -item[1])
    return {genre: value / total for genre, value in ranked} if total > 0 else {}


def _weight(timeline: Sequence[_Segment]) -> float:
    """Weight of a segment; 1 where segments overlap by half."""
    if len(timeline) < 2:
        return 1.0
    steps = np.sort(np.diff([segment.start for segment in timeline]))
    lengths = np.sort([segment.end - segment.start for segment in timeline])
    # The medians; np.median would import numpy.ma, which takes 30 ms.
    return float(min(2.0, 2 * steps[len(steps) // 2] / lengths[len(lengths) // 2]))


def _best_path(scores: NDArray[np.float64]) -> list[int]:
    """The sequence of columns with the highest sum of scores `[steps, genres]` less the changes."""
    steps, genres = scores.shape
    came_from = np.zeros((steps, genres), np.intp)
    best = scores[0]
    for i in range(1, steps):
        leader = int(best.argmax())
        stays = best >= best[leader] - CHANGE_COST
        came_from[i] = np.where(stays, np.arange(genres), leader)
        best = scores[i] + np.where(stays, best, best[leader] - CHANGE_COST)
    path = [int(best.argmax())]
    for i in range(steps - 1, 0, -1):
        path.append(int(came_from[i, path[-1]]))
    return path[::-1]
