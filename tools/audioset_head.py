"""Fit the offsets and the temperature of the AudioSet head, and compare ways to genres.

    python tools/audioset_head.py fit            writes src/genrescope/hub/audioset.json
    python tools/audioset_head.py table          writes the tables of docs/audioset-model.md
    python tools/audioset_head.py marks          writes that of accuracy and speed alone
    python tools/audioset_head.py calibration    writes that of calibration alone

All need `genrescope models fetch audioset` and the research data (`--data`, by default
`../shared/data`): 51 clips of GTZAN, 40 of Emotify.

What is fitted, from how little: the offset of each genre by the shares of the genres in each
collection (a tenth each in GTZAN, a quarter each in Emotify), not by any clip's label. That is the
maximum of the likelihood of a logistic regression that has offsets alone, less a Gaussian prior
over them with deviation `DEVIATION`. One temperature is fitted by the labels of both collections
with equal weight, less a Gaussian prior over its logarithm with deviation `LOG_T_DEVIATION`; it
does not change which genre is first.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genrescope import Classifier
from genrescope.aggregation import softmax
from genrescope.datasets import read_dataset
from genrescope.evaluation.evaluate import evaluate
from genrescope.evaluation.metrics import compute_scores
from genrescope.hub.catalogue import audioset_labels
from genrescope.parallel import available_cores
from genrescope.taxonomy import taxonomy

ROOT = Path(__file__).parents[1]
FITTED = ROOT / "src" / "genrescope" / "hub" / "audioset.json"
PAGE = ROOT / "docs" / "audioset-model.md"
DEVIATION = 0.7
# The strongest of those that `calibration` compares: the weaker ones are worse on the other source.
LOG_T_DEVIATION = 0.1
# Of genres that neither collection has: they are rarer, by a factor of e.
OTHERS = -1.0
# In the middle, in logits, between the largest probability of music of the training group of
# `tools/negatives.py` (0.42) and the smallest of GTZAN's clips (0.62), rounded to a tenth. The test
# group and Emotify had no part in it; `tools/no_music.py table` measures it on them.
MUSIC_ABOVE = 0.5
SMALLEST = -1e9

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Collection:
    """Clips of one source: logits of labels by segment, and genres."""

    name: str
    genres: tuple[str, ...]
    segments: list[NDArray[np.float32]]
    truth: NDArray[np.intp]
    artists: list[str]

    def mask(self, names: list[str]) -> NDArray[np.bool_]:
        """Which of the genres the collection has."""
        return np.array([name in self.genres for name in names])


def read(classifier: Classifier, names: list[str], name: str, folder: Path) -> Collection:
    """Run the network on a collection."""
    tracks = sorted(read_dataset(folder).tracks, key=lambda track: str(track.path))
    segments = []
    for track in tracks:
        windows = classifier.manifest.frontend.windows(track.path)
        outputs = classifier.network.run_windows(windows, ["logits"])
        segments.append(np.concatenate([logits for _, (logits,) in outputs]))
    truth = np.array([names.index(track.genre) for track in tracks])
    genres = tuple(sorted({track.genre for track in tracks}))
    artists = [track.artist or str(track.path) for track in tracks]
    return Collection(name, genres, segments, truth, artists)


def scores_of(
    collection: Collection,
    names: list[str],
    over_time: str = "mean of logits",
    labels: str = "own label",
) -> Floats:
    """Evidence of each genre in each clip, `[clips, genres]`, without offsets."""
    number = {label: index for index, label in enumerate(audioset_labels())}
    tree = taxonomy().genres
    clips = np.array([_over_time(logits, over_time) for logits in collection.segments])
    columns = []
    for name in names:
        members = list(tree[name].labels)
        if labels != "own label":
            members += tree[name].styles.values()
        values = clips[:, [number[label] for label in members]]
        total = np.logaddexp.reduce(values, axis=1)
        columns.append(total if labels == "sum of odds with styles" else values.max(axis=1))
    return np.stack(columns, axis=1)


def _over_time(logits: NDArray[np.float32], rule: str) -> Floats:
    exact = logits.astype(np.float64)
    if rule == "mean of probabilities":
        mean = (1 / (1 + np.exp(-exact))).mean(axis=0)
        return np.asarray(np.log(mean / (1 - mean)))
    if rule == "without the first segment":
        exact = exact[1:] if len(exact) > 1 else exact
    if rule == "most musical 60 %":
        music = audioset_labels().index("Music")
        exact = exact[np.argsort(-exact[:, music])[: max(1, int(np.ceil(0.6 * len(exact))))]]
    return np.asarray(exact.mean(axis=0))


def probabilities(scores: Floats, mask: NDArray[np.bool_], offsets: Floats, t: float) -> Floats:
    """Probabilities among the genres of a collection."""
    return softmax(np.where(mask, scores + offsets, SMALLEST), t)


def fit_offsets(sets: list[tuple[Floats, NDArray[np.bool_]]], deviation: float) -> Floats:
    """Offsets by the shares of genres: clips * (share - mean probability) = offset / deviation²."""
    offsets = np.zeros(len(sets[0][1]))
    for _ in range(4000):
        slope = -offsets / deviation**2
        for scores, mask in sets:
            mean = probabilities(scores, mask, offsets, 1.0).sum(axis=0)
            slope += len(scores) * mask / mask.sum() - mean
        offsets = offsets + 0.05 * slope
    return offsets


def log_loss(table: Floats, truth: NDArray[np.intp]) -> float:
    """Mean negative logarithm of the probability of the right genre."""
    return float(-np.log(table[np.arange(len(truth)), truth]).mean())


def fit_temperature(
    sets: list[tuple[Collection, Floats, NDArray[np.bool_]]],
    offsets: Floats,
    deviation: float = LOG_T_DEVIATION,
) -> float:
    """The most probable temperature, each collection with equal weight.

    Its logarithm has a Gaussian prior around 0 with this deviation.
    """
    grid = np.exp(np.linspace(-1.5, 1.0, 251))
    clips = np.mean([len(c.truth) for c, _, _ in sets])
    losses = [
        clips * sum(log_loss(probabilities(s, m, offsets, t), c.truth) for c, s, m in sets)
        + (np.log(t) / deviation) ** 2 / 2
        for t in grid
    ]
    return float(grid[int(np.argmin(losses))])


def fit(collections: list[Collection]) -> dict[str, object]:
    """All that `audioset.json` holds."""
    names = sorted({genre for c in collections for genre in c.genres})
    sets = [(c, scores_of(c, names), c.mask(names)) for c in collections]
    offsets = fit_offsets([(s, m) for _, s, m in sets], DEVIATION)
    fitted = {name: round(float(value), 4) for name, value in zip(names, offsets, strict=True)}
    everything = {name: fitted.get(name, OTHERS) for name in taxonomy().genres}
    return {
        "offsets": everything,
        "temperature": round(fit_temperature(sets, offsets), 4),
        "music_above": MUSIC_ABOVE,
        "fitted_by": "python tools/audioset_head.py fit",
        "clips": {c.name: len(c.truth) for c in collections},
    }


def table(collections: list[Collection]) -> str:
    """The comparison of ways as a Markdown table."""
    names = sorted({genre for c in collections for genre in c.genres})
    lines = [
        "| Labels of a genre | Over time | Offsets fitted on | "
        + " | ".join(f"{c.name}, n = {len(c.truth)} | Log loss" for c in collections)
        + " |",
        "|---|---|---|" + "--:|--:|" * len(collections),
    ]
    ways = [
        ("own label", rule)
        for rule in (
            "mean of logits",
            "mean of probabilities",
            "without the first segment",
            "most musical 60 %",
        )
    ]
    ways += [
        (labels, rule)
        for labels in ("largest with styles", "sum of odds with styles")
        for rule in ("mean of logits", "mean of probabilities")
    ]
    for labels, rule in ways:
        sets = [(scores_of(c, names, rule, labels), c.mask(names)) for c in collections]
        zero = np.zeros(len(names))
        both = fit_offsets(sets, DEVIATION)
        centred = -sum(s.mean(axis=0) for s, _ in sets) / len(sets)
        choices = {
            "nothing": [zero] * 2,
            "shares of the other source": [fit_offsets([s], DEVIATION) for s in sets[::-1]],
            "minus the mean over both, no shares": [centred] * 2,
            "**shares of both**" if (labels, rule) == ways[0] else "shares of both": [both] * 2,
        }
        for choice, offsets in choices.items():
            cells = []
            for c, (s, m), own in zip(collections, sets, offsets, strict=True):
                found = probabilities(s, m, own, 1.0)
                scores = compute_scores(c.truth, found, names, groups=c.artists)
                low, high = scores.intervals["accuracy"]
                cells.append(
                    f"{100 * scores.values['accuracy']:.1f} ({100 * low:.0f}–{100 * high:.0f})"
                    f" | {log_loss(found, c.truth):.2f}"
                )
            lines.append(f"| {labels} | {rule} | {choice} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def calibration(collections: list[Collection]) -> str:
    """Calibration of each collection with what was fitted on the other one, or on both.

    Offsets come from the shares of the other collection, or of both; the temperature from labels
    of the other one, with a prior towards 1 of several strengths, or from those of both.
    """
    names = sorted({genre for c in collections for genre in c.genres})
    sets = [(c, scores_of(c, names), c.mask(names)) for c in collections]
    both = fit_offsets([(s, m) for _, s, m in sets], DEVIATION)
    lines = [
        "| Tested on | Offsets by shares of | Temperature fitted on | Deviation of its logarithm "
        "| T | Log loss | ECE | ECE by chance | in 95 % at most | Mean confidence |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for number, (c, s, m) in enumerate(sets):
        other = sets[1 - number]
        own = fit_offsets([other[1:]], DEVIATION)
        for offsets_of, offsets in ((other[0].name, own), ("both", both)):
            ways = [(other[0].name, [other], d) for d in (np.inf, 0.25, LOG_T_DEVIATION)]
            ways += [("nothing", [], 0.0)]
            if offsets_of == "both":
                ways += [("both", sets, LOG_T_DEVIATION)]
            for where, fitted, deviation in ways:
                t = fit_temperature(fitted, offsets, deviation) if fitted else 1.0
                found = probabilities(s, m, offsets, t)
                ece = calibration_error(found, c.truth)
                chance = [calibration_error(found, drawn) for drawn in _draws(found)]
                prior = {np.inf: "no prior", 0.0: ""}.get(deviation, f"{deviation:g}")
                lines.append(
                    f"| {c.name} | {offsets_of} | {where} | {prior} | {t:.2f} "
                    f"| {log_loss(found, c.truth):.2f} | {ece:.3f} | {np.mean(chance):.3f} "
                    f"| {np.quantile(chance, 0.95):.3f} | {found.max(axis=1).mean():.2f} |"
                )
    return "\n".join(lines)


def calibration_error(table: Floats, truth: NDArray[np.intp]) -> float:
    """Expected calibration error with ten bins."""
    confidence, right = table.max(axis=1), table.argmax(axis=1) == truth
    bins = np.minimum((10 * confidence).astype(int), 9)
    return float(
        sum(
            abs(confidence[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean()
            for b in np.unique(bins)
        )
    )


def _draws(table: Floats, count: int = 500) -> NDArray[np.intp]:
    """Truths drawn by the model's own probabilities."""
    random = np.random.default_rng(0)
    edges = table.cumsum(axis=1)
    edges[:, -1] = 1.0
    return np.array(
        [(random.random((len(table), 1)) > edges).sum(axis=1) for _ in range(count)], np.intp
    )


