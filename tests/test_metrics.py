"""Figures against scikit-learn and hand-made cases, intervals against simulated truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("sklearn", reason="needs genrescope[lab]")

from scipy.stats import binomtest
from sklearn import metrics as sklearn

from genrescope.aggregation import Aggregation, aggregate_logits, softmax
from genrescope.evaluation import plots
from genrescope.evaluation.calibration import fit_temperature
from genrescope.evaluation.metrics import (
    METRICS,
    by_genre,
    compute_scores,
    confidence_bins,
    confusion,
    figures,
    in_top_k,
    mean_and_deviation,
    validate,
)

GENRES = ["blues", "classical", "jazz", "rock"]


def predictions(
    seed: int, n: int = 60, genres: int = 4, skill: float = 1.5
) -> tuple[np.ndarray, np.ndarray]:
    """Simulate tracks of all genres but the last, and probabilities of a fair classifier."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, genres - 1, n)
    logits = random.normal(size=(n, genres))
    logits[np.arange(n), truth] += skill
    return truth, softmax(logits)


@pytest.mark.parametrize("seed", range(5))
def test_figures_equal_scikit_learns(seed: int) -> None:
    truth, probabilities = predictions(seed)
    predicted, present = probabilities.argmax(axis=1), np.unique(truth)
    assert set(predicted) - set(present), "a genre that does not occur is predicted"
    ours = figures(truth, probabilities)
    precision, recall, f1, _ = sklearn.precision_recall_fscore_support(
        truth, predicted, labels=present, average="macro", zero_division=0
    )
    assert tuple(ours) == METRICS
    assert ours["accuracy"] == pytest.approx(sklearn.accuracy_score(truth, predicted))
    assert [ours[f"macro_{name}"] for name in ("precision", "recall", "f1")] == pytest.approx(
        [precision, recall, f1]
    )


@pytest.mark.parametrize("seed", range(5))
def test_each_genre_equals_scikit_learns(seed: int) -> None:
    truth, probabilities = predictions(seed)
    predicted = probabilities.argmax(axis=1)
    np.testing.assert_array_equal(
        confusion(truth, predicted, 4), sklearn.confusion_matrix(truth, predicted, labels=range(4))
    )
    expected = sklearn.precision_recall_fscore_support(
        truth, predicted, labels=range(4), zero_division=0
    )
    np.testing.assert_allclose(list(by_genre(truth, probabilities).values()), expected[:3])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("digits", [16, 1])
def test_roc_auc_equals_scikit_learns(seed: int, digits: int) -> None:
    truth, probabilities = predictions(seed)
    probabilities = probabilities.round(digits)  # to one digit: many ties
    probabilities[:, 3] = 1 - probabilities[:, :3].sum(axis=1)
    present = np.unique(truth)
    areas = [sklearn.roc_auc_score(truth == genre, probabilities[:, genre]) for genre in present]
    assert figures(truth, probabilities)["roc_auc"] == pytest.approx(np.mean(areas))


def test_one_genre_alone_has_no_roc_curve() -> None:
    scores = compute_scores(np.zeros(5, int), np.array([[0.9, 0.1]] * 5), ["a", "b"], resamples=20)
    fields = scores.to_dict()
    assert np.isnan(scores.values["roc_auc"])
    assert fields["roc_auc"] is None
    assert fields["interval"]["roc_auc"] == [None, None]
    json.dumps(fields, allow_nan=False)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("k", [1, 2, 3])
def test_top_k_equals_scikit_learns(seed: int, k: int) -> None:
    truth, probabilities = predictions(seed)
    expected = sklearn.top_k_accuracy_score(truth, probabilities, k=k, labels=range(4))
    assert in_top_k(truth, probabilities, k).mean() == pytest.approx(expected)


def test_of_equal_probabilities_the_first_counts() -> None:
    assert in_top_k(np.array([0, 1, 2]), np.full((3, 3), 1 / 3), 1).tolist() == [True, False, False]


