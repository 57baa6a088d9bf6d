"""The loss over genres, and what goes with it for data sets of different genres."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn


def counted_rows(labels: Tensor, genres: Tensor | None) -> Tensor:
    """Which rows of labels `[n, genres]` count in the loss over some genres, or all."""
    if genres is None:
        return torch.ones(len(labels), dtype=torch.bool)
    return labels[:, genres].sum(dim=1) > 0


def genre_loss(logits: Tensor, labels: Tensor, genres: Tensor | None) -> Tensor:
    """Cross-entropy over some of the genres, or all; tracks without a label do not count."""
    if genres is None:
        return F.cross_entropy(logits, labels)
    logits, labels = logits[:, genres], labels[:, genres]
    total = labels.sum(dim=1, keepdim=True)
    known = total[:, 0] > 0
    if not known.any():
        return logits.sum() * 0.0
    return F.cross_entropy(logits[known], labels[known] / total[known])


@contextlib.contextmanager
def frozen_batch_statistics(network: nn.Module) -> Iterator[None]:
    """Normalise a batch by its own statistics without their entering the running ones."""
    layers = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
