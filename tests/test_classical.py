"""Classifiers of scikit-learn: settings, graphs that agree with them, and what can't be."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from genrescope.aggregation import softmax
from genrescope.errors import GenrescopeError, RecipeError
from genrescope.evaluation.calibration import fit_temperature
from genrescope.models import classical, make_model
from genrescope.models.classical import Classical, candidates, classifiers

pytestmark = pytest.mark.needs("lab")

SHAPE = (5, 3)
# Smaller than the paper's, so that a few vectors are enough and the tests are fast.
QUICK: dict[str, dict[str, Any]] = {
    "kNN": {"n_neighbors": 15},
    "MLP1": {"max_iter": 60},
    "MLP2": {"max_iter": 30},
    "XGBoost": {"n_estimators": 10},
}
# What a recipe may change, and the graph has to follow.
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("LR", {"C": 0.01, "class_weight": "balanced"}),
    ("kNN", {"n_neighbors": 9, "weights": "distance"}),
    ("SVCrbf", {"C": 5, "gamma": 0.2}),
    ("SVCpoly1", {"degree": 3, "coef0": 1.0}),
    ("linSVC1", {"kernel": "sigmoid"}),
    ("RF", {"n_estimators": 40, "max_depth": None}),
    ("MLP1", {"activation": "tanh", "hidden_layer_sizes": [8], "max_iter": 300}),
    ("QDA", {"reg_param": 0.5}),
    ("XGBoost", {"n_estimators": 5, "max_depth": 2, "learning_rate": 0.5}),
]


def clouds(genres: int, n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Vectors around one middle a genre, of very different scales, and their genres."""
    random = np.random.default_rng(0)
    labels = np.arange(n) % genres
    length = SHAPE[0] * SHAPE[1]
    vectors = random.normal(size=(n, length)) + random.normal(size=(genres, length))[labels]
    return (vectors * np.geomspace(0.01, 100, length) + 7).astype(np.float32), labels


def fitted(name: str, genres: int = 4, pca: int | None = None, **hyper: Any) -> Classical:
    model = Classical(SHAPE, genres, name=name, pca=pca, **(QUICK.get(name, {}) | hyper))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few iterations converge to nothing
        model.fit(*clouds(genres))
    return model


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Ten bins of equal width."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * 10).astype(int), 9)
    return float(
        sum(
            (bins == b).mean() * abs(right[bins == b].mean() - confidence[bins == b].mean())
            for b in set(bins.tolist())
        )
    )


