"""The base class of encoders: pretrained networks that turn segments of audio into embeddings.

Conventions
-----------
A *segment* is what the network sees at once, float32 `[size, frames]` of the encoder's front end. A
*layer* is a place in the network where an embedding can be taken, `[segments, size]`. Times are
seconds from the beginning of the track.

The rest after the last whole segment of a track is left out, as in the published front ends. A
track shorter than one segment is padded with silence, and its embedding is marked as `padded`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from genrescope.audio import Waveform
from genrescope.encoders import engine
from genrescope.encoders.engine import BATCH_SIZE, Segments
from genrescope.encoders.layer import AudioSource, encoder_layer, read_segments, torch_device
from genrescope.encoders.store import Embedding
from genrescope.encoders.weights import Weights, locate, obtain
from genrescope.errors import FileError, UnknownNameError
from genrescope.features import Frontend, SegmentSettings
from genrescope.features.cache import FeatureCache
from genrescope.paths import cache_folder
from genrescope.registry import no_such

if TYPE_CHECKING:
    import torch
    from onnxruntime import InferenceSession

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Check:
    """A published figure compared with ours.

    Attributes
    ----------
    what
        Description of the figure.
    published, found
        The published figure, and ours.
    tolerance
        Largest deviation of ours, as a fraction of `published`.
    """

    what: str
    published: float
    found: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether our figure is within the tolerance."""
        return abs(self.found - self.published) <= self.tolerance * abs(self.published)


