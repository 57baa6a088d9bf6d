"""Splits into training, validation and test subsets, by track or by artist.

Conventions
-----------
A split names the tracks of its subsets by id. What belongs together goes to one subset: known
repeats of one recording always, tracks by one artist where asked for. `Split.check` refuses what
would separate them. All random choices follow from a seed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath

import numpy as np

from genrescope.datasets.tracks import Track
from genrescope.errors import DatasetError
from genrescope.wording import counted

SUBSETS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Track ids of the training, validation and test subsets; the last two may be empty."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def check(self, groups: Mapping[str, str]) -> Split:
        """Refuse a split that has a track, or tracks of one group, in two subsets.

        Parameters
        ----------
        groups
            Group of each track id, as `group_tracks` gives it.

        Returns
        -------
        Split
            This split.

        Raises
        ------
        DatasetError
            Names the track.
        """
        subset_of: dict[str, str] = {}
        for subset in SUBSETS:
            listed: tuple[str, ...] = getattr(self, subset)
            for track, times in Counter(listed).items():
                if times > 1:
                    raise DatasetError(f"track {track} is listed twice in {subset}")
                group = groups.get(track, track)
                first = subset_of.setdefault(group, subset)
                if first != subset:
                    raise DatasetError(
                        f"track {track} would be in {subset} while it, a repeat of it, or another "
                        f"track by its artist is in {first}"
                    )
        return self


def group_tracks(tracks: Iterable[Track], *, by_artist: bool) -> dict[str, str]:
    """Name the group of each track: what has to stay in one subset has one name.

    Parameters
    ----------
    tracks
        Those with the same `recording` are always in one group.
    by_artist
        Put all tracks by one artist in one group. Those whose artist is unknown are one group a
        genre then: they may be by anyone, also by each other's artist.

    Returns
    -------
    dict
        Track id -> name of its group.

    Raises
    ------
    DatasetError
        When artists are asked for and none is known.
    """
    tracks = list(tracks)
    if by_artist and not any(track.artist for track in tracks):
        raise DatasetError("a split by artist needs the artists of the tracks, and none is known")

    def name(track: Track) -> str:
        if not by_artist:
            return track.id
        return f"artist {track.artist}" if track.artist else f"unknown {track.genre}"

    by_recording: dict[str, list[Track]] = defaultdict(list)
    for track in tracks:
        if track.recording is not None:
            by_recording[track.recording].append(track)
    first_of: dict[str, Track] = {}
    repeats: list[tuple[str, str]] = []
    for recording, copies in by_recording.items():
        first = next((copy for copy in copies if copy.id == recording), copies[0])
        others = [copy.id for copy in copies if copy.id != first.id]
        first_of |= dict.fromkeys(others, first)
        repeats += [(first.id, other) for other in others]
    # Tables of artists often name one copy alone; the artist of the other is the same.
    groups = {
        track.id: name(track if track.artist else first_of.get(track.id, track)) for track in tracks
    }
    for first_id, other in repeats:
        old, new = groups[other], groups[first_id]
        if old != new:
            groups = {track: new if group == old else group for track, group in groups.items()}
    return groups


def divide(
    tracks: Sequence[Track], groups: Mapping[str, str], fractions: Sequence[float], *, seed: int
) -> list[list[str]]:
    """Divide tracks into subsets, whole groups at a time, each genre in about the given fractions.

    Groups are assigned largest first (ties in seeded random order), each to the subset that lacks
    most of its genres, relative to the subset's fraction.

    Parameters
    ----------
    tracks
        In any order.
    groups
        As `group_tracks` gives them.
    fractions
        Fraction of the tracks in each subset; a subset of 0 stays empty.
    seed
        Seed of the order of groups that have the same size.

    Returns
    -------
    list
        Sorted track ids of each subset.
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
    missing = np.outer(fractions, sum(counts.values()))  # [subsets, genres], in tracks
    subsets: list[list[str]] = [[] for _ in fractions]
    for group in order:
        need = (missing * counts[group]).sum(axis=1) / np.maximum(np.asarray(fractions), 1e-9)
        # Relative need decides, so that a small subset is not starved by a large one.
        chosen = int(np.argmax(np.where(np.asarray(fractions) > 0, need, -np.inf)))
        subsets[chosen] += [track.id for track in members[group]]
        missing[chosen] -= counts[group]
    return [sorted(subset) for subset in subsets]


