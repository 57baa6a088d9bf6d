"""Precision of `similar` with the embeddings of both models; a table of docs/audioset-model.md.

    python tools/library_precision.py

Needs `genrescope models fetch audioset` and the research data (`--data`, by default
`../shared/data`). Each collection (51 clips of GTZAN, 40 of Emotify) becomes the library of a
model, and each clip is a query: of the ten most similar tracks by other artists, as
`genrescope similar --not-same-artist` names them, the share of the query's genre is its precision.
Intervals are bootstrapped over artists. `by chance` is the mean share of the query's genre among
all tracks by other artists, `at most` what a perfect order would reach: a genre may have fewer than
ten other tracks. The default model was trained on GTZAN's clips: its figure there says
nothing about other music.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from genrescope.atomic import write_atomic
from genrescope.datasets import read_dataset
from genrescope.library.scan import scan
from genrescope.library.similar import Space, TrackFilter

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "audioset-model.md"
N = 10
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Precision:
    """Precision of each query of a collection, its chance, the most it can be, and the artist."""

    values: Floats
    chance: Floats
    most: Floats
    artists: list[str]

    def interval(self, times: int = 2000) -> tuple[float, float]:
        """95 % bootstrap interval of the mean, over artists."""
        random = np.random.default_rng(0)
        names = sorted(set(self.artists))
        rows = {name: [i for i, a in enumerate(self.artists) if a == name] for name in names}
        means = []
        for _ in range(times):
            drawn = [row for name in random.choice(names, len(names)) for row in rows[name]]
            means.append(self.values[drawn].mean())
        low, high = np.quantile(means, [0.025, 0.975])
        return float(low), float(high)


def measure(model: str, folder: Path) -> Precision:
    """Scan a collection with a model, and ask for the tracks similar to each of its clips."""
    tracks = {track.path.resolve(): track for track in read_dataset(folder).tracks}
    with TemporaryDirectory() as place:
        report = scan([folder], library=place, model=model)
        space = Space(report.library)
        entries = [entry for entry in space.entries if entry.file in tracks]
        genre = {entry.file: tracks[entry.file].genre for entry in entries}
        artist = {file: tracks[file].artist or str(file) for file in genre}
        values, chance, most = [], [], []
        for entry in entries:
            ranked = space.nearest(space.query(entry.name, entry), len(entries), TrackFilter())
            others = [each.file for each, _ in ranked if artist[each.file] != artist[entry.file]]
            same = np.array([genre[file] == genre[entry.file] for file in others])
            values.append(same[:N].mean())
            chance.append(same.mean())
            most.append(min(1.0, same.sum() / N))
    figures = (np.array(each) for each in (values, chance, most))
    return Precision(*figures, [artist[e.file] for e in entries])


def table(data: Path) -> str:
    """The precision of both models on both collections, as a Markdown table."""
    lines = [
        "| Collection | Embeddings | Queries | Precision@10, % | By chance, % | At most, % |",
        "|---|---|--:|--:|--:|--:|",
    ]
    sources = (("GTZAN, ten genres", "gtzan-audio"), ("Emotify, four genres", "emotify-audio"))
    for name, folder in sources:
        for model in ("default", "audioset"):
            found = measure(model, data / folder)
            low, high = (100 * value for value in found.interval())
            mark = (
                " (trained on these clips)" if (model, folder) == ("default", "gtzan-audio") else ""
            )
            lines.append(
                f"| {name} | {model}{mark} | {len(found.values)} "
                f"| {100 * found.values.mean():.1f} ({low:.0f}–{high:.0f}) "
                f"| {100 * found.chance.mean():.1f} | {100 * found.most.mean():.1f} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Read the command line and write the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    content = table(parser.parse_args().data)
    print(content)
    pattern = re.compile(r"(<!-- library -->\n).*?(<!-- /library -->)", re.DOTALL)
    page = pattern.sub(lambda found: found[1] + content + "\n" + found[2], PAGE.read_text("utf-8"))
    write_atomic(PAGE, page.encode())


if __name__ == "__main__":
    main()
