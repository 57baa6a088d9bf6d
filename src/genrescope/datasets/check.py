"""Contents and faults of a data set, found by decoding every file to its end.

Conventions
-----------
Problems are of these kinds: "corrupt" (can't be decoded, wholly or in part), "missing" (listed, or
one of the tracks that its makers published, but not there), "repeated" (one recording under two
ids), "length", "rate" and "channels" (unlike the others), "silent" (a hundredth or more of it is
digital silence) and "short" (under a second, too short to classify). A length is odd when it is
more than 1 s or 5 % from the median. Whole songs have all kinds of lengths: where less than half of
the files are near the median, none is odd.
"""

from __future__ import annotations

import hashlib
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genrescope.audio import AudioError, info, stream
from genrescope.datasets.dataset import NO_FILE, NO_GENRE, Dataset
from genrescope.datasets.layouts import LAYOUTS, layout
from genrescope.datasets.tracks import Track
from genrescope.errors import FileError
from genrescope.features.plotted import is_plotted, load_plotted
from genrescope.parallel import available_cores

ODD_SECONDS = 1.0
ODD_SHARE = 0.05
SILENT_SHARE = 0.01
SHORTEST_SECONDS = 1.0


@dataclass(frozen=True)
class Problem:
    """One problem, and the ids of all tracks that have it; none where they can't be named."""

    kind: str
    tracks: tuple[str, ...]
    detail: str


@dataclass(frozen=True)
class Lengths:
    """Median, shortest and longest of the files, in `unit`: "s", or "columns" of spectrograms."""

    unit: str
    files: int
    median: float
    shortest: float
    longest: float


@dataclass(frozen=True)
class Report:
    """Report on a data set.

    Attributes
    ----------
    dataset
        As it was read.
    problems
        In the order of the kinds above.
    lengths
        Lengths of the audio files and of the spectrograms.
    sample_rates, channels
        How many audio files have each.
    """

    dataset: Dataset
    problems: tuple[Problem, ...]
    lengths: tuple[Lengths, ...]
    sample_rates: dict[int, int]
    channels: dict[int, int]


@dataclass(frozen=True)
class _Facts:
    """Report on one file; without a unit it could not be decoded.

    `length` and `silent` (how much of it is digital silence) are in `unit`.
    """

    fault: str = ""
    unit: str = ""
    length: float = 0.0
    content: str = ""
    sample_rate: int = 0
    channels: int = 0
    silent: float = 0.0


