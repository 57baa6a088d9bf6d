"""Measures `my-genres` on ten tracks of each of four genres, next to a network from scratch.

    python benchmarks/few_tracks.py GTZAN ARTISTS EMOTIFY --work FOLDER [--write]

Two measurements, both with the artists of the test tracks unknown to the models:

- Draws: of GTZAN's stored spectrograms, GTZAN with the table ARTISTS, four genres are "own" ones.
  The encoder is one network of the default recipe, trained on the other six genres alone. In each
  draw half of the artists are drawn, and of their tracks ten of each genre; all tracks by the other
  artists are predicted. The shipped model was trained on all ten genres, so it can't be used here.
- Cross-validation: the forty tracks of EMOTIFY, with the encoders that a user has (`audioset` only
  where it was fetched), in five folds by artist, repeated with other folds.

Training from scratch is `default-random` with one network, and its own number of epochs. Finished
runs in FOLDER are used again. `--write` puts the tables into docs/laboratory.md.
"""

from __future__ import annotations

import argparse
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pages import write_between

from genrescope.datasets import Track, group_tracks
from genrescope.evaluation.bootstrap import Figure, mean
from genrescope.evaluation.predictions import read_predictions
from genrescope.hub.catalogue import AUDIOSET
from genrescope.training import execute, load_recipe, read_inputs
from genrescope.wording import counted

ROOT = Path(__file__).resolve().parent.parent
OWN_GENRES = (("blues", "country", "hiphop", "metal"), ("disco", "jazz", "pop", "rock"))
TRACKS = 10
SCRATCH = ("default-random", "ensemble=[]")


def run(folder: Path, tracks: Sequence[Track], recipe: str, *changes: str) -> Path:
    """Carry a recipe out, or find it finished."""
    if not (folder / "bundle" / "bundle.json").is_file():
        execute(load_recipe(recipe, changes), tracks, folder, name="few tracks")
    return folder


def draw(tracks: Sequence[Track], seed: Sequence[int]) -> list[Track]:
    """Ten training tracks of each genre, and all tracks by the other half of the artists."""
    groups, random = group_tracks(tracks, by_artist=True), np.random.default_rng(seed)
    genres = sorted({track.genre for track in tracks})
    while True:
        names = sorted(set(groups.values()))
        drawn = dict(zip(names, random.random(len(names)) < 0.5, strict=True))
        halves = [[t for t in tracks if drawn[groups[t.id]] == half] for half in (1, 0)]
        counts = [sum(t.genre == genre for t in half) for half in halves for genre in genres]
        if min(counts) >= TRACKS:
            break
    train = []
    for genre in genres:
        own = [track for track in halves[0] if track.genre == genre]
        train += [own[i] for i in random.permutation(len(own))[:TRACKS]]
    return [replace(t, split="train") for t in train] + [
        replace(t, split="test") for t in halves[1]
    ]


def accuracies(folder: Path) -> dict[str, float]:
    """For each track 1 where it was predicted right, else 0."""
    predictions = read_predictions(folder)
    right = predictions.predicted == predictions.truth
    return dict(zip(predictions.tracks, right.astype(float).tolist(), strict=True))


def by_draws(
    tracks: Sequence[Track], work: Path, draws: int
) -> Iterator[tuple[str, Figure, Figure, Figure]]:
    """Mean accuracy over draws of either method, and of their differences."""
    pairs = []
    for number, genres in enumerate(OWN_GENRES):
        others = [track for track in tracks if track.genre not in genres]
        split = ("split.kind=random", "split.train=0.9", "split.validation=0.05", "split.test=0.05")
        encoder = run(work / f"encoder-{number}", others, "default", "ensemble=[]", *split)
        own = [track for track in tracks if track.genre in genres]
        for each in range(draws):
            drawn, folder = draw(own, [number, each]), work / f"draw-{number}-{each}"
            changes = (f"feature.bundle={encoder}", "split.kind=official")
            head = run(folder / "head", drawn, "my-genres", *changes)
            scratch = run(folder / "scratch", drawn, *SCRATCH, "split.kind=official")
            pairs.append([np.mean([*accuracies(path).values()]) for path in (head, scratch)])
            print(genres, each, pairs[-1], flush=True)
        yield ", ".join(genres), *_figures(np.array(pairs[-draws:]))
    yield "both", *_figures(np.array(pairs))


