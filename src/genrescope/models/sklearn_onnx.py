"""A fitted scikit-learn pipeline as one ONNX graph that needs neither scikit-learn nor torch.

Scaler and PCA are a few operators of double precision. Classifiers are converted by skl2onnx, and
XGBoost by onnxmltools, with exceptions that are written here: of SVCs skl2onnx exports another kind
of decision value; its kNN is slow and wrong where a distance is 0 and neighbours weigh by distance;
and the probabilities of NB and QDA are 0 and 1 where there are many numbers, so that nothing would
be left of how certain they are. Of these two the logits are the logarithms before that.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from genrescope.aggregation import softmax
from genrescope.errors import GenrescopeError
from genrescope.onnx_session import onnx_session

TOLERANCE = 1e-3
FIRST_BY = 1e-3
"""By this an SVC's predicted genre is above the largest margin, see `svc_margins`."""
SMALLEST = 1e-7
"""Probabilities are clipped here before their logarithm is taken."""
_OPSETS = {"": 17, "ai.onnx.ml": 3}
_IR_VERSION = 8
# scikit-learn and XGBoost hand their trees single precision too.
_SINGLE = (
    "DecisionTreeClassifier",
    "RandomForestClassifier",
    "AdaBoostClassifier",
    "XGBClassifier",
)


