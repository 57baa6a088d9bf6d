"""Genrescope as estimators of scikit-learn: `GenreEmbedding` and `GenreClassifier`.

Both take tracks (a list of paths, `Waveform`s, bytes, or `(array, sample_rate)`), or a numeric
matrix `[n, size]` of embeddings that were computed before. They follow scikit-learn's contract:
`clone`, `get_params`, pipelines, searches for parameters.

Examples
--------
>>> from sklearn.linear_model import LogisticRegression
>>> from sklearn.pipeline import make_pipeline
>>> from genrescope.sklearn import GenreClassifier, GenreEmbedding
>>> tracks = ["walking-bass.flac", "palm-muted-guitars.flac"]
>>> GenreEmbedding().fit_transform(tracks).shape[0]
2
>>> own = make_pipeline(GenreEmbedding(), LogisticRegression()).fit(tracks, ["calm", "loud"])
>>> own.predict(tracks).tolist()
['calm', 'loud']
>>> GenreClassifier().fit(tracks, ["calm", "loud"]).predict(tracks).tolist()
['calm', 'loud']
"""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from genrescope.audio import Waveform
from genrescope.errors import FileError, MissingPackageError
from genrescope.inference import Classifier

try:
    from sklearn.base import (
        BaseEstimator,
        ClassifierMixin,
        ClassNamePrefixFeaturesOutMixin,
        TransformerMixin,
    )
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as _missing:
    raise MissingPackageError(
        "genrescope.sklearn needs scikit-learn: pip install scikit-learn"
    ) from _missing

if TYPE_CHECKING:
    from sklearn.utils import Tags


class GenreEmbedding(
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]
    TransformerMixin,  # type: ignore[misc]
    BaseEstimator,  # type: ignore[misc]
):
    """The embedding of each track, by a trained model.

    There is nothing to fit: the model is trained already. A numeric matrix passes through, so that
    a pipeline takes embeddings that were computed before, too.

    Parameters
    ----------
    model
        A shipped model, a run folder, or a bundle.
    layer
        One of `Classifier.layers`.
    n_jobs
        Tracks decoded at the same time; as many as there are cores by default.

    Attributes
    ----------
    n_features_in_
        Columns of the matrix; only where `fit` was given a matrix.
    n_tracks_in_
        Tracks that `fit` was given; only where it was given tracks.
    """

    def __init__(
        self,
        model: str | PathLike[str] = "default",
        layer: str = "embedding",
        n_jobs: int | None = None,
    ) -> None:
        self.model = model
        self.layer = layer
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: object = None) -> Self:  # noqa: N803 - scikit-learn's names
        """Check the tracks; nothing is computed.

        Raises
        ------
        ValueError
            When the model has no such layer.
        """
        del y
        if is_tracks(X):
            self.n_tracks_in_ = len(X)
            network = Classifier.load(self.model).network
            network.check_layers([self.layer])
            # For names of columns, see get_feature_names_out.
            self._n_features_out = network.layers[self.layer]
        else:
            self._n_features_out = validate_data(self, X).shape[1]
        return self

    def transform(self, X: Any) -> NDArray[np.floating]:  # noqa: N803
        """The embeddings of tracks, float32 `[n, size]`.

        Raises
        ------
        AudioError
            When a track can't be decoded.
        ValueError
            When the model has no such layer.
        """
        if not is_tracks(X):
            check_is_fitted(self)
            matrix: NDArray[np.floating] = validate_data(self, X, reset=False, dtype="numeric")
            return matrix
        classifier = Classifier.load(self.model)
        rows = []
        for result in classifier.embed_many(X, [self.layer], jobs=self.n_jobs):
            if isinstance(result, FileError):
                raise result
            rows.append(result[self.layer])
        return np.stack(rows)

    def __sklearn_is_fitted__(self) -> bool:
        """Whether `fit` was called; tracks are transformed without."""
        return hasattr(self, "n_features_in_") or hasattr(self, "n_tracks_in_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        return tags


class GenreClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of genres of one's own: logistic regression on a trained model's embedding.

    Parameters
    ----------
    model, layer, n_jobs
        As for `GenreEmbedding`.
    C
        Inverse strength of the L2 penalty.
    class_weight
        "balanced" gives rare genres more weight.
    max_iter
        Most iterations of the solver.

    Attributes
    ----------
    classes_
        The genres, sorted.
    n_iter_
        Iterations of the solver.
    head_
        The fitted pipeline of `StandardScaler` and `LogisticRegression`.
    """

    def __init__(
        self,
        model: str | PathLike[str] = "default",
        layer: str = "embedding",
        C: float = 1.0,  # noqa: N803
        class_weight: str | dict[Any, float] | None = None,
        max_iter: int = 1000,
        n_jobs: int | None = None,
    ) -> None:
        self.model = model
        self.layer = layer
        self.C = C
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803
        """Train the head on tracks, or on a matrix of embeddings, and their genres.

        Raises
        ------
        AudioError
            When a track can't be decoded.
        ValueError
            When there are not at least two genres.
        """
        if is_tracks(X):
            X = self._embedding().transform(X)  # noqa: N806
        X, y = validate_data(self, X, y)  # noqa: N806
        head = LogisticRegression(C=self.C, class_weight=self.class_weight, max_iter=self.max_iter)
        self.head_ = make_pipeline(StandardScaler(), head).fit(X, y)
        self.classes_ = self.head_.classes_
        self.n_iter_ = self.head_[-1].n_iter_
        return self

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """The most probable genre of each track."""
        labels: NDArray[Any] = self._fitted().predict(self._matrix(X))
        return labels

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """The probability of each of `classes_`, `[n, classes]`."""
        probabilities: NDArray[np.float64] = self._fitted().predict_proba(self._matrix(X))
        return probabilities

    def decision_function(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """The logits, `[n, classes]`, or `[n]` where there are two classes."""
        logits: NDArray[np.float64] = self._fitted().decision_function(self._matrix(X))
        return logits

    def _fitted(self) -> Any:
        check_is_fitted(self)
        return self.head_

    def _embedding(self) -> GenreEmbedding:
        return GenreEmbedding(self.model, self.layer, self.n_jobs)

    def _matrix(self, X: Any) -> NDArray[np.floating]:  # noqa: N803
        if is_tracks(X):
            X = self._embedding().transform(X)  # noqa: N806
        matrix: NDArray[np.floating] = validate_data(self, X, reset=False)
        return matrix

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        return tags


def is_tracks(X: Any) -> bool:  # noqa: N803
    """Whether an input is a sequence of tracks; otherwise it should be a numeric matrix."""
    if getattr(X, "ndim", 1) != 1:  # matrices, sparse or not, and data frames
        return False
    try:
        first = next(iter(X.tolist() if hasattr(X, "tolist") else X))
    except (TypeError, StopIteration):
        return False
    if isinstance(first, tuple) and len(first) == 2:  # (array, sample_rate), not a row of numbers
        return np.ndim(first[0]) > 0
    return isinstance(first, str | PathLike | Waveform | bytes) or hasattr(first, "read")
