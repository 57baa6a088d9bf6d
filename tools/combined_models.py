"""Write the table of docs/fma.md about rules that combine finished networks, without training one.

    python tools/combined_models.py --gtzan RUN --joint RUN --fma RUN [--data ../shared/data]

`--gtzan` and `--joint` are the two runs of docs/fma.md's first table, `--fma` is one of the recipe
`fma`. Each rule makes probabilities of 13 genres (GTZAN's ten, electronic, folk, world) from the
mean logits of two networks, one of which knows GTZAN's genres and the other FMA's. Its few
parameters are fitted by five-fold cross-validation on tracks that no network was trained on: those
of GTZAN that the runs validated or tested on, whose artists are kept together, and the validation
tracks of FMA whose genres are in the taxonomy, whose artists are not known. Both collections have
equal weight. FMA's test tracks and Emotify have no part in it.

Whether a rule learned to tell the collections apart is measured on the 51 clips of GTZAN that are
here as stored spectrograms and as audio: fitted on all other tracks, it is used on both.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from genrescope import Classifier
from genrescope.atomic import write_atomic
from genrescope.datasets import Track, read_dataset
from genrescope.datasets.layouts.fma import REPEATS
from genrescope.evaluation.bootstrap import mean
from genrescope.evaluation.formatting import interval
from genrescope.taxonomy import taxonomy

PAGE = Path(__file__).parents[1] / "docs" / "fma.md"
GTZAN = ["blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae"]
GENRES = [*GTZAN, "rock", "electronic", "folk", "world"]
TEN = 10
FOLDS = 5
SMALLEST = -30.0  # logarithm of the probability of a genre that an expert does not know
Floats = NDArray[np.float64]
Rule = Callable[[Floats, list[Floats]], Floats]


@dataclass(frozen=True)
class Expert:
    """A finished network; a genre of `GENRES` that it does not know is -inf in what it gives."""

    classifier: Classifier

    def logits(self, tracks: Sequence[Track]) -> Floats:
        """Logarithms of the probabilities of its own genres, `[tracks, own genres]`."""
        rows = []
        for track in tracks:
            segments = [logits for _, logits, _ in self.classifier.logits(track.path)]
            rows.append(np.concatenate(segments).mean(axis=0))
        return np.asarray(log_softmax(np.array(rows, float), axis=1))

    def known(self, own: Floats, first: int = len(GENRES)) -> Floats:
        """The same of the first of `GENRES` `[tracks, 13]`, as probabilities of those alone."""
        found = np.full((len(own), len(GENRES)), -np.inf)
        for column, genre in enumerate(self.classifier.genres):
            name = taxonomy().find(genre)
            if name in GENRES[:first]:
                found[:, GENRES.index(name)] = own[:, column]
        return np.asarray(log_softmax(found, axis=1))


@dataclass(frozen=True)
class Collection:
    """Tracks that no network was trained on, as each expert sees them."""

    truth: NDArray[np.intp]
    groups: NDArray[np.str_]
    own: dict[str, Floats]
    known: dict[str, Floats]

    def some(self, kept: NDArray[np.bool_]) -> Collection:
        """Some of the tracks."""
        own = {name: values[kept] for name, values in self.own.items()}
        known = {name: values[kept] for name, values in self.known.items()}
        return Collection(self.truth[kept], self.groups[kept], own, known)


def read(experts: dict[str, Expert], tracks: Sequence[Track], groups: Sequence[str]) -> Collection:
    """Run the experts on the tracks of a collection."""
    names = [taxonomy().find(track.genre) for track in tracks]
    truth = np.array([GENRES.index(name) for name in names if name is not None])
    own = {name: expert.logits(tracks) for name, expert in experts.items()}
    known = {name: experts[name].known(values) for name, values in own.items()}
    # The joint network stands for GTZAN's genres, as the network of GTZAN alone does.
    known["joint, ten"] = experts["joint"].known(own["joint"], TEN)
    return Collection(truth, np.array(groups), own, known)


def union(p: Floats, experts: list[Floats]) -> Floats:
    """One softmax over both networks' genres, with a temperature and a prior for each."""
    first, second = experts
    both = np.logaddexp(np.exp(p[0]) * first + p[2], np.exp(p[1]) * second + p[3])
    return np.asarray(log_softmax(np.maximum(both, SMALLEST), axis=1))