def random_split(
    tracks: Sequence[Track],
    groups: Mapping[str, str],
    *,
    train: float,
    validation: float,
    test: float,
    seed: int,
) -> Split:
    """A seeded random split with each genre in the same proportions in all subsets.

    Parameters
    ----------
    tracks, groups, seed
        As for `divide`.
    train, validation, test
        Fraction of the tracks in each subset.

    Raises
    ------
    DatasetError
        When the fractions do not sum to 1, or a subset with a fraction would stay empty.
    """
    fractions = (train, validation, test)
    if abs(sum(fractions) - 1) > 1e-6 or min(fractions) < 0:
        raise DatasetError(f"train, validation and test must sum to 1, not {sum(fractions):g}")
    subsets = divide(tracks, groups, fractions, seed=seed)
    for subset, fraction in zip(subsets, fractions, strict=True):
        if fraction and not subset:
            raise DatasetError(f"{counted(len(tracks), 'track')}: too few to split {fractions}")
    return Split(*map(tuple, subsets)).check(groups)


def fold_splits(
    tracks: Sequence[Track], groups: Mapping[str, str], *, folds: int, seed: int
) -> list[Split]:
    """Splits of cross-validation: `folds` of them, without validation subsets.

    Each track is in the test subset of exactly one.

    Raises
    ------
    DatasetError
        When a fold would stay empty.
    """
    parts = divide(tracks, groups, [1 / folds] * folds, seed=seed) if folds > 1 else [[]]
    if folds < 2:
        raise DatasetError(f"{counted(folds, 'fold')}: too few, cross-validation needs at least 2")
    if not all(parts):
        of_genre: dict[str, set[str]] = defaultdict(set)
        for track in tracks:
            of_genre[track.genre].add(groups[track.id])
        most = max(map(len, of_genre.values()), default=0)
        fewer = min(most, folds - 1)
        hint = f", or use fewer folds: --set split.folds={fewer}" if fewer > 1 else ""
        raise DatasetError(
            f"{folds} folds are too many for {counted(len(tracks), 'track')}: tracks by one artist "
            f"stay in one fold, and no genre has more than {counted(most, 'such group')}; add "
            f"tracks{hint}"
        )
    everything = {track.id for track in tracks}
    return [
        Split(tuple(sorted(everything - set(part))), (), tuple(part)).check(groups)
        for part in parts
    ]


def repeated_folds(
    tracks: Sequence[Track], groups: Mapping[str, str], *, folds: int, repeats: int, seed: int
) -> list[list[Split]]:
    """Splits of repeated cross-validation: `fold_splits` for `seed` … `seed + repeats - 1`."""
    return [
        fold_splits(tracks, groups, folds=folds, seed=seed + repeat) for repeat in range(repeats)
    ]


def official_split(tracks: Sequence[Track]) -> Split:
    """The split that the makers of the data set published, from each track's own `split`.

    Tracks that they assigned to no subset are left out; the validation subset may be empty.

    Raises
    ------
    DatasetError
        When the data set has no published split, or one with repeats of a recording in two subsets.
    """
    train, validation, test = (
        tuple(sorted(track.id for track in tracks if track.split == subset)) for subset in SUBSETS
    )
    if not train or not test:
        raise DatasetError(
            "no official split: the data set must say which tracks are train and which are test"
        )
    return Split(train, validation, test).check(group_tracks(tracks, by_artist=False))


def listed_split(tracks: Sequence[Track], folder: str | PathLike[str]) -> Split:
    """The split that three lists of files in a folder define: `train*.txt`, `valid*`, `test*`.

    A line names a file, `<genre>/<file>`; its name without suffix is the track's id, with the
    genre before it where that belongs to the id. Files that are none of the tracks are ignored, and
    tracks in none of the lists are left out.

    Raises
    ------
    DatasetError
        When a list is missing, can't be read or names none of the tracks.
    """
    known = {track.id for track in tracks}
    subsets = []
    for prefix in ("train", "valid", "test"):
        lists = sorted(Path(folder).glob(f"{prefix}*.txt"))
        if len(lists) != 1:
            raise DatasetError(f"{folder}: expected one list {prefix}*.txt, found {len(lists)}")
        try:
            lines = lists[0].read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(f"{lists[0]}: {error}") from None
        files = [PurePosixPath(line.strip()) for line in lines if line.strip()]
        names = {f.stem for f in files} | {f"{f.parent.name}/{f.stem}" for f in files}
        subset = tuple(sorted(names & known))
        if not subset:
            raise DatasetError(f"{lists[0]}: names none of the tracks that are here")
        subsets.append(subset)
    return Split(*subsets).check(group_tracks(tracks, by_artist=False))
