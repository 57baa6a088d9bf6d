"""Predictions from bundles; the only module that runs a trained network for its users."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike, fsdecode, fspath
from threading import Event
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from genrescope.aggregation import aggregate, softmax
from genrescope.audio import Waveform
from genrescope.audio.decode import LOUDEST
from genrescope.errors import AudioError, FileError
from genrescope.features import Frontend, Segment, Source, StreamInfo, Window
from genrescope.features.base import Change
from genrescope.inference.bundle import Bundle, Manifest
from genrescope.inference.labels import MUSIC, SoundLabels
from genrescope.inference.listening import Listen, check_listen, is_clear, windows_of_parts
from genrescope.inference.network import EMBEDDING, LOGITS, Network
from genrescope.inference.prediction import Prediction, SegmentPrediction
from genrescope.inference.threads import CancelEvent, check, in_threads, until

Outputs = tuple[list[Segment], NDArray[np.float32], NDArray[np.float32]]
_Outputs = tuple[list[Segment], Sequence[NDArray[np.float32]]]
Input = Source | bytes | BinaryIO | tuple[NDArray[Any], int]
"""A source to classify: a path, bytes or a file object with the content of an audio file, a
`Waveform`, an array with its sample rate, or, for a model of stored vectors, an array of them."""

NOTHING_AUDIBLE = "silence, and less than a second of sound: cannot tell a genre"


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
            How much of a file is read: "full", all of it; "auto", windows of half a minute, one
            after another from all over it, until the genre is clear; or so many seconds, in
            windows of half a minute that are spread over it. Timeline and embedding are of what was
            read. Tracks that are hardly longer are read in full.

        Raises
        ------
        AudioError
            When the track can't be decoded, or is too short to classify.
        CancelledError
            When `cancel` was set.
        ValueError
            When `listen` is none of these.

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
        # No window comes of silence, however long.
        info, frontend = StreamInfo(on_block=partial(check, stop)), self.manifest.frontend

        def outputs(enough: Callable[[float], bool]) -> Iterator[_Outputs]:
            windows = windows_of_parts(frontend, source, info, listen, enough)
            if windows is None:
                windows = _windows(frontend, source, info)
            windows = until(stop, noted(windows, info))
            yield from self.network.run_windows(windows, [LOGITS, EMBEDDING])

        path = fsdecode(fspath(source)) if isinstance(source, str | PathLike) else None
        return self._assemble(outputs, info, path, progress)

    def prediction_of(
        self, outputs: Iterable[_Outputs], info: StreamInfo, *, path: str | None = None
    ) -> Prediction:
        """The prediction of a track from what the network gave for its windows.

        Parameters
        ----------
        outputs
            Of each window its segments, logits and embeddings, see `Network.run_windows`; the
            segments' values are not used.
        info
            Of the track; complete once the outputs have been taken.
        path
            The path or address that the prediction is for.
        """
        return self._assemble(lambda _: outputs, info, path)

    def _assemble(
        self,
        outputs: Callable[[Callable[[float], bool]], Iterable[_Outputs]],
        info: StreamInfo,
        path: str | None,
        progress: Callable[[list[SegmentPrediction]], None] | None = None,
    ) -> Prediction:
        """From outputs to a prediction; `outputs` gets a function that tells if they are enough.

        The function takes the fraction of the track that was not read.
        """
        timeline: list[SegmentPrediction] = []
        tables: list[NDArray[np.float64]] = []
        label_logits: list[NDArray[np.float32]] = []
        head = self.manifest.labels
        embedding = np.zeros(self.embedding_size)
        detector = self.manifest.music_detector
        means: list[NDArray[np.float64]] = []  # of the logits of each window that has music
        margins: list[float] = []
        knows_music = head is not None or detector is not None

        def enough(unread: float) -> bool:
            return is_clear(means, unread, margins if knows_music else None)

        for segments, (raw, embeddings) in outputs(enough):
            logits, music = raw, np.ones(len(raw), np.bool_)
            if head is not None:
                label_logits.append(raw)
                logits, music = head.genre_logits(raw), head.has_music(raw)
                margins.append(head.margin(raw))
            probabilities = softmax(logits, self.manifest.temperature)
            tables.append(probabilities)
            if music.any():
                means.append(np.asarray(logits[music].mean(axis=0) / self.manifest.temperature))
            embedding += embeddings.sum(axis=0, dtype=np.float64)
            if detector is not None:
                margins.append(detector.margin(embeddings.mean(axis=0)))
            new = [
                SegmentPrediction(
                    segment.start, min(segment.end, info.duration), _named(self.genres, row)
                )
                for segment, row in zip(segments, probabilities, strict=True)
            ]
            timeline += new
            if progress is not None:
                progress(new)
        mean_embedding = (embedding / max(1, len(timeline))).astype(np.float32)
        no_genre = Prediction(
            path=path,
            genre=None,
            probabilities=dict.fromkeys(self.genres, 1 / len(self.genres)),
            timeline=[],
            embedding=mean_embedding,
            duration=info.duration,
            warnings=[*info.warnings, NOTHING_AUDIBLE],
            listen=info.listen,
        )
        if not timeline:
            return no_genre
        labels = _sound_labels(self.manifest, label_logits, mean_embedding, info.changes)
        if labels is not None and labels.kind != MUSIC:
            reason = f"{labels.describe()}: cannot tell a genre"
            return replace(no_genre, warnings=[*info.warnings, reason], labels=labels)
        table = np.concatenate(tables)
        if head is not None:
            # A spoken introduction says nothing about the music that follows.
            music = head.has_music(np.concatenate(label_logits))
            table = table[music] if music.any() else table
        named = _named(self.genres, aggregate(table, self.manifest.aggregation))
        ranked = dict(sorted(named.items(), key=lambda item: -item[1]))
        return Prediction(
            path=path,
            genre=next(iter(ranked)),
            probabilities=ranked,
            timeline=sorted(timeline, key=lambda segment: segment.start),
            embedding=mean_embedding,
            duration=info.duration,
            warnings=info.warnings,
            labels=labels,
            listen=info.listen,
        )

    def predict_many(
        self,
        sources: Iterable[Input],
        *,
        jobs: int | None = None,
        cancel: CancelEvent | None = None,
        listen: Listen = "full",
    ) -> Generator[Prediction | FileError, None, None]:
        """Classify many tracks on all cores.

        Closing the generator (as Ctrl-C does) stops the files in work within a moment.

        Parameters
        ----------
        sources
            See `predict`; taken from the iterable only as fast as they are classified.
        jobs
            Files classified at the same time; as many as there are cores by default.
        cancel, listen
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
        listen = check_listen(listen)

        def predict(source: Input, stop: CancelEvent) -> Prediction:
            return self._predict(source, stop, listen=listen)

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
        """As `embed`, of several layers; the track is decoded and the network run only once."""
        windows = _windows(self.manifest.frontend, source, StreamInfo())
        return self.network.mean_outputs(windows, layers)

    def embed_many(
        self, sources: Iterable[Input], layers: Sequence[str], *, jobs: int | None = None
    ) -> Generator[dict[str, NDArray[np.float32]] | FileError, None, None]:
        """As `embed_layers`, of many tracks on all cores, in their order; see `predict_many`."""
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
    # As in files; NaN compares as false, and the power of what is larger overflows.
    if isinstance(source, Waveform) and not (np.abs(source.samples) <= LOUDEST).all():
        raise AudioError("waveform", "some of its samples are not finite numbers, or too large")
    return frontend.windows(source, info)


def _named(genres: list[str], probabilities: NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(genres, map(float, probabilities), strict=True))


def noted(windows: Iterable[Window], info: StreamInfo) -> Iterator[Window]:
    """The windows; how much each changes over time is added to `info.changes`."""
    for window in windows:
        if window.change is not None:
            info.changes.append(window.change)
        yield window


def _sound_labels(
    manifest: Manifest,
    label_logits: list[NDArray[np.float32]],
    embedding: NDArray[np.float32],
    changes: Sequence[Change],
) -> SoundLabels | None:
    """Kind, styles, instruments and moods of a recording, where the bundle has them."""
    if manifest.labels is not None:
        return manifest.labels.read(np.concatenate(label_logits))
    if manifest.music_detector is not None:
        return manifest.music_detector.read(embedding, changes)
    return None
