"""Measures recommendation on real tracks: "same genre, by another artist".

    python benchmarks/recommendation.py RUN --data FOLDER --artists TABLE.csv
        [--write docs/recommendation.md]

RUN is a finished run with a test subset. Its network classifies the tracks of that subset, which it
was not trained on; they alone are queries and candidates. Tracks whose artist is not known are left
out. `--write` puts the tables into the page, and the picture next to it.
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
from ranking import best_precision_at, coverage, precision_at
from recommended_lists import (
    BEST,
    DISLIKE_RULES,
    DIVERSITIES,
    DRAWS,
    LENGTHS,
    LIKE_RULES,
    LIST,
    OURS,
    RANDOM,
    Evaluated,
    Floats,
    Places,
    Rule,
    best,
    lists_for_each,
    random_lists,
    read_tracks,
)

from genrescope.atomic import write_atomic
from genrescope.errors import FileError, GenrescopeError
from genrescope.evaluation.bootstrap import Figure, mean
from genrescope.evaluation.run_result import RunResult
from genrescope.evaluation.run_values import SplitDescription
from genrescope.library.recommend import DIVERSITY

# Measures ------------------------------------------------------------------------------------


def fitting(evaluated: Evaluated, lists: Sequence[Places]) -> list[NDArray[np.bool_]]:
    """Whether the tracks of each list are of its query's genre."""
    return [
        evaluated.genres[each] == genre for each, genre in zip(lists, evaluated.genres, strict=True)
    ]


def ways_to_fit(evaluated: Evaluated) -> tuple[Places, Places]:
    """For each track the number of candidates, and how many of these are of its genre."""
    others = [evaluated.others([i]) for i in range(len(evaluated.names))]
    fit = [
        int((evaluated.genres[o] == g).sum()) for o, g in zip(others, evaluated.genres, strict=True)
    ]
    return np.array([len(each) for each in others]), np.array(fit)


def main_figures(evaluated: Evaluated) -> dict[str, list[Figure]]:
    """By method: precision at each of `LENGTHS`, then coverage of lists of one and of ten."""
    others, fit = ways_to_fit(evaluated)
    asked = fit > 0  # a genre that only one artist plays has no answer
    groups = evaluated.artists[asked].tolist()

    def covered(lists: Sequence[Places], length: int) -> Figure:
        short = [each[:length].tolist() for each in lists]
        return coverage(short, len(evaluated.names), evaluated.artists.tolist())

    found: dict[str, list[Figure]] = {}
    for method in evaluated.spaces:
        lists = lists_for_each(evaluated, method)
        precisions = [precision_at(fitting(evaluated, lists), k)[asked] for k in LENGTHS]
        found[method] = [mean(each, groups) for each in precisions]
        found[method] += [covered(lists, 1), covered(lists, LIST)]
    chance, lists = mean((fit / others)[asked], groups), random_lists(evaluated)
    found[RANDOM] = [chance] * len(LENGTHS) + [covered(lists, 1), covered(lists, LIST)]
    found[BEST] = [mean(best_precision_at(fit, k)[asked], groups) for k in LENGTHS]
    return found


