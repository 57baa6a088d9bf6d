"""How many windows tell the genre of a track, simulated from the outputs of all of them.

    python benchmarks/listening.py OUTPUTS FOLDER... [--write]

classifies each track of the FOLDERs that is longer than 90 s, all of it, and keeps the outputs of
its windows in the folder OUTPUTS, one file a track; what is there is not computed again, so that it
can be stopped. From the outputs it simulates how much `--listen auto` would read, in the order in
which it reads, and whether the genre is that of the whole then: for a number of windows, for the
rule with several values of `CLEAR`, and for a rule that knows the genre of the whole and stops
where no later window changes it, as no rule can that does not. Each FOLDER has columns of its own
in the table of docs/benchmarks.md.

Shorter parts than windows are simulated, too, from the segments of the same outputs. That is a
bound: a part that is read by itself is scaled by itself, and not as the window that it is from.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from formats import PAGE, wilson
from numpy.typing import NDArray
from pages import write_between

import genrescope
from genrescope import audio
from genrescope.audio.files import find_audio
from genrescope.features import StreamInfo
from genrescope.heap import keep_freed_memory
from genrescope.inference import listening
from genrescope.inference.network import EMBEDDING, LOGITS

SHORTEST, SONG = 90.0, (180.0, 300.0)
"""Seconds of a track that counts, and of one that counts as a song."""
CLEAR = (0.5, 1.0, 1.5, 2.0, 2.5)
PART = 4
"""Segments of a part of a window: about 10 s."""


@dataclass(frozen=True)
class Parts:
    """Parts of a track in the order in which they are read.

    Attributes
    ----------
    means
        Of their logits, `[parts, genres]`.
    margins
        By how much they are music, `[parts]`.
    genres
        Of all up to each, `[parts]`; -1 where that is no music.
    read
        The fraction of the track that has been read after each, `[parts]`.
    """

    means: NDArray[np.float64]
    margins: NDArray[np.float64]
    genres: NDArray[np.int64]
    read: NDArray[np.float64]

    def until_clear(self) -> int:
        """How many are read until the genre is clear."""
        count = len(self.means)
        for read in range(listening.AUTO_FEWEST, count):
            unread, margins = 1 - read / count, self.margins[:read].tolist()
            if listening.is_clear([*self.means[:read]], unread, margins):
                return read
        return count

    def until_settled(self) -> int:
        """How many are read until no other one changes the genre."""
        others = np.flatnonzero(self.genres != self.genres[-1])
        return int(others[-1]) + 2 if len(others) else 1


@dataclass(frozen=True)
class Track:
    """The outputs of all windows of a track.

    Attributes
    ----------
    seconds
        Its length.
    logits
        Of each segment, divided by the temperature, `[segments, genres]`.
    margins
        Of each segment by how much it is music, `[segments]`. It is linear in the embedding, so
        that the mean over segments is that of their mean embedding.
    window
        The number of each segment's window, `[segments]`.
    cost
        Processor time of decoding, front end and network, in seconds.
    """

    seconds: float
    logits: NDArray[np.float64]
    margins: NDArray[np.float64]
    window: NDArray[np.int64]
    cost: float

    @property
    def windows(self) -> int:
        """How many there are."""
        return len(np.unique(self.window))

    def parts(self, size: int | None = None) -> Parts:
        """The windows, or parts of about so many segments of them."""
        groups = [np.flatnonzero(self.window == number) for number in np.unique(self.window)]
        if size is not None:
            groups = [
                part for each in groups for part in np.array_split(each, max(1, len(each) // size))
            ]
        groups = [groups[number] for number in listening.reading_order(len(groups))]
        means = np.stack([self.logits[group].mean(axis=0) for group in groups])
        margins = np.array([self.margins[group].mean() for group in groups])
        lengths = np.array([len(group) for group in groups])
        genres = np.cumsum(means * lengths[:, None], axis=0).argmax(axis=1)
        genres[np.cumsum(margins * lengths) < 0] = -1
        return Parts(means, margins, genres, np.cumsum(lengths) / lengths.sum())


def outputs_of(folder: Path, kept: Path) -> Iterator[Track]:
    """The tracks of a folder, computed where they are not kept."""
    classifier = genrescope.load()
    manifest = classifier.manifest
    for path in find_audio(folder).files:
        file = kept / (hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16] + ".npz")
        if not file.exists():
            try:
                if audio.info(path).duration <= SHORTEST:
                    continue
                found = _computed(classifier, path)
            except audio.AudioError:
                continue
            np.savez(file, **found)
        with np.load(file) as arrays:
            margin = manifest.music_detector.margin
            yield Track(
                float(arrays["seconds"]),
                arrays["logits"].astype(np.float64) / manifest.temperature,
                np.array([margin(embedding) for embedding in arrays["embeddings"]]),
                arrays["window"],
                float(arrays["cost"]),
            )


def _computed(classifier: genrescope.Classifier, path: Path) -> dict[str, object]:
    info, began = StreamInfo(), time.process_time()
    windows = classifier.manifest.frontend.windows(path, info)
    outputs = classifier.network.run_windows(windows, [LOGITS, EMBEDDING])
    found = [arrays for _, arrays in outputs]
    return {
        "logits": np.concatenate([logits for logits, _ in found]),
        "embeddings": np.concatenate([embeddings for _, embeddings in found]),
        "window": np.repeat(np.arange(len(found)), [len(logits) for logits, _ in found]),
        "seconds": info.duration,
        "cost": time.process_time() - began,
    }


def table(folders: dict[str, list[Track]]) -> list[str]:
    """How many tracks have the genre of the whole, and how much of them is read, by each rule."""
    head, rule = "| read |", "|---|"
    for name, tracks in folders.items():
        head += f" genre as of the whole: {len(tracks)} tracks, {name} | windows a song |"
        rule += "--:|--:|"
    lines = [head, rule]

    def add(label: str, stop: Callable[[Parts], int], size: int | None = None) -> None:
        lines.append(
            f"| {label} | " + " | ".join(_row(f, stop, size) for f in folders.values()) + " |"
        )

    for count in (1, 2, 3, 4):
        add(f"{count} windows" if count > 1 else "1 window", lambda _, count=count: count)
    add("windows until no other changes the genre", Parts.until_settled)
    for size, what in ((None, "windows"), (PART, "parts of 10 s")):
        for clear in CLEAR:
            listening.CLEAR = clear  # type: ignore[misc]
            add(f"{what}, `CLEAR` {clear:g}", Parts.until_clear, size)
    return lines


def _row(tracks: Sequence[Track], stop: Callable[[Parts], int], size: int | None) -> str:
    same, songs = 0, []
    for track in tracks:
        parts = track.parts(size)
        read = min(stop(parts), len(parts.means))
        same += bool(parts.genres[read - 1] == parts.genres[-1])
        if SONG[0] <= track.seconds <= SONG[1]:
            songs.append(parts.read[read - 1] * track.windows)
    low, high = wilson(same, len(tracks))
    return f"{same / len(tracks):.1%} ({low:.1%} to {high:.1%}) | {np.mean(songs):.2f}"


def main() -> None:
    """Compute what is missing, and simulate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("outputs", type=Path, help="where the outputs are kept")
    parser.add_argument("folders", type=Path, nargs="+", help="folders of whole tracks")
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.name}")
    arguments = parser.parse_args()
    keep_freed_memory()
    arguments.outputs.mkdir(parents=True, exist_ok=True)
    folders = {
        folder.name: [*outputs_of(folder, arguments.outputs)] for folder in arguments.folders
    }
    tracks = [track for found in folders.values() for track in found]
    songs = [track.windows for track in tracks if SONG[0] <= track.seconds <= SONG[1]]
    cost = 1000 * sum(t.cost for t in tracks) / sum(t.windows for t in tracks)
    lines = [
        *table(folders),
        "",
        f"A song is a track of three to five minutes, of {np.mean(songs):.1f} windows; parts count "
        f"by their length. Decoding, front end and network took {cost:.0f} ms of processor time a "
        "window, read in full.",
    ]
    print(*lines, sep="\n")
    if arguments.write:
        write_between(PAGE, "windows", lines)


if __name__ == "__main__":
    main()
