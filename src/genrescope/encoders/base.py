"""What every encoder has in common: from files to embeddings with their times.

Conventions
-----------
A *segment* is what the network sees at once, float32 `[size, frames]` of the encoder's front end. A
*layer* is a place in the network where an embedding can be taken, `[segments, size]`. Times are
seconds from the beginning of the track.

What comes after the last whole segment of a track is left out, as the published front ends do. A
track shorter than one segment is filled up with silence, and marked as `padded`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from genrescope import audio
from genrescope.audio import Waveform
from genrescope.encoders.weights import Weights, digest, obtain
from genrescope.errors import AudioError, FileError, RecipeError
from genrescope.features import Frontend, SegmentSettings
from genrescope.features.cache import FeatureCache
from genrescope.features.spectrogram import FloatArray
from genrescope.onnx_session import onnx_session
from genrescope.parallel import available_cores
from genrescope.paths import cache_folder

if TYPE_CHECKING:
    import torch
    from onnxruntime import InferenceSession

Source = str | PathLike[str] | Waveform
Times = NDArray[np.float64]
Examples = tuple[FloatArray, Times, Times, bool]
Precision = Literal["float32", "bfloat16"]

_MOST_WORKERS = 8

EMBEDDING_VERSION = 1
"""To be raised whenever embeddings change though weights and front end stay what they are."""


@dataclass(frozen=True)
class Embedding:
    """The embedding of a track.

    Attributes
    ----------
    values
        float32 `[segments, size]`.
    starts, ends
        float64 `[segments]`, seconds.
    padded
        The track is shorter than a segment and was filled up with silence.
    """

    values: FloatArray
    starts: Times
    ends: Times
    padded: bool


@dataclass(frozen=True)
class Check:
    """A published figure beside ours.

    Attributes
    ----------
    what
        What it is.
    wanted, found
        Published, and ours.
    tolerance
        Part of `wanted` that ours may be off by.
    """

    what: str
    wanted: float
    found: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether ours is near enough."""
        return abs(self.found - self.wanted) <= self.tolerance * abs(self.wanted)


@dataclass(frozen=True)
class _Heard:
    """A track that waits for the network."""

    source: Source
    examples: Examples


_Item = _Heard | Embedding | FileError


