"""Measures recommendation on real tracks: "same genre, by another artist".

    python benchmarks/recommendation.py RUN --data FOLDER --artists TABLE.csv
        [--write docs/recommendation.md]

RUN is a finished run with a test side; its network hears that side's tracks, which it did not learn
from, and they alone are asked with and recommended. Tracks whose artist is not known are left out.
`--write` puts the tables into the page, and the picture beside it.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genrescope.atomic import write_atomic
from genrescope.datasets import Track, read_dataset, with_artists
from genrescope.errors import DatasetError, FileError, GenrescopeError
from genrescope.evaluation.bootstrap import Figure, mean
from genrescope.evaluation.predictions import read_predictions
from genrescope.evaluation.ranking import best_precision_at, coverage, precision_at
from genrescope.evaluation.run_result import RunResult
from genrescope.evaluation.run_values import SplitDescription
from genrescope.features import Frontend
from genrescope.inference import Classifier
from genrescope.library.recommend import DIVERSITY, diversified, nearness, pushed, recommend
from genrescope.library.rows import Entry, Model
from genrescope.library.similar import Query, Space, TrackFilter
from genrescope.library.store import Library

LENGTHS = (1, 5, 10)
LIST = 10
DIVERSITIES = (0.0, 0.3, 0.7)
# Companions of a query are drawn so often, and their figures averaged.
DRAWS = 5
OURS = "the model's embedding"
MFCC = "means and deviations of 20 MFCCs"
RANDOM = "random"
BEST = "the best that there could be"

Floats = NDArray[np.float64]
Places = NDArray[np.intp]
# Scores of tracks from their similarity to the likes and to the dislikes, each `[queries, tracks]`.
Rule = Callable[[Floats, Floats], Floats]

LIKE_RULES: dict[str, Rule] = {
    "soft maximum, each like by its own nearest": lambda likes, _: nearness(likes),
    "maximum": lambda likes, _: likes.max(axis=0),
    "mean": lambda likes, _: likes.mean(axis=0),
}
DISLIKE_RULES: dict[str, Rule] = {
    "a third of the similarity to the nearest": lambda likes, far: pushed(nearness(likes), far),
    "none: dislikes are not listened to": lambda likes, _: nearness(likes),
    "Rocchio's: a fifth of their mean, off the mean of the likes": (
        lambda likes, far: likes.mean(axis=0) - 0.2 * far.mean(axis=0)
    ),
    "what is nearer to a dislike than to all likes comes last": (
        lambda likes, far: nearness(likes) - 9 * (far.max(axis=0) > likes.max(axis=0))
    ),
}


@dataclass(frozen=True)
class Shelf:
    """The tracks that are judged, and each method's library of them.

    Attributes
    ----------
    names, genres, artists
        Of each track, `[tracks]`; the genre is the true one.
    spaces
        By method.
    left_out
        How many test tracks have no known artist, or can't be heard.
    """

    names: NDArray[np.str_]
    genres: NDArray[np.str_]
    artists: NDArray[np.str_]
    spaces: dict[str, Space]
    left_out: int

    def others(self, places: Sequence[int] | Places) -> Places:
        """Tracks by nobody of these."""
        return np.flatnonzero(~np.isin(self.artists, self.artists[np.asarray(places)]))

    def directions(self, method: str) -> NDArray[np.float32]:
        """In the order of the names; a table of LanceDB has none of its own."""
        space = self.spaces[method]
        place = {entry.path: number for number, entry in enumerate(space.entries)}
        return space.directions[[place[name] for name in self.names]]


# What is judged ------------------------------------------------------------------------------


def judged_tracks(run: RunResult, data: Path, artists: Path) -> tuple[list[Track], int]:
    """The run's test tracks whose artist is known, and how many others there are."""
    predictions = read_predictions(run.folder)
    if run.leaked or set(predictions.folds) != {"only"}:
        reason = "its bundle may have learned from the tracks it was judged on: a run is needed"
        raise FileError(run.folder, f"{reason} that trains once and has a test side")
    here = {track.id: track for track in with_artists(read_dataset(data).tracks, artists)}
    tested = [here[name] for name in predictions.tracks if name in here]
    tracks = [track for track in tested if track.artist]
    if len(tracks) <= LIST:
        raise DatasetError(f"{data}: {len(tracks)} of the run's test tracks are too few")
    return tracks, len(predictions.tracks) - len(tracks)