def product(p: Floats, experts: list[Floats]) -> Floats:
    """The product of both networks' probabilities, with a temperature for each.

    A genre that one does not know has a constant there.
    """
    powers = [np.exp(p[n]) * np.maximum(values, SMALLEST) for n, values in enumerate(experts)]
    parts = [
        np.where(np.isneginf(values), p[2 + n], power)
        for n, (values, power) in enumerate(zip(experts, powers, strict=True))
    ]
    return np.asarray(log_softmax(parts[0] + parts[1], axis=1))


def gate(p: Floats, experts: list[Floats]) -> Floats:
    """A mixture of both, weighted by how sure each of them is (its entropy and its maximum)."""
    clues = [np.ones((len(experts[0]), 1))]
    for values in experts:
        finite = np.maximum(values, SMALLEST)
        entropy = -(np.exp(values) * finite).sum(axis=1, keepdims=True)
        clues += [entropy, values.max(axis=1, keepdims=True)]
    weight = np.concatenate(clues, axis=1) @ p[:5, None]
    tempered = [
        log_softmax(np.exp(p[5 + n]) * np.maximum(values, SMALLEST), axis=1)
        for n, values in enumerate(experts)
    ]
    first, second = tempered
    return np.logaddexp(first - np.logaddexp(0, -weight), second - np.logaddexp(0, weight))


RULES: dict[str, tuple[Rule, list[float]]] = {
    "one softmax, a prior for each network": (union, [0, 0, 0, 0]),
    "product of both": (product, [0, 0, -2, -2]),
    "mixture, weighted by how sure each is": (gate, [0] * 7),
}


def loss_of(table: Floats, truth: NDArray[np.intp]) -> float:
    """Mean negative logarithm of the probability of the right genre."""
    return float(-table[np.arange(len(truth)), truth].mean())


def fit_rule(
    rule: Rule, start: list[float], names: Sequence[str], sets: list[Collection]
) -> Floats:
    """The parameters of a rule with the smallest log loss, both collections weighing the same."""
    first = np.array(start, float)

    def loss(p: Floats) -> float:
        losses = [loss_of(rule(p, [c.known[n] for n in names]), c.truth) for c in sets]
        return sum(losses) + 1e-3 * float(((p - first) ** 2).sum())

    return np.asarray(minimize(loss, first, method="Powell").x)


def vectors(names: Sequence[str], collection: Collection) -> Floats:
    """The logarithms of all probabilities of some networks, side by side."""
    return np.concatenate([collection.own[name] for name in names], axis=1)