def marks(data: Path) -> str:
    """Accuracy as closed sets and with all genres, and speed, through `genrescope evaluate`."""
    lines = [
        "| Model | Clips | n | Accuracy, closed set | Accuracy, all its genres | ECE, closed set |",
        "|---|---|--:|--:|--:|--:|",
    ]
    sources = (
        ("audioset", "Emotify, four genres", "emotify-audio"),
        ("audioset", "GTZAN, ten genres", "gtzan-audio"),
        ("default", "Emotify, the three genres that it knows", "emotify-audio"),
    )
    for model, name, folder in sources:
        closed = evaluate(model, data / folder, closed_set=True)
        opened = evaluate(model, data / folder)
        cells = []
        for result in (closed, opened):
            low, high = result.interval["accuracy"]
            cells.append(
                f"{100 * result.scores['accuracy']:.1f} ({100 * low:.0f}–{100 * high:.0f})"
            )
        ece = closed.scores["expected_calibration_error"]
        lines.append(f"| {model} | {name} | {closed.n} | {cells[0]} | {cells[1]} | {ece:.3f} |")
    every = len(read_dataset(data / "emotify-audio").tracks)
    right = [round(result.scores["accuracy"] * result.n) for result in (closed, opened)]
    lines.append(
        f"\nOf all {every} clips of Emotify, with the electronic music that it does not know, "
        f"`default` is right for {right[0]} ({100 * right[0] / every:.0f} %) as a closed set, and "
        f"for {right[1]} ({100 * right[1] / every:.0f} %) with all its genres. Nothing is random "
        "here, so there is no seed; intervals are by artist."
    )
    classifier = Classifier.load("audioset")
    files = sorted((data / "gtzan-audio").rglob("*.flac"))
    list(classifier.predict_many(files[:8]))
    start, processor = time.perf_counter(), time.process_time()
    list(classifier.predict_many(files))
    speed = len(files) / (time.perf_counter() - start)
    each = (time.process_time() - processor) / len(files)
    lines.append(
        f"\nSpeed of `audioset`: {speed:.1f} clips of 30 s a second on {available_cores()} cores "
        f"(load average of the machine {os.getloadavg()[0]:.1f}); {each:.3f} s of processor time a "
        f"clip, so that two cores that do nothing else would do {2 / each:.1f} a second."
    )
    return "\n".join(lines)


