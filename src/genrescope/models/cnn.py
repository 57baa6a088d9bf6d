"""A plain convolutional network: blocks of two 3 × 3 convolutions, each followed by max pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from genrescope.models.layers import check_halvings, layer_sizes


def _convolution(inside: int, outside: int, stride: tuple[int, int] = (1, 1)) -> list[nn.Module]:
    return [
        nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(inplace=True),
    ]


class CNN(nn.Module):
    """Convolutions over bands and frames, pooled to an embedding, one linear layer on top.

    Parameters
    ----------
    shape
        Bands and frames of a segment.
    genres
        Number of genres.
    channels
        Channels of each block; every block halves bands and frames.
    stem
        The first block: "double" has two convolutions as all others; "strided" has one, which
        skips every second band and takes a third of the time.
    pool
        How the last block becomes the embedding: "mean" over bands and frames, or "mean_max", the
        mean over bands followed by mean and maximum over frames.
    dropout
        Fraction of the embedding that is dropped before the linear layer in training.
    """

    trainer: ClassVar[str] = "torch"

    def __init__(
        self,
        shape: tuple[int, int],
        genres: int,
        *,
        channels: Sequence[int] = (24, 48, 96, 144),
        dropout: float = 0.2,
        stem: Literal["double", "strided"] = "double",
        pool: Literal["mean", "mean_max"] = "mean",
    ) -> None:
        super().__init__()
        if stem not in ("double", "strided"):
            raise ValueError(f"stem: expected double or strided, not {stem}")
        if pool not in ("mean", "mean_max"):
            raise ValueError(f"pool: expected mean or mean_max, not {pool}")
        channels = layer_sizes("channels", channels)
        strided = stem == "strided"
        check_halvings((shape[0] // 2 if strided else shape[0], shape[1]), len(channels))
        layers: list[nn.Module] = []
        for inside, outside in zip([1, *channels[:-1]], channels, strict=True):
            if strided and not layers:
                layers += _convolution(inside, outside, (2, 1))
            else:
                layers += _convolution(inside, outside)
                layers += _convolution(outside, outside)
            layers.append(nn.MaxPool2d(2))
        self.blocks = nn.Sequential(*layers)
        self.mean_max = pool == "mean_max"
        self.embedding_size = channels[-1] * (2 if self.mean_max else 1)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.embedding_size, genres))

    def forward(self, segments: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and embeddings of `[segments, size, frames]`."""
        images = segments.unsqueeze(1)
        if self.training:
            # Twice as fast to train on a CPU; it does not affect an exported graph.
            images = images.contiguous(memory_format=torch.channels_last)
        values = self.blocks(images)
        if self.mean_max:
            frames = values.mean(dim=2)
            embedding = torch.cat([frames.mean(dim=2), frames.amax(dim=2)], dim=1)
        else:
            embedding = values.mean(dim=(2, 3))
        return self.head(embedding), embedding