def shelf_of(run: RunResult, data: Path, artists: Path, folder: Path) -> Shelf:
    """Hear all tracks by all methods, and put what was heard into libraries in a folder."""
    listed, left_out = judged_tracks(run, data, artists)
    classifier = Classifier.load(run.folder)
    outcomes = classifier.predict_many(track.path for track in listed)
    heard = [
        (track, each)
        for track, each in zip(listed, outcomes, strict=True)
        if not isinstance(each, FileError) and each.genre is not None
    ]
    tracks, predictions = zip(*heard, strict=True)
    chances = [[each.probabilities[genre] for genre in classifier.genres] for each in predictions]
    mfcc = standardised(mfcc_statistics(classifier.manifest.frontend, tracks))
    vectors = {
        OURS: np.stack([each.embedding for each in predictions]),
        "the genres' probabilities": np.array(chances),
        MFCC: mfcc,
        "means of 20 MFCCs": mfcc[:, :20],
    }
    return Shelf(
        np.array([track.id for track in tracks]),
        np.array([track.genre for track in tracks]),
        np.array([track.artist for track in tracks]),
        {name: space(folder / str(i), tracks, vectors[name]) for i, name in enumerate(vectors)},
        left_out + len(listed) - len(tracks),
    )


def mfcc_statistics(frontend: Frontend, tracks: Sequence[Track]) -> Floats:
    """Means and deviations of 20 MFCCs over each track, on the model's own STFT and mel bands."""
    names = ("sample_rate", "n_fft", "hop_length", "center", "n_bins", "n_mels", "fmin", "fmax")
    stft = {name: getattr(frontend.computed, name) for name in names}
    settings = {"kind": "mfcc", "n_mfcc": 20, **stft}
    pooled = Frontend.model_validate(
        {"feature": settings, "scale": "none", "segments": {"seconds": 30}, "pool": ("mean", "std")}
    )

    def of(track: Track) -> Floats:
        windows = pooled.windows(track.path)
        segments = [s.values.ravel() for window in windows for s in pooled.segments_of(window)]
        return np.asarray(np.mean(segments, axis=0, dtype=float))

    return np.stack([of(track) for track in tracks])


def standardised(values: Floats) -> Floats:
    """Each column with mean 0 and deviation 1 over the tracks."""
    return np.asarray((values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-12))


def space(folder: Path, tracks: Sequence[Track], vectors: Floats) -> Space:
    """A library of tracks that were heard as these vectors."""
    model = Model("measured", "0" * 64, "measured", ("a", "b"), vectors.shape[1])
    library, half = Library.create(folder, model), np.full(2, 0.5, np.float32)
    library.put(
        [
            Entry("", t.id, t.id, 1, 1, half, vector, artist=t.artist, genre=t.genre)
            for t, vector in zip(tracks, vectors.astype(np.float32), strict=True)
        ]
    )
    return Space(library)


# Lists ---------------------------------------------------------------------------------------


def lists_for_each(shelf: Shelf, method: str, diversity: float = 0.0) -> list[Places]:
    """What `recommend` gives for each track, by other artists."""
    space, place = shelf.spaces[method], {name: i for i, name in enumerate(shelf.names)}
    found: list[Places] = [np.zeros(0, np.intp)] * len(place)
    for entry, direction in zip(space.entries, space.directions, strict=True):
        query = Query(entry.name, direction.astype(np.float64), entry)
        wanted = [TrackFilter(not_artist=entry.artist)]
        named = recommend(space, [query], n=LIST, diversity=diversity, wanted=wanted)
        found[place[entry.path]] = np.array([place[r.entry.path] for r in named], np.intp)
    return found


def random_lists(shelf: Shelf) -> list[Places]:
    """Ten of those who come into question, for each track."""
    random = np.random.default_rng(0)
    return [random.permutation(shelf.others([i]))[:LIST] for i in range(len(shelf.names))]


def best(
    directions: NDArray[np.float32],
    rule: Rule,
    shelf: Shelf,
    likes: list[int],
    dislikes: Sequence[int] = (),
) -> Places:
    """The best ten by a rule, by nobody of those who are named."""
    places = shelf.others([*likes, *dislikes])
    near, far = (
        (directions[list(each)] @ directions[places].T).astype(float) for each in (likes, dislikes)
    )
    return places[diversified(rule(near, far), directions[places], LIST, 0.0)]


# Measures ------------------------------------------------------------------------------------


