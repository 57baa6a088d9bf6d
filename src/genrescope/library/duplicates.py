"""Recordings that a library holds more than once: copies, also with other tags or formats.

Conventions
-----------
Two tracks are the same recording where their coded audio is the same to the byte, or where their
fingerprints are. A fingerprint is a bit for each of 32 bands in each of 46 ms steps of the first
half minute: whether the energy of neighbouring bands moved apart or together since the step before
(J. Haitsma and T. Kalker, A Highly Robust Audio Fingerprinting System, ISMIR 2002, eq. 1; their
steps are shorter). Fewer than 35 % different bits mean the same recording, as there; two different
ones differ in about half. No stretch of 5 s may differ in more than 42 %, for different pieces may
begin with the same applause. Steps of silence are left out, for all silence is alike. Silence is
what is below -80 dBFS in these bands, or 60 dB below the loudest frame: dither, hum and the noise
of a codec are no sound. Of tracks of 38 s and more the half minute from the middle on, or from
second 30 on where that is later, is compared in the same way, and aligned by itself: different
songs may begin with the same half minute.

`genrescope.datasets.fingerprints` has other ones: 128 bits, which a bundle can store for each
track, but which find no copy that begins a second later. These find it, and are not stored.

Fingerprints are compared only of tracks of equal length (within 2 %) whose embeddings are similar.
Embeddings alone can't tell: strong compression changes them a little, while two pieces of one album
may have the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from genrescope.audio import Readable, load
from genrescope.audio.addresses import open_source
from genrescope.errors import FileError
from genrescope.library.rows import Entry
from genrescope.library.similar import Space

_SAME_DURATION = 1.02
_LEAST_SIMILARITY = 0.6
_DIFFERENT_BITS = 0.35
_DIFFERENT_BITS_OF_A_STRETCH = 0.42
_STRETCH_STEPS = 108  # 5 s
_RATE, _N_FFT, _HOP = 5512, 2048, 256
_LOWEST, _HIGHEST, _BANDS = 300.0, 2000.0, 33
_SECONDS = 30.0
_LAGS = 40  # steps by which one may begin later, 1.9 s
_FEWEST_STEPS = 40
_LEAST_MIDDLE_SECONDS = 8.0
_SILENCE_DBFS, _SILENCE_DB = -80.0, -60.0
_BLOCK = 1024


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """The fingerprint of half a minute of a recording.

    Attributes
    ----------
    bits
        bool `[steps, 32]`.
    audible
        Which steps lie between two frames of sound, bool `[steps]`.
    """

    bits: NDArray[np.bool_]
    audible: NDArray[np.bool_]

    @property
    def is_too_short(self) -> bool:
        """Whether it holds too little sound to be compared."""
        return bool(self.audible.sum() < _FEWEST_STEPS)


@dataclass(frozen=True)
class Duplicates:
    """Tracks of the same recording, the largest file first.

    Attributes
    ----------
    entries
        Two tracks or more.
    is_exact
        Their coded audio is the same to the byte.
    """

    entries: tuple[Entry, ...]
    is_exact: bool


def duplicates(
    space: Space, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> tuple[list[Duplicates], list[FileError]]:
    """Find recordings that a library holds more than once.

    Parameters
    ----------
    space
        The library's tracks.
    progress
        Called with how many pairs of how many have been compared.

    Returns
    -------
    list of Duplicates
        In the order of their first file's path.
    list of FileError
        Files that should have been compared but can't be read.
    """
    entries = space.entries
    parents = list(range(len(entries)))
    by_content: dict[str, int] = {}
    for row, entry in enumerate(entries):
        _join(parents, by_content.setdefault(entry.content, row), row)
    pairs = list(_candidates(space))
    fingerprints: dict[int, Fingerprint | None] = {}
    failures: list[FileError] = []

    def of(row: int) -> Fingerprint | None:
        if row not in fingerprints:
            fingerprints[row] = None
            try:
                found = _fingerprint(entries[row].place)
                if found.is_too_short:
                    reason = "too little sound in its first 30 s to be compared"
                    raise FileError(entries[row].place, reason)
                fingerprints[row] = found
            except FileError as error:
                failures.append(error)
        return fingerprints[row]

    @cache
    def middle_of(row: int, offset: int) -> Fingerprint | None:
        try:
            return _fingerprint(entries[row].place, offset=offset)
        except FileError:
            return None

    def agree_in_the_middle(one: int, other: int) -> bool:
        """Whether two tracks that begin alike are alike later on, or nothing tells otherwise."""
        shorter = min(entries[one].duration, entries[other].duration)
        # The same place of both; whole seconds, so that it often is the same in other pairs, too.
        offset = int(max(_SECONDS, shorter / 2))
        if shorter - offset < _LEAST_MIDDLE_SECONDS:
            return True
        first, second = middle_of(one, offset), middle_of(other, offset)
        if first is None or second is None or (first.is_too_short and second.is_too_short):
            return True
        return different_bits(first, second) < _DIFFERENT_BITS

    for done, (one, other) in enumerate(pairs, 1):
        if _top(parents, one) != _top(parents, other):
            both = [each for each in (of(one), of(other)) if each is not None]
            if (
                len(both) == 2
                and different_bits(*both) < _DIFFERENT_BITS
                and agree_in_the_middle(one, other)
            ):
                _join(parents, one, other)
        progress(done, len(pairs))
    return _groups(entries, parents), failures


def _fingerprint(place: str, *, offset: float = 0.0) -> Fingerprint:
    """The fingerprint of a file, also at an address."""
    with open_source(place) as opened:
        try:
            return fingerprint(opened, offset=offset)
        except FileError as error:  # an open file does not know its address
            raise type(error)(place, error.reason) from None


def fingerprint(file: Readable, *, offset: float = 0.0) -> Fingerprint:
    """Compute the fingerprint of half a minute of a file, by default the first.

    Raises
    ------
    AudioError
        When the file can't be decoded.
    """
    samples = load(file, sample_rate=_RATE, offset=offset, duration=_SECONDS).samples
    samples = np.pad(samples, (0, max(0, _N_FFT - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(samples, _N_FFT)[::_HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(_N_FFT).astype(np.float32), axis=1)) ** 2
    edges = np.geomspace(_LOWEST, _HIGHEST, _BANDS + 1)
    bins = np.searchsorted(np.fft.rfftfreq(_N_FFT, 1 / _RATE), edges)
    energy = np.add.reduceat(power, bins, axis=1)[:, :_BANDS]
    slope = energy[:, :-1] - energy[:, 1:]
    # Mean square of these bands alone: hum below them would hide that they are silent. The window
    # has 3/8 of the power, and a real spectrum half of its bins.
    mean_square = energy.sum(axis=1, dtype=np.float64) / (_N_FFT**2 * 3 / 16)
    level = 10 * np.log10(np.maximum(mean_square, 1e-20))
    is_sound = level > max(_SILENCE_DBFS, level.max() + _SILENCE_DB)
    return Fingerprint(np.asarray(slope[1:] > slope[:-1]), is_sound[1:] & is_sound[:-1])


def different_bits(one: Fingerprint, other: Fingerprint) -> float:
    """The share of bits that differ, 0 to 1, at the best alignment.

    Where a stretch of some seconds differs too much there, that of the stretch is given. Steps in
    which either is silent are left out. It is 1 where both have sound together in too few steps, or
    in less than half of those in which one of them has.
    """
    least, of_steps = 1.0, np.zeros(0)
    for lag in range(-_LAGS, _LAGS + 1):
        here, there = slice(max(lag, 0), None), slice(max(-lag, 0), None)
        steps = min(len(one.bits[here]), len(other.bits[there]))
        sounds = one.audible[here][:steps], other.audible[there][:steps]
        both = sounds[0] & sounds[1]
        if both.sum() >= max(_FEWEST_STEPS, min(sounds[0].sum(), sounds[1].sum()) / 2):
            different = one.bits[here][:steps][both] != other.bits[there][:steps][both]
            if (share := float(np.mean(different))) < least:
                least, of_steps = share, different.mean(axis=1)
    if least == 1.0:
        return least
    count = max(1, len(of_steps) // _STRETCH_STEPS)
    worst = max(float(stretch.mean()) for stretch in np.array_split(of_steps, count))
    return worst if worst > _DIFFERENT_BITS_OF_A_STRETCH else least


def _candidates(space: Space) -> Iterator[tuple[int, int]]:
    """Pairs of about equal length whose embeddings are similar, without equal contents."""
    durations = np.array([entry.duration for entry in space.entries])
    order = np.argsort(durations, kind="stable")
    durations, directions = durations[order], space.directions[order]
    ends = np.searchsorted(durations, durations * _SAME_DURATION, side="right")
    for start in range(0, len(order), _BLOCK):
        stop = min(start + _BLOCK, len(order))
        similarity = directions[start:stop] @ directions[start : ends[stop - 1]].T
        for row, column in zip(*np.nonzero(similarity > _LEAST_SIMILARITY), strict=True):
            one, other = start + int(row), start + int(column)
            first, second = int(order[one]), int(order[other])
            equal = space.entries[first].content == space.entries[second].content
            if one < other < ends[one] and not equal:
                yield first, second


def _groups(entries: list[Entry], parents: list[int]) -> list[Duplicates]:
    members: defaultdict[int, list[Entry]] = defaultdict(list)
    for row, entry in enumerate(entries):
        members[_top(parents, row)].append(entry)
    groups = [
        Duplicates(
            tuple(sorted(group, key=lambda e: (-e.size, e.file))),
            len({entry.content for entry in group}) == 1,
        )
        for group in members.values()
        if len(group) > 1
    ]
    return sorted(groups, key=lambda group: group.entries[0].file)


def _top(parents: list[int], row: int) -> int:
    """The representative of a set in the forest (union-find, with path halving)."""
    while parents[row] != row:
        parents[row] = parents[parents[row]]
        row = parents[row]
    return row


def _join(parents: list[int], one: int, other: int) -> None:
    parents[_top(parents, other)] = _top(parents, one)