class Encoder(ABC):
    """A pretrained network.

    Parameters
    ----------
    weights
        A file in the place of the first of `weights`, or a folder that holds all of them. Files
        that are not there are looked for in the cache, and downloaded when they are needed.
    untrained
        Seed of random weights, for whoever wants the architecture alone.
    device
        For torch: "cuda" where there is one, else "cpu".
    precision
        "bfloat16" is less exact (VGGish by 0.3 %, smaller networks by a few per cent) and faster
        where the device calculates in it: graphics cards, processors with AVX512_BF16 or AMX.

    Attributes
    ----------
    name
        As users name it.
    layers
        Name to size, from the front to the back.
    default_layer
        The one that is taken when none is named.
    weights
        What it needs.
    feature
        Settings of its front end's feature.
    seconds, hop
        Length of a segment, and from one to the next, in seconds.
    whole
        Whether the network takes segments of any length, as one.
    exported
        Whether ONNX Runtime computes it on processors, which must have been measured to be faster
        than torch. Its graph is exported once, and kept on disk by the content of the weights.
    cache
        Where embeddings of files are kept; None to keep none. They are kept as float16, and given
        rounded to it the first time too.
    """

    name: ClassVar[str]
    layers: ClassVar[dict[str, int]]
    default_layer: ClassVar[str]
    weights: ClassVar[tuple[Weights, ...]]
    feature: ClassVar[dict[str, Any]]
    seconds: float
    hop: float
    whole: ClassVar[bool] = False
    exported: ClassVar[bool] = False

    def __init__(
        self,
        weights: Path | None = None,
        *,
        untrained: int | None = None,
        device: str | None = None,
        precision: Precision = "float32",
    ) -> None:
        if precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision must be float32 or bfloat16, not {precision!r}")
        self.given = None if weights is None else Path(weights)
        self.untrained = untrained
        self.device = device
        self.precision = precision
        self.cache: FeatureCache | None = FeatureCache(cache_folder("embeddings"))
        self._network: torch.nn.Module | None = None
        self._running: torch.nn.Module | None = None
        self._sessions: dict[str, InferenceSession] = {}

    @abstractmethod
    def build(self) -> torch.nn.Module:
        """The network, with weights drawn from torch's random numbers.

        Its `forward(segments [n, size, frames])` gives a dictionary of all layers, `[n, size]`.
        """

    @abstractmethod
    def load(self, network: torch.nn.Module) -> None:
        """Put the published weights into the network; `file` says where they are."""

    def prepare(self, network: torch.nn.Module, layer: str) -> None:  # noqa: B027 - often nothing
        """Put weights into the network that one layer alone needs; most have none."""

    def lowered(self, network: torch.nn.Module) -> torch.nn.Module:
        """The network in bfloat16; it may change the one it is given."""
        import torch

        return network.to(torch.bfloat16)

    def quick(self, network: torch.nn.Module) -> torch.nn.Module:
        """The network in the form that is exported: within rounding it gives the same."""
        return network

    def checks(self) -> list[Check]:
        """Compute figures that are published of this network, on its published weights."""
        return []

    @cached_property
    def frontend(self) -> Frontend:
        """From sound to the segments that the network sees."""
        overlap = max(0.0, 1 - self.hop / self.seconds)
        segments = SegmentSettings(seconds=self.seconds, overlap=overlap)
        return Frontend(feature=self.feature, scale="none", segments=segments)

    @property
    def sample_rate(self) -> int:
        """Hz that it hears."""
        return self.frontend.computed.sample_rate

    def file(self, weights: Weights) -> Path:
        """Where a file of weights is, its hash checked; it is downloaded if need be.

        Raises
        ------
        WeightsError
            When it can't be had, or is not what was published.
        """
        return obtain(weights, self._given(weights))

    def _given(self, weights: Weights) -> Path | None:
        if self.given is None or self.given.is_dir() or weights == self.weights[0]:
            return self.given
        # The others of several files are looked for beside the first.
        beside = self.given.parent / weights.file
        return beside if beside.is_file() else None

    def network(self) -> torch.nn.Module:
        """The network in evaluation mode, built once.

        `embed` uses this very module, and what it gave is kept by the hash of the weights: to
        train it further, take a copy.

        Raises
        ------
        WeightsError
            When the weights can't be had, or are not what was published.
        """
        if self._network is None:
            import torch

            with torch.random.fork_rng():
                torch.manual_seed(self.untrained or 0)
                network = self.build()
            if self.untrained is None:
                self.load(network)
            self._network = network.to(self._place()).eval()
        return self._network

    def examples(self, waveform: Waveform) -> Examples:
        """Cut a waveform into the segments that the network sees.

        Returns
        -------
        segments
            float32 `[n, size, frames]`, n at least 1.
        starts, ends
            float64 `[n]`, seconds.
        padded
            Whether the waveform was too short and was filled up with silence.

        Raises
        ------
        AudioError
            When it has no samples, or some that are not finite.
        """
        if not len(waveform.samples) or not np.isfinite(waveform.samples).all():
            reason = "some of its samples are not finite numbers"
            raise AudioError("waveform", reason if len(waveform.samples) else "no samples in it")
        feature, frames = self.frontend.computed, self.frontend.segment_frames
        sound = waveform.resampled(feature.sample_rate)
        values = feature(sound)
        padded = values.shape[1] < frames
        if padded:
            filled = (frames + 2 * feature.edge_frames) * feature.hop_length + feature.frame_overlap
            samples = np.pad(sound.samples, (0, max(0, filled - len(sound.samples))))
            values = feature(Waveform(samples, feature.sample_rate))[:, :frames]
        step = max(1, round(self.hop / feature.hop))
        cut = np.lib.stride_tricks.sliding_window_view(values, frames, axis=1)[:, ::step]
        segments = np.ascontiguousarray(cut.transpose(1, 0, 2), np.float32)
        starts = np.arange(len(segments), dtype=np.float64) * (step * feature.hop)
        ends: Times = np.minimum(starts + self.seconds, waveform.duration)
        return segments, starts, ends, padded

    def embed(self, source: Source, *, layer: str | None = None, batch_size: int = 32) -> Embedding:
        """The embedding of a file or a waveform.

        Parameters
        ----------
        source
            A file of audio, or a mono waveform at any sample rate.
        layer
            One of `layers`; `default_layer` by default.
        batch_size
            Segments that the network sees at once; more take more memory.

        Raises
        ------
        AudioError
            When the file can't be heard.
        WeightsError
            When the weights can't be had, or are not what was published.
        RecipeError
            When there is no such layer.
        """
        layer = self._checked(layer, batch_size)
        (result,) = self._embed_many([source], layer, batch_size, many=False)
        if isinstance(result, FileError):
            raise result
        return result

    def embed_many(
        self, sources: Iterable[Source], *, layer: str | None = None, batch_size: int = 32
    ) -> Iterator[Embedding | FileError]:
        """The embeddings of many files or waveforms, in their order, batched over files.

        Files are read and their features computed in threads, ahead of the network; with ONNX
        Runtime these threads compute batches, too. What was computed is kept on disk: an
        interrupted run goes on where it stopped.

        Yields
        ------
        Embedding, or the FileError of a file that can't be heard

        Raises
        ------
        WeightsError
            When the weights can't be had, or are not what was published.
        RecipeError
            When there is no such layer.
        """
        return self._embed_many(sources, self._checked(layer, batch_size), batch_size, many=True)

    def _checked(self, layer: str | None, batch_size: int) -> str:
        layer = self.default_layer if layer is None else layer
        if layer not in self.layers:
            raise RecipeError(
                f"encoder {self.name} has no layer {layer!r}; there are: {', '.join(self.layers)}"
            )
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        return layer

    def _embed_many(
        self, sources: Iterable[Source], layer: str, batch_size: int, *, many: bool
    ) -> Iterator[Embedding | FileError]:
        settings = self.settings(layer) if self.cache is not None else ""
        line: deque[_Item] = deque()  # in the order of the sources
        waiting = np.zeros((0, *self.frontend.shape), np.float32)  # segments of those in the line
        values = np.zeros((0, self.layers[layer]), np.float32)  # of segments before them
        running: deque[Future[FloatArray]] = deque()  # of segments between the two
        workers = min(_MOST_WORKERS, available_cores())
        reading = ThreadPoolExecutor(workers)
        by_graph = self._by_graph(layer, many=many)
        # Of graphs each thread computes its own, and hears files in between; torch divides the
        # work on one batch by itself.
        computing, at_once = (reading, workers) if by_graph else (ThreadPoolExecutor(1), 1)

        def compute(segments: FloatArray) -> None:
            running.append(computing.submit(self._computed, segments, layer))

        try:
            for item in self._heard(sources, settings, reading, 2 * workers):
                line.append(item)
                if isinstance(item, _Heard):
                    self._ready(layer, by_graph=by_graph)
                    waiting = np.concatenate([waiting, item.examples[0]])
                while len(waiting) >= batch_size:
                    compute(waiting[:batch_size])
                    waiting = waiting[batch_size:]
                while running and (len(running) > at_once or running[0].done()):
                    values = np.concatenate([values, running.popleft().result()])
                values = yield from self._finished(line, values, settings)
            for part in np.array_split(waiting, at_once):
                if len(part):
                    compute(part)
            values = np.concatenate([values, *(each.result() for each in running)])
            yield from self._finished(line, values, settings)
        finally:
            for pool in {reading, computing}:
                pool.shutdown(cancel_futures=True)

    def _heard(
        self, sources: Iterable[Source], settings: str, pool: Executor, ahead: int
    ) -> Iterator[_Item]:
        """Read files in threads, a few ahead of whoever asks."""
        rest = iter(sources)
        jobs = deque(pool.submit(self._hear, source, settings) for source in islice(rest, ahead))
        while jobs:
            item = jobs.popleft().result()
            jobs.extend(pool.submit(self._hear, source, settings) for source in islice(rest, 1))
            yield item

    def _hear(self, source: Source, settings: str) -> _Item:
        try:
            kept = self._kept(source, settings)
            if kept is not None:
                return kept
            if isinstance(source, Waveform):
                return _Heard(source, self.examples(source))
            return _Heard(source, self.examples(audio.load(source, sample_rate=self.sample_rate)))
        except FileError as error:
            return error

    def _finished(
        self, line: deque[_Item], values: FloatArray, settings: str
    ) -> Generator[Embedding | FileError, None, FloatArray]:
        """Take from the front of the line whatever is complete; return the values left over."""
        while line:
            item = line[0]
            if isinstance(item, _Heard):
                segments, starts, ends, padded = item.examples
                if len(values) < len(segments):
                    break
                fresh = Embedding(values[: len(segments)], starts, ends, padded)
                values = values[len(segments) :]
                yield self._keep(item.source, settings, fresh)
            else:
                yield item
            line.popleft()
        return values

    def _by_graph(self, layer: str, *, many: bool) -> bool:
        """Whether ONNX Runtime computes; for one file alone no graph is exported."""
        fits = self.exported and self.precision == "float32" and self._place() == "cpu"
        return fits and (many or layer in self._sessions)

    def _place(self) -> str:
        """Where torch computes."""
        import torch

        return self.device or ("cuda" if torch.cuda.is_available() else "cpu")

    def _ready(self, layer: str, *, by_graph: bool) -> None:
        """Build whatever computes."""
        if not by_graph:
            self._runs(layer)
        elif layer not in self._sessions:
            threads = max(1, available_cores() // min(_MOST_WORKERS, available_cores()))
            self._sessions[layer] = onnx_session(self._graph(layer), threads=threads)

    def _graph(self, layer: str) -> bytes:
        """The network up to a layer as ONNX, from disk where it was exported before."""
        from genrescope.encoders import graph as graphs

        def exported() -> NDArray[np.uint8]:
            network = self.network()
            self.prepare(network, layer)
            quick = self.quick(network)
            graph = graphs.layer_to_onnx(network, quick, layer, self.frontend.shape)
            return np.frombuffer(graph, np.uint8)

        if self.untrained is not None:
            return exported().tobytes()
        kept = FeatureCache(cache_folder("graphs"))
        # All that the graph depends on, and nothing else: however segments overlap, it is the same.
        settings = json.dumps(
            {
                "version": graphs.VERSION,
                "encoder": self.name,
                "layer": layer,
                "weights": self._identity(),
                "precision": self.precision,
                "shape": self.frontend.shape,
            }
        )
        return kept.get_or_compute(self.file(self.weights[0]), settings, exported).tobytes()

    def _computed(self, segments: FloatArray, layer: str) -> FloatArray:
        """What the network gives for one batch of segments, float32 `[n, size]`."""
        if layer in self._sessions:
            found = self._sessions[layer].run(None, {"segments": segments})[0]
            return np.asarray(found, np.float32)
        import torch

        network = self._runs(layer)
        first = next(network.parameters())
        with torch.inference_mode():
            batch = torch.from_numpy(segments).to(first.device, first.dtype)
            return np.asarray(network(batch)[layer].float().cpu().numpy(), np.float32)

    def _runs(self, layer: str) -> torch.nn.Module:
        """The network that `embed` runs: the network, or a lowered copy of it."""
        network = self.network()
        self.prepare(network, layer)
        if self.precision == "float32":
            return network
        if self._running is None:
            self._running = self.lowered(deepcopy(network))
        self.prepare(self._running, layer)
        return self._running

    def settings(self, layer: str) -> str:
        """All that an embedding depends on besides the sound, as text."""
        return json.dumps(
            {
                "version": EMBEDDING_VERSION,
                "encoder": self.name,
                "layer": layer,
                "weights": self._identity(),
                "precision": self.precision,
                "hop": self.hop,
                "frontend": self.frontend.model_dump(mode="json"),
            }
        )

    def _identity(self) -> list[str]:
        """Of each file of weights its hash; as published, where it is what was published."""
        if self.untrained is not None:
            return [f"untrained {self.untrained}"]
        found = []
        for weights in self.weights:
            path = self._given(weights)
            if path is not None and path.is_dir():
                path = path / weights.file if (path / weights.file).is_file() else None
            if path is None and not weights.sha256:
                path = self.file(weights)
            own = weights.sha256 if path is None else digest(path)
            published = weights.sha256 and own.startswith(weights.sha256)
            found.append(weights.sha256 if published else own)
        return found

    def _kept(self, source: Source, settings: str) -> Embedding | None:
        """What was computed for a file before, if anything."""
        if self.cache is None or isinstance(source, Waveform):
            return None
        try:
            return _unpacked(self.cache.get_or_compute(source, settings, _nothing))
        except _NothingError:
            return None

    def _keep(self, source: Source, settings: str, fresh: Embedding) -> Embedding:
        """Keep an embedding; give it as it will be read, so that both times it is the same."""
        if self.cache is None or isinstance(source, Waveform):
            return fresh
        packed = _packed(fresh)
        return _unpacked(self.cache.get_or_compute(source, settings, lambda: packed))


class _NothingError(Exception):
    """Nothing is kept of this file."""


def _nothing() -> NDArray[Any]:
    raise _NothingError


def _packed(embedding: Embedding) -> NDArray[Any]:
    """An embedding as records, one a segment."""
    count, size = embedding.values.shape
    fields = [("values", "<f2", (size,)), ("start", "<f8"), ("end", "<f8"), ("padded", "?")]
    records = np.zeros(count, np.dtype(fields))
    largest = np.finfo(np.float16).max
    records["values"] = np.clip(embedding.values, -largest, largest)
    records["start"], records["end"] = embedding.starts, embedding.ends
    records["padded"] = embedding.padded
    return records


def _unpacked(records: NDArray[Any]) -> Embedding:
    values = records["values"].astype(np.float32)
    starts, ends = records["start"].copy(), records["end"].copy()
    return Embedding(values, starts, ends, bool(records["padded"].any()))
