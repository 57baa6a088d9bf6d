"""The tracks that the best epoch of a training is chosen on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from genrescope.aggregation import Aggregation, aggregate_logits
from genrescope.training.data import TrainingData


@dataclass(frozen=True)
class HeldOut:
    """Tracks that the best epoch is chosen on, with all of their segments.

    Attributes
    ----------
    segments
        Scaled segments of all tracks, `[n, size, frames]`.
    counts
        Segments of each track.
    labels
        Label of each track.
    aggregation
        Rule from segments to a track.
    """

    segments: Tensor
    counts: list[int]
    labels: list[int]
    aggregation: Aggregation

    @classmethod
    def of(
        cls,
        tracks: Sequence[str],
        data: TrainingData,
        scaling: tuple[Tensor, Tensor] | None,
        aggregation: Aggregation,
    ) -> HeldOut:
        """Take the segments of tracks as a user's prediction takes them, and scale them."""
        each = [torch.from_numpy(data.segments(track)) for track in tracks]
        segments = torch.cat(each)
        if scaling:
            segments = (segments - scaling[0]) / scaling[1]
        labels = [data.label(track) for track in tracks]
        return cls(segments, [len(own) for own in each], labels, aggregation)

    def accuracy(self, network: nn.Module) -> float:
        """Accuracy of a network on the tracks."""
        logits = logits_of(network, self.segments).float().numpy()
        each = np.split(logits, np.cumsum(self.counts)[:-1])
        right = [
            int(aggregate_logits(own, 1.0, self.aggregation).argmax()) == label
            for own, label in zip(each, self.labels, strict=True)
        ]
        return sum(right) / len(right)


def logits_of(network: nn.Module, segments: Tensor) -> Tensor:
    """Logits of segments in evaluation mode, some at a time, `[n, genres]`."""
    was_training, device = network.training, next(network.parameters()).device
    network.eval()
    with torch.inference_mode():
        batches = (batch.to(device) for batch in torch.split(segments, 64))
        found = torch.cat([network(batch)[0].cpu() for batch in batches])
    network.train(was_training)
    return found