class Encoder(ABC):
    """A pretrained network.

    Parameters
    ----------
    weights
        A file that replaces the first of `weights`, or a folder with all of them. Other files are
        looked for in the cache, and downloaded when they are needed.
    weights_seed
        Seed of random weights, to use the architecture without published weights.
    device
        For torch: "cuda" where there is one, else "cpu".
    precision
        "bfloat16" is less exact (VGGish by 0.3 %, smaller networks by a few per cent) and faster
        where the hardware computes in it: graphics cards, processors with AVX512_BF16 or AMX.

    Attributes
    ----------
    name
        Name of the encoder.
    layers
        Name to size, from the input to the output.
    default_layer
        The layer that is used when none is named.
    weights
        Files of published weights; empty if `build` makes all weights.
    feature
        Settings of its front end's feature.
    seconds, step
        Length of a segment, and time from one to the next, in seconds.
    any_length
        Whether the network takes segments of any length.
    uses_onnx
        Whether ONNX Runtime computes it on CPUs, which is faster than torch for all built-in
        encoders. The graph is exported once and stored on disk under the hash of the weights.
    cache
        Cache for embeddings of files; None turns it off. Embeddings are stored as float16, so those
        that are computed for the first time are rounded to float16, too.
    sessions
        Its layers that ONNX Runtime has opened.
    """

    name: ClassVar[str]
    layers: ClassVar[dict[str, int]]
    default_layer: ClassVar[str]
    weights: ClassVar[tuple[Weights, ...]]
    feature: ClassVar[dict[str, Any]]
    seconds: float
    step: float
    any_length: ClassVar[bool] = False
    uses_onnx: ClassVar[bool] = True

    def __init__(
        self,
        weights: Path | None = None,
        *,
        weights_seed: int | None = None,
        device: str | None = None,
        precision: Precision = "float32",
    ) -> None:
        if precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision must be float32 or bfloat16, not {precision!r}")
        self.weights_path = None if weights is None else Path(weights)
        self.weights_seed = weights_seed
        self.device = device
        self.precision = precision
        self.cache: FeatureCache | None = FeatureCache(cache_folder("embeddings"))
        self.sessions: dict[str, InferenceSession] = {}
        self._network: torch.nn.Module | None = None

    @abstractmethod
    def build(self) -> torch.nn.Module:
        """The network, with weights drawn from torch's random numbers.

        Its `forward(segments [n, size, frames])` gives a dictionary of all layers, `[n, size]`.
        """

    @abstractmethod
    def load(self, network: torch.nn.Module) -> None:
        """Load the published weights into the network; `file` gives their paths."""

    def prepare(self, network: torch.nn.Module, layer: str) -> None:  # noqa: B027 - often nothing
        """Load weights that only one layer needs; most encoders have none."""

    def to_bfloat16(self, network: torch.nn.Module) -> torch.nn.Module:
        """The network in bfloat16; it may change the one it is given."""
        import torch

        return network.to(torch.bfloat16)

    def for_export(self, network: torch.nn.Module) -> torch.nn.Module:
        """The network in the form that is exported; its outputs are the same up to rounding."""
        return network

    def packaged_graph(self, layer: str) -> tuple[bytes, bytes] | None:  # noqa: ARG002 - of subclasses
        """A graph of all layers and its weights, made without torch; None where there is none.

        Weights that only one layer needs are read only for that layer.
        """
        return None

    def checks(self) -> list[Check]:
        """Reproduce published figures of this network with its published weights."""
        return []

    @cached_property
    def frontend(self) -> Frontend:
        """From audio to the segments that the network sees."""
        overlap = max(0.0, 1 - self.step / self.seconds)
        segments = SegmentSettings(seconds=self.seconds, overlap=overlap)
        return Frontend(feature=self.feature, scale="none", segments=segments)

    def file(self, weights: Weights) -> Path:
        """Path of a file of weights, whose hash is checked; it is downloaded if necessary.

        Raises
        ------
        WeightsError
            When it can't be obtained, or is not the published one.
        """
        return obtain(weights, locate(weights, self.weights[0], self.weights_path))

    def network(self) -> torch.nn.Module:
        """The network in evaluation mode, built once.

        `embed` uses this module and caches its results by the hash of the weights, so make a copy
        before you train it.

        Raises
        ------
        WeightsError
            When the weights can't be obtained, or are not the published ones.
        """
        if self._network is None:
            import torch

            with torch.random.fork_rng():
                torch.manual_seed(self.weights_seed or 0)
                network = self.build()
            if self.weights_seed is None:
                self.load(network)
            self._network = network.to(torch_device(self.device)).eval()
        return self._network

    def segments(self, waveform: Waveform) -> Segments:
        """The segments of a waveform, as the network sees them.

        Raises
        ------
        AudioError
            When it has no samples, or some that are not finite.
        """
        pieces = list(read_segments(self, waveform))
        values, starts, ends = (
            np.concatenate(each) for each in list(zip(*pieces, strict=True))[:3]
        )
        return Segments(values, starts, ends, pieces[0].padded)

    def embed(
        self, source: AudioSource, *, layer: str | None = None, batch_size: int = BATCH_SIZE
    ) -> Embedding:
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
            When the file can't be decoded.
        WeightsError
            When the weights can't be obtained, or are not the published ones.
        UnknownNameError
            When there is no such layer.
        """
        (result,) = self.embed_many([source], layer=layer, batch_size=batch_size)
        if isinstance(result, FileError):
            raise result
        return result

    def embed_many(
        self,
        sources: Iterable[AudioSource],
        *,
        layer: str | None = None,
        batch_size: int = BATCH_SIZE,
        jobs: int | None = None,
    ) -> Iterator[Embedding | FileError]:
        """The embeddings of many files or waveforms, in their order, batched over files.

        What was computed is kept on disk: an interrupted run continues where it stopped.

        Parameters
        ----------
        sources, layer, batch_size
            As for `embed`.
        jobs
            Threads; as many as there are cores by default, at most 8.

        Yields
        ------
        Embedding, or the FileError of a file that can't be decoded

        Raises
        ------
        WeightsError
            When the weights can't be obtained, or are not the published ones.
        UnknownNameError
            When there is no such layer.
        """
        model = encoder_layer(self, self.checked_layer(layer))
        return engine.embed(model, sources, batch_size=batch_size, jobs=jobs)

    def checked_layer(self, layer: str | None) -> str:
        """A layer by its name, the default one for None.

        Raises
        ------
        UnknownNameError
            When there is no such layer.
        """
        if layer is None:
            return self.default_layer
        if layer not in self.layers:
            raise UnknownNameError(no_such(f"encoder {self.name} has no layer", layer, self.layers))
        return layer
