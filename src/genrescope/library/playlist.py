"""A walk from one song to another, and playlists as files.

The walk
--------
Tracks are points on a sphere (see `genrescope.library.similar`). Points at equal steps along the
great circle from one end to the other (slerp; K. Shoemake, Animating Rotation with Quaternion
Curves, SIGGRAPH 1985) say which tracks come into question: the nearest to each. Of all ways over
these in so many steps the one is sought whose steps add up to the least, each counted as
(1 - likeness) cubed, so that middling steps beat short ones and a leap. The search is
Viterbi's, from place to place; the best way to each track remembers where it has been, so that
nothing comes twice. That misses ways which were not the best from the beginning; so the best ways
of all smaller lengths are taken as well, filled up track by track where it costs least, and the
best of all is the playlist.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genrescope.atomic import write_atomic
from genrescope.errors import FileError, GenrescopeError
from genrescope.library.similar import Space, mean_likeness
from genrescope.library.store import Entry

_CANDIDATES = 400
_FEWEST_A_POINT = 8


def walk(
    space: Space, start: str | os.PathLike[str], end: str | os.PathLike[str], length: int
) -> tuple[list[Entry], list[float]]:
    """A playlist from one track of a library to another, in small steps and without repeats.

    Parameters
    ----------
    start, end
        Tracks of the library, as `Space.find` takes them.
    length
        Tracks, both ends counted; at least 2.

    Returns
    -------
    list of Entry
        The tracks in order.
    list of float
        Their likeness to the one before; one fewer.

    Raises
    ------
    GenrescopeError
        An end is not in the library, both are the same, or there are not so many tracks.
    """
    if length < 2:
        raise GenrescopeError(f"a walk has two ends: a length of {length} is too short")
    ends = [_position(space, track) for track in (start, end)]
    free = _first_of_each_content(space.entries)
    for place in ends:
        free &= np.array([e.content != space.entries[place].content for e in space.entries])
    if space.entries[ends[0]].content == space.entries[ends[1]].content:
        raise GenrescopeError("a walk goes from one recording to another, and these are the same")
    if free.sum() < length - 2:
        have = int(free.sum()) + 2
        raise GenrescopeError(f"only {have} different tracks can be compared, not {length}")
    points = _between(space.directions[ends], length - 2)
    order = _path(space.directions, ends, _near(space.directions, points, free), length)
    steps = [mean_likeness(space.directions, pair) for pair in pairwise(order)]
    return [space.entries[place] for place in order], steps


def write_m3u8(path: Path, entries: Sequence[Entry], files: Iterable[Path] | None = None) -> None:
    """Write a playlist, whole or not at all; an older one of that name is replaced.

    Files below the playlist's own folder are named from there, so that both can be moved together.

    Parameters
    ----------
    entries
        What is played, for lengths and names.
    files
        Where the tracks are; where the library knows them by default.

    Raises
    ------
    FileError
        When it can't be written.
    """
    home = Path(os.path.abspath(path)).parent  # noqa: PTH100 - links stay
    lines = ["#EXTM3U"]
    for entry, file in zip(entries, files or [e.file for e in entries], strict=True):
        name = " ".join(entry.name.split())
        lines.append(f"#EXTINF:{round(entry.duration)},{name}")
        lines.append(str(file.relative_to(home) if file.is_relative_to(home) else file))
    try:
        write_atomic(path, ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise FileError(path, f"can't be written: {error.strerror or error}") from None


def _position(space: Space, track: str | os.PathLike[str]) -> int:
    entry = space.find(track).entry
    for place, each in enumerate(space.entries):
        if entry is not None and each.file == entry.file:
            return place
    raise FileError(os.fspath(track), "not in the library: scan its folder first")


def _first_of_each_content(entries: Sequence[Entry]) -> NDArray[np.bool_]:
    """Copies of one recording count as one track."""
    seen: set[str] = set()
    return np.array([not (e.content in seen or seen.add(e.content)) for e in entries])  # type: ignore[func-returns-value]


def _between(ends: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Points at equal steps between two directions, float32 `[count, size]`."""
    one, other = ends.astype(np.float64)
    angle = np.arccos(np.clip(one @ other, -1.0, 1.0))
    part = np.linspace(0, 1, count + 2)[1:-1, None]
    if np.sin(angle) < 1e-6:  # opposite ends have no shortest great circle
        return np.asarray((1 - part) * one + part * other, np.float32)
    return np.asarray(np.sin((1 - part) * angle) * one + np.sin(part * angle) * other, np.float32)


def _near(
    directions: NDArray[np.float32], points: NDArray[np.float32], free: NDArray[np.bool_]
) -> list[int]:
    """The free tracks that are nearest to any of the points; some of each, and at least enough."""
    if not len(points):
        return []
    likeness = np.where(free, points @ directions.T, -np.inf)
    by_nearest_point = np.argsort(-likeness.max(axis=0), kind="stable")
    near = set(by_nearest_point[: max(_CANDIDATES, 2 * len(points))].tolist())
    for each in likeness:
        near.update(np.argpartition(-each, min(_FEWEST_A_POINT, len(each) - 1))[:_FEWEST_A_POINT])
    return sorted(int(place) for place in near if free[place])


def _path(
    directions: NDArray[np.float32], ends: Sequence[int], near: list[int], length: int
) -> list[int]:
    """The way of least cost, of those that are tried, over tracks that are near."""
    places = [ends[0], *near, ends[1]]
    chosen = directions[places].astype(np.float64)
    cost = (1 - chosen @ chosen.T) ** 3
    ways = [_filled(cost, way, length) for way in _ways(cost, length)]
    best = min(ways, key=lambda way: float(cost[way[:-1], way[1:]].sum()))
    return [places[each] for each in best]


def _ways(cost: NDArray[np.float64], length: int) -> Iterator[list[int]]:
    """The best way found from the first place to the last, for each number of places."""
    end = len(cost) - 1
    to = cost.copy()
    to[:, [0, end]] = np.inf  # the ends are no stations
    best = np.full(len(cost), np.inf)
    best[0] = 0.0
    been = np.eye(len(cost), dtype=bool)
    before: list[NDArray[np.intp]] = []
    yield [0, end]
    for _ in range(length - 2):
        total = np.where(been, np.inf, best[:, None] + to)
        before.append(total.argmin(axis=0))
        best = total.min(axis=0)
        been = been[before[-1]]
        np.fill_diagonal(been, True)
        last = int((best + cost[:, end]).argmin())
        if not np.isfinite(best[last]):
            return
        way = [last]
        for step in reversed(before):
            way.append(int(step[way[-1]]))
        yield [*reversed(way), end]


def _filled(cost: NDArray[np.float64], way: list[int], length: int) -> list[int]:
    """A way with more places put in, each the one that adds the least where it does so."""
    way = list(way)
    while len(way) < length:
        added = cost[way[:-1]] + cost[way[1:]] - cost[way[:-1], way[1:]][:, None]
        added[:, way] = np.inf
        gap, place = np.unravel_index(int(added.argmin()), added.shape)
        way.insert(int(gap) + 1, int(place))
    return way
