"""A layer of a pretrained encoder as the engine needs it: its segments, its network and its key."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from copy import deepcopy
from importlib.util import find_spec
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from genrescope import audio
from genrescope.audio import Waveform
from genrescope.encoders.engine import MAX_JOBS, EmbeddingModel, Run, Segments
from genrescope.encoders.store import EmbeddingStore
from genrescope.encoders.weights import identity, locate
from genrescope.errors import AudioError
from genrescope.features import Feature
from genrescope.features.cache import FeatureCache
from genrescope.features.segments import stream_feature, stream_segments
from genrescope.features.spectrogram import FloatArray
from genrescope.onnx_session import onnx_session
from genrescope.parallel import available_cores
from genrescope.paths import cache_folder

if TYPE_CHECKING:
    from genrescope.encoders.base import Encoder

AudioSource = str | PathLike[str] | Waveform

_BLOCK_SECONDS = 30

EMBEDDING_VERSION = 1
"""To be raised whenever embeddings change though weights and front end stay what they are."""


def encoder_layer(encoder: Encoder, layer: str) -> EmbeddingModel[AudioSource]:
    """A layer of an encoder as a model of the engine."""
    key = embedding_key(encoder, layer)
    store = None if encoder.cache is None else EmbeddingStore(encoder.cache, key)
    fits = encoder.uses_onnx and encoder.precision == "float32"
    by_graph = fits and torch_device(encoder.device) == "cpu"
    return EmbeddingModel(
        read=lambda source: read_segments(encoder, source),
        load=lambda: _graph_run(encoder, layer) if by_graph else _torch_run(encoder, layer),
        key=key,
        parallel=by_graph,
        store=store,
    )


def embedding_key(encoder: Encoder, layer: str) -> str:
    """All that an embedding depends on besides the audio, as text."""
    return json.dumps(
        {
            "version": EMBEDDING_VERSION,
            "encoder": encoder.name,
            "layer": layer,
            "weights": weights_hashes(encoder),
            "precision": encoder.precision,
            "hop": encoder.step,
            "frontend": encoder.frontend.model_dump(mode="json"),
        }
    )


def weights_hashes(encoder: Encoder) -> list[str]:
    """Of each file of weights its hash; as published, where it is what was published."""
    if encoder.weights_seed is not None:
        return [f"untrained {encoder.weights_seed}"]
    return [
        identity(one, locate(one, encoder.weights[0], encoder.weights_path), encoder.file)
        for one in encoder.weights
    ]


def torch_device(device: str | None) -> str:
    """The device that torch computes on: the one given, else "cuda" where there is one.

    Without torch it is "cpu", on which ONNX Runtime computes.
    """
    if find_spec("torch") is None:
        return "cpu"
    import torch

    return device or ("cuda" if torch.cuda.is_available() else "cpu")


def read_segments(encoder: Encoder, source: AudioSource) -> Iterator[Segments]:
    """The segments of a file or a waveform, cut as the encoder's authors published it.

    What comes after the last whole segment is left out. A track shorter than one segment is padded
    with silence to one.

    Yields
    ------
    Segments
        Those of about a minute or more at a time, at least one in total.

    Raises
    ------
    AudioError
        When the file can't be decoded, or a waveform is empty or not finite.
    """
    feature, length = encoder.frontend.computed, encoder.frontend.segment_frames
    step = max(1, round(encoder.step / feature.hop_seconds))
    filled = (length + 2 * feature.edge_frames) * feature.hop_length + feature.frame_overlap
    stream = _Samples(source, feature.sample_rate, head=filled)
    first, pending = 0, None
    for values in stream_segments(stream_feature(feature, stream.blocks), length, step):
        if pending is not None:
            yield pending
        starts = (first + np.arange(len(values), dtype=np.float64)) * (step * feature.hop_seconds)
        pending = Segments(values, starts, starts + encoder.seconds)
        first += len(values)
    if pending is None:
        pending = _padded(feature, stream, length, encoder.seconds)
    # Only now the length of the source is known.
    yield pending._replace(ends=np.minimum(pending.ends, stream.duration))


class _Samples:
    """The samples of a source at a sample rate, as a stream that can be begun again.

    Attributes
    ----------
    duration
        Seconds of the source, once it is read to its end.
    start
        Its first samples, as many as `head`.
    """

    def __init__(self, source: AudioSource, sample_rate: int, *, head: int) -> None:
        self.source, self.sample_rate, self.head = source, sample_rate, head
        self.duration = 0.0
        self.start: FloatArray = np.zeros(0, np.float32)
        if isinstance(source, Waveform):
            if not len(source.samples):
                raise AudioError("waveform", "no samples in it")
            if not np.isfinite(source.samples).all():
                raise AudioError("waveform", "some of its samples are not finite numbers")

    def blocks(self) -> Iterator[FloatArray]:
        self.start, total = np.zeros(0, np.float32), 0
        for block in self._decoded():
            if len(self.start) < self.head:
                self.start = np.concatenate([self.start, block[: self.head - len(self.start)]])
            total += len(block)
            yield block
        self.duration = (
            self.source.duration if isinstance(self.source, Waveform) else total / self.sample_rate
        )

    def _decoded(self) -> Iterable[FloatArray]:
        if isinstance(self.source, Waveform):
            samples = self.source.resampled(self.sample_rate).samples
            step = _BLOCK_SECONDS * self.sample_rate
            return (samples[start : start + step] for start in range(0, len(samples), step))
        return audio.stream(self.source, sample_rate=self.sample_rate)


def _padded(feature: Feature, stream: _Samples, length: int, seconds: float) -> Segments:
    """The one segment of a source that is too short for one."""
    samples = np.pad(stream.start, (0, max(0, stream.head - len(stream.start))))
    values = feature(Waveform(samples, feature.sample_rate))[:, :length]
    return Segments(
        np.ascontiguousarray(values[None], np.float32), np.zeros(1), np.full(1, seconds), True
    )


def _graph_run(encoder: Encoder, layer: str) -> Run:
    """The network up to a layer in ONNX Runtime."""
    if layer not in encoder.sessions:
        threads = max(1, available_cores() // min(MAX_JOBS, available_cores()))
        shipped = None
        if encoder.weights_seed is None and find_spec("torch") is None:
            shipped = encoder.packaged_graph(layer)
        graph, weights = shipped or (_graph(encoder, layer), None)
        encoder.sessions[layer] = onnx_session(graph, weights=weights, threads=threads)
    session = encoder.sessions[layer]
    # A graph of one layer has one output, which may have any name.
    outputs = [o.name for o in session.get_outputs()]
    names = [layer] if layer in outputs else None
    return lambda segments: np.asarray(session.run(names, {"segments": segments})[0], np.float32)


def _graph(encoder: Encoder, layer: str) -> bytes:
    """The network up to a layer as ONNX, from disk where it was exported before."""
    from genrescope.encoders import graph as graphs

    def exported() -> NDArray[np.uint8]:
        network = encoder.network()
        encoder.prepare(network, layer)
        exportable = encoder.for_export(network)
        graph = graphs.layer_to_onnx(network, exportable, layer, encoder.frontend.shape)
        return np.frombuffer(graph, np.uint8)

    if encoder.weights_seed is not None or not encoder.weights:
        return exported().tobytes()
    # All that the graph depends on, and nothing else: however segments overlap, it is the same.
    settings = json.dumps(
        {
            "version": graphs.VERSION,
            "encoder": encoder.name,
            "layer": layer,
            "weights": weights_hashes(encoder),
            "precision": encoder.precision,
            "shape": encoder.frontend.shape,
        }
    )
    kept, path = FeatureCache(cache_folder("graphs")), encoder.file(encoder.weights[0])
    return kept.get_or_compute(path, settings, exported).tobytes()


def _torch_run(encoder: Encoder, layer: str) -> Run:
    """The network in torch, in the encoder's precision."""
    import torch

    network = encoder.network()
    encoder.prepare(network, layer)
    if encoder.precision != "float32":
        network = encoder.to_bfloat16(deepcopy(network))
        encoder.prepare(network, layer)
    first = next(network.parameters())

    def run(segments: FloatArray) -> FloatArray:
        with torch.inference_mode():
            batch = torch.from_numpy(segments).to(first.device, first.dtype)
            return np.asarray(network(batch)[layer].float().cpu().numpy(), np.float32)

    return run