class _Graph:
    """Collects nodes and constants; a value is known by its name."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def add(self, operator: str, *inputs: str, output: str | None = None, **settings: Any) -> str:
        name = output or f"genrescope/{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **settings))
        return name

    def constant(self, values: Any, kind: Any = np.float64) -> str:
        name = f"genrescope/constant/{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def single(self, value: str, output: str | None = None) -> str:
        return self.add("Cast", value, output=output, to=TensorProto.FLOAT)

    def double(self, value: str) -> str:
        return self.add("Cast", value, to=TensorProto.DOUBLE)


def graph(pipeline: Any, shape: tuple[int, int], genres: int) -> bytes:
    """Turn a fitted pipeline into a graph with the outputs `logits` and `embedding`.

    Raises
    ------
    GenrescopeError
        When the classifier can't be converted with its settings.
    """
    parts, classifier = _Graph(), pipeline["classify"]
    kind = type(classifier).__name__
    vector = _preprocessing(parts, pipeline, shape)
    parts.single(vector, output="embedding")
    try:
        values = _OWN.get(kind, _converted)(parts, classifier, vector)
    except Exception as error:  # the converters raise whatever they like
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise GenrescopeError(f"{kind} can't be exported with these settings: {reason}") from error
    if hasattr(classifier, "predict_proba") and kind not in _LOGARITHMS:
        clipped = parts.add("Clip", parts.double(values), parts.constant(SMALLEST))
        values = parts.add("Log", clipped)
    parts.single(values, output="logits")
    made = helper.make_graph(
        parts.nodes,
        "classifier",
        [_tensor("segments", *shape)],
        [_tensor("logits", genres), _tensor("embedding", _length(pipeline))],
        parts.constants,
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in _OPSETS.items()]
    model = helper.make_model(made, opset_imports=opsets, ir_version=_IR_VERSION)
    return bytes(model.SerializeToString())


def check_graph(
    model: bytes,
    segments: NDArray[np.float32],
    probabilities: Callable[[NDArray[np.float32]], NDArray[np.float64]],
    *,
    tied: float = 0.0,
) -> None:
    """Compare a graph with the model it was exported from.

    Parameters
    ----------
    model, segments, probabilities
        The graph, `[n, size, frames]`, and the model's own probabilities of `[n, size * frames]`.
    tied
        Fraction of the segments that may differ, because either of two equally near neighbours may
        be taken: the same recording twice in the training set is enough.

    Raises
    ------
    GenrescopeError
        When a probability of `segments [n, size, frames]` differs by more than 1e-3, or another
        genre is first where the first two are further apart than that.
    """
    session = onnx_session(model, threads=0)
    (logits,) = session.run(["logits"], {"segments": segments})
    expected = probabilities(segments.reshape(len(segments), -1))
    differences = np.abs(softmax(logits) - expected).max(axis=1)
    difference = float(np.quantile(differences, 1 - tied, method="lower"))
    if not difference <= TOLERANCE:
        raise GenrescopeError(f"export: probabilities differ from the model's by {difference:.2g}")
    first, second = np.sort(expected, axis=1)[:, :-3:-1].T
    others = (logits.argmax(1) != expected.argmax(1)) & (first - second > TOLERANCE)
    if others.mean() > tied:
        raise GenrescopeError(f"export: {others.sum()} of {len(segments)} get another genre")


def _tensor(name: str, *shape: int) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape])


def _length(pipeline: Any) -> int:
    if "pca" in pipeline.named_steps:
        return int(pipeline["pca"].n_components_)
    return len(pipeline["scale"].scale_)


def _preprocessing(parts: _Graph, pipeline: Any, shape: tuple[int, int]) -> str:
    length = parts.constant([-1, shape[0] * shape[1]], np.int64)
    vector = parts.double(parts.add("Reshape", "segments", length))
    vector = parts.add("Sub", vector, parts.constant(pipeline["scale"].mean_))
    vector = parts.add("Div", vector, parts.constant(pipeline["scale"].scale_))
    if "pca" in pipeline.named_steps:
        pca = pipeline["pca"]
        vector = parts.add("Sub", vector, parts.constant(pca.mean_))
        vector = parts.add("MatMul", vector, parts.constant(pca.components_.T))
    return vector


def _converted(parts: _Graph, classifier: Any, vector: str) -> str:
    """Append the nodes of skl2onnx or onnxmltools; their second output is the scores."""
    single = type(classifier).__name__ in _SINGLE
    name = parts.add("Identity", parts.single(vector) if single else vector, output="vector")
    if type(classifier).__name__ == "XGBClassifier":
        model = _converted_xgboost(classifier, name)
    else:
        model = _converted_sklearn(classifier, name, single)
    unknown = {opset.domain for opset in model.opset_import} - set(_OPSETS)
    if unknown:
        raise ValueError(f"operators of {', '.join(unknown)} are not everywhere")
    parts.nodes.extend(model.graph.node)
    parts.constants.extend(model.graph.initializer)
    return str(model.graph.output[1].name)


def _converted_sklearn(classifier: Any, name: str, single: bool) -> ModelProto:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    kind = FloatTensorType if single else DoubleTensorType
    option = "zipmap" if hasattr(classifier, "predict_proba") else "raw_scores"
    return convert_sklearn(
        classifier,
        initial_types=[(name, kind([None, classifier.n_features_in_]))],
        options={id(classifier): {option: option == "raw_scores"}},
        target_opset=_OPSETS,
    )


def _converted_xgboost(classifier: Any, name: str) -> ModelProto:
    from onnxmltools import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    kind = FloatTensorType([None, classifier.n_features_in_])
    return convert_xgboost(classifier, initial_types=[(name, kind)], target_opset=15)


def _svc(parts: _Graph, svc: Any, vector: str) -> str:
    """Margins of an SVC, one a genre: the mean of what its machines decide for or against it.

    An SVC has one machine for each pair of genres, and scikit-learn predicts the genre that most
    machines decide for (`sklearn.utils.multiclass._ovr_decision_function`; their sum breaks ties).
    How many do so says next to nothing of how certain that is: the first genre nearly always has
    all of its machines. The margins do. That genre stays the first: where its margin is not the
    largest, it gets the largest.
    """
    pairs, intercepts = _pairs(svc)
    decisions = parts.add(
        "Add",
        parts.add("MatMul", _kernel(parts, svc, vector), parts.constant(pairs)),
        parts.constant(intercepts),
    )
    genres = len(svc.classes_)
    if genres == 2:
        return parts.add("Concat", parts.add("Neg", decisions), decisions, axis=1)
    signs = np.zeros((len(intercepts), genres))
    for row, (first, second) in enumerate(combinations(range(genres), 2)):
        signs[row, first], signs[row, second] = 1, -1
    signed = parts.constant(signs)
    firsts = parts.double(parts.add("GreaterOrEqual", decisions, parts.constant(0)))
    votes = parts.add("MatMul", firsts, signed)
    votes = parts.add("Add", votes, parts.constant((signs < 0).sum(0)))
    sums = parts.add("MatMul", decisions, signed)
    limits = parts.add("Add", parts.add("Abs", sums), parts.constant(1))
    scaled = parts.add("Div", sums, parts.add("Mul", limits, parts.constant(3)))
    values = parts.add("Add", votes, scaled)
    margins = parts.add("Div", sums, parts.constant(genres - 1))
    highest = parts.add("ReduceMax", values, axes=[1], keepdims=1)
    largest = parts.add("ReduceMax", margins, axes=[1], keepdims=1)
    above = parts.add("Add", largest, parts.constant(FIRST_BY))
    return parts.add("Where", parts.add("Equal", values, highest), above, margins)


def svc_margins(svc: Any, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values that the graph of a fitted SVC gives, `[n, genres]`, as scikit-learn has them."""
    values = np.asarray(svc.decision_function(vectors), np.float64)
    if values.ndim == 1:
        return np.stack([-values, values], axis=1)
    genres = values.shape[1]
    margins = np.zeros_like(values)
    decisions = svc._decision_function(vectors)
    for column, (first, second) in enumerate(combinations(range(genres), 2)):
        margins[:, first] += decisions[:, column]
        margins[:, second] -= decisions[:, column]
    margins /= genres - 1
    rows = np.arange(len(values))
    margins[rows, values.argmax(axis=1)] = margins.max(axis=1) + FIRST_BY
    return margins


