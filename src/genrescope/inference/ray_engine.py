"""Classification and embedding of many files on a Ray cluster, or on one machine by Ray.

The pipeline is built with Ray Data: tasks decode files and compute their features; each actor of a
pool loads the network once and runs it. Ray Data applies back-pressure between the two: no file is
decoded while too much waits for the network. Each row of the data is a window of half a minute, so
memory does not depend on the length of a track. The driver collects all windows of a track and
makes the prediction by the same code as the local engine.

Actors that die are replaced and their work is repeated. A task that dies is repeated twice. Files
that are missing in the end are tried once more, one by one, so that a file that crashes its decoder
does not affect the rows of others.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from genrescope.audio.addresses import open_source
from genrescope.encoders.engine import BATCH_SIZE, EmbeddingModel
from genrescope.encoders.store import Embedding
from genrescope.errors import AudioError, FileError, GenrescopeError, UnreadableError
from genrescope.features import Segment, StreamInfo
from genrescope.features.base import Change
from genrescope.inference.bundle import Bundle
from genrescope.inference.classifier import Classifier, record_changes
from genrescope.inference.network import EMBEDDING, LOGITS
from genrescope.inference.prediction import Prediction
from genrescope.redaction import redacted

Result = TypeVar("Result", covariant=True)
Array = NDArray[Any]

_STARTS = 3
_FILES_PER_TASK = 32
"""Maximum; starting a task for each file would cost more than decoding a short one."""
_FILES_PER_CORE = 1000  # of a chunk, on each core of the cluster
_RETRIES = 2
"""How often a decoding task is repeated if its process dies."""
_BLOCK_BYTES = 2**24
"""Windows are handed to the network in blocks of about this size."""
_ERRORS = {each.__name__: each for each in (UnreadableError, AudioError, FileError)}
_END = -1
"""The number of the row that ends a track, in place of a window's."""


class Piece(NamedTuple):
    """Segments that the network gets as one batch, `[n, …]`, and their times in seconds."""

    values: Array
    starts: Array
    ends: Array


class Pipeline(Protocol[Result]):
    """The computation for each file. It is pickled once and loaded by each process."""

    def read(self, source: str, info: StreamInfo) -> Iterator[Piece]:
        """The segments of a file, in the process that decodes it."""

    def run(self, values: Array) -> list[Array]:
        """The network's outputs for them, in the actor."""

    def result(self, source: str, info: StreamInfo, outputs: list[list[Array]], /) -> Result:
        """The result from starts, ends and outputs of each piece, in the driver."""