@pytest.mark.parametrize(("genres", "k"), [(2, 1), (3, 2), (4, 3), (6, 3)])
def test_top_3_of_few_genres_leaves_one_out(genres: int, k: int) -> None:
    truth, probabilities = predictions(0, genres=genres)
    top = figures(truth, probabilities)["top3_accuracy"]
    assert top == in_top_k(truth, probabilities, k).mean() < 1


@pytest.mark.parametrize("seed", range(3))
def test_a_resample_has_the_scores_of_its_tracks(seed: int) -> None:
    truth, probabilities = predictions(seed, n=25, skill=0.5)
    scores = compute_scores(truth, probabilities, GENRES, resamples=4, seed=seed)
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(4):
        rows = random.integers(0, 25, 25)
        drawn.append(figures(truth[rows], probabilities[rows]))
    for name in METRICS:
        four = [one[name] for one in drawn]
        assert scores.intervals[name] == pytest.approx(np.percentile(four, [2.5, 97.5])), name


def test_many_tracks_are_resampled_a_few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, probabilities = predictions(0)
    whole = compute_scores(truth, probabilities, GENRES, resamples=50).to_dict()
    monkeypatch.setattr("genrescope.evaluation.bootstrap._AT_ONCE", 7 * len(truth))
    assert compute_scores(truth, probabilities, GENRES, resamples=50).to_dict() == whole


def test_folds_have_a_mean_and_a_spread() -> None:
    assert mean_and_deviation([0.6, 0.7, 0.8]) == pytest.approx((0.7, 0.1))
    with pytest.raises(ValueError, match="one fold has no spread"):
        mean_and_deviation([0.6])


def test_a_genre_never_predicted_has_precision_zero() -> None:
    truth, probabilities = np.array([0, 0, 1]), np.array([[0.9, 0.1]] * 3)
    assert figures(truth, probabilities)["macro_precision"] == pytest.approx((2 / 3 + 0) / 2)


def test_calibration_error_by_hand() -> None:
    probabilities = np.array([[0.95, 0.05], [0.05, 0.95], *[[0.65, 0.35]] * 3, [1.0, 0.0]])
    truth = np.array([0, 0, 0, 0, 0, 1])
    # 0.95, 0.95 and 1.0 are in the last of ten bins, and one is correct: |1 - 2.9| = 1.9.
    # Three at 0.65 are all correct: |3 - 1.95| = 1.05.
    assert confidence_bins(truth, probabilities).error == pytest.approx((1.9 + 1.05) / 6)


def test_accuracy_equal_to_confidence_is_calibrated() -> None:
    truth = np.array([0] * 8 + [1] * 2)
    probabilities = np.array([[0.8, 0.2]] * 10)
    assert confidence_bins(truth, probabilities).error == pytest.approx(0)
    assert confidence_bins(1 - truth, probabilities).error == pytest.approx(0.6)


ROW = np.array([[0.6, 0.4]])


