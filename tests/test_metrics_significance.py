"""Two runs compared: McNemar's test against SciPy, the paired bootstrap against simulation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="needs genrescope[lab]")

from scipy.stats import binomtest

from genrescope.errors import DatasetError, FileError
from genrescope.evaluation.predictions import Predictions, read_predictions, write_predictions
from genrescope.evaluation.significance import compare, grouped_p, mcnemar


@pytest.mark.parametrize(("a", "b"), [(0, 1), (1, 1), (5, 5), (9, 17), (0, 30), (400, 470), (3, 2)])
def test_mcnemar_equals_scipys_binomial_test(a: int, b: int) -> None:
    correct_a = [True] * a + [False] * b + [True, False, True]
    correct_b = [False] * a + [True] * b + [True, False, True]
    ours = mcnemar(correct_a, correct_b)
    assert (ours.only_a, ours.only_b) == (a, b)
    assert ours.p == pytest.approx(binomtest(a, a + b).pvalue)
    assert mcnemar(correct_b, correct_a).p == ours.p


def test_classifiers_that_never_differ_are_equal() -> None:
    assert mcnemar([True, False], [True, False]).p == 1


def test_predictions_of_another_number_are_refused() -> None:
    with pytest.raises(ValueError, match="predictions do not match"):
        mcnemar([True], [True, False])


def write_run(
    folder: Path, correct: dict[str, bool], *, first: str = "a", fold: str = "only"
) -> Path:
    """A run that predicts tracks of genre `a` correctly or not, with its genres in either order."""
    genres = (first, "b" if first == "a" else "a")
    own = genres.index("a")
    rows = [np.eye(2)[own if hit else 1 - own] * 0.8 + 0.1 for hit in correct.values()]
    n = len(correct)
    found = Predictions(genres, tuple(correct), (fold,) * n, np.full(n, own), np.array(rows))
    folder.mkdir()
    write_predictions(found, folder)
    return folder


def test_runs_are_compared_on_the_tracks_of_both(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    a = {f"{i}": bool(random.random() < 0.6) for i in range(300)}
    b = {f"{i}": bool(random.random() < 0.8) for i in range(100, 400)}
    found = compare(write_run(tmp_path / "a", a), write_run(tmp_path / "b", b, first="b"))
    common = [f"{i}" for i in range(100, 300)]
    hits_a, hits_b = (np.array([run[track] for track in common]) for run in (a, b))
    assert found.n == 200
    assert found.accuracy_a == pytest.approx(hits_a.mean())
    assert found.accuracy_b == pytest.approx(hits_b.mean())
    assert found.difference == pytest.approx(hits_b.mean() - hits_a.mean())
    assert found.mcnemar == mcnemar(hits_a, hits_b)
    picked = random.integers(0, 200, (10_000, 200))
    differences = (hits_b[picked].astype(float) - hits_a[picked]).mean(axis=1)
    assert found.interval == pytest.approx(np.percentile(differences, [2.5, 97.5]), abs=0.006)


def test_tracks_of_an_artist_are_drawn_together(tmp_path: Path) -> None:
    """Ten artists of ten tracks each, and only b is right on those of three of them."""
    artists = tuple(f"artist {i // 10}" for i in range(100))
    b_alone = np.array([i < 30 for i in range(100)])
    ids, truth = tuple(map(str, range(100))), np.zeros(100, int)
    rows_a = np.where(b_alone[:, None], [0.2, 0.8], [0.8, 0.2])
    for name, known in (("known", artists), ("unknown", ())):
        for run, rows in (("a", rows_a), ("b", np.full((100, 2), [0.8, 0.2]))):
            folder = tmp_path / name / run
            folder.mkdir(parents=True)
            found = Predictions(("x", "y"), ids, ("only",) * 100, truth, rows, known)
            write_predictions(found, folder)
    grouped = compare(tmp_path / "known" / "a", tmp_path / "known" / "b")
    single = compare(tmp_path / "unknown" / "a", tmp_path / "unknown" / "b")
    assert (grouped.grouped_by_artist, single.grouped_by_artist) == (True, False)
    assert grouped.difference == single.difference == pytest.approx(0.3)
    # The number of the three among ten artists drawn is binomial: 0.3 ± 1.96 * 0.145.
    assert grouped.interval == pytest.approx((0, 0.6), abs=0.051)
    assert single.interval == pytest.approx((0.21, 0.39), abs=0.011)


@pytest.mark.parametrize(
    ("totals", "p"),
    [
        # Of the 2 ** 3 signs of 3, 1 and 1, only those of one sign reach 5: 2 of 8.
        ([[1, 1, 1], [1], [1]], 0.25),
        # The total is -1 here, and all eight are at least as far from 0.
        ([[-1, -1, -1], [1], [1]], 1.0),
        ([[1] * 20, [0] * 20, [0] * 20], 1.0),
        ([[1, -1], [0]], 1.0),
        ([[1] * 5] * 6, 2 / 64),
    ],
)
def test_the_test_by_artist_flips_the_signs_of_whole_artists(
    totals: list[list[int]], p: float
) -> None:
    groups = [number for number, own in enumerate(totals) for _ in own]
    assert grouped_p([one for own in totals for one in own], groups) == pytest.approx(p)


@pytest.mark.parametrize(("a", "b"), [(0, 1), (5, 5), (9, 17), (0, 30), (400, 470)])
def test_the_test_by_artist_is_mcnemars_where_each_track_has_its_own(a: int, b: int) -> None:
    difference = [-1] * a + [1] * b + [0] * 7
    expected = mcnemar([d < 0 for d in difference], [d > 0 for d in difference]).p
    assert grouped_p(difference, range(len(difference))) == pytest.approx(expected, rel=1e-9)


def test_one_artist_alone_decides_nothing() -> None:
    """Six artists of twenty tracks, and b is better on those of one of them alone."""
    n, first = 120, np.arange(120) < 20
    given = (("a", "b"), tuple(map(str, range(n))), ("only",) * n, np.zeros(n, int))
    artists = tuple(f"artist {i // 20}" for i in range(n))
    right, wrong = [0.9, 0.1], [0.1, 0.9]
    a = Predictions(*given, np.where(first[:, None], wrong, right), artists)
    b = Predictions(*given, np.tile(right, (n, 1)), artists)
    found = compare(a, b)
    assert found.interval[0] == 0
    assert (found.artists, found.p, found.mcnemar.p < 1e-5) == (6, 1.0, True)
    assert found.describe()[-2:] == [
        "Only A is correct on 0, only B on 20; a sign-flip test by artist (6 artists) gives "
        "p = 1.000",
        "No significant difference (at the 5 % level) on these tracks.",
    ]
    unknown = compare(replace(a, artists=()), replace(b, artists=()))
    assert (unknown.artists, unknown.artist_p, unknown.p) == (None, None, unknown.mcnemar.p)
    assert unknown.describe()[-1] == "B is significantly better (at the 5 % level)."


def test_a_run_is_as_good_as_itself(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", {"1": True, "2": False})
    found = compare(run, run)
    assert (found.difference, found.mcnemar.p) == (0, 1)
    # Up to this share of all tracks may be unlike these two, by Wilson's interval.
    unlike = binomtest(0, 2).proportion_ci(method="wilson").high
    assert found.interval == pytest.approx((-unlike, unlike))


def test_a_track_predicted_twice_counts_once_by_its_mean(tmp_path: Path) -> None:
    truth, rows = np.zeros(3, int), np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    predictions = Predictions(("a", "b"), ("1", "1", "2"), ("x", "y", "x"), truth, rows)
    write_predictions(predictions, tmp_path)
    found = compare(tmp_path, predictions)
    assert (found.n, found.accuracy_a) == (2, 0.5)


def test_runs_with_nothing_in_common_are_refused(tmp_path: Path) -> None:
    one, other = (write_run(tmp_path / name, {name: True}) for name in "ab")
    with pytest.raises(DatasetError, match="no test track in common"):
        compare(one, other)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        ("", "not the predictions"),
        ("track,fold,genre,predicted,confidence,a\n", "not the predictions"),
        ("track,fold,genre,predicted,confidence,a\n1,only,c,a,1,1\n", "not the predictions"),
        ("track,fold,genre,predicted,confidence,a\n1,only,a,a,1\n", "too short"),
        ("track,fold,genre,predicted,confidence,a\n1,only,a,a,1,x\n", "not the predictions"),
        ("track,fold,genre,predicted,confidence,a\n1,only,a,a,1,nan\n", "a probability is missing"),
    ],
)
def test_a_file_without_predictions_is_named(
    tmp_path: Path, content: str | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "predictions.csv").write_text(content)
    with pytest.raises(FileError, match=words) as raised:
        read_predictions(tmp_path)
    assert raised.value.path == str(tmp_path / "predictions.csv")


def test_predictions_come_back_as_they_were(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = random.dirichlet(np.ones(3), 4).round(6)
    tracks = ("a", "b,c", 'd"e', b"\xff".decode("utf-8", "surrogateescape"))
    written = Predictions(
        ("x", "y", "z"),
        tracks,
        ("1", "1", "2", "2"),
        np.array([0, 1, 2, 0]),
        rows,
        artists=("", "Björk, and others", "", "y"),
    )
    write_predictions(written, tmp_path)
    back = read_predictions(tmp_path)
    assert (back.genres, back.tracks, back.folds) == (written.genres, written.tracks, written.folds)
    assert back.artists == written.artists
    np.testing.assert_array_equal(back.truth, written.truth)
    np.testing.assert_array_equal(back.probabilities, rows)


def test_predictions_of_version_0_1_are_read(tmp_path: Path) -> None:
    text = "track,part,genre,named,confidence,a,b\n1,fold-2,b,a,0.9,0.9,0.1\n"
    (tmp_path / "predictions.csv").write_text(text)
    found = read_predictions(tmp_path)
    assert (found.tracks, found.folds, found.genres) == (("1",), ("fold-2",), ("a", "b"))
    assert (found.truth.tolist(), found.predicted.tolist()) == ([1], [0])
