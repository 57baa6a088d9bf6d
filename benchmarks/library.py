"""Measures a large library, and whether fingerprints tell music apart; into docs/performance.md.

    python benchmarks/library.py [FOLDER OF MUSIC] [--write]

The embeddings are synthetic: 200 Gaussian clouds in as many dimensions as the default model's have,
at distances from the mean that differ as real ones do, seed 0. Clouds are easy for an index.
Searched is for tracks of the library: once before there is an index, which is exact, and once
through the index, whose recall is the share of the exact ten that it finds too. With a folder of
music, each file is coded anew in four ways and its fingerprint compared with the original's, and
each original's with all others'. All is printed; --write puts it into docs/performance.md too.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import combinations
from pathlib import Path

import av
import lancedb
import numpy as np

from genrescope.library.duplicates import different_bits, fingerprint
from genrescope.library.index import refresh
from genrescope.library.map import draw_map
from genrescope.library.rows import Entry, Model
from genrescope.library.similar import Space, TrackFilter
from genrescope.library.store import Library

ROOT = Path(__file__).resolve().parents[1]
SIZE, SEARCHES = 96, 100
SIZES = (100_000, 300_000)
MAPPED, PLACED = 10_000, 100
GENRES = ("a", "b", "c", "d", "e", "f", "g", "h", "i", "j")
MODEL = Model("synthetic", "0" * 64, "synthetic", GENRES, SIZE)
CODECS = (
    ("libmp3lame", "mp3", 64_000),
    ("libmp3lame", "mp3", 128_000),
    ("aac", "m4a", 96_000),
    ("libopus", "opus", 48_000),
)


def build(folder: Path, tracks: int) -> Library:
    """A library of synthetic tracks, in few files."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((200, SIZE))
    library = Library.create(folder, MODEL)
    half = np.full(len(GENRES), 0.1, np.float32)
    block = min(10_000, tracks)
    for start in range(0, tracks, block):
        vectors = centres[random.integers(0, 200, block)]
        vectors = vectors + 0.7 * random.standard_normal((block, SIZE))
        vectors = 3 + vectors * np.exp(0.2 * random.standard_normal((block, 1)))
        library.put(
            [
                Entry("/m", f"{start + i}.mp3", str(start + i), 1, 1, half,
                      vector.astype(np.float32), genre=GENRES[i % 10], year=1950 + i % 70)
                for i, vector in enumerate(vectors)
            ]
        )  # fmt: skip
    library.compact()
    return library


def seconds(work: Callable[[], object]) -> float:
    """Wall time of some work."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def megabytes(folder: Path) -> float:
    """What the files of a folder take."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def search(folder: Path, tracks: int) -> dict[str, str]:
    """Times, recall and size of a library of so many tracks, as they are printed."""
    library = build(folder, tracks)
    columns = library.columns(["embedding"])
    bare = columns["embedding"].nbytes / 1e6
    del columns
    queries = [f"{i}.mp3" for i in np.random.default_rng(1).integers(0, tracks, SEARCHES)]
    wishes = {
        "": TrackFilter(),
        "genre": TrackFilter(genre="c"),
        "years": TrackFilter(years=(1970, 1970)),
    }
    found: dict[tuple[str, str], list[set[str]]] = {}
    said = {"embeddings alone": f"{bare:.0f} MB"}
    first: dict[str, float] = {}
    times: dict[tuple[str, str], list[float]] = {}
    made = 0.0
    for way in ("exact", "index"):
        if way == "index":
            made = seconds(lambda: refresh(library))
        began = time.perf_counter()
        space = Space(Library.open(folder))
        space.nearest(space.find(queries[0]), 10)
        first[way] = time.perf_counter() - began
        asked = [space.find(each) for each in queries]
        for what, wanted in wishes.items():
            found[way, what], times[way, what] = [], []
            for query in asked:
                began = time.perf_counter()
                nearest = space.nearest(query, 10, wanted)
                times[way, what].append(1000 * (time.perf_counter() - began))
                found[way, what].append({entry.path for entry, _ in nearest})
    # Older states go after an hour; here at once.
    lancedb.connect(folder).open_table("tracks").optimize(cleanup_older_than=timedelta(0))
    said["library, on disk"] = f"{megabytes(folder / 'tracks.lance'):.0f} MB"
    size = megabytes(folder / "index.lance")
    said["index, on disk, and the time to make it"] = f"{size:.0f} MB, {made:.1f} s"
    for way in ("exact", "index"):
        said[f"{way}: open, look a track up, and search once"] = f"{first[way]:.2f} s"
        for what in wishes:
            name = f"{way}: search{', one ' + what.rstrip('s') + ' only' if what else ''}"
            mid, late = np.percentile(times[way, what], [50, 99])
            said[f"{name}, median and p99"] = f"{mid:.1f} ms, {late:.1f} ms"
    for what in wishes:
        pairs = zip(found["index", what], found["exact", what], strict=True)
        recall = np.mean([len(one & other) / 10 for one, other in pairs])
        name = f", one {what.rstrip('s')} only" if what else ""
        said[f"index: recall@10{name}"] = f"{recall:.4f}"
    return said


