"""`Classifier`: predictions and embeddings of tracks by a trained model."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from os import PathLike, fsdecode, fspath
from threading import Event, Lock
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from genrescope.audio import Waveform
from genrescope.audio.decode import LOUDEST
from genrescope.errors import AudioError, FileError
from genrescope.features import Frontend, Segment, Source, StreamInfo, Window
from genrescope.inference.bundle import Bundle, Manifest
from genrescope.inference.listening import Listen, check_listen, windows_of_parts
from genrescope.inference.network import EMBEDDING, LOGITS, Network
from genrescope.inference.prediction import Prediction, SegmentPrediction
from genrescope.inference.threads import CancelEvent, check, in_threads, until
from genrescope.inference.track_outputs import TrackOutputs

Outputs = tuple[list[Segment], NDArray[np.float32], NDArray[np.float32]]
Input = Source | bytes | BinaryIO | tuple[NDArray[Any], int]
"""A source to classify: a path, bytes or a file object with the content of an audio file, a
`Waveform`, an array with its sample rate, or, for a model of stored vectors, an array of them."""


class Classifier:
    """Classifies music by genre.

    The same input gives the same output bit for bit, alone or among many. A classifier can be
    pickled and shared by threads.

    Parameters
    ----------
    bundle
        The model, see `Classifier.load`.

    Attributes
    ----------
    bundle, manifest
        The model as data, and its description.
    network
        Its graph, ready to run.
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
        self.network = Network(bundle)
        self.embedding_size = self.layers[EMBEDDING]

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
        return self.network.layers

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
        return self.logits_of(_windows(self.manifest.frontend, source, info or StreamInfo()))

    def logits_of(self, windows: Iterable[Window]) -> Iterator[Outputs]:
        """As `logits`, for windows that were computed before, by the same front end."""
        head = self.manifest.labels
        for segments, (logits, embeddings) in self.network.run_windows(
            windows, [LOGITS, EMBEDDING]
        ):
            yield segments, head.genre_logits(logits) if head else logits, embeddings

    def predict(
        self,
        source: Input,
        *,
        cancel: CancelEvent | None = None,
        progress: Callable[[list[SegmentPrediction]], None] | None = None,
        listen: Listen = "full",
    ) -> Prediction:
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
        progress
            Called with the segments of each half minute as soon as they are classified.
        listen
            How much of a file is read. "full": all of it. "auto": windows of half a minute from
            all over the file, one after another, until the genre is clear. A number of seconds: so
            much, in windows of half a minute that are spread evenly. Timeline and embedding cover
            only what was read. A track that is hardly longer is read in full.

        Raises
        ------
        AudioError
            When the track can't be decoded, or is too short to classify.
        CancelledError
            When `cancel` was set.
        ValueError
            When `listen` has another value.

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
        return self._predict(source, cancel or Event(), progress, check_listen(listen))

    def _predict(
        self,
        source: Input,
        stop: CancelEvent,
        progress: Callable[[list[SegmentPrediction]], None] | None = None,
        listen: Listen = "full",
    ) -> Prediction:
        # `on_block` stops the reading of long silence, of which no windows come.
        info, frontend = StreamInfo(on_block=partial(check, stop)), self.manifest.frontend
        track = TrackOutputs(self.manifest, self.embedding_size, info)
        windows = windows_of_parts(frontend, source, info, listen, track.is_clear)
        if windows is None:
            windows = _windows(frontend, source, info)
        windows = until(stop, record_changes(windows, info))
        for segments, outputs in self.network.run_windows(windows, [LOGITS, EMBEDDING]):
            new = track.add(segments, *outputs)
            if progress is not None:
                progress(new)
        path = fsdecode(fspath(source)) if isinstance(source, str | PathLike) else None
        return track.prediction(path)

    def prediction_of(
        self,
        windows: Iterable[tuple[list[Segment], Sequence[NDArray[np.float32]]]],
        info: StreamInfo,
        *,
        path: str | None = None,
    ) -> Prediction:
        """The prediction of a track from outputs of the network that were computed elsewhere.

        Parameters
        ----------
        windows
            For each window its segments and their outputs: raw logits `[segments, outputs]` and
            embeddings `[segments, size]`, as `Network.run_windows` gives them. Only the times of
            the segments are used, not their values.
        info
            Duration, warnings and changes of the track; complete once all windows have been taken.
        path
            The path or address that the prediction is for.
        """
        track = TrackOutputs(self.manifest, self.embedding_size, info)
        for segments, (logits, embeddings) in windows:
            track.add(segments, logits, embeddings)
        return track.prediction(path)

    def predict_many(
        self,
        sources: Iterable[Input],
        *,
        jobs: int | None = None,
        cancel: CancelEvent | None = None,
        progress: Callable[[Input, list[SegmentPrediction]], None] | None = None,
        listen: Listen = "full",
    ) -> Generator[Prediction | FileError, None, None]:
        """Classify many tracks on all cores.

        Closing the generator (as Ctrl-C does) soon stops the files that are being classified.

        Parameters
        ----------
        sources
            See `predict`; they are taken from the iterable only as fast as they are classified.
        jobs
            Files classified at the same time; as many as there are cores by default.
        cancel, listen
            As for `predict`.
        progress
            As for `predict`, called with the source before the segments. Several files are
            classified at the same time: its calls come from several threads, one after the other.

        Yields
        ------
        Prediction or FileError
            In the order of `sources`; for a file that can't be decoded its error.

        Raises
        ------
        CancelledError
            When `cancel` was set.
        TypeError, ValueError
            When `sources` is a single source, or `listen` has an invalid value. An invalid source
            is yielded as an error, like a file that can't be decoded.

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
        listen, one_at_a_time = check_listen(listen), Lock()

        def show(source: Input, segments: list[SegmentPrediction]) -> None:
            with one_at_a_time:
                if progress is not None:
                    progress(source, segments)

        def predict(source: Input, stop: CancelEvent) -> Prediction:
            report = None if progress is None else partial(show, source)
            return self._predict(source, stop, report, listen)

        yield from in_threads(predict, sources, jobs, cancel)

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
        """As `embed`, for several layers; the track is decoded and the network run only once."""
        windows = _windows(self.manifest.frontend, source, StreamInfo())
        return self.network.mean_outputs(windows, layers)

    def embed_many(
        self, sources: Iterable[Input], layers: Sequence[str], *, jobs: int | None = None
    ) -> Generator[dict[str, NDArray[np.float32]] | FileError, None, None]:
        """As `embed_layers`, for many tracks on all cores, in their order; see `predict_many`."""
        if isinstance(sources, str | PathLike | bytes):
            raise TypeError("embed_many takes many sources; embed_layers takes one")
        self.network.check_layers(layers)

        def embed(source: Input, stop: CancelEvent) -> dict[str, NDArray[np.float32]]:
            info = StreamInfo(on_block=partial(check, stop))
            windows = _windows(self.manifest.frontend, source, info)
            return self.network.mean_outputs(until(stop, windows), layers)

        yield from in_threads(embed, sources, jobs, None)


def _windows(frontend: Frontend, source: Input, info: StreamInfo) -> Iterator[Window]:
    if isinstance(source, tuple):
        source = Waveform.from_array(*source, warnings=info.warnings)
    # As for files. NaN compares as false; the power of larger samples would overflow.
    if isinstance(source, Waveform) and not (np.abs(source.samples) <= LOUDEST).all():
        raise AudioError("waveform", "some of its samples are not finite numbers, or too large")
    return frontend.windows(source, info)


def record_changes(windows: Iterable[Window], info: StreamInfo) -> Iterator[Window]:
    """The same windows; how much each changes over time is added to `info.changes`."""
    for window in windows:
        if window.change is not None:
            info.changes.append(window.change)
        yield window