@pytest.mark.parametrize(
    ("truth", "probabilities", "words"),
    [
        ([], np.zeros((0, 2)), "there are no tracks to score"),
        ([0, 1], ROW, r"\(2,\) labels do not match \(1, 2\) probabilities"),
        ([[0]], ROW, r"\(1, 1\) labels do not match"),
        ([0], ROW[0], r"labels do not match \(2,\)"),
        ([2], ROW, "a label is not one of the genres"),
        ([-1], ROW, "a label is not one of the genres"),
        ([0], 2 * ROW, "probabilities do not sum to 1"),
        ([0], np.array([[np.nan, 1.0]]), "probabilities do not sum to 1"),
        ([0], np.array([[1.5, -0.5]]), "a probability is negative"),
    ],
)
def test_meaningless_input_is_refused(
    truth: list[int], probabilities: np.ndarray, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        validate(np.array(truth, np.intp), probabilities)
    with pytest.raises(ValueError, match=words):
        compute_scores(np.array(truth, np.intp), probabilities, ["a", "b"])


def test_wrong_numbers_of_genres_and_groups_are_refused() -> None:
    truth, probabilities = predictions(0)
    with pytest.raises(ValueError, match=r"3 genres do not match \(60, 4\)"):
        compute_scores(truth, probabilities, GENRES[:3])
    with pytest.raises(ValueError, match="59 groups do not match 60 labels"):
        compute_scores(truth, probabilities, GENRES, groups=["a"] * 59)


def test_scores_as_json() -> None:
    truth, probabilities = predictions(0)
    fields = json.loads(
        json.dumps(compute_scores(truth, probabilities, GENRES, resamples=200).to_dict())
    )
    assert fields["n"] == 60
    assert list(fields["by_genre"]) == ["blues", "classical", "jazz"]
    assert sum(genre["n"] for genre in fields["by_genre"].values()) == 60
    assert np.sum(fields["confusion"]) == 60
    for name in METRICS:
        low, high = fields["interval"][name]
        assert 0 <= low < high <= 1
        if name != "expected_calibration_error":  # resamples have larger errors
            assert low < fields[name] < high
    for genre in fields["by_genre"].values():
        low, high = genre["recall_interval"]
        assert low <= genre["recall"] <= high


def test_intervals_come_from_the_seed() -> None:
    truth, probabilities = predictions(0)
    one, same, other = (
        compute_scores(truth, probabilities, GENRES, resamples=100, seed=seed).intervals
        for seed in (3, 3, 4)
    )
    assert one == same != other


def simulated(random: np.random.Generator, artists: int, each: int) -> tuple[np.ndarray, ...]:
    """Simulate tracks predicted correctly at 0.7, all or none of the tracks of an artist."""
    truth = np.repeat(random.integers(0, 2, artists), each)
    predicted = np.where(np.repeat(random.random(artists) < 0.7, each), truth, 1 - truth)
    return truth, np.eye(2)[predicted], np.repeat(np.arange(artists), each)


def width(interval: tuple[float, float]) -> float:
    return interval[1] - interval[0]


def test_95_of_100_intervals_contain_the_truth() -> None:
    random, contained = np.random.default_rng(0), 0
    for seed in range(200):
        truth, probabilities, _ = simulated(random, artists=100, each=1)
        scores = compute_scores(truth, probabilities, ["a", "b"], resamples=150, seed=seed)
        low, high = scores.intervals["accuracy"]
        contained += low <= 0.7 <= high
    # 190 expected; 6 is two standard deviations, and 150 resamples cost a little.
    assert 178 <= contained <= 199


def test_an_interval_is_as_wide_as_the_binomials() -> None:
    truth, probabilities, _ = simulated(np.random.default_rng(1), artists=500, each=1)
    scores = compute_scores(truth, probabilities, ["a", "b"])
    accuracy = scores.values["accuracy"]
    expected = 2 * 1.96 * np.sqrt(accuracy * (1 - accuracy) / 500)
    assert width(scores.intervals["accuracy"]) == pytest.approx(expected, rel=0.1)


def test_intervals_by_artist_are_wider() -> None:
    truth, probabilities, artists = simulated(np.random.default_rng(1), artists=40, each=9)
    by_track, by_artist = (
        compute_scores(truth, probabilities, ["a", "b"], groups=groups, resamples=500)
        for groups in (None, [f"artist {number}" for number in artists])
    )
    assert by_artist.values == by_track.values
    # Nine tracks with the same outcome count as one: three times the standard error.
    ratio = width(by_artist.intervals["accuracy"]) / width(by_track.intervals["accuracy"])
    assert ratio == pytest.approx(3, abs=0.5)


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 5, 3)])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 7.0])
def test_softmax(shape: tuple[int, ...], temperature: float) -> None:
    logits = np.random.default_rng(0).normal(0, 3, shape).astype(np.float32)
    powers = np.exp(logits.astype(float) / temperature)
    expected = powers / powers.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(softmax(logits, temperature), expected)
    assert np.isfinite(softmax(1e4 * logits, temperature)).all()


def test_the_default_aggregation_is_the_mean_over_segments() -> None:
    logits = np.log([[0.9, 0.1], [0.5, 0.5], [0.4, 0.6]])
    np.testing.assert_allclose(aggregate_logits(logits), [0.6, 0.4])