def fitting(shelf: Shelf, lists: Sequence[Places]) -> list[NDArray[np.bool_]]:
    """Whether the tracks of each list are of its query's genre."""
    return [shelf.genres[each] == genre for each, genre in zip(lists, shelf.genres, strict=True)]


def ways_to_fit(shelf: Shelf) -> tuple[Places, Places]:
    """For each track how many come into question, and how many of these are of its genre."""
    others = [shelf.others([i]) for i in range(len(shelf.names))]
    fit = [int((shelf.genres[o] == g).sum()) for o, g in zip(others, shelf.genres, strict=True)]
    return np.array([len(each) for each in others]), np.array(fit)


def main_figures(shelf: Shelf) -> dict[str, list[Figure]]:
    """By method: precision at each of `LENGTHS`, then coverage of lists of one and of ten."""
    others, fit = ways_to_fit(shelf)
    asked = fit > 0  # a genre that only one artist plays has no answer
    groups = shelf.artists[asked].tolist()

    def covered(lists: Sequence[Places], length: int) -> Figure:
        short = [each[:length].tolist() for each in lists]
        return coverage(short, len(shelf.names), shelf.artists.tolist())

    found: dict[str, list[Figure]] = {}
    for method in shelf.spaces:
        lists = lists_for_each(shelf, method)
        precisions = [precision_at(fitting(shelf, lists), k)[asked] for k in LENGTHS]
        found[method] = [mean(each, groups) for each in precisions]
        found[method] += [covered(lists, 1), covered(lists, LIST)]
    chance, lists = mean((fit / others)[asked], groups), random_lists(shelf)
    found[RANDOM] = [chance] * len(LENGTHS) + [covered(lists, 1), covered(lists, LIST)]
    found[BEST] = [mean(best_precision_at(fit, k)[asked], groups) for k in LENGTHS]
    return found


@dataclass(frozen=True)
class Situation:
    """What somebody likes, and what they then complain of.

    Attributes
    ----------
    query
        The track that it was drawn for.
    likes, dislikes
        Places.
    genres
        Those that fit.
    disliked
        The genre of the dislikes.
    """

    query: int
    likes: list[int]
    genres: tuple[str, ...]
    dislikes: tuple[int, ...] = ()
    disliked: str = ""


def situations(shelf: Shelf, genres: int) -> Iterator[Situation]:
    """For each track, as often as `DRAWS`: three likes of its genre, or two each of two genres."""
    random = np.random.default_rng(0)
    names = np.unique(shelf.genres)
    for _ in range(DRAWS):
        for query, genre in enumerate(shelf.genres):
            chosen = (genre, *random.permutation(names[names != genre])[: genres - 1])
            own = np.flatnonzero(shelf.genres == genre)
            likes = [query, *random.permutation(own[own != query])[: 2 if genres == 1 else 1]]
            for other in chosen[1:]:
                likes += random.permutation(np.flatnonzero(shelf.genres == other))[:2].tolist()
            left = shelf.genres[shelf.others(likes)]
            if all((left == each).any() for each in chosen):
                yield Situation(query, [int(like) for like in likes], chosen)


def complaints(shelf: Shelf) -> Iterator[Situation]:
    """Three likes of a genre, and two dislikes of what was wrong most often in the answer."""
    random = np.random.default_rng(0)
    directions, first = shelf.directions(OURS), next(iter(LIKE_RULES.values()))
    for each in situations(shelf, 1):
        answer = shelf.genres[best(directions, first, shelf, each.likes)]
        wrong, counts = np.unique(answer[answer != each.genres[0]], return_counts=True)
        if not len(wrong):
            continue
        disliked = wrong[counts.argmax()]
        pair = random.permutation(np.flatnonzero(shelf.genres == disliked))[:2].tolist()
        left = shelf.genres[shelf.others([*each.likes, *pair])]
        if (left == each.genres[0]).any() and (left == disliked).any():
            yield Situation(each.query, each.likes, each.genres, tuple(pair), disliked)


def compared(
    shelf: Shelf,
    rules: dict[str, Rule],
    told: Sequence[Situation],
    measure: Callable[[Situation, NDArray[np.str_]], float],
) -> list[tuple[Figure, Figure | None]]:
    """A measure of each rule's best ten, and by how much the first rule is above it.

    Parameters
    ----------
    measure
        From a situation and the genres of the ten, `[10]`.
    """
    directions, queries = shelf.directions(OURS), np.array([each.query for each in told])
    asked = np.unique(queries)
    groups = shelf.artists[asked].tolist()
    by_rule: list[Floats] = []
    for rule in rules.values():
        values = np.array(
            [
                measure(s, shelf.genres[best(directions, rule, shelf, s.likes, s.dislikes)])
                for s in told
            ]
        )
        by_rule.append(np.array([values[queries == query].mean() for query in asked]))
    first, *others = by_rule
    return [
        (mean(first, groups), None),
        *((mean(each, groups), mean(first - each, groups)) for each in others),
    ]