class PredictionPipeline:
    """Decoding, network and predictions of a bundle, as a pipeline."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    def __reduce__(self) -> tuple[type[PredictionPipeline], tuple[Bundle]]:
        return type(self), (self.bundle,)

    @cached_property
    def classifier(self) -> Classifier:
        """Loaded only where the network is run, and in the driver."""
        return Classifier(self.bundle)

    def read(self, source: str, info: StreamInfo) -> Iterator[Piece]:
        """Implements `Pipeline`."""
        frontend = self.bundle.manifest.frontend
        with open_source(source) as opened:
            for window in record_changes(frontend.windows(opened, info), info):
                if segments := frontend.segments_of(window):
                    yield Piece(
                        np.stack([segment.values for segment in segments]),
                        np.array([segment.start for segment in segments]),
                        np.array([segment.end for segment in segments]),
                    )

    def run(self, values: Array) -> list[Array]:
        """Implements `Pipeline`."""
        return self.classifier.network.run(values, [LOGITS, EMBEDDING])

    def result(self, source: str, info: StreamInfo, outputs: list[list[Array]], /) -> Prediction:
        """Implements `Pipeline`."""
        nothing = np.zeros((0, 0), np.float32)  # the prediction needs the times alone
        windows = (
            ([Segment(nothing, float(a), float(b)) for a, b in zip(starts, ends, strict=True)], of)
            for starts, ends, *of in outputs
        )
        return self.classifier.prediction_of(windows, info, path=source)


class EmbeddingPipeline:
    """Embeddings by a layer of an encoder or of a bundle.

    Parameters
    ----------
    make_model
        Makes the model; it is called in each process that decodes or runs the network.
    batch_size
        Segments that the network sees at once.
    """

    def __init__(self, make_model: Callable[[], EmbeddingModel[Any]], batch_size: int) -> None:
        self.make_model, self.batch_size = make_model, batch_size

    def __reduce__(self) -> tuple[type[EmbeddingPipeline], tuple[Any, int]]:
        return type(self), (self.make_model, self.batch_size)

    @cached_property
    def model(self) -> EmbeddingModel[Any]:
        """The model; its network is loaded only where it is run."""
        return self.make_model()

    @cached_property
    def network(self) -> Callable[[Array], Array]:
        """The function from segments to embeddings."""
        return self.model.load()

    def read(self, source: str, info: StreamInfo) -> Iterator[Piece]:
        """Implements `Pipeline`."""
        with open_source(source) as opened:
            for values, starts, ends, padded in self.model.read(opened):
                if padded:
                    info.warnings.append("padded")
                yield Piece(values, starts, ends)

    def run(self, values: Array) -> list[Array]:
        """Implements `Pipeline`."""
        size = self.batch_size
        batches = [values[start : start + size] for start in range(0, len(values), size)]
        parts = [self.network(batch) for batch in batches]
        return [np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)]

    def result(self, _source: str, info: StreamInfo, outputs: list[list[Array]], /) -> Embedding:
        """Implements `Pipeline`."""
        found = [piece for piece in outputs if len(piece[0])]
        columns = list(zip(*found, strict=True)) or [(np.zeros(0),)] * 2 + [(np.zeros((0, 0)),)]
        starts, ends, values = (np.concatenate(column) for column in columns)
        return Embedding(values.astype(np.float32), starts, ends, bool(info.warnings))


class RayEngine:
    """A connection to a Ray cluster.

    Parameters
    ----------
    address
        Address of a cluster, such as `auto` or `ray://head:10001`; None for the one that
        `RAY_ADDRESS` names, else one on this machine that ends with the process.
    cores
        Cores that a cluster started here gets; None for all.

    Attributes
    ----------
    ray
        The module, once it is connected.

    Raises
    ------
    GenrescopeError
        When Ray is not installed, or the cluster can't be reached.
    """

    def __init__(self, address: str | None = None, cores: int | None = None) -> None:
        # Not even counted: what is computed here is nobody else's business.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Losing an argument of an actor is impossible here; Ray warns about it at every start.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        # What Ray 2.60 announces; it would only fill the terminal.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
            import ray.data
        except ImportError as error:
            missing = f"--engine ray needs {error.name}: pip install 'genrescope[ray]'"
            raise GenrescopeError(missing) from None
        self.ray = ray
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.ERROR)
        if ray.is_initialized():
            return
        remote = address or os.environ.get("RAY_ADDRESS")
        local = {} if remote else {"num_cpus": cores, "include_dashboard": False}
        handler = signal.getsignal(signal.SIGTERM)
        # A node of Ray's has half a minute to start in, which a busy machine may not keep.
        for starts_left in reversed(range(1 if remote else _STARTS)):
            try:
                # Without an address Ray would join any cluster that it finds on this machine.
                ray.init(remote or "local", logging_level="ERROR", log_to_driver=False, **local)
                break
            except Exception as error:  # Ray raises that itself
                ray.shutdown()
                if not starts_left:
                    reason = next(iter(str(error).splitlines()), "")
                    where = remote or "this machine"
                    raise GenrescopeError(f"no Ray cluster at {where}: {reason}") from None
        with suppress(TypeError, ValueError):  # in a thread, or set by no Python
            # Ray's own would abort the process.
            signal.signal(signal.SIGTERM, handler)

    def predict_many(
        self, classifier: Classifier, sources: Iterable[str | os.PathLike[str]]
    ) -> Generator[Prediction | FileError, None, None]:
        """As `Classifier.predict_many`, for paths that every node can read, and addresses.

        A prediction's path is its address without secrets in it.
        """
        yield from self.results(PredictionPipeline(classifier.bundle), sources)

    def embed_many(
        self,
        make_model: Callable[[], EmbeddingModel[Any]],
        sources: Iterable[str | os.PathLike[str]],
        *,
        batch_size: int = BATCH_SIZE,
    ) -> Generator[Embedding | FileError, None, None]:
        """As `genrescope.encoders.engine.embed`; `make_model` makes the model on each node."""
        yield from self.results(EmbeddingPipeline(make_model, batch_size), sources)

    def results(
        self, pipeline: Pipeline[Result], sources: Iterable[str | os.PathLike[str]]
    ) -> Generator[Result | FileError, None, None]:
        """What a pipeline gives for each file, in their order.

        Sources are taken in chunks of some minutes' work: what makes them may read each file.
        """
        names = map(os.fsdecode, sources)
        while chunk := list(islice(names, _FILES_PER_CORE * self._cores)):
            yield from self._in_order(pipeline, chunk)

    @property
    def _cores(self) -> int:
        return max(1, int(self.ray.cluster_resources().get("CPU", 1)))

    def _in_order(
        self, pipeline: Pipeline[Result], names: Sequence[str]
    ) -> Iterator[Result | FileError]:
        waiting: dict[int, Result | FileError] = {}
        due = 0
        for track, result in self._completed(pipeline, names):
            waiting[track] = result
            while due in waiting:
                yield waiting.pop(due)
                due += 1

    def _completed(
        self, pipeline: Pipeline[Result], names: Sequence[str]
    ) -> Iterator[tuple[int, Result | FileError]]:
        """Numbers and results of all sources, as they are completed."""
        missing = list(range(len(names)))
        for files_per_task in (_FILES_PER_TASK, 1):
            tracks = {index: _Track[Result](names[index]) for index in missing}
            for index, window, content, note in self._rows(
                pipeline, names, missing, files_per_task
            ):
                track = tracks.get(index)
                if track is not None and track.add(window, content, note):
                    yield index, track.result(pipeline)
                    del tracks[index]
            missing = list(tracks)
        for index in missing:
            yield index, FileError(names[index], "the process that decoded it died")

    def _rows(
        self,
        pipeline: Pipeline[Any],
        names: Sequence[str],
        indices: Sequence[int],
        files_per_task: int,
    ) -> Iterator[tuple[int, int, bytes, str]]:
        """The rows that the network gives, in any order."""
        if not indices:
            return
        data, cores = self.ray.data, self._cores
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.max_errored_blocks = -1  # a file that kills its decoder ends nothing else
        context.target_max_block_size = _BLOCK_BYTES
        shared = self.ray.put(pipeline)
        per_task = max(1, min(files_per_task, len(indices) // (4 * cores)))
        tasks = -(-len(indices) // per_task)
        items = [{"track": index, "name": os.fsencode(names[index])} for index in indices]
        with warnings.catch_warnings():
            # Of `max_retries`, for which Ray 2.64 is to have another way.
            warnings.filterwarnings("ignore", message=".*ray_remote_args")
            rows = (
                data.from_items(items, override_num_blocks=tasks)
                .map_batches(
                    _decode,
                    batch_size=None,
                    batch_format="pyarrow",
                    fn_args=[shared],
                    num_cpus=1,
                    max_retries=_RETRIES,  # Ray Data's own tasks are repeated for ever
                )
                # The system shares the cores between the stages: with one core neither may keep it.
                .map_batches(
                    _Network,
                    batch_size=None,
                    batch_format="pyarrow",
                    fn_constructor_args=[shared],
                    num_cpus=0,
                    compute=data.ActorPoolStrategy(min_size=1, max_size=cores),
                )
            )
        for table in rows.iter_batches(batch_size=None, batch_format="pyarrow"):
            columns = [table.column(name).to_pylist() for name in _COLUMNS]
            yield from zip(*columns, strict=True)


@dataclass
class _Track(Generic[Result]):
    """The rows of a track received so far; a row may come twice, when a process died."""

    name: str
    windows: dict[int, list[Array]] = field(default_factory=dict)
    end: dict[str, Any] | None = None

    def add(self, window: int, content: bytes, note: str) -> bool:
        """Take a row; whether it was the last one."""
        if window == _END:
            self.end = json.loads(note)
        else:
            self.windows[window] = _unpacked(content, note)
        return self.end is not None and len(self.windows) == self.end["windows"]

    def result(self, pipeline: Pipeline[Result]) -> Result | FileError:
        """The result, once all rows are there."""
        end = self.end or {}
        if "reason" in end:
            return _ERRORS[end["error"]](self.name, end["reason"])
        info = StreamInfo(
            end["duration"], end["warnings"], [Change(*each) for each in end["changes"]]
        )
        windows = [self.windows[i] for i in range(end["windows"])]
        return pipeline.result(redacted(self.name), info, windows)


_COLUMNS = ("track", "window", "content", "note")


def _table(track: int, window: int, content: bytes, note: str) -> Any:
    import pyarrow

    values = zip(_COLUMNS, (track, window, content, note), strict=True)
    return pyarrow.table({name: [value] for name, value in values})


def _decode(batch: Any, shared: Any) -> Iterator[Any]:
    """Rows of the windows of some files, and one that ends each file."""
    pipeline = _loaded(shared)
    columns = (batch.column(name).to_pylist() for name in ("track", "name"))
    for track, name in zip(*columns, strict=True):
        info, count, source = StreamInfo(), 0, os.fsdecode(name)
        end: dict[str, Any]
        try:
            for piece in pipeline.read(source, info):
                yield _table(track, count, *_packed(piece))
                count += 1
            end = {"duration": info.duration, "warnings": info.warnings, "changes": info.changes}
            end["windows"] = count
        except FileError as error:
            kind = next(each for each in _ERRORS.values() if isinstance(error, each))
            end = {"reason": error.reason, "error": kind.__name__, "windows": count}
        except Exception as error:  # the rest of the work goes on, whatever a decoder raises
            reason = f"unexpected {type(error).__name__}: {error}"
            end = {"reason": reason, "error": FileError.__name__, "windows": count}
        yield _table(track, _END, b"", json.dumps(end))


class _Network:
    """The actor: one copy of the network."""

    def __init__(self, shared: Any) -> None:
        self.pipeline = _loaded(shared)

    def __call__(self, batch: Any) -> Any:
        """Run the network on each window."""
        import pyarrow

        tables = []
        for row in batch.to_pylist():
            if row["window"] != _END:
                values, starts, ends = _unpacked(row["content"], row["note"])
                packed = _packed([starts, ends, *self.pipeline.run(values)])
                row |= dict(zip(("content", "note"), packed, strict=True))
            tables.append(_table(*(row[name] for name in _COLUMNS)))
        return pyarrow.concat_tables(tables)


_pipelines: dict[Any, Pipeline[Any]] = {}


def _loaded(shared: Any) -> Pipeline[Any]:
    """The pipeline behind a reference, once a process; the one before it is dropped."""
    import ray

    if not isinstance(shared, ray.ObjectRef):
        return shared  # type: ignore[no-any-return]
    if shared not in _pipelines:
        _pipelines.clear()
        _pipelines[shared] = ray.get(shared)
    return _pipelines[shared]


def _packed(arrays: Iterable[Array]) -> tuple[bytes, str]:
    """Arrays as bytes, and their types and shapes as JSON."""
    whole = [np.ascontiguousarray(array) for array in arrays]
    note = json.dumps([[array.dtype.str, array.shape] for array in whole])
    return b"".join(array.tobytes() for array in whole), note


def _unpacked(content: bytes, note: str) -> list[Array]:
    arrays, start = [], 0
    for kind, shape in json.loads(note):
        count = int(np.prod(shape))
        array = np.frombuffer(content, kind, count, start).reshape(shape)
        arrays.append(array)
        start += array.nbytes
    return arrays