def run(model: bytes, segments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    logits, embedding = session.run(["logits", "embedding"], {"segments": segments})
    return logits, embedding


@pytest.mark.parametrize("genres", [2, 4])
@pytest.mark.parametrize("pca", [None, 6])
@pytest.mark.parametrize("name", classifiers())
def test_a_graph_names_what_the_pipeline_names(name: str, pca: int | None, genres: int) -> None:
    model = fitted(name, genres, pca)
    random = np.random.default_rng(1)
    vectors = clouds(genres)[0][:50]
    vectors = vectors + random.normal(size=vectors.shape).astype(np.float32) * vectors.std(0)
    logits, embedding = run(model.onnx(), vectors.reshape(-1, *SHAPE))

    wide = vectors.astype(np.float64)
    if hasattr(model.pipeline, "predict_proba"):
        np.testing.assert_allclose(softmax(logits), model.pipeline.predict_proba(wide), atol=1e-3)
    elif genres == 2 or name == "linSVC2":
        decisions = model.pipeline.decision_function(wide)
        np.testing.assert_allclose(logits if genres > 2 else logits[:, 1], decisions, atol=1e-4)
    assert (logits.argmax(1) == model.pipeline.predict(wide)).all()
    np.testing.assert_allclose(embedding, model.pipeline[:-1].transform(wide), atol=1e-4)
    assert embedding.shape[1] == model.embedding_size == (pca or 15)


@pytest.mark.parametrize("name", classifiers())
def test_confidences_are_calibrated_and_differ(name: str) -> None:
    """By a temperature fitted to tracks that were not trained on, as a run does it."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 1200)
    middles = random.normal(size=(4, 15))
    vectors = (random.normal(size=(1200, 15)) * 1.6 + middles[labels]).astype(np.float32)
    model = Classical(SHAPE, 4, name=name, **QUICK.get(name, {}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(vectors[:300], labels[:300])
    graph = model.onnx()
    logits = run(graph, vectors[300:].reshape(-1, *SHAPE))[0]
    temperature = fit_temperature([row[None] for row in logits[:300]], labels[300:600].tolist())
    held_out, labels = logits[300:], labels[600:]
    before, after = (
        expected_calibration_error(labels, softmax(held_out, t)) for t in (1.0, temperature)
    )
    assert after < max(before, 0.05)
    assert after < 0.09
    # Between two genres it is less certain than in the middle of one.
    spread = random.normal(size=(400, 15))
    clear = (np.tile(2 * middles, (100, 1)) + spread).astype(np.float32)
    between = (middles + np.roll(middles, 1, axis=0)) / 2
    unclear = (np.tile(between, (100, 1)) + spread).astype(np.float32)
    confidence = [
        softmax(run(graph, each.reshape(-1, *SHAPE))[0], temperature).max(axis=1).mean()
        for each in (clear, unclear)
    ]
    assert confidence[0] > confidence[1] + 0.02


@pytest.mark.parametrize("name", ["NB", "QDA"])
def test_confidences_differ_where_many_numbers_say_the_same(name: str) -> None:
    """Their probabilities are 0 and 1 there, for noise as well."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 1600)
    vectors = 0.8 * random.normal(size=(4, 15))[labels] + 1.6 * random.normal(size=(1600, 15))
    vectors = np.tile(vectors, 20) + 0.3 * random.normal(size=(1600, 300))
    vectors = vectors.astype(np.float32)
    model = Classical((300, 1), 4, name=name, **({"reg_param": 0.5} if name == "QDA" else {}))
    model.fit(vectors[:1300], labels[:1300])
    logits = run(model.onnx(), vectors[1300:, :, None])[0]
    temperature = fit_temperature([row[None] for row in logits[:150]], labels[1300:1450].tolist())
    held_out = softmax(logits[150:], temperature)
    assert np.ptp(np.quantile(held_out.max(axis=1), [0.1, 0.9])) > 0.2
    assert expected_calibration_error(labels[1450:], held_out) < 0.15


@pytest.mark.parametrize(("name", "hyper"), VARIANTS)
def test_settings_reach_classifier_and_graph(name: str, hyper: dict[str, Any]) -> None:
    model = fitted(name, **hyper)
    assert {key: model.pipeline["classify"].get_params()[key] for key in hyper} == hyper
    vectors, labels = clouds(4)
    logits, _ = run(model.onnx(), vectors.reshape(-1, *SHAPE))  # onnx() compares probabilities
    assert (logits.argmax(1) == labels).mean() > 0.5


@pytest.mark.parametrize("name", ["NB", "QDA"])
def test_numbers_that_never_change_are_no_trouble(name: str) -> None:
    vectors, labels = clouds(4)
    vectors[:, 3] = 255
    vectors[labels == 2, 5] = 0
    model = Classical(SHAPE, 4, name=name)
    model.fit(vectors, labels)
    logits, _ = run(model.onnx(), vectors.reshape(-1, *SHAPE))
    assert (logits.argmax(1) == labels).mean() > 0.9


def test_the_classifiers_are_those_of_the_paper() -> None:
    assert classifiers() == (
        [
            "LR",
            "kNN",
            "SVCrbf",
            "SVCpoly1",
            "linSVC1",
            "linSVC2",
            "DT",
            "RF",
            "AdaBoost",
            "MLP1",
            "MLP2",
            "NB",
            "QDA",
            "XGBoost",
        ]
    )
    neighbours = Classical(SHAPE, 4, name="kNN").pipeline["classify"]
    assert neighbours.n_neighbors == 200
    forest = Classical(SHAPE, 4, name="RF").pipeline["classify"]
    assert (forest.max_depth, forest.n_estimators, forest.max_features) == (5, 10, 1)
    assert Classical(SHAPE, 4, name="MLP2").pipeline["classify"].hidden_layer_sizes == (200, 50)


@pytest.mark.parametrize("name", ["RF", "MLP1", "XGBoost"])
def test_a_seed_repeats_a_fit(name: str) -> None:
    vectors, labels = clouds(4)
    logits = []
    for seed in (3, 3, 4):
        settings = {"kind": "classical", "name": name, **QUICK.get(name, {}), "pca": 6}
        if name == "XGBoost":
            settings["subsample"] = 0.5
        model = make_model({**settings, "seed": seed}, shape=SHAPE, genres=4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(vectors, labels)
        logits.append(run(model.onnx(), vectors.reshape(-1, *SHAPE))[0])
    assert (logits[0] == logits[1]).all()
    assert (logits[0] != logits[2]).any()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"name": "SVM"}, "no classifier 'SVM'; there are: LR, kNN"),
        ({"name": "LR", "gamma": 1}, "LR has no setting 'gamma'; there are: C, class_weight"),
        ({"name": "LR", "pca": 16}, "16 components of 15 numbers"),
        ({"name": "LR", "pca": 0}, "pca: 0 components"),
        ({}, "name"),
    ],
)
def test_impossible_settings_are_named(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        make_model({"kind": "classical", **settings}, shape=SHAPE, genres=4)


def test_what_cannot_be_fitted_is_named() -> None:
    vectors, labels = clouds(4)
    with pytest.raises(GenrescopeError, match="kNN: 200 neighbours are more than 120"):
        Classical(SHAPE, 4, name="kNN").fit(vectors, labels)
    with pytest.raises(GenrescopeError, match="no training segment of genre 4"):
        Classical(SHAPE, 5, name="LR").fit(vectors, labels)
    with pytest.raises(GenrescopeError, match=r"LR: .*'C'.*-1"):
        Classical(SHAPE, 4, name="LR", C=-1).fit(vectors, labels)
    with pytest.raises(GenrescopeError, match="fit it before"):
        Classical(SHAPE, 4, name="LR").onnx()


@pytest.mark.parametrize(
    ("name", "hyper"), [("XGBoost", {"booster": "gblinear"}), ("kNN", {"metric": "manhattan"})]
)
def test_settings_without_a_graph_are_named(name: str, hyper: dict[str, Any]) -> None:
    model = fitted(name, **hyper)
    with pytest.raises(GenrescopeError, match="can't be exported with these settings: "):
        model.onnx()


def test_a_graph_that_differs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted("NB")
    model.onnx()
    real = model.probabilities
    monkeypatch.setattr(model, "probabilities", lambda vectors: real(vectors)[:, ::-1])
    with pytest.raises(GenrescopeError, match="probabilities differ from the model's by"):
        model.onnx()


@pytest.mark.parametrize("missing", ["sklearn", "skl2onnx", "xgboost", "onnxmltools"])
def test_missing_packages_are_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = classical.import_module

    def without(module: str) -> Any:
        if module.partition(".")[0] == missing:
            raise ModuleNotFoundError(module)
        return real(module)

    monkeypatch.setattr(classical, "import_module", without)
    package = "scikit-learn" if missing == "sklearn" else missing
    with pytest.raises(RecipeError, match=rf"needs {package}: pip install 'genrescope\[lab\]'"):
        make_model({"kind": "classical", "name": "XGBoost"}, shape=SHAPE, genres=4)


def test_a_graph_runs_where_there_is_no_scikit_learn(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(fitted("XGBoost", pca=6).onnx())
    code = (
        "import sys, numpy, onnxruntime\n"
        f"segments = numpy.zeros((2, {SHAPE[0]}, {SHAPE[1]}), 'float32')\n"
        "session = onnxruntime.InferenceSession(sys.argv[1])\n"
        "print(session.run(['logits'], {'segments': segments})[0].shape)\n"
        "assert not {'torch', 'sklearn', 'xgboost', 'skl2onnx'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, os.fspath(tmp_path / "model.onnx")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "(2, 4)\n", done.stderr


@pytest.mark.shared
def test_real_embeddings_are_told_apart(shared: Path) -> None:
    stored = np.load(shared / "data/fma-features/fma_small_vggish128_mean.npz", allow_pickle=False)
    with (shared / "data/fma-metadata/tracks_small.csv").open(encoding="utf-8") as file:
        rows = {int(row["track_id"]): row for row in csv.DictReader(file)}
    tracks = [rows[int(track)] for track in stored["track_id"]]
    genres = sorted({track["genre_top"] for track in tracks})
    labels = np.array([genres.index(track["genre_top"]) for track in tracks])
    split = np.array([track["split"] for track in tracks])
    vectors = stored["X"].astype(np.float32)

    model = Classical((128, 1), len(genres), name="LR", pca=64, C=0.01)
    model.fit(vectors[split == "training"], labels[split == "training"])
    held_out = split == "validation"
    logits, _ = run(model.onnx(), vectors[held_out][:, :, None])
    assert (logits.argmax(1) == labels[held_out]).mean() > 0.55  # one in eight by chance


@pytest.mark.parametrize("name", classifiers())
def test_what_may_be_chosen_can_be_built_and_begins_with_the_usual(name: str) -> None:
    settings = candidates(name)
    assert settings[0] == {}
    assert len({str(setting) for setting in settings}) == len(settings)
    for setting in settings:
        Classical((4, 1), 3, name=name, **setting)


def test_neighbours_equally_near_do_not_stop_an_export() -> None:
    random = np.random.default_rng(0)
    once = random.normal(size=(200, 4)).astype(np.float32)
    # The last of twenty neighbours has an equal of another genre, for some of the tracks.
    vectors = np.concatenate([once, once[:10]])
    labels = np.concatenate([np.arange(200) % 3, (np.arange(10) + 1) % 3])
    model = Classical((4, 1), 3, name="kNN", n_neighbors=20)
    model.fit(vectors, labels)
    assert model.onnx()
