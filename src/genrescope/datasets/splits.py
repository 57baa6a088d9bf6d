"""Splits by track, and by artist where the artist is known.

Conventions
-----------
A split names the tracks of its training, validation and test sides by id. What belongs together
goes to one side: known repeats of one recording always, tracks by one artist when asked for.
`Split.check` refuses whatever would mix them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath

import numpy as np

from genrescope.datasets.repeats import KNOWN_REPEATS
from genrescope.datasets.tracks import Track
from genrescope.errors import DatasetError


@dataclass(frozen=True)
class Split:
    """Track ids of the three sides."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def check(self, groups: dict[str, str]) -> Split:
        """Refuse a split that has a track, or parts of one group, on two sides.

        Parameters
        ----------
        groups
            Group of each track id, as `group_tracks` gives it.

        Raises
        ------
        DatasetError
            Names the track.
        """
        side_of: dict[str, str] = {}
        for side in ("train", "validation", "test"):
            listed: tuple[str, ...] = getattr(self, side)
            for track, times in Counter(listed).items():
                if times > 1:
                    raise DatasetError(f"track {track} is listed twice in {side}")
                group = groups.get(track, track)
                first = side_of.setdefault(group, side)
                if first != side:
                    raise DatasetError(
                        f"track {track} would be in {side} while it, a repeat of it, or another "
                        f"track by its artist is in {first}"
                    )
        return self


def group_tracks(tracks: Iterable[Track], *, by_artist: bool) -> dict[str, str]:
    """Name the group of each track: its artist if asked for, and its known repeats.

    Tracks whose artist is unknown are one group a genre: they may be by anyone, also by each
    other's artist.

    Raises
    ------
    DatasetError
        When artists are asked for and none is known.
    """
    tracks = list(tracks)
    if by_artist and not any(track.artist for track in tracks):
        raise DatasetError("a split by artist needs an artist table (--artists)")
    repeat_of = {second: first for first, second in KNOWN_REPEATS}
    by_id = {track.id: track for track in tracks}

    def name(track: Track) -> str:
        if not by_artist:
            return track.id
        return f"artist {track.artist}" if track.artist else f"unknown {track.genre}"

    groups: dict[str, str] = {}
    for track in tracks:
        first = by_id.get(repeat_of.get(track.id, ""))
        # A repeat's own artist is left out of the tables; that of its twin is the same.
        groups[track.id] = name(first if first is not None and not track.artist else track)
    return _merge_repeats(groups)


def _merge_repeats(groups: dict[str, str]) -> dict[str, str]:
    """Give both sides of every known repeat one group."""
    for first, second in KNOWN_REPEATS:
        if first in groups and second in groups and groups[first] != groups[second]:
            old, new = groups[second], groups[first]
            groups = {track: new if group == old else group for track, group in groups.items()}
    return groups


def divide(
    tracks: Sequence[Track], groups: dict[str, str], fractions: Sequence[float], *, seed: int
) -> list[list[str]]:
    """Deal whole groups into parts, each genre in about the wanted fractions.

    Groups are dealt largest first (ties in seeded random order), each to the part that lacks most
    of its genres, measured against the part's fraction.

    Returns
    -------
    one sorted list of track ids for each fraction
    """
    rng = np.random.default_rng(seed)
    members: dict[str, list[Track]] = defaultdict(list)
    for track in tracks:
        members[groups[track.id]].append(track)
    genres = sorted({track.genre for track in tracks})
    counts = {
        group: np.array([sum(t.genre == genre for t in inside) for genre in genres])
        for group, inside in members.items()
    }
    order = [sorted(members)[i] for i in rng.permutation(len(members))]
    order.sort(key=lambda group: -len(members[group]))
    wanted = np.outer(fractions, sum(counts.values()))
    parts: list[list[str]] = [[] for _ in fractions]
    for group in order:
        need = (wanted * counts[group]).sum(axis=1) / np.maximum(np.asarray(fractions), 1e-9)
        # Relative need decides, so that a small part is not starved by a large one.
        part = int(np.argmax(np.where(np.asarray(fractions) > 0, need, -np.inf)))
        parts[part] += [track.id for track in members[group]]
        wanted[part] -= counts[group]
    return [sorted(part) for part in parts]