def _figures(pairs: np.ndarray) -> tuple[Figure, Figure, Figure]:
    draws = range(len(pairs))
    return (
        mean(pairs[:, 0], draws),
        mean(pairs[:, 1], draws),
        mean(pairs[:, 0] - pairs[:, 1], draws, lowest=-1),
    )


def by_folds(
    tracks: Sequence[Track], work: Path, repetitions: int
) -> Iterator[tuple[str, Figure, Figure | None, tuple[float, float]]]:
    """Accuracy of each method, and its difference to training from scratch on the same tracks.

    Also the lowest and the highest accuracy of a single repetition.
    """
    folds = ("split.kind=folds", "split.by_artist=true")
    methods: Mapping[str, tuple[str, ...]] = {
        **{
            f"`my-genres`, {encoder}": ("my-genres", f"feature.bundle={encoder}")
            for encoder in (*["audioset"] * AUDIOSET.is_here(), "default")
        },
        "one network from scratch": (*SCRATCH, *folds),
    }
    order = [track.id for track in tracks]
    artists = [track.artist or track.id for track in tracks]
    found, ranges = {}, {}
    for name, (recipe, *changes) in methods.items():
        right = []
        for seed in range(repetitions):
            folder = work / f"folds-{seed}" / re.sub(r"\W+", "-", name).strip("-")
            own = accuracies(run(folder, tracks, recipe, *changes, f"seed={seed}"))
            right.append([own[track] for track in order])
            print(name, seed, np.mean(right[-1]), flush=True)
        found[name] = np.mean(right, axis=0)
        each = np.mean(right, axis=1)
        ranges[name] = float(each.min()), float(each.max())
    scratch = found["one network from scratch"]
    for name, values in found.items():
        difference = None if values is scratch else mean(values - scratch, artists, lowest=-1)
        yield name, mean(values, artists), difference, ranges[name]


def _text(figure: Figure, *, signed: bool = False) -> str:
    value = f"{100 * figure.value:+.1f}" if signed else f"{100 * figure.value:.1f}"
    return f"{value} ({100 * figure.low:.1f} to {100 * figure.high:.1f})"


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gtzan", type=Path)
    parser.add_argument("artists", type=Path)
    parser.add_argument("emotify", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=10, help="of each four genres; 0: none")
    parser.add_argument("--repetitions", type=int, default=5, help="of the cross-validation")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    gtzan = read_inputs(options.gtzan, artists=options.artists).tracks
    emotify = read_inputs(options.emotify).tracks
    known = [track for track in gtzan if track.artist]
    lines = []
    if options.draws:
        head = (
            f"| own genres, {options.draws} draws each | `my-genres` | from scratch | difference |"
        )
        lines += [head, "|---|--:|--:|--:|"]
        for genres, own, scratch, difference in by_draws(known, options.work, options.draws):
            figures = _text(own), _text(scratch), _text(difference, signed=True)
            lines.append(f"| {genres} | {' | '.join(figures)} |")
        lines.append("")
    times = counted(options.repetitions, "repetition")
    head = f"| {times}, in % | accuracy | above from scratch | single repetitions |"
    lines += [head, "|---|--:|--:|--:|"]
    for name, figure, difference, range_ in by_folds(emotify, options.work, options.repetitions):
        above = "" if difference is None else _text(difference, signed=True)
        single = " to ".join(f"{100 * value:.1f}" for value in range_)
        lines.append(f"| {name} | {_text(figure)} | {above} | {single} |")
    print("\n".join(lines))
    if options.write:
        write_between(ROOT / "docs" / "laboratory.md", "few-tracks", lines)


if __name__ == "__main__":
    main()