def check_dataset(
    dataset: Dataset,
    *,
    jobs: int | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Report:
    """Decode every file of a data set and list what is wrong.

    Tracks that are known from a table alone have no file to decode.

    Parameters
    ----------
    dataset
        As `read_dataset` gives it.
    jobs
        Files decoded at once; as many as cores by default.
    report
        Called with the number of files that are done, and the number of all.
    """
    tracks = [track for track in dataset.tracks if not is_table(track.path)]
    facts: dict[str, _Facts] = {}
    with ThreadPoolExecutor(jobs or available_cores(), thread_name_prefix="genrescope") as pool:
        try:
            for track, found in zip(tracks, pool.map(_read, tracks), strict=True):
                facts[track.id] = found
                if report is not None:
                    report(len(facts), len(tracks))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    read = {name: found for name, found in facts.items() if found.unit}
    audio = {name: found for name, found in read.items() if found.unit == "s"}
    units: dict[str, dict[str, float]] = defaultdict(dict)
    for name, found in read.items():
        units[found.unit][name] = found.length
    rates = {name: found.sample_rate for name, found in audio.items()}
    channels = {name: found.channels for name, found in audio.items()}
    problems = [
        *_corrupt(dataset, facts),
        *_missing(dataset),
        *_repeated(dataset.tracks, read),
        *(odd for unit, lengths in units.items() for odd in _odd_lengths(lengths, unit)),
        *_silent(read),
        *_short(audio),
        *_odd("rate", rates, "{} Hz"),
        *_odd("channels", channels, "{} channels"),
    ]
    return Report(
        dataset,
        tuple(problems),
        tuple(_lengths(lengths, unit) for unit, lengths in units.items()),
        dict(sorted(Counter(rates.values()).items())),
        dict(sorted(Counter(channels.values()).items())),
    )


def is_table(path: Path) -> bool:
    """Whether a track's path is a table of vectors or labels, not a file of its own."""
    return path.suffix.lower() in (".csv", ".npz")


def _read(track: Track) -> _Facts:
    """Read one file to its end."""
    if track.path.suffix.lower() == ".png":
        return _read_spectrogram(track.path)
    return _decode(track.path)


def _decode(path: Path) -> _Facts:
    warnings: list[str] = []
    samples, zeros, content = 0, 0, hashlib.sha256()
    try:
        header = info(path)
        for block in stream(path, sample_rate=None, warnings=warnings):
            samples += len(block)
            zeros += _silent_samples(block, header.sample_rate // 20)
            content.update(block.tobytes())
    except AudioError as error:
        return _Facts(error.reason)
    return _Facts(
        "; ".join(warnings),
        "s",
        samples / header.sample_rate,
        content.hexdigest(),
        header.sample_rate,
        header.channels,
        zeros / header.sample_rate,
    )


def _silent_samples(block: NDArray[np.float32], stretch: int) -> int:
    """Number of samples in stretches that are all zero; single zeros are in any sound."""
    starts = np.arange(0, len(block), max(1, stretch))
    lengths = np.diff(starts, append=len(block))
    return int(lengths[~np.logical_or.reduceat(block != 0, starts)].sum())


def _read_spectrogram(path: Path) -> _Facts:
    from PIL import Image, UnidentifiedImageError

    if is_plotted(path):
        try:
            levels = load_plotted(path)
        except FileError as error:
            return _Facts(error.reason)
        return _Facts("", "columns", levels.shape[1], hashlib.sha256(levels.tobytes()).hexdigest())
    try:
        with Image.open(path) as image:
            if image.mode != "L":
                return _Facts(f"not an 8-bit grey image (mode {image.mode})")
            pixels = np.asarray(image)
            content = hashlib.sha256(repr(image.size).encode() + pixels.tobytes()).hexdigest()
            silent = int(np.count_nonzero(~pixels.any(axis=0)))
            return _Facts("", "columns", image.width, content, silent=silent)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return _Facts("not a readable PNG image")


def _corrupt(dataset: Dataset, facts: dict[str, _Facts]) -> list[Problem]:
    of_fault: dict[str, list[str]] = defaultdict(list)
    for left in dataset.left_out:
        if left.reason not in (NO_FILE, NO_GENRE):
            of_fault[f"{left.reason}; left out"].append(left.id)
    for name, found in facts.items():
        if found.fault:
            of_fault[found.fault].append(name)
    return [Problem("corrupt", tuple(names), fault) for fault, names in of_fault.items()]


def _missing(dataset: Dataset) -> list[Problem]:
    problems = []
    for reason, detail in (
        (NO_FILE, "listed, but there is no such file"),
        (NO_GENRE, "the table names no genre; left out"),
    ):
        names = tuple(left.id for left in dataset.left_out if left.reason == reason)
        problems += [Problem("missing", names, detail)] if names else []
    return [*problems, *_fewer_than_published(dataset)]


def _fewer_than_published(dataset: Dataset) -> list[Problem]:
    """A problem for each genre of which not all tracks that were published are there."""
    if dataset.kind not in LAYOUTS:
        return []
    known = layout(dataset.kind)
    there = {track.id for track in dataset.tracks} | {left.id for left in dataset.left_out}
    counts = Counter(track.genre for track in dataset.tracks)
    counts += Counter(left.genre for left in dataset.left_out)
    problems = []
    for genre in sorted({track.genre for track in dataset.tracks} & known.about.genres.keys()):
        number = known.about.genres[genre]
        if counts[genre] < number:
            absent = tuple(name for name in known.ids(genre) if name not in there)
            detail = f"{counts[genre]} of {known.about.title}'s {number} {genre} tracks are there"
            problems.append(Problem("missing", absent, detail))
    return problems


def _repeated(tracks: Sequence[Track], read: dict[str, _Facts]) -> list[Problem]:
    """Tracks with identical content, and known repeats that are there."""
    genre = {track.id: track.genre for track in tracks}
    of_content: dict[str, list[str]] = defaultdict(list)
    for name, found in read.items():
        of_content[found.content].append(name)
    same = [tuple(names) for names in of_content.values() if len(names) > 1]
    found_out = {frozenset((a, b)) for names in same for a in names for b in names}
    of_recording: dict[str, list[str]] = defaultdict(list)
    for track in tracks:
        if track.recording is not None:
            of_recording[track.recording].append(track.id)
    known = [
        tuple(names)
        for names in of_recording.values()
        if any(frozenset((names[0], other)) not in found_out for other in names[1:])
    ]

    def problem(names: tuple[str, ...], detail: str) -> Problem:
        genres = sorted({genre[name] for name in names})
        differ = f", labelled {' and '.join(genres)}" if len(genres) > 1 else ""
        return Problem("repeated", names, detail + differ)

    return [
        *(problem(names, "identical content") for names in same),
        *(problem(names, "known to be one recording") for names in known),
    ]


def _odd_lengths(lengths: dict[str, float], unit: str) -> list[Problem]:
    median = statistics.median(lengths.values())
    allowed = ODD_SHARE * median if unit != "s" else min(ODD_SECONDS, ODD_SHARE * median)
    odd = {name: n for name, n in lengths.items() if abs(n - median) > allowed}
    if 2 * len(odd) > len(lengths):
        return []
    return [
        Problem("length", (name,), f"{length:.4g} {unit}; the median is {median:.4g} {unit}")
        for name, length in odd.items()
    ]


def _silent(read: dict[str, _Facts]) -> list[Problem]:
    return [
        Problem(
            "silent",
            (name,),
            f"{found.silent:.4g} of its {found.length:.4g} {found.unit} are digital silence",
        )
        for name, found in read.items()
        if found.length and found.silent >= SILENT_SHARE * found.length
    ]


def _short(audio: dict[str, _Facts]) -> list[Problem]:
    return [
        Problem("short", (name,), f"{found.length:.2g} s is too short to classify")
        for name, found in audio.items()
        if found.length < SHORTEST_SECONDS
    ]


def _odd(kind: str, values: dict[str, int], words: str) -> list[Problem]:
    """A problem for each value but the most frequent, with the tracks that have it."""
    if not values:
        return []
    usual = Counter(values.values()).most_common(1)[0][0]
    return [
        Problem(
            kind,
            tuple(name for name, found in values.items() if found == value),
            f"{words.format(value)}; most have {usual}",
        )
        for value in sorted(set(values.values()) - {usual})
    ]


def _lengths(lengths: dict[str, float], unit: str) -> Lengths:
    values = lengths.values()
    return Lengths(unit, len(values), statistics.median(values), min(values), max(values))
