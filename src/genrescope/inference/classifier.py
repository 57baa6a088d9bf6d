"""Names the genre of audio with a bundle; needs neither torch nor training code."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from os import PathLike, fspath
from threading import Event
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from genrescope.aggregation import aggregate, softmax
from genrescope.audio import Waveform
from genrescope.errors import AudioError, BundleError, FileError
from genrescope.features import Segment, Source, StreamInfo, Window
from genrescope.inference.bundle import Bundle, Manifest
from genrescope.inference.labels import MUSIC, Tags
from genrescope.inference.prediction import Prediction, SegmentPrediction
from genrescope.onnx_session import SessionError, onnx_session
from genrescope.parallel import available_cores

Outputs = tuple[list[Segment], NDArray[np.float32], NDArray[np.float32]]
Found = TypeVar("Found")


class Classifier:
    """Names the genre of music.

    The same input gives the same output bit for bit, alone or among many: the network always sees
    the segments of one half-minute window as one batch, on one thread. `embedding_size` is the
    length of an embedding.

    Examples
    --------
    >>> from genrescope import Classifier
    >>> classifier = Classifier.load("default")
    >>> classifier.predict("song.mp3").genre  # doctest: +SKIP
    'jazz'
    """

    def __init__(self, bundle: Bundle) -> None:
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
        wanted, inputs = [*bundle.manifest.frontend.shape], self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].shape[1:] != wanted:
            raise BundleError(name, f"model.onnx does not take segments of {wanted}")
        self._input = inputs[0].name

    @classmethod
    def load(cls, source: str | PathLike[str] = "default") -> Classifier:
        """Load a shipped model by name, or a bundle from a folder or `.zip`.

        Raises
        ------
        BundleError
            When there is no such bundle, or it is damaged.
        """
        return cls(Bundle.load(source))

    @property
    def genres(self) -> list[str]:
        """The genres it knows."""
        return self.manifest.genres

    def logits(self, source: Source, info: StreamInfo | None = None) -> Iterator[Outputs]:
        """The raw outputs of the network, window by window.

        Yields
        ------
        segments, logits `[segments, genres]`, embeddings `[segments, size]`

        Raises
        ------
        AudioError
            When the file can't be heard.
        """
        return self.logits_of(self._windows(source, info))

    def _windows(self, source: Source, info: StreamInfo | None) -> Iterator[Window]:
        if isinstance(source, Waveform) and not np.isfinite(source.samples).all():
            raise AudioError("waveform", "some of its samples are not finite numbers")
        return self.manifest.frontend.windows(source, info)

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

    def predict(self, source: Source) -> Prediction:
        """Name the genre of a file or a waveform, of any length.

        Parameters
        ----------
        source
            A file of audio (or a stored spectrogram), a mono waveform, or, for a model of stored
            vectors, an array `[frames, size]` or `[size]`.

        Raises
        ------
        AudioError
            When the file can't be heard, or is too short to classify.
        """
        return self._predict(source, Event())

    def _predict(self, source: Source, stop: Event) -> Prediction:
        """As `predict`, but gives up before the next window once it is told to stop."""
        info = StreamInfo()
        timeline: list[SegmentPrediction] = []
        tables: list[NDArray[np.float64]] = []
        label_logits: list[NDArray[np.float32]] = []
        head = self.manifest.labels
        embedding = np.zeros(self.embedding_size)
        for segments, logits, embeddings in self.label_logits_of(self._windows(source, info)):
            if stop.is_set():
                raise CancelledError
            if head is not None:
                label_logits.append(logits)
                logits = head.genre_logits(logits)
            probabilities = softmax(logits, self.manifest.temperature)
            tables.append(probabilities)
            embedding += embeddings.sum(axis=0, dtype=np.float64)
            timeline += [
                SegmentPrediction(segment.start, min(segment.end, info.duration), named)
                for segment, named in zip(segments, map(self._named, probabilities), strict=True)
            ]
        path = os.fsdecode(fspath(source)) if isinstance(source, str | PathLike) else None
        if not timeline:
            silence = "digital silence, and less than a second of sound: cannot tell a genre"
            return Prediction(
                path=path,
                genre=None,
                probabilities=dict.fromkeys(self.genres, 1 / len(self.genres)),
                timeline=[],
                embedding=embedding.astype(np.float32),
                duration=info.duration,
                warnings=[*info.warnings, silence],
            )
        table = np.concatenate(tables)
        mean_embedding = (embedding / len(timeline)).astype(np.float32)
        tags = self._tags(label_logits, mean_embedding)
        if tags is not None and tags.kind != MUSIC:
            return Prediction(
                path=path,
                genre=None,
                probabilities=dict.fromkeys(self.genres, 1 / len(self.genres)),
                timeline=[],
                embedding=mean_embedding,
                duration=info.duration,
                warnings=[*info.warnings, f"{tags.describe()}: cannot tell a genre"],
                tags=tags,
            )
        if head is not None:
            # A spoken introduction says nothing of the music that follows.
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
        """What the recording is besides its genre, where the bundle can tell."""
        if self.manifest.labels is not None:
            return self.manifest.labels.read(np.concatenate(label_logits))
        if self.manifest.music_detector is not None:
            return self.manifest.music_detector.read(embedding)
        return None

    def predict_many(
        self, sources: Iterable[Source], *, jobs: int | None = None
    ) -> Generator[Prediction | FileError, None, None]:
        """Name the genre of many files on all cores.

        Closing it (Ctrl-C does) stops what is being heard within a moment.

        Parameters
        ----------
        sources
            Files or waveforms; taken from the iterable only as fast as they are heard.
        jobs
            Files heard at once; as many as there are cores by default.

        Yields
        ------
        Prediction or FileError
            In the order of `sources`; the error of a file that can't be heard stands in its place.
        """
        if isinstance(sources, str | PathLike):
            raise TypeError("predict_many takes many sources; predict takes one")
        yield from _in_threads(self._predict, sources, jobs)

    @property
    def layers(self) -> dict[str, int]:
        """Places in the network where embeddings can be taken, with their sizes."""
        outputs = {output.name: output.shape for output in self._session.get_outputs()}
        return {name: int(shape[1]) for name, shape in outputs.items() if name != "logits"}

    def embed(self, source: Source, *, layer: str = "embedding") -> NDArray[np.float32]:
        """The embedding of a file or a waveform, float32 `[size]`: the mean over its segments.

        Parameters
        ----------
        source
            As for `predict`.
        layer
            One of `layers`.

        Raises
        ------
        AudioError
            When the file can't be heard.
        ValueError
            When there is no such layer.
        """
        return self.embed_layers(source, [layer])[layer]

    def embed_layers(self, source: Source, layers: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """As `embed`, in several layers at once: the source is heard, and the graph run, once."""
        self._check_layers(layers)
        return self._embed_layers(source, layers, Event())

    def embed_many(
        self, sources: Iterable[Source], layers: Sequence[str], *, jobs: int | None = None
    ) -> Generator[dict[str, NDArray[np.float32]] | FileError, None, None]:
        """As `embed_layers`, of many files on all cores, in their order; see `predict_many`."""
        if isinstance(sources, str | PathLike):
            raise TypeError("embed_many takes many sources; embed_layers takes one")
        self._check_layers(layers)

        def embed(source: Source, stop: Event) -> dict[str, NDArray[np.float32]]:
            return self._embed_layers(source, layers, stop)

        yield from _in_threads(embed, sources, jobs)

    def _check_layers(self, layers: Sequence[str]) -> None:
        for layer in layers:
            if layer not in self.layers:
                raise ValueError(f"no layer {layer!r}; there are: {', '.join(self.layers)}")

    def _embed_layers(
        self, source: Source, layers: Sequence[str], stop: Event
    ) -> dict[str, NDArray[np.float32]]:
        sizes, count = self.layers, 0
        totals = {layer: np.zeros(sizes[layer]) for layer in layers}
        for window in self.manifest.frontend.windows(source):
            if stop.is_set():
                raise CancelledError
            segments = self.manifest.frontend.segments_of(window)
            if segments:
                batch = np.stack([segment.values for segment in segments])
                found = self._session.run([*totals], {self._input: batch})
                for total, values in zip(totals.values(), found, strict=True):
                    total += values.sum(axis=0, dtype=np.float64)
                count += len(batch)
        return {name: (total / max(count, 1)).astype(np.float32) for name, total in totals.items()}

    def _named(self, probabilities: NDArray[np.float64]) -> dict[str, float]:
        return dict(zip(self.genres, map(float, probabilities), strict=True))


def _in_threads(
    hear: Callable[[Source, Event], Found], sources: Iterable[Source], jobs: int | None
) -> Generator[Found | FileError, None, None]:
    """What `hear` gives for each source, in their order; `hear` minds the event that stops it."""
    jobs = jobs or available_cores()
    waiting: deque[Future[Found | FileError]] = deque()
    pool = ThreadPoolExecutor(jobs, thread_name_prefix="genrescope")
    # Python waits for its threads at the end; an hour-long mix would keep it.
    stop = Event()
    try:
        for source in sources:
            waiting.append(pool.submit(_tried, hear, source, stop))
            # A few ahead keep the cores busy while one long file is heard.
            if len(waiting) >= 4 * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _tried(
    hear: Callable[[Source, Event], Found], source: Source, stop: Event
) -> Found | FileError:
    try:
        return hear(source, stop)
    except FileError as error:
        return error
    except Exception as error:  # the rest of the work goes on, whatever a decoder comes up with
        name = source if isinstance(source, str | PathLike) else type(source).__name__
        failure = FileError(name, f"unexpected {type(error).__name__}: {error}")
        failure.__cause__ = error
        return failure