def random_split(
    tracks: Sequence[Track],
    groups: dict[str, str],
    *,
    train: float,
    validation: float,
    test: float,
    seed: int,
) -> Split:
    """A seeded random split with each genre in the same proportions on all sides.

    Raises
    ------
    DatasetError
        When the fractions do not sum to 1, or a wanted side would stay empty.
    """
    fractions = (train, validation, test)
    if abs(sum(fractions) - 1) > 1e-6 or min(fractions) < 0:
        raise DatasetError(f"train, validation and test must sum to 1, not {sum(fractions):g}")
    parts = divide(tracks, groups, fractions, seed=seed)
    for part, fraction in zip(parts, fractions, strict=True):
        if fraction and not part:
            raise DatasetError(f"{len(tracks)} tracks are too few to split {fractions}")
    return Split(*map(tuple, parts)).check(groups)


def fold_splits(
    tracks: Sequence[Track], groups: dict[str, str], *, folds: int, seed: int
) -> list[Split]:
    """`folds` splits, in which each track is tested once; none has a validation side.

    Raises
    ------
    DatasetError
        When a fold would stay empty.
    """
    parts = divide(tracks, groups, [1 / folds] * folds, seed=seed) if folds > 1 else [[]]
    if not all(parts):
        raise DatasetError(f"{folds} folds are too many (or too few) for these tracks")
    everything = {track.id for track in tracks}
    return [
        Split(tuple(sorted(everything - set(part))), (), tuple(part)).check(groups)
        for part in parts
    ]


def repeated_folds(
    tracks: Sequence[Track], groups: dict[str, str], *, folds: int, repeats: int, seed: int
) -> list[list[Split]]:
    """`fold_splits` for each of the seeds `seed` … `seed + repeats - 1`."""
    return [
        fold_splits(tracks, groups, folds=folds, seed=seed + repeat) for repeat in range(repeats)
    ]


def official_split(tracks: Sequence[Track]) -> Split:
    """The split that the data set's authors published, from each track's own `split`.

    Tracks that they put on no side are left out; where they made no validation side it is empty.

    Raises
    ------
    DatasetError
        When there is no published split, or it has repeats of one recording on two sides.
    """
    sides = [
        tuple(sorted(track.id for track in tracks if track.split == side))
        for side in ("train", "validation", "test")
    ]
    if not sides[0] or not sides[2]:
        raise DatasetError(
            "no official split: the data set must say which tracks are train and which are test"
        )
    return Split(*sides).check(group_tracks(tracks, by_artist=False))


def listed_split(tracks: Sequence[Track], folder: str | PathLike[str]) -> Split:
    """The split that three lists of files in a folder define, `train*.txt`, `valid*`, `test*`.

    A line names a file, `<genre>/<file>`; its name without suffix is the track's id, with the genre
    before it where that belongs to the id. Tracks that are not here are passed over, and tracks in
    none of the lists are left out.

    Raises
    ------
    DatasetError
        When a list is missing or names none of the tracks.
    """
    known = {track.id for track in tracks}
    sides = []
    for prefix in ("train", "valid", "test"):
        lists = sorted(Path(folder).glob(f"{prefix}*.txt"))
        if len(lists) != 1:
            raise DatasetError(f"{folder}: wanted is one list {prefix}*.txt, found {len(lists)}")
        try:
            lines = lists[0].read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(f"{lists[0]}: {error}") from None
        files = [PurePosixPath(line.strip()) for line in lines if line.strip()]
        names = {f.stem for f in files} | {f"{f.parent.name}/{f.stem}" for f in files}
        side = tuple(sorted(names & known))
        if not side:
            raise DatasetError(f"{lists[0]}: names none of the tracks that are here")
        sides.append(side)
    return Split(*sides).check(group_tracks(tracks, by_artist=False))
