"""Embeddings as features of a recipe: computed by the graph that the bundle will hold.

The encoder is exported to ONNX once. That graph hears all segments of all tracks, what it gives is
kept on disk, a head is trained on it, and in the end both graphs are joined: the bundle's front end
is the encoder's own, and `inference` needs neither torch nor the encoder's code.

The bundle gives embeddings at the depths that the leiden paper compares, by its names: `none`, the
picture itself (of networks that look at one), `immediate`, what the encoder gives and the head
sees, and those of the head's own that it names, `deep` and `shallow`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from genrescope.datasets import Track
from genrescope.encoders import Encoder, make_encoder
from genrescope.encoders.graph import to_onnx
from genrescope.errors import RecipeError
from genrescope.features import Frontend
from genrescope.features.cache import FeatureCache
from genrescope.features.frontend import Window
from genrescope.onnx_session import onnx_session
from genrescope.training.recipe import EmbeddingSettings

FloatArray = NDArray[np.float32]

_HEAD = "head/"
_ORDER = ("logits", "embedding", "none", "immediate", "deep", "shallow")


class Embedder:
    """Turns the segments of a front end into what a head learns from.

    Parameters
    ----------
    settings
        Encoder, layer and pooling.
    frontend
        Of the recipe, whose feature is the encoder's own.
    weights
        File or folder of the encoder's weights; by default the cache.

    Attributes
    ----------
    graph
        The encoder as ONNX: `segments` `[n, size, frames]` to `vectors` `[n, *shape]`, and to the
        depths `immediate` and, of networks for pictures, `none`, `[n, numbers]` each.
    shape
        Of a segment as the head sees it: numbers, and embeddings side by side.

    Raises
    ------
    RecipeError
        When the recipe's segments are shorter than the encoder's.
    WeightsError
        When the weights can't be had.
    """

    def __init__(
        self, settings: EmbeddingSettings, frontend: Frontend, weights: Path | None = None
    ) -> None:
        encoder = make_encoder(settings.encoder, weights, untrained=settings.untrained)
        layer = settings.layer or encoder.default_layer
        if layer not in encoder.layers:
            there = ", ".join(encoder.layers)
            raise RecipeError(f"encoder {settings.encoder} has no layer {layer!r}; there: {there}")
        network = _Cut(encoder, layer, settings.pool, frontend.shape[1])
        self.frontend, self.shape = frontend, network.shape
        self.graph = to_onnx(network, frontend.shape, network.outputs)
        self._session = _session(self.graph)

    def read(
        self,
        tracks: Sequence[Track],
        windows: Sequence[list[Window]],
        report: Callable[[int], None],
    ) -> Iterator[FloatArray]:
        """The embeddings of each track's segments, float32 `[segments, *shape]`."""
        cache = FeatureCache()
        settings = self.frontend.model_dump_json() + hashlib.sha256(self.graph).hexdigest()
        for done, (track, heard) in enumerate(zip(tracks, windows, strict=True), 1):
            yield cache.get_or_compute(track.path, settings, partial(self._hear, heard))
            report(done)

    def _hear(self, windows: list[Window]) -> FloatArray:
        segments = [s.values for w in windows for s in self.frontend.segments_of(w)]
        if not segments:
            return np.zeros((0, *self.shape), np.float32)
        parts = [np.stack(segments[i : i + 8]) for i in range(0, len(segments), 8)]
        run = self._session.run
        return np.concatenate([run(["vectors"], {"segments": part})[0] for part in parts])


class _Cut(nn.Module):
    """Cuts a recipe's segments into the encoder's, embeds those, and pools them.

    Attributes
    ----------
    outputs
        Names of what it gives: `vectors`, as the head sees them, and the depths.
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
                f"encoder {encoder.name} hears {self.length * hop:.2f} s at once: "
                f"segments of {frames * hop:.2f} s are too short for it"
            )
        self.starts = list(range(0, frames - self.length + 1, step))
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
        # Sizes as plain numbers: an exported graph says them of each output.
        immediate = vectors.reshape(-1, self.shape[0] * self.shape[1])
        if self.picture:
            # Networks for pictures see the whole segment as one.
            return vectors, found["none"].reshape(-1, self.picture), immediate
        return vectors, immediate

    def _pooled(self, vectors: Tensor) -> Tensor:
        """From `[n, count, width]` to `[n, *shape]`."""
        if self.pool == "none":
            return vectors.transpose(1, 2)
        mean = vectors.mean(dim=1)
        if self.pool == "mean":
            return mean.unsqueeze(2)
        deviation = ((vectors - mean.unsqueeze(1)) ** 2).mean(dim=1).sqrt()
        return torch.cat([mean, deviation, vectors.amax(dim=1)], dim=1).unsqueeze(2)


def joined(encoder: bytes, head: bytes) -> bytes:
    """One graph of an encoder's and a head's: `segments` in; out what either of them names."""
    import onnx
    from onnx import compose

    first, second = onnx.load_from_string(encoder), onnx.load_from_string(head)
    second = compose.add_prefix(second, _HEAD)
    for model in (first, second):
        model.ir_version = max(first.ir_version, second.ir_version)
    _same_opset(first, second)
    merged = compose.merge_models(first, second, io_map=[("vectors", f"{_HEAD}segments")])
    given = list(merged.graph.output)
    names = {output.name: output.name.removeprefix(_HEAD) for output in given}
    for output in given:
        output.name = names[output.name]
    for node in merged.graph.node:
        node.output[:] = [names.get(name, name) for name in node.output]
        node.input[:] = [names.get(name, name) for name in node.input]
    # Both graphs' lists were strung together; the tools that convert a bundle want each name once.
    opsets = {entry.domain: entry for entry in list(merged.opset_import)}
    del merged.opset_import[:], merged.graph.output[:]
    merged.opset_import.extend(opsets.values())
    merged.graph.output.extend(sorted(given, key=lambda output: _ORDER.index(output.name)))
    return bytes(merged.SerializeToString())


def _same_opset(first: object, second: object) -> None:
    """Let both graphs name one version of ONNX's own operators; theirs did not change between."""
    versions = [
        entry
        for model in (first, second)
        for entry in model.opset_import  # type: ignore[attr-defined]
        if entry.domain in ("", "ai.onnx")
    ]
    newest = max(entry.version for entry in versions)
    for entry in versions:
        entry.version = newest


def head_logits(head: bytes, vectors: FloatArray) -> FloatArray:
    """Logits of embeddings `[segments, *shape]`, by the head's graph."""
    return np.asarray(_session(head).run(["logits"], {"segments": vectors})[0], np.float32)


def _session(model: bytes):  # type: ignore[no-untyped-def]
    return onnx_session(model, threads=0)
