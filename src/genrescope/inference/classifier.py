"""Predictions from bundles; the only module that runs a trained network for its users."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from os import PathLike, fsdecode, fspath
from threading import Event
from typing import Any, BinaryIO, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from genrescope.aggregation import aggregate, softmax
from genrescope.audio import Waveform, source_name
from genrescope.errors import AudioError, BundleError, CancelledError, FileError
from genrescope.features import Segment, Source, StreamInfo, Window
from genrescope.inference.bundle import Bundle, Manifest
from genrescope.inference.labels import MUSIC, Tags
from genrescope.inference.prediction import Prediction, SegmentPrediction
from genrescope.onnx_session import SessionError, onnx_session
from genrescope.parallel import available_cores

Outputs = tuple[list[Segment], NDArray[np.float32], NDArray[np.float32]]
Result = TypeVar("Result")
Input = Source | bytes | BinaryIO | tuple[NDArray[Any], int]
"""What can be classified: a path, bytes or a file object with the content of an audio file, a
`Waveform`, an array with its sample rate, or, for a model of stored vectors, an array of them."""

NOTHING_AUDIBLE = "silence, and less than a second of audible sound: cannot tell a genre"


class CancelEvent(Protocol):
    """Anything with `is_set`, such as a `threading.Event`."""

    def is_set(self) -> bool:
        """Whether the work should stop."""


class Classifier:
    """Classifies music by genre.

    The same input gives the same output bit for bit, alone or among many: the network always gets
    the segments of one half-minute window as one batch, on one thread. A classifier can be pickled
    and shared by threads.

    Parameters
    ----------
    bundle
        The model, see `Classifier.load`.

    Attributes
    ----------
    bundle, manifest
        The model as data, and its description.
    embedding_size
        Length of an embedding.

    Raises
    ------
    BundleError
        When the network can't be run, or does not fit its description.

    Examples
    --------
    >>> from genrescope import Classifier
    >>> classifier = Classifier.load("default")
    >>> classifier
    Classifier('default', 10 genres)
    >>> classifier.predict("walking-bass.flac").duration
    12.0
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.manifest: Manifest = bundle.manifest
        name = bundle.manifest.name
        try:
            # Parallel over files, not within one, which is faster.
            self._session = onnx_session(bundle.model, weights=bundle.weights)
        except SessionError as error:
            raise BundleError(name, f"model.onnx {error}") from None
        outputs = {output.name: output.shape for output in self._session.get_outputs()}
        if not {"logits", "embedding"} <= set(outputs):
            raise BundleError(name, "model.onnx has no outputs called logits and embedding")
        head = bundle.manifest.labels
        if outputs["logits"][1:] != [head.size if head else len(self.genres)]:
            raise BundleError(name, "model.onnx does not give one logit a genre or label")
        match outputs["embedding"]:
            case [_, int(size)]:
                self.embedding_size = size
            case _:
                raise BundleError(name, "model.onnx does not give one embedding a segment")
        expected, inputs = [*bundle.manifest.frontend.shape], self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].shape[1:] != expected:
            raise BundleError(name, f"model.onnx does not take segments of {expected}")
        self._input = inputs[0].name

    @classmethod
    def load(cls, source: str | PathLike[str] = "default") -> Classifier:
        """Load a shipped model by name, or a bundle from a run folder, a folder or a `.zip`.

        Raises
        ------
        BundleError
            When there is no such bundle, or it is damaged.
        """
        return cls(Bundle.load(source))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.manifest.name!r}, {len(self.genres)} genres)"

    def __reduce__(self) -> tuple[type[Classifier], tuple[Bundle]]:
        """Pickle the bundle: a session of ONNX Runtime belongs to its process."""
        return type(self), (self.bundle,)

    @property
    def genres(self) -> list[str]:
        """The genres that the model knows."""
        return self.manifest.genres

    @property
    def layers(self) -> dict[str, int]:
        """Layers of the network from which embeddings can be taken, with their sizes."""
        outputs = {output.name: output.shape for output in self._session.get_outputs()}
        return {name: int(shape[1]) for name, shape in outputs.items() if name != "logits"}

    def logits(self, source: Input, info: StreamInfo | None = None) -> Iterator[Outputs]:
        """The raw outputs of the network, window by window.

        Yields
        ------
        segments, logits `[segments, genres]`, embeddings `[segments, size]`

        Raises
        ------
        AudioError
            When the file can't be decoded.
        """
        return self.logits_of(self._windows(source, info))

    def logits_of(self, windows: Iterable[Window]) -> Iterator[Outputs]:
        """As `logits`, for windows that were computed before, by the same front end."""
        head = self.manifest.labels
        for segments, logits, embeddings in self.label_logits_of(windows):
            yield segments, head.genre_logits(logits) if head else logits, embeddings

    def label_logits_of(self, windows: Iterable[Window]) -> Iterator[Outputs]:
        """As `logits_of`, but the logits of labels where the network has those."""
        for window in windows:
            segments = self.manifest.frontend.segments_of(window)
            if segments:
                batch = np.stack([segment.values for segment in segments])
                logits, embeddings = self._session.run(
                    ["logits", "embedding"], {self._input: batch}
                )
                yield segments, logits, embeddings

    def _windows(self, source: Input, info: StreamInfo | None = None) -> Iterator[Window]:
        info = info if info is not None else StreamInfo()
        if isinstance(source, tuple):
            source = Waveform.from_array(*source, warnings=info.warnings)
        if isinstance(source, Waveform) and not np.isfinite(source.samples).all():
            raise AudioError("waveform", "some of its samples are not finite numbers")
        return self.manifest.frontend.windows(source, info)

    def predict(self, source: Input, *, cancel: CancelEvent | None = None) -> Prediction:
        """Classify a track of any length.

        Parameters
        ----------
        source
            The path of an audio file (or of a stored spectrogram); bytes or a binary file object
            with the content of an audio file; a `Waveform`; or an array with its sample rate,
            `(samples, 44100)`, see `Waveform.from_array`. For a model of stored vectors an array
            `[frames, size]` or `[size]`.
        cancel
            Checked for every half minute of the track; a `threading.Event` that another thread
            sets.

        Raises
        ------
        AudioError
            When the track can't be decoded, or is too short to classify.
        CancelledError
            When `cancel` was set.

        Examples
        --------
        >>> from pathlib import Path
        >>> import genrescope
        >>> classifier = genrescope.load()
        >>> by_path = classifier.predict("walking-bass.flac")
        >>> by_content = classifier.predict(Path("walking-bass.flac").read_bytes())
        >>> by_content.probabilities == by_path.probabilities
        True
        """
        return self._predict(source, cancel or Event())

    def _predict(self, source: Input, stop: CancelEvent) -> Prediction:
        info = StreamInfo()
        timeline: list[SegmentPrediction] = []
        tables: list[NDArray[np.float64]] = []
        label_logits: list[NDArray[np.float32]] = []
        head = self.manifest.labels
        embedding = np.zeros(self.embedding_size)
        windows = _until(stop, self._windows(source, info))
        for segments, outputs, embeddings in self.label_logits_of(windows):
            logits = outputs
            if head is not None:
                label_logits.append(outputs)
                logits = head.genre_logits(outputs)
            probabilities = softmax(logits, self.manifest.temperature)
            tables.append(probabilities)
            embedding += embeddings.sum(axis=0, dtype=np.float64)
            timeline += [
                SegmentPrediction(segment.start, min(segment.end, info.duration), named)
                for segment, named in zip(segments, map(self._named, probabilities), strict=True)
            ]
        path = fsdecode(fspath(source)) if isinstance(source, str | PathLike) else None
        mean_embedding = (embedding / max(1, len(timeline))).astype(np.float32)
        no_genre = Prediction(
            path=path,
            genre=None,
            probabilities=dict.fromkeys(self.genres, 1 / len(self.genres)),
            timeline=[],
            embedding=mean_embedding,
            duration=info.duration,
            warnings=[*info.warnings, NOTHING_AUDIBLE],
        )
        if not timeline:
            return no_genre
        tags = self._tags(label_logits, mean_embedding)
        if tags is not None and tags.kind != MUSIC:
            reason = f"{tags.describe()}: cannot tell a genre"
            return replace(no_genre, warnings=[*info.warnings, reason], tags=tags)
        table = np.concatenate(tables)
        if head is not None:
            # A spoken introduction says nothing about the music that follows.
            music = head.has_music(np.concatenate(label_logits))
            table = table[music] if music.any() else table
        named = self._named(aggregate(table, self.manifest.aggregation))
        ranked = dict(sorted(named.items(), key=lambda item: -item[1]))
        return Prediction(
            path=path,
            genre=next(iter(ranked)),
            probabilities=ranked,
            timeline=timeline,
            embedding=mean_embedding,
            duration=info.duration,
            warnings=info.warnings,
            tags=tags,
        )

    def _tags(
        self, label_logits: list[NDArray[np.float32]], embedding: NDArray[np.float32]
    ) -> Tags | None:
        """What the recording is apart from its genre, where the bundle can tell."""
        if self.manifest.labels is not None:
            return self.manifest.labels.read(np.concatenate(label_logits))
        if self.manifest.music_detector is not None:
            return self.manifest.music_detector.read(embedding)
        return None

    def predict_many(
        self,
        sources: Iterable[Input],
        *,
        jobs: int | None = None,
        cancel: CancelEvent | None = None,
    ) -> Generator[Prediction | FileError, None, None]:
        """Classify many tracks on all cores.

        Closing the generator (as Ctrl-C does) stops the files in work within a moment.

        Parameters
        ----------
        sources
            See `predict`; taken from the iterable only as fast as they are classified.
        jobs
            Files classified at the same time; as many as there are cores by default.
        cancel
            As for `predict`.

        Yields
        ------
        Prediction or FileError
            In the order of `sources`; for a file that can't be decoded its error.

        Raises
        ------
        CancelledError
            When `cancel` was set.

        Examples
        --------
        >>> import genrescope
        >>> classifier = genrescope.load()
        >>> for result in classifier.predict_many(["walking-bass.flac", "absent.mp3"]):
        ...     print(result.path, getattr(result, "reason", "classified"))
        walking-bass.flac classified
        absent.mp3 no such file
        """
        if isinstance(sources, str | PathLike | bytes):
            raise TypeError("predict_many takes many sources; predict takes one")
        yield from _in_threads(self._predict, sources, jobs, cancel)

    def embed(self, source: Input, *, layer: str = "embedding") -> NDArray[np.float32]:
        """The embedding of a track, float32 `[size]`: the mean over its segments.

        Parameters
        ----------
        source
            As for `predict`.
        layer
            One of `layers`.

        Raises
        ------
        AudioError
            When the track can't be decoded.
        ValueError
            When there is no such layer.
        """
        return self.embed_layers(source, [layer])[layer]

    def embed_layers(self, source: Input, layers: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """As `embed`, of several layers; the track is decoded and the network run only once."""
        self._check_layers(layers)
        return self._embed_layers(source, layers, Event())

    def embed_many(
        self, sources: Iterable[Input], layers: Sequence[str], *, jobs: int | None = None
    ) -> Generator[dict[str, NDArray[np.float32]] | FileError, None, None]:
        """As `embed_layers`, of many tracks on all cores, in their order; see `predict_many`."""
        if isinstance(sources, str | PathLike | bytes):
            raise TypeError("embed_many takes many sources; embed_layers takes one")
        self._check_layers(layers)

        def embed(source: Input, stop: CancelEvent) -> dict[str, NDArray[np.float32]]:
            return self._embed_layers(source, layers, stop)

        yield from _in_threads(embed, sources, jobs, None)

    def _check_layers(self, layers: Sequence[str]) -> None:
        for layer in layers:
            if layer not in self.layers:
                raise ValueError(f"no layer {layer!r}; there are: {', '.join(self.layers)}")

    def _embed_layers(
        self, source: Input, layers: Sequence[str], stop: CancelEvent
    ) -> dict[str, NDArray[np.float32]]:
        sizes, count = self.layers, 0
        totals = {layer: np.zeros(sizes[layer]) for layer in layers}
        for window in _until(stop, self._windows(source)):
            segments = self.manifest.frontend.segments_of(window)
            if segments:
                batch = np.stack([segment.values for segment in segments])
                outputs = self._session.run([*totals], {self._input: batch})
                for total, values in zip(totals.values(), outputs, strict=True):
                    total += values.sum(axis=0, dtype=np.float64)
                count += len(batch)
        return {name: (total / max(count, 1)).astype(np.float32) for name, total in totals.items()}

    def _named(self, probabilities: NDArray[np.float64]) -> dict[str, float]:
        return dict(zip(self.genres, map(float, probabilities), strict=True))


def _until(stop: CancelEvent, windows: Iterator[Window]) -> Iterator[Window]:
    """The windows, as long as the event is not set."""
    if stop.is_set():
        raise CancelledError("cancelled")
    for window in windows:
        if stop.is_set():
            raise CancelledError("cancelled")
        yield window


class _Either:
    """Set when one of two events is."""

    def __init__(self, one: CancelEvent, other: CancelEvent) -> None:
        self.events = one, other

    def is_set(self) -> bool:
        return any(event.is_set() for event in self.events)


def _in_threads(
    function: Callable[[Input, CancelEvent], Result],
    sources: Iterable[Input],
    jobs: int | None,
    cancel: CancelEvent | None,
) -> Generator[Result | FileError, None, None]:
    """Results of `function` for each source, in their order; it gets an event that stops it."""
    jobs = jobs or available_cores()
    waiting: deque[Future[Result | FileError]] = deque()
    pool = ThreadPoolExecutor(jobs, thread_name_prefix="genrescope")
    # Python waits for its threads at the end; without this an hour-long mix would delay it.
    closed = Event()
    stop = closed if cancel is None else _Either(closed, cancel)
    try:
        for source in sources:
            waiting.append(pool.submit(_attempt, function, source, stop))
            # A few ahead keep the cores busy while one long file is decoded.
            if len(waiting) >= 4 * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        closed.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _attempt(
    function: Callable[[Input, CancelEvent], Result], source: Input, stop: CancelEvent
) -> Result | FileError:
    try:
        return function(source, stop)
    except FileError as error:
        return error
    except CancelledError:
        raise
    except Exception as error:  # the rest of the work goes on, whatever a decoder raises
        failure = FileError(source_name(source), f"unexpected {type(error).__name__}: {error}")
        failure.__cause__ = error
        return failure