def fit_head(
    names: Sequence[str], sets: list[Collection], penalty: float, *, masked: bool
) -> tuple[Floats, Floats, Floats]:
    """Logistic regression on the logits of some networks: mean, deviation, weights `[13, n + 1]`.

    Where `masked`, a track competes among the genres of its own collection alone.
    """
    x = np.concatenate([vectors(names, c) for c in sets])
    truth = np.concatenate([c.truth for c in sets])
    weight = np.concatenate([np.full(len(c.truth), 1 / len(c.truth)) for c in sets])
    mask = np.ones((len(x), len(GENRES)), bool)
    if masked:
        parts = [np.isin(np.arange(len(GENRES)), c.truth)[None] for c in sets]
        mask = np.concatenate(
            [np.repeat(part, len(c.truth), axis=0) for part, c in zip(parts, sets, strict=True)]
        )
    centre, deviation = x.mean(axis=0), x.std(axis=0) + 1e-6
    scaled = np.concatenate([np.ones((len(x), 1)), (x - centre) / deviation], axis=1)
    right = np.eye(len(GENRES))[truth]

    def loss(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(len(GENRES), -1)
        table = log_softmax(np.where(mask, scaled @ weights.T, -1e9), axis=1)
        slope = (weight[:, None] * (np.exp(table) - right)).T @ scaled
        value = -(weight * (right * np.maximum(table, -1e9)).sum(axis=1)).sum()
        slope[:, 1:] += penalty * weights[:, 1:]
        return float(value + penalty / 2 * (weights[:, 1:] ** 2).sum()), slope.ravel()

    start = np.zeros(len(GENRES) * scaled.shape[1])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    return centre, deviation, found.reshape(len(GENRES), -1)


def use_head(head: tuple[Floats, Floats, Floats], x: Floats) -> Floats:
    """Logarithms of probabilities of all 13 genres."""
    centre, deviation, weights = head
    scaled = (x - centre) / deviation
    return np.asarray(log_softmax(scaled @ weights[:, 1:].T + weights[:, 0], axis=1))


Fit = Callable[[list[Collection]], Callable[[Collection], Floats]]


def candidates() -> dict[tuple[str, str], Fit]:
    """Networks and rule to what fits it on collections, and gives what uses it."""
    found: dict[tuple[str, str], Fit] = {}

    def alone(name: str) -> Fit:
        return lambda _: lambda c: np.maximum(c.known[name], SMALLEST)

    for name in ("gtzan", "joint", "fma"):
        found[name, "alone"] = alone(name)

    def by_rule(rule: Rule, start: list[float], names: Sequence[str]) -> Fit:
        def fit(sets: list[Collection]) -> Callable[[Collection], Floats]:
            p = fit_rule(rule, start, names, sets)
            return lambda c: rule(p, [c.known[n] for n in names])

        return fit

    def by_head(names: Sequence[str], penalty: float, masked: bool) -> Fit:
        def fit(sets: list[Collection]) -> Callable[[Collection], Floats]:
            head = fit_head(names, sets, penalty, masked=masked)
            return lambda c: use_head(head, vectors(names, c))

        return fit

    for first in ("gtzan", "joint, ten"):
        for title, (rule, start) in RULES.items():
            found[f"{first} + fma", title] = by_rule(rule, start, (first, "fma"))
    for names in (("gtzan", "fma"), ("gtzan", "joint", "fma")):
        for masked in (False, True):
            kind = "a softmax for each collection" if masked else "one softmax"
            for penalty in (0.1, 0.01):
                title = f"logistic regression, {kind}, penalty {penalty:g}"
                found[" + ".join(names), title] = by_head(names, penalty, masked)
    return found


def folds_of(groups: NDArray[np.str_]) -> NDArray[np.intp]:
    """A fold for each track; those of a group are in one."""
    names, number = np.unique(groups, return_inverse=True)
    return np.asarray(np.random.default_rng(0).permutation(len(names))[number] % FOLDS)


def cross_validated(fit: Fit, sets: list[Collection]) -> list[Floats]:
    """Logarithms of probabilities of each track, fitted without its fold."""
    folds = [folds_of(c.groups) for c in sets]
    tables = [np.zeros((len(c.truth), len(GENRES))) for c in sets]
    for fold in range(FOLDS):
        kept = [c.some(f != fold) for c, f in zip(sets, folds, strict=True)]
        use = fit(kept)
        for c, f, table in zip(sets, folds, tables, strict=True):
            table[f == fold] = use(c.some(f == fold))
    return tables


def accuracy(table: Floats, collection: Collection, first: int = len(GENRES)) -> str:
    """Percent right among the first genres, with an interval."""
    right = table[:, :first].argmax(axis=1) == collection.truth
    figure = mean(right, collection.groups)
    ends = interval((figure.low, figure.high), "–", unit="")
    return f"{100 * figure.value:.1f} ({ends})"


def table_of_rules(gtzan: Collection, fma: Collection, both: list[Collection]) -> str:
    """One row for each rule; `both` are the 51 clips as spectrograms and as audio."""
    lines = [
        "| Networks | Rule | GTZAN, of 13 | GTZAN, of its ten | log loss "
        "| FMA, of 13 | log loss | the 51 as spectrograms, of 13 | as audio |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    rest = gtzan.some(~np.isin(gtzan.groups, both[0].groups))
    for (names, title), fit in candidates().items():
        first, second = cross_validated(fit, [gtzan, fma])
        use = fit([rest, fma])
        lines.append(
            f"| {names} | {title} | {accuracy(first, gtzan)} | {accuracy(first, gtzan, TEN)} "
            f"| {loss_of(first, gtzan.truth):.2f} | {accuracy(second, fma)} "
            f"| {loss_of(second, fma.truth):.2f} | "
            + " | ".join(accuracy(use(c), c) for c in both)
            + " |"
        )
    return "\n".join(lines) + "\n\n" + shortcut(rest, fma, both)


def shortcut(gtzan: Collection, fma: Collection, both: list[Collection]) -> str:
    """What tells the collections apart by the logits: how often it errs on the same 51 clips."""
    names = ("gtzan", "fma")
    x = np.concatenate([vectors(names, gtzan), vectors(names, fma)])
    y = np.arange(len(x)) < len(gtzan.truth)
    model = LogisticRegression(C=0.01, class_weight="balanced", max_iter=5000).fit(x, y)
    shares = [100 * model.predict(vectors(names, c)).mean() for c in both]
    return (
        f"A logistic regression that tells GTZAN's {len(gtzan.truth)} other tracks from FMA's by "
        f"the logits of both networks takes {shares[0]:.0f} % of the 51 clips for GTZAN's as "
        f"stored spectrograms, and {shares[1]:.0f} % of the same clips as audio."
    )


def default_on(run: Path, tracks: Sequence[Track], gtzan: Collection) -> str:
    """The accuracy of a network of the default model's front end on the same tracks of GTZAN."""
    expert = Expert(Classifier.load(run))
    known = expert.known(expert.logits(tracks))
    return (
        f"One network of the default model's recipe and front end, trained on the same tracks, is "
        f"right for {accuracy(known, gtzan)} % of the same {len(tracks)} tracks of GTZAN, with a "
        f"log loss of {loss_of(known, gtzan.truth):.2f}; FMA's pictures cannot be read by it."
    )


def main() -> None:
    """Read the command line and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("gtzan", "joint", "fma", "default"):
        parser.add_argument(f"--{name}", type=Path, required=name != "default")
    parser.add_argument("--data", type=Path, default=PAGE.parents[2] / "shared" / "data")
    arguments = parser.parse_args()
    data: Path = arguments.data
    experts = {
        name: Expert(Classifier.load(getattr(arguments, name)))
        for name in ("gtzan", "joint", "fma")
    }
    trained_on = json.loads((arguments.gtzan / "jobs/only/tracks.json").read_text())["train"]
    rows = csv.DictReader((data / "gtzan-splits/artist_groups.csv").open(encoding="utf-8"))
    artists = {row["track"]: row["artist_group"] for row in rows}
    # Tracks without a known artist, and repeats, were left out of the runs' lists.
    listed = json.loads((arguments.gtzan / "jobs/only/tracks.json").read_text())["predicted"]
    pictures = {track.id: track for track in read_dataset(data / "gtzan-spectrograms").tracks}
    held_out = [pictures[name] for name in listed if name not in trained_on]
    audio = {track.path.stem: track for track in read_dataset(data / "gtzan-audio").tracks}
    twice = [name for name in listed if name in audio]
    repeated = {name for names in REPEATS for name in names}
    validation = [
        track
        for track in read_dataset(data / "fma-mel").tracks
        if track.split == "validation"
        and track.id not in repeated
        and taxonomy().find(track.genre) in GENRES
    ]
    gtzan = read(experts, held_out, [artists.get(track.id, track.id) for track in held_out])
    fma = read(experts, validation, [track.id for track in validation])
    both = [
        read(experts, [source[name] for name in twice], [artists.get(n, n) for n in twice])
        for source in (pictures, audio)
    ]
    content = f"GTZAN: {len(held_out)} tracks; FMA: {len(validation)}.\n\n"
    content += table_of_rules(gtzan, fma, both)
    if arguments.default:
        content += "\n\n" + default_on(arguments.default, held_out, gtzan)
    print(content)
    marked = re.compile(r"(<!-- combined -->\n).*?(<!-- /combined -->)", re.DOTALL)
    page = marked.sub(lambda m: f"{m[1]}{content}\n{m[2]}", PAGE.read_text("utf-8"))
    write_atomic(PAGE, page.encode())


if __name__ == "__main__":
    main()
