"""Playlists that lead from one track to another in small steps, and playlists as files.

The path
--------
Tracks are points on a sphere (see `genrescope.library.similar`). The candidates are the tracks
nearest to points at equal steps along the great circle from one end to the other (slerp;
K. Shoemake, Animating Rotation with Quaternion Curves, SIGGRAPH 1985). Of all paths over these with
the given number of steps, the one of least cost is sought; a step costs (1 - similarity) cubed, so
that even steps beat short ones and a jump. The search is Viterbi's, position by position; the best
path to each track knows which tracks it visited, so that none comes twice. That misses paths which
were not the best from the beginning; therefore the best paths of all smaller lengths are taken as
well, filled up track by track where it costs least, and the best of all is the playlist.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genrescope.atomic import write_atomic
from genrescope.errors import FileError, GenrescopeError
from genrescope.library.queries import same_file
from genrescope.library.rows import Entry
from genrescope.library.similar import Space, TrackFilter, mean_similarity

_OTHER_PLAYLISTS = (".pls", ".xspf", ".wpl", ".asx", ".zpl")
# A comment, a blank, or the scheme of an address.
_MISREAD = re.compile(r"#|\s|[A-Za-z][A-Za-z0-9+.-]*:")
_CANDIDATES = 400
_FEWEST_A_POINT = 8


def playlist_between(
    space: Space,
    start: str | os.PathLike[str],
    end: str | os.PathLike[str],
    length: int,
    allowed: TrackFilter | None = None,
) -> tuple[list[Entry], list[float]]:
    """Find a playlist from one track of a library to another, in small steps, without repeats.

    Parameters
    ----------
    start, end
        Tracks of the library, as `Space.find` takes them.
    length
        Tracks, both ends counted; at least 2.
    allowed
        Which tracks may come between the ends.

    Returns
    -------
    list of Entry
        The tracks in order.
    list of float
        The similarity of each to the one before; one fewer.

    Raises
    ------
    GenrescopeError
        An end is not in the library, both are the same, or there are too few tracks.
    """
    if length < 2:
        raise GenrescopeError(f"a playlist has two ends: a length of {length} is too short")
    ends = [_position(space, track) for track in (start, end)]
    suitable = [allowed is None or allowed.allows(entry) for entry in space.entries]
    free = _first_of_each_content(space.entries, suitable)
    for row in ends:
        free &= np.array([e.content != space.entries[row].content for e in space.entries])
    if space.entries[ends[0]].content == space.entries[ends[1]].content:
        raise GenrescopeError("both ends are the same recording")
    if free.sum() < length - 2:
        have = int(free.sum()) + 2
        suited = "" if allowed is None else " that the filters allow"
        raise GenrescopeError(
            f"the library has only {have} different recordings{suited}, not {length} (--length)"
        )
    points = _between(space.directions[ends], length - 2)
    order = _path(space.directions, ends, _near(space.directions, points, free), length)
    steps = [mean_similarity(space.directions, pair) for pair in pairwise(order)]
    return [space.entries[row] for row in order], steps


def write_m3u8(
    path: Path,
    entries: Sequence[Entry],
    files: Iterable[Path] | None = None,
    *,
    comment: str | None = None,
) -> list[Path]:
    """Write a playlist atomically; an older one of that name is replaced.

    Files below the playlist's own folder are named from there, so that both can be moved together.
    A name that begins with "#", which would be a comment, with a blank, which players drop, or with
    what would be the scheme of an address ("http:x.flac") gets "./" in front. A file whose path
    holds a line break can't be named in a playlist, and is left out.

    Parameters
    ----------
    entries
        The tracks, for lengths and names.
    files
        Their files; by default where the library has them.
    comment
        A line that begins with "#", for the playlist's last line.

    Returns
    -------
    list of Path
        Files that were left out.

    Raises
    ------
    FileError
        When it can't be written, or its name is that of another format.
    """
    if path.suffix.lower() in _OTHER_PLAYLISTS:
        raise FileError(path, "playlists are written as M3U8: end the name in .m3u8")
    home = Path(os.path.abspath(path)).parent  # noqa: PTH100 - links stay
    lines, left_out = ["#EXTM3U"], []
    for entry, file in zip(entries, files or [e.file for e in entries], strict=True):
        address = str(file.relative_to(home) if file.is_relative_to(home) else file)
        if entry.is_remote and file == entry.file:
            address = entry.place
        elif _MISREAD.match(address) and not Path(address).is_absolute():
            address = f"./{address}"
        if len(address.splitlines()) > 1 or address[-1:].splitlines() == [""]:
            left_out.append(file)
            continue
        name = " ".join(entry.name.split())
        lines.append(f"#EXTINF:{round(entry.duration)},{name}")
        lines.append(address)
    lines += [comment] if comment else []
    try:
        write_atomic(path, ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise FileError(path, f"can't be written: {error.strerror or error}") from None
    return left_out


def _position(space: Space, track: str | os.PathLike[str]) -> int:
    entry = space.find(track).entry
    for row, each in enumerate(space.entries):
        if same_file(each.file, entry.file):
            return row
    raise FileError(os.fspath(track), "not in the library: its folder has to be scanned first")


def _first_of_each_content(entries: Sequence[Entry], suitable: Sequence[bool]) -> NDArray[np.bool_]:
    """Which suitable tracks to take so that copies of one recording count once."""
    seen: set[str] = set()
    chosen = np.zeros(len(entries), bool)
    for row, entry in enumerate(entries):
        if suitable[row] and entry.content not in seen:
            seen.add(entry.content)
            chosen[row] = True
    return chosen


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
    """The free tracks that are nearest to any of the points, some for each point."""
    if not len(points):
        return []
    similarity = np.where(free, points @ directions.T, -np.inf)
    by_nearest_point = np.argsort(-similarity.max(axis=0), kind="stable")
    near = set(by_nearest_point[: max(_CANDIDATES, 2 * len(points))].tolist())
    for each in similarity:
        near.update(np.argpartition(-each, min(_FEWEST_A_POINT, len(each) - 1))[:_FEWEST_A_POINT])
    return sorted(int(row) for row in near if free[row])


def _path(
    directions: NDArray[np.float32], ends: Sequence[int], near: list[int], length: int
) -> list[int]:
    """The path of least cost, of those that are tried, over candidate tracks."""
    rows = [ends[0], *near, ends[1]]
    chosen = directions[rows].astype(np.float64)
    cost = (1 - chosen @ chosen.T) ** 3
    paths = [_filled(cost, path, length) for path in _paths(cost, length)]
    best = min(paths, key=lambda path: float(cost[path[:-1], path[1:]].sum()))
    return [rows[each] for each in best]


def _paths(cost: NDArray[np.float64], length: int) -> Iterator[list[int]]:
    """The best path found from the first row to the last, for each number of rows."""
    end = len(cost) - 1
    to = cost.copy()
    to[:, [0, end]] = np.inf  # the ends are not passed on the way
    best = np.full(len(cost), np.inf)
    best[0] = 0.0
    visited = np.eye(len(cost), dtype=bool)
    before: list[NDArray[np.intp]] = []
    yield [0, end]
    for _ in range(length - 2):
        total = np.where(visited, np.inf, best[:, None] + to)
        before.append(total.argmin(axis=0))
        best = total.min(axis=0)
        visited = visited[before[-1]]
        np.fill_diagonal(visited, True)
        last = int((best + cost[:, end]).argmin())
        if not np.isfinite(best[last]):
            return
        path = [last]
        for step in reversed(before):
            path.append(int(step[path[-1]]))
        yield [*reversed(path), end]


def _filled(cost: NDArray[np.float64], path: list[int], length: int) -> list[int]:
    """A path with more rows inserted, each time the row and the gap that add the least."""
    path = list(path)
    while len(path) < length:
        added = cost[path[:-1]] + cost[path[1:]] - cost[path[:-1], path[1:]][:, None]
        added[:, path] = np.inf
        gap, row = np.unravel_index(int(added.argmin()), added.shape)
        path.insert(int(gap) + 1, int(row))
    return path
