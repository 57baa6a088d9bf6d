"""A plain convolutional network: blocks of two 3 × 3 convolutions, each followed by max pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from genrescope.models.layers import check_halvings, layer_sizes


def _convolution(inside: int, outside: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inside, outside, 3, padding=1, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(inplace=True),
    ]


class CNN(nn.Module):
    """Convolutions over bands and frames, their mean as embedding, one linear layer on top.

    Parameters
    ----------
    shape
        Bands and frames of a segment.
    genres
        Number of genres.
    channels
        Of each block; every block halves bands and frames.
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
    ) -> None:
        super().__init__()
        channels = layer_sizes("channels", channels)
        check_halvings(shape, len(channels))
        layers: list[nn.Module] = []
        for inside, outside in zip([1, *channels[:-1]], channels, strict=True):
            layers += _convolution(inside, outside)
            layers += _convolution(outside, outside)
            layers.append(nn.MaxPool2d(2))
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels[-1], genres))
        self.embedding_size = channels[-1]

    def forward(self, segments: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and embeddings of `[segments, size, frames]`."""
        images = segments.unsqueeze(1)
        if self.training:
            # Twice as fast on a CPU; an exported graph has no use for it.
            images = images.contiguous(memory_format=torch.channels_last)
        embedding = self.blocks(images).mean(dim=(2, 3))
        return self.head(embedding), embedding
