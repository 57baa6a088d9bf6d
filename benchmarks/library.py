"""Measures the library: search among 100,000 tracks, and whether fingerprints tell music apart.

    python benchmarks/library.py [FOLDER OF MUSIC]

The embeddings are synthetic: 200 clouds in 144 dimensions, seed 0. The search is exact, so its
recall is 1 by definition; what is measured is time and size. With a folder of music, each file is
coded anew in four ways and its fingerprint compared with the original's, and each original's with
all others'.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from itertools import combinations
from pathlib import Path

import av
import numpy as np

from genrescope.library.duplicates import different_bits, fingerprint
from genrescope.library.similar import Query, Space
from genrescope.library.store import Entry, Library, Model

TRACKS, SIZE = 100_000, 144
MODEL = Model("synthetic", "0" * 64, "synthetic", ("a", "b"), SIZE)
CODECS = (
    ("libmp3lame", "mp3", 64_000),
    ("libmp3lame", "mp3", 128_000),
    ("aac", "m4a", 96_000),
    ("libopus", "opus", 48_000),
)


def search(folder: Path) -> dict[str, float]:
    """Time and size of a library of 100,000 tracks."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((200, SIZE))
    noise = 0.7 * random.standard_normal((TRACKS, SIZE))
    embeddings = (3 + centres[random.integers(0, 200, TRACKS)] + noise).astype(np.float32)
    library = Library.create(folder / "library", MODEL)
    half = np.full(2, 0.5, np.float32)
    for start in range(0, TRACKS, 5000):
        library.put(
            [
                Entry("/m", f"{i}.mp3", str(i), 1, 1, half, embeddings[i], genre="a")
                for i in range(start, start + 5000)
            ]
        )
    library.compact()
    data = sum(file.stat().st_size for file in folder.rglob("*.lance"))
    began = time.perf_counter()
    space = Space(Library.open(folder / "library"))
    opened = time.perf_counter() - began
    times = []
    for place in random.integers(0, TRACKS, 500):
        query = Query("", space.directions[place].astype(np.float64), space.entries[place])
        began = time.perf_counter()
        space.nearest(query, 10)
        times.append(1000 * (time.perf_counter() - began))
    return {
        "open_seconds": round(opened, 2),
        "median_ms": round(float(np.median(times)), 1),
        "p99_ms": round(float(np.percentile(times, 99)), 1),
        "megabytes_with_old_versions": round(data / 1e6, 1),
    }


def fingerprints(music: Path, folder: Path) -> dict[str, float]:
    """Shares of different bits, of the same and of different recordings."""
    files = sorted(each for each in music.rglob("*") if each.suffix in (".flac", ".mp3", ".wav"))
    originals = [fingerprint(file) for file in files]
    found: dict[str, float] = {"tracks": len(files)}
    for codec, ending, rate in CODECS:
        same = []
        for file, original in zip(files, originals, strict=True):
            encode(file, folder / f"x.{ending}", codec, rate)
            same.append(different_bits(original, fingerprint(folder / f"x.{ending}")))
        found[f"same_most_{ending}_{rate}"] = round(max(same), 3)
    pairs = [different_bits(*pair) for pair in combinations(originals, 2)]
    return found | {"different_least": round(min(pairs), 3)}


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


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        results = search(Path(temporary))
        if len(sys.argv) > 1:
            results |= fingerprints(Path(sys.argv[1]), Path(temporary))
    print(json.dumps(results, indent=1))