@dataclass(frozen=True)
class Situation:
    """Liked tracks, and the disliked tracks that are given with them.

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


def situations(evaluated: Evaluated, genres: int) -> Iterator[Situation]:
    """For each track, as often as `DRAWS`: three likes of its genre, or two each of two genres."""
    random = np.random.default_rng(0)
    names = np.unique(evaluated.genres)
    for _ in range(DRAWS):
        for query, genre in enumerate(evaluated.genres):
            chosen = (genre, *random.permutation(names[names != genre])[: genres - 1])
            own = np.flatnonzero(evaluated.genres == genre)
            likes = [query, *random.permutation(own[own != query])[: 2 if genres == 1 else 1]]
            for other in chosen[1:]:
                likes += random.permutation(np.flatnonzero(evaluated.genres == other))[:2].tolist()
            left = evaluated.genres[evaluated.others(likes)]
            if all((left == each).any() for each in chosen):
                yield Situation(query, [int(like) for like in likes], chosen)


def with_disliked_tracks(evaluated: Evaluated) -> Iterator[Situation]:
    """Three likes of a genre, and two dislikes of what was wrong most often in the answer."""
    random = np.random.default_rng(0)
    directions, first = evaluated.directions(OURS), next(iter(LIKE_RULES.values()))
    for each in situations(evaluated, 1):
        answer = evaluated.genres[best(directions, first, evaluated, each.likes)]
        wrong, counts = np.unique(answer[answer != each.genres[0]], return_counts=True)
        if not len(wrong):
            continue
        disliked = wrong[counts.argmax()]
        pair = random.permutation(np.flatnonzero(evaluated.genres == disliked))[:2].tolist()
        left = evaluated.genres[evaluated.others([*each.likes, *pair])]
        if (left == each.genres[0]).any() and (left == disliked).any():
            yield Situation(each.query, each.likes, each.genres, tuple(pair), disliked)


def compared(
    evaluated: Evaluated,
    rules: dict[str, Rule],
    given: Sequence[Situation],
    measure: Callable[[Situation, NDArray[np.str_]], float],
) -> list[tuple[Figure, Figure | None]]:
    """A measure of each rule's best ten, and by how much the first rule is above it.

    Parameters
    ----------
    measure
        From a situation and the genres of the ten, `[10]`.
    """
    directions, queries = evaluated.directions(OURS), np.array([each.query for each in given])
    asked = np.unique(queries)
    groups = evaluated.artists[asked].tolist()
    by_rule: list[Floats] = []
    for rule in rules.values():
        values = np.array(
            [
                measure(s, evaluated.genres[best(directions, rule, evaluated, s.likes, s.dislikes)])
                for s in given
            ]
        )
        by_rule.append(np.array([values[queries == query].mean() for query in asked]))
    first, *others = by_rule
    return [
        (mean(first, groups), None),
        *((mean(each, groups), mean(first - each, groups, lowest=-1)) for each in others),
    ]


def share(situation: Situation, genres: NDArray[np.str_]) -> float:
    """Of the ten, those of a liked genre."""
    return float(np.isin(genres, situation.genres).sum() / LIST)


def rarer(situation: Situation, genres: NDArray[np.str_]) -> float:
    """Of the ten, those of the liked genre that there is less of."""
    return min(float((genres == each).sum() / LIST) for each in situation.genres)


def of_disliked(situation: Situation, genres: NDArray[np.str_]) -> float:
    """Of the ten, those of the genre of the dislikes."""
    return float((genres == situation.disliked).sum() / LIST)


# The page ------------------------------------------------------------------------------------


def percent(figure: Figure, *, signed: bool = False) -> str:
    """A figure with its interval in percent."""
    value, low, high = (100 * x for x in (figure.value, figure.low, figure.high))
    if signed:
        return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"
    return f"{value:.1f} ({low:.1f}–{high:.1f})"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of Markdown."""
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def about_tracks(run: RunResult, evaluated: Evaluated) -> list[str]:
    """The run, its tracks, and how they were split."""
    _, fit = ways_to_fit(evaluated)
    settings = run.split or SplitDescription()
    kind, by_artist = settings.kind, settings.by_artist
    split = {
        "lists": "by published lists, which keep artists apart as far as "
        "[default-model.md](default-model.md) says",
        "official": "by the data set's authors",
    }.get(kind, "at random by artist" if by_artist else "at random by track")
    most = max((evaluated.artists == each).sum() for each in evaluated.artists)
    text = (
        f"The network: `{run.command}`, trained on {run.train_tracks} tracks, split {split}. "
        f"Its test subset has {run.n} tracks; {evaluated.left_out} are left out, because their "
        f"artist is not known or they could not be decoded. That leaves {len(evaluated.names)} "
        f"tracks of {len(np.unique(evaluated.genres))} genres by "
        f"{len(np.unique(evaluated.artists))} artists, of whom one has {most}. "
        f"{int((fit > 0).sum())} of them have an answer: a track of their genre by another artist."
    )
    if kind == "random" and not by_artist:
        text += " Other tracks by the same artists may be in the training subset."
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
        header += [name, "difference"]
    rows = []
    for place, name in enumerate(names):
        row = [name]
        for column in columns.values():
            value, more = column[place]
            row += [percent(value), "" if more is None else percent(more, signed=True)]
        rows.append(row)
    return table(header, rows)


def several_likes(evaluated: Evaluated) -> list[str]:
    """The table of rules for several likes."""
    one, two = list(situations(evaluated, 1)), list(situations(evaluated, 2))
    columns = {
        "three of one genre: precision@10": compared(evaluated, LIKE_RULES, one, share),
        "two of each of two genres: precision@10": compared(evaluated, LIKE_RULES, two, share),
        "the rarer genre's share": compared(evaluated, LIKE_RULES, two, rarer),
    }
    return rules_table("score over likes", list(LIKE_RULES), columns)


def with_dislikes(evaluated: Evaluated) -> list[str]:
    """The table of rules for dislikes."""
    given = list(with_disliked_tracks(evaluated))
    columns = {
        "precision@10": compared(evaluated, DISLIKE_RULES, given, share),
        "share of the disliked genre": compared(evaluated, DISLIKE_RULES, given, of_disliked),
    }
    return rules_table("rule for dislikes", list(DISLIKE_RULES), columns)


def by_diversity(evaluated: Evaluated) -> list[str]:
    """The table of precision and coverage by diversity."""
    _, fit = ways_to_fit(evaluated)
    directions, artists = evaluated.directions(OURS), evaluated.artists.tolist()
    groups = evaluated.artists[fit > 0].tolist()
    rows = []
    for diversity in DIVERSITIES:
        lists = lists_for_each(evaluated, OURS, diversity)
        precision = precision_at(fitting(evaluated, lists), LIST)[fit > 0]
        covered = coverage([each.tolist() for each in lists], len(evaluated.names), artists)
        alike = np.array([inner_similarity(directions[each]) for each in lists])
        names = np.array([len(np.unique(evaluated.artists[each])) for each in lists], float)
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
        offset = (number - (len(shown) - 1) / 2) * 0.11
        values = np.array([[f.value, f.low, f.high] for f in found[: len(LENGTHS)]]) * 100
        axes.errorbar(
            np.arange(len(LENGTHS)) + offset,
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
    arguments = parser.parse_args()
    run = RunResult.read(arguments.run)
    with tempfile.TemporaryDirectory() as temporary:
        evaluated = read_tracks(run, arguments.data, arguments.artists, Path(temporary))
        figures = main_figures(evaluated)
        blocks = {
            "tracks": about_tracks(run, evaluated),
            "methods": one_like(figures),
            "likes": several_likes(evaluated),
            "dislikes": with_dislikes(evaluated),
            "diversity": by_diversity(evaluated),
        }
    print("\n\n".join("\n".join(lines) for lines in blocks.values()))
    if arguments.write:
        write(arguments.write, blocks)
        picture(figures, arguments.write.with_suffix(".png"))


if __name__ == "__main__":
    try:
        main()
    except GenrescopeError as error:
        sys.exit(f"recommendation: {error}")