@pytest.mark.parametrize("temperature", [0.02, 0.5, 1.0, 2.5, 300.0])
def test_the_temperature_of_simulated_logits_is_found(temperature: float) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (1000, 5))
    truth = [random.choice(5, p=row) for row in softmax(logits)]
    overconfident = list((logits * temperature)[:, None, :])
    # The grid is 2.9 % apart, and 1000 tracks leave about 4 %.
    assert fit_temperature(overconfident, truth) == pytest.approx(temperature, rel=0.1)


@pytest.mark.parametrize("aggregation", ["mean_probability", "mean_logits"])
def test_a_temperature_calibrates_aggregated_probabilities(aggregation: Aggregation) -> None:
    random = np.random.default_rng(0)
    tracks = [random.normal(0, 1, (5, 3)) for _ in range(1000)]
    truth = np.array(
        [random.choice(3, p=aggregate_logits(segments, 1.0, aggregation)) for segments in tracks]
    )
    overconfident = [8 * segments for segments in tracks]
    temperature = fit_temperature(overconfident, truth.tolist(), aggregation)
    raw, calibrated = (
        np.stack([aggregate_logits(z, t, aggregation) for z in overconfident])
        for t in (1.0, temperature)
    )
    assert confidence_bins(truth, raw).error > 0.1
    assert confidence_bins(truth, calibrated).error < 0.05


def draw_confusion(path: Path) -> None:
    truth, probabilities = predictions(0, n=200)
    plots.confusion(confusion(truth, probabilities.argmax(axis=1), 4), GENRES, path)


def draw_curves(path: Path) -> None:
    epochs = [{"epoch": e, "loss": 2 / (e + 1)} for e in range(20)]
    watched = [{**epoch, "accuracy": 0.5 + epoch["epoch"] / 50} for epoch in epochs]
    plots.curves({"fold-1": watched, "final": epochs}, path)


def draw_folds(path: Path) -> None:
    plots.folds({"fold-1": 0.7, "fold-2": 0.8, "fold-3": 0.72}, path)


def draw_reliability(path: Path) -> None:
    plots.reliability(*predictions(0, n=300), path)


@pytest.mark.parametrize("draw", [draw_confusion, draw_curves, draw_folds, draw_reliability])
def test_plots_are_pictures_and_the_same_each_time(tmp_path: Path, draw) -> None:
    paths = tmp_path / "a.png", tmp_path / "b.png"
    for path in paths:
        draw(path)
    with Image.open(paths[0]) as image:
        assert image.format == "PNG"
        assert min(image.size) >= 200
        colours = np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)
    assert len(colours) > 20
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(tmp_path.iterdir()) == sorted(paths), "something else was left behind"


def test_a_classifier_without_epochs_has_no_curves(tmp_path: Path) -> None:
    plots.curves({"only": []}, tmp_path / "curves.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("n", [1, 7, 40])
@pytest.mark.parametrize("share", [0, 1])
def test_scores_that_no_resample_changes_have_wilsons_interval(n: int, share: int) -> None:
    truth = np.arange(n) % 2
    probabilities = np.eye(2)[truth if share else 1 - truth]
    scores = compute_scores(truth, probabilities, ["a", "b"], resamples=20)
    wilson = binomtest(share * n, n).proportion_ci(method="wilson")
    assert scores.intervals["accuracy"] == pytest.approx(tuple(wilson))
    for genre in scores.genres.values():
        wilson = binomtest(share * genre["n"], genre["n"]).proportion_ci(method="wilson")
        assert genre["recall_interval"] == pytest.approx(list(wilson), abs=1e-6)


def test_tracks_of_an_artist_are_one_unit_of_wilsons_interval() -> None:
    truth = np.arange(20) % 2
    artists = [str(number // 4) for number in range(20)]
    scores = compute_scores(truth, np.eye(2)[truth], ["a", "b"], groups=artists, resamples=20)
    low = binomtest(5, 5).proportion_ci(method="wilson").low
    assert scores.intervals["accuracy"] == pytest.approx((low, 1))