def replace(text: str, name: str, content: str) -> str:
    """Put content between a page's comments of that name."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    return pattern.sub(lambda found: found[1] + content + "\n" + found[2], text)


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["fit", "table", "marks", "calibration"])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    arguments = parser.parse_args()
    if arguments.what == "marks":
        page = replace(PAGE.read_text("utf-8"), "marks", marks(arguments.data))
        PAGE.write_text(page, "utf-8")
        return
    classifier = Classifier.load("audioset")
    names = list(taxonomy().genres)
    found = [
        read(classifier, names, name, arguments.data / folder)
        for name, folder in (("GTZAN", "gtzan-audio"), ("Emotify", "emotify-audio"))
    ]
    # From here on a collection's genres are numbered among those that either has.
    own = sorted({genre for c in found for genre in c.genres})
    place = np.array([own.index(name) if name in own else -1 for name in names])
    found = [Collection(c.name, c.genres, c.segments, place[c.truth], c.artists) for c in found]
    if arguments.what == "fit":
        FITTED.write_text(json.dumps(fit(found), indent=1) + "\n", "utf-8")
        return
    page = PAGE.read_text("utf-8")
    if arguments.what == "table":
        page = replace(page, "ways", table(found))
        page = replace(page, "marks", marks(arguments.data))
    page = replace(page, "calibration", calibration(found))
    PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    main()