def _pairs(svc: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight of each support vector in each pair's machine `[vectors, pairs]`, and intercepts."""
    genres, coefficients = len(svc.classes_), svc.dual_coef_
    if genres == 2:
        return coefficients.T, svc.intercept_
    ends = np.cumsum(svc.n_support_)
    of = [slice(end - count, end) for end, count in zip(ends, svc.n_support_, strict=True)]
    pairs = np.zeros((len(svc.support_vectors_), len(svc.intercept_)))
    for column, (first, second) in enumerate(combinations(range(genres), 2)):
        # libsvm leaves out the machine of a genre against itself, so the rows are shifted by one.
        pairs[of[first], column] = coefficients[second - 1, of[first]]
        pairs[of[second], column] = coefficients[first, of[second]]
    return pairs, svc.intercept_


def _kernel(parts: _Graph, svc: Any, vector: str) -> str:
    """Kernel of the vector and each support vector, `[n, vectors]`."""
    # In single precision they take half the memory and are exact enough.
    support = parts.double(parts.constant(svc.support_vectors_.T, np.float32))
    products = parts.add("MatMul", vector, support)
    if svc.kernel == "linear":
        return products
    if svc.kernel == "rbf":
        own = svc.support_vectors_.astype(np.float32).astype(np.float64)
        distances = _squared_distances(parts, vector, own, products)
        return parts.add("Exp", parts.add("Mul", distances, parts.constant(-svc._gamma)))
    scaled = parts.add("Mul", products, parts.constant(svc._gamma))
    shifted = parts.add("Add", scaled, parts.constant(svc.coef0))
    if svc.kernel == "poly":
        return parts.add("Pow", shifted, parts.constant(svc.degree))
    if svc.kernel == "sigmoid":
        return parts.add("Tanh", shifted)
    raise ValueError(f"kernel {svc.kernel!r}")


def _squared_distances(
    parts: _Graph, vector: str, others: NDArray[np.float64], products: str
) -> str:
    """Squared Euclidean distances `[n, others]`, from the lengths and the scalar products."""
    own = parts.add("ReduceSumSquare", vector, axes=[1], keepdims=1)
    lengths = parts.add("Add", own, parts.constant((others**2).sum(1)))
    twice = parts.add("Mul", products, parts.constant(2))
    return parts.add("Sub", lengths, twice)


def _neighbours(parts: _Graph, knn: Any, vector: str) -> str:
    """Share of each genre among the nearest training vectors, by number or by 1 / distance."""
    if knn.effective_metric_ != "euclidean" or knn.weights not in ("uniform", "distance"):
        raise ValueError("only Euclidean distances, weighted uniform or distance")
    vectors = np.asarray(knn._fit_X, np.float64)
    products = parts.add("MatMul", vector, parts.constant(vectors.T))
    distances = _squared_distances(parts, vector, vectors, products)
    count = parts.constant([knn.n_neighbors], np.int64)
    nearest, which = "genrescope/nearest", "genrescope/which"
    parts.nodes.append(helper.make_node("TopK", [distances, count], [nearest, which], largest=0))
    labels = parts.add("Gather", parts.constant(knn._y, np.int64), which)
    votes = parts.add("Gather", parts.constant(np.eye(len(knn.classes_))), labels)
    middle = parts.constant([1], np.int64)
    if knn.weights == "distance":
        # A vector's distance to itself is a rounding error; its weight has to be finite.
        positive = parts.add("Max", nearest, parts.constant(1e-20))
        weights = parts.add("Reciprocal", parts.add("Sqrt", positive))
        last = parts.constant([2], np.int64)
        votes = parts.add("Mul", votes, parts.add("Unsqueeze", weights, last))
    sums = parts.add("ReduceSum", votes, middle, keepdims=0)
    return parts.add("Div", sums, parts.add("ReduceSum", sums, middle, keepdims=1))


def _gaussians(parts: _Graph, bayes: Any, vector: str) -> str:
    """Logarithms of NB's joint likelihoods, the largest being 0.

    A normal distribution for each number and genre; its square is expanded, so that two matrix
    products are enough.
    """
    precisions = 1 / np.asarray(bayes.var_, np.float64)
    means = np.asarray(bayes.theta_, np.float64)
    offsets = np.log(bayes.class_prior_) - 0.5 * (
        np.log(2 * np.pi / precisions) + means**2 * precisions
    ).sum(axis=1)
    squares = parts.add("Mul", vector, vector)
    values = parts.add("MatMul", squares, parts.constant(-0.5 * precisions.T))
    linear = parts.add("MatMul", vector, parts.constant((means * precisions).T))
    return _below_zero(
        parts, parts.add("Add", parts.add("Add", values, linear), _row(parts, offsets))
    )


def _ellipsoids(parts: _Graph, qda: Any, vector: str) -> str:
    """Logarithms of QDA's joint likelihoods, the largest being 0.

    Up to a constant; a normal distribution with its own covariance for each genre, whose axes and
    variances are `rotations_` and `scalings_`.
    """
    columns = []
    for mean, axes, variances, prior in zip(
        qda.means_, qda.rotations_, qda.scalings_, qda.priors_, strict=True
    ):
        whitening = axes * variances**-0.5
        white = parts.add("MatMul", vector, parts.constant(whitening))
        white = parts.add("Sub", white, _row(parts, mean @ whitening))
        distance = parts.add("ReduceSumSquare", white, axes=[1], keepdims=1)
        offset = _row(parts, [np.log(prior) - 0.5 * np.log(variances).sum()])
        half = parts.add("Mul", distance, parts.constant(-0.5))
        columns.append(parts.add("Add", half, offset))
    return _below_zero(parts, parts.add("Concat", *columns, axis=1))


def _row(parts: _Graph, values: Any) -> str:
    return parts.constant(np.asarray(values, np.float64)[None])


def _below_zero(parts: _Graph, values: str) -> str:
    """Subtract the largest of a row, since single precision has no room for large sums."""
    return parts.add("Sub", values, parts.add("ReduceMax", values, axes=[1], keepdims=1))


_OWN: dict[str, Callable[[_Graph, Any, str], str]] = {
    "SVC": _svc,
    "KNeighborsClassifier": _neighbours,
    "GaussianNB": _gaussians,
    "QuadraticDiscriminantAnalysis": _ellipsoids,
}
_LOGARITHMS = ("GaussianNB", "QuadraticDiscriminantAnalysis")
