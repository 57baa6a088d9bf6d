"""A pretrained encoder's graph for the segments of a recipe, each of which holds several."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from genrescope.encoders import Encoder, make_encoder
from genrescope.encoders.graph import to_onnx
from genrescope.errors import RecipeError
from genrescope.features import Frontend
from genrescope.features.segments import segment_starts
from genrescope.training.embeddings import Embedder
from genrescope.training.settings import EmbeddingSettings


def pretrained_embedder(
    settings: EmbeddingSettings, frontend: Frontend, weights: Path | None = None
) -> Embedder:
    """Export an encoder for the segments of a front end.

    Parameters
    ----------
    settings
        Encoder, layer and pooling.
    frontend
        The recipe's front end, with the encoder's own feature.
    weights
        File or folder of the encoder's weights; by default the cache.

    Raises
    ------
    RecipeError
        When the recipe's segments are shorter than the encoder's.
    WeightsError
        When the weights can't be obtained.
    """
    encoder = make_encoder(settings.encoder, weights, weights_seed=settings.weights_seed)
    layer = encoder.checked_layer(settings.layer)
    network = _PooledEncoder(encoder, layer, settings.pool, frontend.shape[1])
    graph = to_onnx(network, frontend.shape, network.outputs)
    return Embedder(frontend, graph, network.shape)


class _PooledEncoder(nn.Module):
    """Cuts a recipe's segments into the encoder's, embeds those, and pools the embeddings.

    Attributes
    ----------
    outputs
        Names of its outputs: `vectors`, as the head sees them, and the layers.
    shape
        Shape of a segment's `vectors`.
    """

    def __init__(self, encoder: Encoder, layer: str, pool: str, frames: int) -> None:
        super().__init__()
        self.network, self.layer, self.pool = encoder.network().cpu(), layer, pool
        own, hop = encoder.frontend.segment_frames, encoder.frontend.computed.hop_seconds
        self.length = frames if encoder.any_length else own
        step = max(1, round(encoder.step / hop))
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
