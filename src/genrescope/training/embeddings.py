"""Embeddings as features of a recipe: computed by the graph that the bundle will contain.

The encoder is exported to ONNX once. That graph computes the embeddings of all segments of all
tracks, which are cached on disk; a head is trained on them; in the end both graphs are joined. So
the bundle's front end is the encoder's, and `inference` needs neither torch nor the encoder's code.

The graph also gives the layers that the leiden paper compares, under its names: `none`, the picture
itself (of encoders of pictures), and `immediate`, the embedding that the head is trained on. The
head's own are `deep` and `shallow`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from os import fspath
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from genrescope.datasets import Track
from genrescope.encoders import Encoder, engine, make_encoder
from genrescope.encoders.engine import EmbeddingModel, Segments
from genrescope.encoders.graph import to_onnx
from genrescope.encoders.store import EmbeddingStore
from genrescope.errors import FileError, RecipeError
from genrescope.features import Frontend
from genrescope.features.cache import FeatureCache
from genrescope.features.frontend import Window
from genrescope.features.segments import SEGMENT_RULE, segment_starts
from genrescope.onnx_session import onnx_session
from genrescope.training.settings import EmbeddingSettings

FloatArray = NDArray[np.float32]


class Embedder:
    """Turns the segments of a front end into embeddings that a head is trained on.

    Parameters
    ----------
    settings
        Encoder, layer and pooling.
    frontend
        Of the recipe, with the encoder's own feature.
    weights
        File or folder of the encoder's weights; by default the cache.

    Attributes
    ----------
    graph
        The encoder as ONNX: `segments` `[n, size, frames]` to `vectors` `[n, *shape]`, and to the
        layers `immediate` and, of encoders of pictures, `none`, `[n, size]` each.
    shape
        Of a segment as the head sees it: size of an embedding, and embeddings per segment.

    Raises
    ------
    RecipeError
        When the recipe's segments are shorter than the encoder's.
    WeightsError
        When the weights can't be obtained.
    """

    def __init__(
        self, settings: EmbeddingSettings, frontend: Frontend, weights: Path | None = None
    ) -> None:
        encoder = make_encoder(settings.encoder, weights, untrained=settings.untrained)
        layer = encoder.checked_layer(settings.layer)
        network = _PooledEncoder(encoder, layer, settings.pool, frontend.shape[1])
        self.frontend, self.shape = frontend, network.shape
        self.graph = to_onnx(network, frontend.shape, network.outputs)
        self._session = onnx_session(self.graph)

    def embed(
        self,
        tracks: Sequence[Track],
        windows: Sequence[list[Window]],
        report: Callable[[int], None],
    ) -> Iterator[FloatArray]:
        """Compute the embeddings of each track's segments, float32 `[segments, *shape]`."""
        graph = hashlib.sha256(self.graph).hexdigest()
        key = f"{SEGMENT_RULE} {self.frontend.model_dump_json()} {graph}"
        own = {fspath(track.path): each for track, each in zip(tracks, windows, strict=True)}
        model = EmbeddingModel[str](
            read=lambda path: self._segments(own[path]),
            load=lambda: self._run,
            key=key,
            store=EmbeddingStore(FeatureCache(), key, timed=False),
        )
        # A recipe's segment holds several of the encoder's.
        found = engine.embed(model, (fspath(track.path) for track in tracks), batch_size=8)
        for done, embedding in enumerate(found, 1):
            if isinstance(embedding, FileError):
                raise embedding
            yield embedding.values.reshape(-1, *self.shape)
            report(done)

    def _segments(self, windows: list[Window]) -> Iterator[Segments]:
        for window in windows:
            segments = self.frontend.segments_of(window)
            if segments:
                times = np.array([[segment.start, segment.end] for segment in segments])
                yield Segments(np.stack([segment.values for segment in segments]), *times.T)

    def _run(self, segments: FloatArray) -> FloatArray:
        found: FloatArray = self._session.run(["vectors"], {"segments": segments})[0]
        return found


class _PooledEncoder(nn.Module):
    """Cuts a recipe's segments into the encoder's, embeds those, and pools the embeddings.

    Attributes
    ----------
    outputs
        Names of its outputs: `vectors`, as the head sees them, and the layers.
    shape
        Of a segment's `vectors`.
    """

    def __init__(self, encoder: Encoder, layer: str, pool: str, frames: int) -> None:
        super().__init__()
        self.network, self.layer, self.pool = encoder.network().cpu(), layer, pool
        own, hop = encoder.frontend.segment_frames, encoder.frontend.computed.hop
        self.length = frames if encoder.whole else own
        step = max(1, round(encoder.hop / hop))
        if frames < self.length:
            raise RecipeError(
                f"encoder {encoder.name} takes segments of {self.length * hop:.2f} s: "
                f"the recipe's, of {frames * hop:.2f} s, are too short"
            )
        self.starts = segment_starts(frames, self.length, step)
        width = encoder.layers[layer]
        times = {"none": 1, "mean": 1, "mean_std_max": 3}[pool]
        self.shape = (width * times, len(self.starts) if pool == "none" else 1)
        self.picture = encoder.layers.get("none", 0)
        self.outputs = ("vectors", *(("none",) if self.picture else ()), "immediate")

    def forward(self, segments: Tensor) -> tuple[Tensor, ...]:
        cut = torch.stack([segments[:, :, s : s + self.length] for s in self.starts], dim=1)
        _, count, size, length = cut.shape
        found: dict[str, Tensor] = self.network(cut.reshape(-1, size, length))
        each = found[self.layer]
        vectors = self._pooled(each.reshape(-1, count, each.shape[-1]))
        # Sizes as plain numbers: an exported graph states them for each output.
        immediate = vectors.reshape(-1, self.shape[0] * self.shape[1])
        if self.picture:
            # Encoders of pictures take the whole segment as one picture.
            return vectors, found["none"].reshape(-1, self.picture), immediate
        return vectors, immediate

    def _pooled(self, vectors: Tensor) -> Tensor:
        """Pool `[n, count, width]` to `[n, *shape]`."""
        if self.pool == "none":
            return vectors.transpose(1, 2)
        mean = vectors.mean(dim=1)
        if self.pool == "mean":
            return mean.unsqueeze(2)
        deviation = ((vectors - mean.unsqueeze(1)) ** 2).mean(dim=1).sqrt()
        return torch.cat([mean, deviation, vectors.amax(dim=1)], dim=1).unsqueeze(2)
