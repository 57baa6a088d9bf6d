"""`genrescope.sklearn`: scikit-learn's own contract, on matrices and on tracks."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn")

from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from clips import RATE, music, write_wav
from genrescope import AudioError, Classifier, GenrescopeError, Waveform
from genrescope.sklearn import GenreClassifier, GenreEmbedding, is_tracks


@parametrize_with_checks([GenreEmbedding(), GenreClassifier()])
def test_the_contract_of_scikit_learn(estimator: BaseEstimator, check: object) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("tracks")
    return [
        write_wav(folder / f"{i}.wav", 3, seed=i, pitch=110.0 if i % 2 else 880.0) for i in range(8)
    ]


LABELS = ["high", "low"] * 4


def test_embeddings_are_the_models(tracks: list[Path]) -> None:
    matrix = GenreEmbedding().fit_transform(tracks)
    classifier = Classifier.load()
    assert matrix.shape == (8, classifier.embedding_size)
    np.testing.assert_array_equal(matrix[3], classifier.embed(tracks[3]))
    as_text = np.array([str(track) for track in tracks[:2]])
    np.testing.assert_array_equal(GenreEmbedding().transform(as_text), matrix[:2])
    by_waveform = GenreEmbedding().transform([Waveform(music(3), RATE), (music(3), RATE)])
    np.testing.assert_array_equal(by_waveform[0], by_waveform[1])


def test_columns_have_names(tracks: list[Path]) -> None:
    pandas = pytest.importorskip("pandas")
    step = GenreEmbedding().set_output(transform="pandas")
    table = step.fit_transform(tracks[:2])
    assert isinstance(table, pandas.DataFrame)
    assert [*table.columns] == [*step.get_feature_names_out()]
    assert table.columns[0] == "genreembedding0"


def test_genres_of_ones_own(tracks: list[Path]) -> None:
    classifier = GenreClassifier().fit(tracks[:6], LABELS[:6])
    assert classifier.classes_.tolist() == ["high", "low"]
    assert classifier.predict(tracks[6:]).tolist() == LABELS[6:]
    probabilities = classifier.predict_proba(tracks)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    matrix = GenreEmbedding().transform(tracks)
    np.testing.assert_array_equal(classifier.predict_proba(matrix), probabilities)
    again = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(again.predict_proba(matrix), probabilities)


def test_pipelines_and_searches(tracks: list[Path]) -> None:
    pipeline = make_pipeline(GenreEmbedding(n_jobs=2), LogisticRegression())
    assert clone(pipeline).fit(tracks, LABELS).score(tracks, LABELS) == 1
    search = GridSearchCV(GenreClassifier(), {"C": [0.1, 1.0]}, cv=2).fit(tracks, LABELS)
    assert search.best_params_["C"] in (0.1, 1.0)
    assert search.best_score_ > 0.5


def test_a_bad_track_is_named(tracks: list[Path], tmp_path: Path) -> None:
    (tmp_path / "bad.mp3").write_bytes(b"no music" * 100)
    with pytest.raises(AudioError, match=r"bad\.mp3: not audio"):
        GenreEmbedding().transform([tracks[0], tmp_path / "bad.mp3"])
    with pytest.raises(GenrescopeError, match="no such file"):
        GenreEmbedding(model="nowhere").transform(tracks)
    with pytest.raises(ValueError, match="no layer 'middle'"):
        GenreEmbedding(layer="middle").transform(tracks)


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (["a.mp3"], True),
        ([Path("a.mp3")], True),
        (np.array(["a.mp3"]), True),
        ([Waveform(np.zeros(9, np.float32), 8000)], True),
        ([(np.zeros(9), 8000)], True),
        ([b"RIFF"], True),
        (np.zeros((2, 3)), False),
        ([[1.0, 2.0]], False),
        ([(1.0, 2.0)], False),
        ([1.0, 2.0], False),
        ([], False),
        (None, False),
    ],
)
def test_what_counts_as_tracks(value: object, answer: bool) -> None:
    assert is_tracks(value) is answer
