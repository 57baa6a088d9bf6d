"""Bundles with smaller weights, and the effect: size, time, and agreement of predictions.

Conventions
-----------
fp16: weights are stored in half precision and cast when the bundle is loaded; everything is
computed in single precision, so only the weights are rounded, and the time does not change.

int8, dynamic: weights are stored as bytes; activations are quantized by the range of each batch.
int8, static: by ranges measured on calibration segments, which is faster.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from genrescope.aggregation import aggregate_logits
from genrescope.audio import Waveform
from genrescope.datasets import Dataset, Track
from genrescope.errors import BundleError, DatasetError, FileError, GenrescopeError
from genrescope.evaluation.predict import segment_logits
from genrescope.evaluation.significance import McNemar, mcnemar
from genrescope.features import Frontend
from genrescope.features.windows import WINDOW_SECONDS, Window
from genrescope.inference import Bundle, Classifier, Manifest
from genrescope.training.bundles import LARGE, make_bundle
from genrescope.training.graphs import whole_graph
from genrescope.wording import counted

Precision = Literal["fp16", "int8"]
Floats = NDArray[np.float64]

# One track in so many is used for calibration, the others for the comparison.
_EVERY_NTH = 4
_MOST_CALIBRATING = 100
_TIMINGS = 15
_IDENTITY = ("name", "sha256", "weights_sha256")


@dataclass(frozen=True)
class Pair:
    """A figure before the conversion and after it."""

    before: float
    after: float


@dataclass(frozen=True)
class Agreement:
    """Both bundles on the same tracks.

    Attributes
    ----------
    data
        Name of the data set.
    tracks
        That both classified, without those used for calibration.
    same_genre
        Fraction of them for which both predict the same genre.
    mean_difference
        Mean absolute difference of the tracks' probabilities, over tracks and genres.
    known_genre
        Tracks whose genre is one of the model's.
    accuracy, mcnemar
        On those; None where there are none.
    """

    data: str
    tracks: int
    same_genre: float
    mean_difference: float
    known_genre: int
    accuracy: Pair | None
    mcnemar: McNemar | None


@dataclass(frozen=True)
class Conversion:
    """A conversion of a bundle, and its effect.

    Attributes
    ----------
    precision
        "fp16" or "int8".
    method
        In a few words.
    original
        Name of the bundle that was converted, and the SHA-256 of its files.
    bytes
        Size of the network with its weights, in bytes.
    ms_per_segment
        Median of interleaved runs on one thread, without the front end.
    agreement
        None without tracks.
    """

    precision: Precision
    method: str
    original: dict[str, str]
    bytes: Pair
    ms_per_segment: Pair
    agreement: Agreement | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def convert(
    bundle: Bundle,
    precision: Precision,
    data: Dataset | None = None,
    *,
    report: Callable[[int, int], None] = lambda _done, _of: None,
    large: int = LARGE,
) -> tuple[Bundle, Conversion, list[FileError]]:
    """Make a bundle with smaller weights, and measure the effect.

    Parameters
    ----------
    bundle
        The bundle; it is not changed.
    precision
        Precision of the weights.
    data
        Tracks on which both are compared. For int8 every fourth of them, at most 100, is used for
        calibration (its first half minute) and is left out of the comparison.
    report
        Called with the number of tracks read and of all.
    large
        Bytes, see `make_bundle`.

    Returns
    -------
    bundle, conversion, failures
        The new bundle has the conversion in its metrics as "converted"; failures are the tracks
        that could not be decoded.

    Raises
    ------
    BundleError
        When the bundle was converted before, or would not become smaller.
    DatasetError
        When no track can be decoded.
    GenrescopeError
        When onnx is not installed.
    """
    try:
        import onnx  # noqa: F401
    except ModuleNotFoundError:
        raise GenrescopeError("converting needs onnx: pip install 'genrescope[train]'") from None
    name = bundle.manifest.name
    if "converted" in bundle.manifest.metrics:
        raise BundleError(name, "was converted before; convert the bundle that it was made from")
    before = Classifier(bundle)  # also refuses a damaged bundle
    calibrating, compared = _split_tracks(data, precision)
    total, failures = len(calibrating) + len(compared), list[FileError]()
    batches: list[NDArray[np.float32]] = []
    for i, track in enumerate(calibrating):
        batches += _batches(before.manifest.frontend, track, failures)
        report(i + 1, total)
    if calibrating and not batches:
        raise DatasetError("none of the calibration tracks could be decoded")
    model = whole_graph(bundle)
    smaller, method = _smaller(model, precision, batches)
    if len(smaller) >= len(model):
        raise BundleError(name, f"would not become smaller by {precision}: it has no large weights")
    fields = {field: getattr(bundle.manifest, field) for field in Manifest.model_fields}
    made = make_bundle(smaller, large=large, **{**fields, "name": f"{name}-{precision}"})
    after = Classifier(made)

    def compared_so_far(tracks: int) -> None:
        report(len(calibrating) + tracks, total)

    conversion = Conversion(
        precision,
        method,
        {field: str(fields[field]) for field in _IDENTITY if fields[field] is not None},
        Pair(_size(bundle), _size(made)),
        _milliseconds(before, after),
        _compare(before, after, data.name, compared, failures, compared_so_far) if data else None,
    )
    metrics = {**bundle.manifest.metrics, "converted": conversion.to_dict()}
    manifest = made.manifest.model_copy(update={"metrics": metrics})
    return replace(made, manifest=manifest), conversion, failures


def _split_tracks(data: Dataset | None, precision: Precision) -> tuple[list[Track], list[Track]]:
    """Divide the tracks into those for calibration and those for the comparison."""
    if data is None or precision != "int8":
        return [], data.tracks if data else []
    if len(data.tracks) < 2:
        raise DatasetError(f"{data.name}: int8 needs at least two tracks, one to calibrate with")
    places = set(range(0, len(data.tracks), _EVERY_NTH)[:_MOST_CALIBRATING])
    return (
        [track for i, track in enumerate(data.tracks) if i in places],
        [track for i, track in enumerate(data.tracks) if i not in places],
    )


def _smaller(
    model: bytes, precision: Precision, batches: Sequence[NDArray[np.float32]]
) -> tuple[bytes, str]:
    """Make the graph with smaller weights; also return the method in words."""
    if precision == "fp16":
        return _halved(model), "weights rounded, computed in single precision"
    if batches:
        return _static(model, batches), f"static, by the ranges of {counted(len(batches), 'track')}"
    return _dynamic(model), "dynamic"


def _size(bundle: Bundle) -> int:
    return len(bundle.model) + len(bundle.weights or b"")


def _halved(model: bytes) -> bytes:
    """Store float32 weights of two axes and more as float16, and cast them in the graph.

    A tensor with a value that float16 can't hold (beyond 65504) stays as it is, and so do biases
    and scales, which are small. ONNX Runtime casts constants once, when it loads the graph.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = onnx.load_from_string(model)
    widened = []
    for tensor in graph.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        with np.errstate(over="ignore"):
            half = numpy_helper.to_array(tensor).astype(np.float16)
        if not np.isfinite(half).all():
            continue
        name, kept = tensor.name, f"{tensor.name}/half"
        tensor.CopyFrom(numpy_helper.from_array(half, kept))
        widened.append(helper.make_node("Cast", [kept], [name], to=TensorProto.FLOAT))
    nodes = [*widened, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    return bytes(graph.SerializeToString())


def _dynamic(model: bytes) -> bytes:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # Convolutions with signed weights are computed many times slower.
    return _quantized(
        model,
        lambda graph, out: quantize_dynamic(
            graph, out, per_channel=True, weight_type=QuantType.QUInt8
        ),
    )


def _static(model: bytes, batches: Sequence[NDArray[np.float32]]) -> bytes:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    name = onnx.load_from_string(model).graph.input[0].name

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(batches)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(self.left, None)
            return None if batch is None else {name: batch}

    # Weights of 7 bits: with 8, processors without VNNI saturate sums of two products, and the loss
    # measured on one machine would not be that of another.
    return _quantized(
        model,
        lambda graph, out: quantize_static(
            graph,
            out,
            Reader(),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        ),
    )


def _quantized(model: bytes, quantize: Callable[[object, Path], None]) -> bytes:
    import onnx

    with tempfile.TemporaryDirectory() as folder, _quiet():
        target = Path(folder) / "quantized.onnx"
        quantize(onnx.load_from_string(model), target)
        return target.read_bytes()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence ONNX Runtime's advice on other ways to quantize."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)


def _batches(
    frontend: Frontend, track: Track, failures: list[FileError]
) -> list[NDArray[np.float32]]:
    """Segments of a track's first half minute as one batch; none where it can't be decoded."""
    try:
        windows = list(islice(frontend.windows(track.path), 1))
    except FileError as error:
        failures.append(error)
        return []
    batches = [[segment.values for segment in frontend.segments_of(w)] for w in windows]
    return [np.stack(batch) for batch in batches if batch]


def _compare(
    before: Classifier,
    after: Classifier,
    name: str,
    tracks: Sequence[Track],
    failures: list[FileError],
    report: Callable[[int], None],
) -> Agreement:
    decoded: list[Track] = []
    rows: list[tuple[Floats, Floats]] = []
    for i, track in enumerate(tracks):
        try:
            # The front end is the same, so its features are computed once.
            windows = list(before.manifest.frontend.windows(track.path))
            if not any(before.manifest.frontend.cuts(window) for window in windows):
                raise FileError(track.path, "digital silence")
            rows.append((_probabilities(before, windows), _probabilities(after, windows)))
            decoded.append(track)
        except FileError as error:
            failures.append(error)
        report(i + 1)
    if not rows:
        raise DatasetError(f"{name}: of {counted(len(tracks), 'track')}, none could be decoded")
    one, other = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    genre_before, genre_after = one.argmax(axis=1), other.argmax(axis=1)
    known = np.array([track.genre in before.genres for track in decoded])
    accuracy = test = None
    if known.any():
        truth = [before.genres.index(t.genre) for t in decoded if t.genre in before.genres]
        right, right_after = genre_before[known] == truth, genre_after[known] == truth
        accuracy = Pair(float(right.mean()), float(right_after.mean()))
        test = mcnemar(right, right_after)
    return Agreement(
        name,
        len(decoded),
        float((genre_before == genre_after).mean()),
        float(np.abs(one - other).mean()),
        int(known.sum()),
        accuracy,
        test,
    )


def _probabilities(classifier: Classifier, windows: Sequence[Window]) -> Floats:
    """Of a track, `[genres]`, by the aggregation of the bundle."""
    logits, manifest = segment_logits(classifier, windows), classifier.manifest
    return aggregate_logits(logits, manifest.temperature, manifest.aggregation)


def _milliseconds(before: Classifier, after: Classifier) -> Pair:
    """Time per segment, measured on half a minute of noise; the two bundles alternate."""
    frontend, random = before.manifest.frontend, np.random.default_rng(0)
    if frontend.computed.kind == "stored":
        vectors = random.normal(size=(16, frontend.computed.size)).astype(np.float32)
        windows = list(frontend.windows(vectors))
    else:
        rate = frontend.computed.sample_rate
        noise = random.normal(scale=0.1, size=int(WINDOW_SECONDS * rate)).astype(np.float32)
        windows = list(frontend.windows(Waveform(noise, rate)))[:1]
    times: tuple[list[float], list[float]] = ([], [])
    for run in range(_TIMINGS + 1):
        for classifier, own in zip((before, after), times, strict=True):
            start = time.perf_counter()
            count = sum(len(segments) for segments, _, _ in classifier.logits_of(windows))
            if run:  # the first warms up
                own.append(1000 * (time.perf_counter() - start) / count)
    return Pair(*(float(np.median(own)) for own in times))
