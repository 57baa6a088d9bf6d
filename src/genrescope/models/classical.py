"""Classifiers of scikit-learn and XGBoost on flattened segments, with or without PCA.

A pipeline standardises each number of a segment, projects onto principal components where a recipe
has `pca`, and classifies. The thirteen classifiers of figures 6 and 8 of the Berkeley paper
(`berkeley`) have the settings of the FMA baseline code that it builds on (Defferrard et al., ISMIR
2017, github.com/mdeff/fma); whatever that code leaves open is scikit-learn's default of today.
XGBoost, which the paper names without settings, has its own defaults.

Ours: more iterations for LR and linSVC2, so that they converge; `break_ties` for the SVCs; one
thread for XGBoost, so that the same seed gives the same trees everywhere; and for QDA a `reg_param`
of 0.001, because scikit-learn no longer fits it where a number never changes within a genre (it
used to go on with nonsense: the paper's 13 % on 3968 numbers). Since that code was written,
scikit-learn has also changed LR (one multinomial model instead of one against the rest), AdaBoost
(SAMME instead of SAMME.R), and the kernel width of the SVCs (`gamma`: `scale` instead of `auto`,
the same thing on standardised numbers, not after PCA).
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from genrescope.aggregation import softmax
from genrescope.errors import GenrescopeError, RecipeError, UnknownNameError
from genrescope.features.base import no_boolean
from genrescope.registry import no_such
from genrescope.wording import counted

CHECKED = 500
"""Number of training vectors, evenly spaced, that an exported graph is checked on."""


_XGBOOST_FLAGS = {"enable_categorical", "validate_parameters"}


class _Kind(NamedTuple):
    module: str
    estimator: str
    settings: dict[str, Any]


# Without `break_ties` an SVC names another genre than its own decision values do.
_SVC: dict[str, Any] = {"break_ties": True}
_KINDS = {
    "LR": _Kind("sklearn.linear_model", "LogisticRegression", {"max_iter": 1000}),
    "kNN": _Kind("sklearn.neighbors", "KNeighborsClassifier", {"n_neighbors": 200}),
    "SVCrbf": _Kind("sklearn.svm", "SVC", {"kernel": "rbf", **_SVC}),
    "SVCpoly1": _Kind("sklearn.svm", "SVC", {"kernel": "poly", "degree": 1, **_SVC}),
    "linSVC1": _Kind("sklearn.svm", "SVC", {"kernel": "linear", **_SVC}),
    "linSVC2": _Kind("sklearn.svm", "LinearSVC", {"max_iter": 10_000}),
    "DT": _Kind("sklearn.tree", "DecisionTreeClassifier", {"max_depth": 5}),
    "RF": _Kind(
        "sklearn.ensemble",
        "RandomForestClassifier",
        {"max_depth": 5, "n_estimators": 10, "max_features": 1},
    ),
    "AdaBoost": _Kind("sklearn.ensemble", "AdaBoostClassifier", {"n_estimators": 10}),
    "MLP1": _Kind(
        "sklearn.neural_network",
        "MLPClassifier",
        {"hidden_layer_sizes": (100,), "max_iter": 2000},
    ),
    "MLP2": _Kind(
        "sklearn.neural_network",
        "MLPClassifier",
        {"hidden_layer_sizes": (200, 50), "max_iter": 2000},
    ),
    "NB": _Kind("sklearn.naive_bayes", "GaussianNB", {}),
    "QDA": _Kind(
        "sklearn.discriminant_analysis", "QuadraticDiscriminantAnalysis", {"reg_param": 1e-3}
    ),
    "XGBoost": _Kind("xgboost", "XGBClassifier", {"n_jobs": 1}),
}


_REGULARISED: list[dict[str, Any]] = [
    {"alpha": 1.0},
    {"alpha": 10.0},
    {"early_stopping": True},
    {"early_stopping": True, "alpha": 10.0},
]
# What `tuned: true` chooses among; the first is the setting above. Chosen on the validation tracks
# of FMA-small, where more than these few made no difference beyond chance.
_GRIDS: dict[str, list[dict[str, Any]]] = {
    "LR": [{}, *({"C": c} for c in (0.001, 0.003, 0.01, 0.03, 0.1))],
    "kNN": [
        {},
        *({"n_neighbors": n} for n in (5, 10, 20, 50)),
        {"n_neighbors": 50, "weights": "distance"},
    ],
    "SVCrbf": [{}, {"C": 0.5}, {"C": 2}, {"C": 5}, {"C": 10}],
    "SVCpoly1": [{}, *({"C": c} for c in (0.03, 0.1, 0.3, 3))],
    "linSVC1": [{}, *({"C": c} for c in (0.0003, 0.001, 0.003, 0.01, 0.1))],
    "linSVC2": [{}, *({"C": c} for c in (0.0001, 0.0003, 0.001, 0.003, 0.01))],
    "DT": [
        {},
        *(
            {"max_depth": depth, "min_samples_leaf": leaf}
            for depth, leaf in ((7, 1), (10, 1), (7, 20), (10, 20), (10, 50))
        ),
    ],
    "RF": [
        {},
        *(
            {"n_estimators": 300, "max_depth": depth, "max_features": features}
            for depth, features in ((10, 1), (20, 1), (20, 4), (20, 11))
        ),
    ],
    "AdaBoost": [
        {},
        {"n_estimators": 50, "learning_rate": 0.5},
        {"n_estimators": 200},
        {"n_estimators": 400},
    ],
    "MLP1": [{}, *_REGULARISED],
    "MLP2": [{}, *_REGULARISED],
    "NB": [{}, *({"var_smoothing": v} for v in (1e-3, 0.01, 0.03, 0.1, 0.3))],
    "QDA": [{}, *({"reg_param": r} for r in (0.01, 0.1, 0.3, 0.5, 0.7, 0.9))],
    "XGBoost": [
        {},
        {"n_estimators": 300, "max_depth": 3, "learning_rate": 0.1},
        {
            "n_estimators": 300,
            "max_depth": 4,
            "learning_rate": 0.05,
            "subsample": 0.5,
            "colsample_bytree": 0.3,
        },
    ],
}


def candidates(name: str) -> list[dict[str, Any]]:
    """The settings that `tuned: true` tries for a classifier, the usual one first.

    Raises
    ------
    UnknownNameError
        When there is no such classifier.
    """
    if name not in _GRIDS:
        raise UnknownNameError(no_such("no classifier", name, _GRIDS))
    return _GRIDS[name]


def classifiers() -> list[str]:
    """Names of the classifiers there are."""
    return list(_KINDS)


class Classical:
    """A classifier of scikit-learn or XGBoost; not a torch module.

    Parameters
    ----------
    shape
        Size and frames of a segment.
    genres
        Number of genres.
    name
        One of `classifiers()`.
    pca
        Number of principal components to keep, or None for no PCA.
    seed
        Seed of everything random in PCA and classifier.
    **hyper
        Any argument of the classifier's constructor, in the place of its setting here.

    Attributes
    ----------
    pipeline
        The scikit-learn pipeline `scale`, `pca` (if any), `classify`.
    embedding_size
        Length of the standardised vector, after PCA if there is one.

    Raises
    ------
    UnknownNameError
        When there is no such classifier or argument.
    ValueError
        When there are fewer components.
    RecipeError
        When scikit-learn, skl2onnx or XGBoost is missing.
    """

    trainer: ClassVar[str] = "sklearn"

    def __init__(
        self,
        shape: tuple[int, int],
        genres: int,
        *,
        name: str,
        pca: int | None = None,
        seed: int = 0,
        **hyper: Any,
    ) -> None:
        if name not in _KINDS:
            raise UnknownNameError(no_such("no classifier", name, _KINDS))
        length = shape[0] * shape[1]
        if pca is not None and not 1 <= pca <= length:
            raise ValueError(f"pca: {pca} components of {length} numbers are not possible")
        _needed("skl2onnx")
        self.shape, self.genres, self.name = shape, genres, name
        self.embedding_size = length if pca is None else pca
        steps = [("scale", _needed("sklearn.preprocessing").StandardScaler())]
        if pca is not None:
            components = _needed("sklearn.decomposition").PCA(pca, random_state=seed)
            steps.append(("pca", components))
        steps.append(("classify", _classifier(name, seed, hyper)))
        self.pipeline = _needed("sklearn.pipeline").Pipeline(steps)
        self._checked: NDArray[np.float32] | None = None

    @staticmethod
    def candidates(settings: dict[str, Any]) -> list[dict[str, Any]]:
        """Settings to choose among for a recipe's classifier, see the function `candidates`."""
        return candidates(str(settings.get("name")))

    def fit(self, vectors: NDArray[np.float32], labels: NDArray[np.integer[Any]]) -> None:
        """Fit scaler, PCA and classifier to the training subset.

        The fractions of genres in a decision tree's leaves get Laplace's correction, see `_smooth`.

        Parameters
        ----------
        vectors
            Flattened segments, `[n, size * frames]`.
        labels
            Index of each segment's genre, `[n]`; each genre needs a segment.

        Raises
        ------
        GenrescopeError
            When a genre has no segment, or the classifier can't be fitted to these.
        """
        missing = sorted(set(range(self.genres)) - set(labels.tolist()))
        if missing:
            raise GenrescopeError(f"model {self.name}: no training segment of genre {missing[0]}")
        neighbours = getattr(self.pipeline["classify"], "n_neighbors", 0)
        if neighbours > len(vectors):
            raise GenrescopeError(
                f"model {self.name}: {neighbours} neighbours are more than "
                f"{counted(len(vectors), 'training segment')}; set n_neighbors"
            )
        try:
            # In double precision the exported graph decides as the tree does at every threshold.
            self.pipeline.fit(vectors.astype(np.float64), labels)
        except (ValueError, np.linalg.LinAlgError) as error:
            raise GenrescopeError(f"model {self.name}: {error}") from None
        if self.name == "DT":
            _smooth(self.pipeline["classify"].tree_)
        self._checked = vectors[:: -(-len(vectors) // CHECKED)].astype(np.float32)

    def probabilities(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities `[n, genres]` of flattened segments, as the pipeline itself computes them.

        SVCrbf, SVCpoly1, linSVC1 and linSVC2 give no probabilities, and Platt's would make the fit
        five times as long: here they are the softmax of margins, of an SVC the mean over its
        machines (`sklearn_onnx.svc_margins`). The first genre is the classifier's. As confidences
        they are of use after a temperature was fitted on other tracks, which every run does that
        has validation tracks or folds.
        """
        from genrescope.models.sklearn_onnx import svc_margins

        wide, classifier = vectors.astype(np.float64), self.pipeline["classify"]
        if hasattr(classifier, "predict_proba"):
            return np.asarray(self.pipeline.predict_proba(wide), np.float64)
        if type(classifier).__name__ == "SVC":
            return softmax(svc_margins(classifier, self.pipeline[:-1].transform(wide)))
        values = np.asarray(self.pipeline.decision_function(wide), np.float64)
        return softmax(np.stack([-values, values], axis=1) if values.ndim == 1 else values)

    def onnx(self) -> bytes:
        """Turn the fitted pipeline into an ONNX graph, checked against scikit-learn.

        Returns
        -------
        model
            Takes `segments [n, size, frames]`; gives `logits [n, genres]`, the logarithms of the
            probabilities (or margins where there are none), so that their softmax is
            the probabilities, and `embedding [n, embedding_size]`, the standardised vector,
            after PCA if there is one. All float32.

        Raises
        ------
        GenrescopeError
            When it is not fitted, can't be exported with these settings, or ONNX Runtime's
            probabilities differ from scikit-learn's by more than 1e-3.
        """
        from genrescope.models.sklearn_onnx import check_graph, graph

        if self._checked is None:
            raise GenrescopeError(f"model {self.name}: fit it before it is exported")
        model = graph(self.pipeline, self.shape, self.genres)
        tied = 0.05 if self.name == "kNN" else 0.0
        segments = self._checked.reshape(-1, *self.shape)
        check_graph(model, segments, self.probabilities, tied=tied)
        return model


def _smooth(tree: Any) -> None:
    """Make the fractions of genres in each node those of Laplace, one segment more of each genre.

    A small leaf with a single genre says nothing against the others; with a probability of 0 it
    would, and one temperature could not calibrate both such leaves and large ones (Provost and
    Domingos, Tree Induction for Probability-Based Ranking, 2003). The first genre stays first.
    """
    segments = tree.weighted_n_node_samples[:, None, None]
    tree.value[:] = (tree.value * segments + 1) / (segments + tree.value.shape[2])


def _classifier(name: str, seed: int, hyper: dict[str, Any]) -> Any:
    kind = _KINDS[name]
    if name == "XGBoost":
        _needed("onnxmltools")
    estimator = getattr(_needed(kind.module), kind.estimator)(**kind.settings)
    known = estimator.get_params()
    for argument, value in hyper.items():
        if argument not in known:
            raise UnknownNameError(no_such(f"{name} has no setting", argument, known))
        # XGBoost's defaults are all None; of scikit-learn's, those of numbers are numbers.
        default = 0 if name == "XGBoost" and argument not in _XGBOOST_FLAGS else known[argument]
        try:
            no_boolean(value, type(default))
        except ValueError as error:
            raise RecipeError(f"model classical: {argument}: {error}") from None
    seeded = {"random_state": seed} if "random_state" in known else {}
    return estimator.set_params(**seeded | hyper)


def _needed(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        package = module.partition(".")[0].replace("sklearn", "scikit-learn")
        raise RecipeError(
            f"model classical needs {package}: pip install 'genrescope[lab]'"
        ) from None