def mapped(folder: Path) -> str:
    """Time of a map, and of placing what is new in it, as a table."""
    library = build(folder, MAPPED)
    drawn = seconds(lambda: draw_map(library))
    more = np.random.default_rng(2).standard_normal((PLACED, SIZE)).astype(np.float32)
    half = np.full(len(GENRES), 0.1, np.float32)
    library.put(
        [Entry("/m", f"new-{i}.mp3", f"new-{i}", 1, 1, half, vector, genre="a")
         for i, vector in enumerate(3 + more)]
    )  # fmt: skip
    placed = seconds(lambda: draw_map(library))
    rows = [
        f"| t-SNE of {MAPPED:,} tracks | {drawn:.0f} s |",
        f"| placing {PLACED} more | {placed:.1f} s |",
    ]
    return "\n".join(["| Map | Time |", "|---|--:|", *rows])


def fingerprints(music: Path, folder: Path) -> str:
    """Shares of different bits, of the same and of different recordings, as a table."""
    files = sorted(each for each in music.rglob("*") if each.suffix in (".flac", ".mp3", ".wav"))
    originals = [fingerprint(file) for file in files]
    rows = []
    for codec, ending, rate in CODECS:
        same = []
        for file, original in zip(files, originals, strict=True):
            encode(file, folder / f"x.{ending}", codec, rate)
            same.append(different_bits(original, fingerprint(folder / f"x.{ending}")))
        coded = f"the same, as {ending} at {rate // 1000} kbit/s"
        rows.append(f"| {coded} | {len(same)} | {np.median(same):.2f} | {max(same):.2f} at most |")
    pairs = [different_bits(*pair) for pair in combinations(originals, 2)]
    rows.append(
        f"| different | {len(pairs)} | {np.median(pairs):.2f} | {min(pairs):.2f} at least |"
    )
    head = "| Recordings | Pairs | Median | Farthest |\n|---|--:|--:|--:|"
    return "\n".join([head, *rows, "", f"{len(files)} files of {music.name}."])


def encode(source: Path, target: Path, codec: str, bit_rate: int) -> None:
    """Code a file anew, stereo; Opus knows only 48 kHz."""
    rate = 48_000 if codec == "libopus" else 44_100
    with av.open(str(source)) as read, av.open(str(target), "w") as write:
        stream = write.add_stream(codec, rate=rate, layout="stereo")
        stream.bit_rate = bit_rate
        kind, size = stream.codec_context.format, stream.codec_context.frame_size or 1152
        resampler = av.AudioResampler(format=kind, layout="stereo", rate=rate, frame_size=size)
        for decoded in read.decode(audio=0):
            for frame in resampler.resample(decoded):
                frame.pts = None
                write.mux(stream.encode(frame))
        write.mux(stream.encode(None))


def table(columns: list[dict[str, str]]) -> str:
    """The figures of each size side by side."""
    head = "| What | " + " | ".join(f"{size:,} tracks" for size in SIZES) + " |"
    rows = [f"| {name} | " + " | ".join(c[name] for c in columns) + " |" for name in columns[0]]
    cores = len(os.sched_getaffinity(0))
    about = f"{cores} cores, {platform.machine()}, Python {platform.python_version()}; "
    about += f"{SEARCHES} searches for 10 tracks each."
    return "\n".join([head, "|---|" + "--:|" * len(SIZES), *rows, "", about])


def main(music: Path | None, write: bool) -> None:
    """Measure, print, and write."""
    with tempfile.TemporaryDirectory() as temporary:
        found = {"library": table([search(Path(temporary, str(size)), size) for size in SIZES])}
        found["map"] = mapped(Path(temporary, "map"))
        if music is not None:
            found["fingerprints"] = fingerprints(music, Path(temporary))
    page = ROOT / "docs" / "performance.md"
    text = page.read_text(encoding="utf-8")
    for name, lines in found.items():
        print(lines)
        marked = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        text = marked.sub(lambda m, lines=lines: f"{m[1]}{lines}\n{m[2]}", text)
    if write:
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    folders = [Path(word) for word in sys.argv[1:] if word != "--write"]
    main(folders[0] if folders else None, "--write" in sys.argv)