def share(situation: Situation, genres: NDArray[np.str_]) -> float:
    """Of the ten, those of a liked genre."""
    return float(np.isin(genres, situation.genres).sum() / LIST)


def rarer(situation: Situation, genres: NDArray[np.str_]) -> float:
    """Of the ten, those of the liked genre that there is less of."""
    return min(float((genres == each).sum() / LIST) for each in situation.genres)


def unwanted(situation: Situation, genres: NDArray[np.str_]) -> float:
    """Of the ten, those of the genre of the dislikes."""
    return float((genres == situation.disliked).sum() / LIST)


# The page ------------------------------------------------------------------------------------


def percent(figure: Figure, *, signed: bool = False) -> str:
    """A figure with its interval, as people read it."""
    value, low, high = (100 * x for x in (figure.value, figure.low, figure.high))
    if signed:
        return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"
    return f"{value:.1f} ({low:.1f}–{high:.1f})"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of Markdown."""
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def what_was_judged(run: RunResult, shelf: Shelf) -> list[str]:
    """The run, its tracks, and what should be known of them."""
    _, fit = ways_to_fit(shelf)
    settings = run.split or SplitDescription()
    kind, by_artist = settings.kind, settings.by_artist
    split = {
        "lists": "by published lists, which keep artists apart as far as "
        "[default-model.md](default-model.md) says",
        "official": "by the data set's authors",
    }.get(kind, "at random by artist" if by_artist else "at random by track")
    most = max((shelf.artists == each).sum() for each in shelf.artists)
    text = (
        f"The network: `{run.command}`, trained on {run.train_tracks} tracks, split {split}. "
        f"Its test side has {run.n}; {shelf.left_out} are left out, because their artist is not "
        f"known or nothing was heard. That leaves {len(shelf.names)} tracks of "
        f"{len(np.unique(shelf.genres))} genres by {len(np.unique(shelf.artists))} artists, of "
        f"whom one has {most}. {int((fit > 0).sum())} of them have an answer: a track of their "
        "genre by somebody else."
    )
    if kind == "random" and not by_artist:
        text += " The network may have learned from other tracks by the same artists."
    return [text]


def one_like(figures: dict[str, list[Figure]]) -> list[str]:
    """The table by method."""
    header = ["by", *(f"precision@{k}" for k in LENGTHS), "coverage@1", f"coverage@{LIST}"]
    rows = [[name, *(percent(each) for each in found)] for name, found in figures.items()]
    return table(header, [[*row, *[""] * (len(header) - len(row))] for row in rows])


def rules_table(
    first: str, names: Sequence[str], columns: dict[str, list[tuple[Figure, Figure | None]]]
) -> list[str]:
    """A table of rules: each measure, and by how much the first rule is above."""
    header = [first]
    for name in columns:
        header += [name, "ours more by"]
    rows = []
    for place, name in enumerate(names):
        row = [name]
        for column in columns.values():
            value, more = column[place]
            row += [percent(value), "" if more is None else percent(more, signed=True)]
        rows.append(row)
    return table(header, rows)


def several_likes(shelf: Shelf) -> list[str]:
    """The table of ways to put likes together."""
    one, two = list(situations(shelf, 1)), list(situations(shelf, 2))
    columns = {
        "three of one genre: precision@10": compared(shelf, LIKE_RULES, one, share),
        "two of each of two genres: precision@10": compared(shelf, LIKE_RULES, two, share),
        "the rarer genre's share": compared(shelf, LIKE_RULES, two, rarer),
    }
    return rules_table("score over likes", list(LIKE_RULES), columns)


def with_dislikes(shelf: Shelf) -> list[str]:
    """The table of ways to take dislikes off."""
    told = list(complaints(shelf))
    columns = {
        "precision@10": compared(shelf, DISLIKE_RULES, told, share),
        "share of the disliked genre": compared(shelf, DISLIKE_RULES, told, unwanted),
    }
    return rules_table("what is taken off", list(DISLIKE_RULES), columns)


def what_diversity_costs(shelf: Shelf) -> list[str]:
    """The table of precision and coverage by diversity."""
    _, fit = ways_to_fit(shelf)
    directions, artists = shelf.directions(OURS), shelf.artists.tolist()
    groups = shelf.artists[fit > 0].tolist()
    rows = []
    for diversity in DIVERSITIES:
        lists = lists_for_each(shelf, OURS, diversity)
        precision = precision_at(fitting(shelf, lists), LIST)[fit > 0]
        covered = coverage([each.tolist() for each in lists], len(shelf.names), artists)
        alike = np.array([inner_similarity(directions[each]) for each in lists])
        names = np.array([len(np.unique(shelf.artists[each])) for each in lists], float)
        within, who = mean(alike, artists), mean(names, artists)
        rows.append(
            [
                f"{diversity:g}" + (" (default)" if diversity == DIVERSITY else ""),
                percent(mean(precision, groups)),
                percent(covered),
                f"{within.value:.2f} ({within.low:.2f}–{within.high:.2f})",
                f"{who.value:.1f} ({who.low:.1f}–{who.high:.1f})",
            ]
        )
    header = ["diversity", f"precision@{LIST}", f"coverage@{LIST}"]
    return table([*header, "similarity within a list", "artists in ten"], rows)


def inner_similarity(directions: NDArray[np.float32]) -> float:
    """The mean similarity of all pairs of a list."""
    similarity = directions @ directions.T
    return float(similarity[~np.eye(len(similarity), dtype=bool)].mean())


def picture(figures: dict[str, list[Figure]], path: Path) -> None:
    """Precision at k by method, with its intervals."""
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(7.5, 4.4), dpi=120, layout="constrained")
    axes = drawing.subplots()
    shown = {name: found for name, found in figures.items() if name != BEST}
    for number, (name, found) in enumerate(shown.items()):
        beside = (number - (len(shown) - 1) / 2) * 0.11
        values = np.array([[f.value, f.low, f.high] for f in found[: len(LENGTHS)]]) * 100
        axes.errorbar(
            np.arange(len(LENGTHS)) + beside,
            values[:, 0],
            [values[:, 0] - values[:, 1], values[:, 2] - values[:, 0]],
            fmt="o",
            color="grey" if name == RANDOM else f"C{number}",
            capsize=3,
            label=name,
        )
    for place, most in enumerate(figures[BEST]):
        label = BEST if place == 0 else None
        ends = [place - 0.32, place + 0.32]
        axes.plot(ends, [100 * most.value] * 2, color="black", linestyle="--", label=label)
    axes.set_xticks(range(len(LENGTHS)), [f"first {k}" if k > 1 else "first" for k in LENGTHS])
    axes.set_ylim(0, 103)
    axes.set_ylabel("same genre, by another artist, %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3, axis="y")
    axes.set_axisbelow(True)
    axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2)
    buffer = io.BytesIO()
    # Without the date in it the same figures draw the same file.
    drawing.savefig(buffer, format="png", metadata={"Software": None})
    write_atomic(path, buffer.getvalue())


def write(page: Path, blocks: dict[str, list[str]]) -> None:
    """Put each block between its marks."""
    text = page.read_text(encoding="utf-8")
    for name, lines in blocks.items():
        first, last = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, found, rest = text.partition(first)
        _, ended, after = rest.partition(last)
        if not found or not ended:
            raise FileError(page, f"has no place for it: {first.strip()} … {last}")
        text = before + first + "\n".join(lines) + "\n" + last + after
    write_atomic(page, text.encode("utf-8"))


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--artists", type=Path, required=True)
    parser.add_argument("--write", type=Path, metavar="PAGE")
    wanted = parser.parse_args()
    run = RunResult.read(wanted.run)
    with tempfile.TemporaryDirectory() as temporary:
        shelf = shelf_of(run, wanted.data, wanted.artists, Path(temporary))
        figures = main_figures(shelf)
        blocks = {
            "judged": what_was_judged(run, shelf),
            "methods": one_like(figures),
            "likes": several_likes(shelf),
            "dislikes": with_dislikes(shelf),
            "diversity": what_diversity_costs(shelf),
        }
    print("\n\n".join("\n".join(lines) for lines in blocks.values()))
    if wanted.write:
        write(wanted.write, blocks)
        picture(figures, wanted.write.with_suffix(".png"))


if __name__ == "__main__":
    try:
        main()
    except GenrescopeError as error:
        sys.exit(f"recommendation: {error}")
