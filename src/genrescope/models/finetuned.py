"""A pretrained network that goes on learning, with a head for the genres on top.

Its recipe has the encoder's own front end as feature and a segment as long as one of the encoder's;
networks for pictures take any length. What is frozen stays as published; what is not learns more
slowly the nearer it is to the front, and may begin later (Howard and Ruder, ACL 2018, sections 3.2
and 3.3: "discriminative" rates, "gradual unfreezing").
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from genrescope.encoders import make_encoder
from genrescope.models._layers import dense, depths, layer_sizes

_PART = 8  # segments


class Model(nn.Module):
    """An encoder, dense layers, one layer on top; the last dense layer is the embedding.

    Parameters
    ----------
    shape
        Size and frames of a segment.
    genres
        Number of genres.
    encoder, layer
        One of `genrescope.encoders`, and where in it; its usual layer if none is named.
    weights
        File or folder of its weights; by default the cache.
    untrained
        Seed of random weights in the place of published ones.
    hidden
        Nodes of each dense layer.
    dropout
        After each dense layer, in training.
    learning
        How many of the encoder's parts learn, counted from the back: 0 freezes it, -1 lets all
        learn. A part is a module that has weights of its own; those of Keras are one part.
    unfreeze
        The head learns alone for so many epochs, and after each so many more one part joins it,
        from the back to the front; 0 lets all begin at once.
    slower
        Factor of the learning rate from the head to the hindmost part, and so on to the front.
    checkpointing
        Compute the encoder anew on the way back, 8 segments at a time, instead of keeping what
        all its parts gave: less memory, more time.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        genres: int,
        *,
        encoder: str,
        layer: str | None = None,
        weights: str | None = None,
        untrained: int | None = None,
        hidden: Sequence[int] = (256,),
        dropout: float = 0.2,
        learning: int = -1,
        unfreeze: int = 0,
        slower: float = 0.9,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        source = make_encoder(encoder, Path(weights) if weights else None, untrained=untrained)
        self.layer = layer or source.default_layer
        if self.layer not in source.layers:
            raise ValueError(f"{encoder} has no layer {self.layer!r}: {', '.join(source.layers)}")
        if not source.whole and shape[1] != source.frontend.segment_frames:
            raise ValueError(
                f"{encoder} hears {source.frontend.segment_frames} frames at once "
                f"({source.seconds:g} s), not {shape[1]}"
            )
        if not 0 < slower <= 1:
            raise ValueError(f"slower must be above 0 and at most 1, not {slower:g}")
        self.pictures = {name: size for name, size in source.layers.items() if name == "none"}
        self.encoder = source.network()
        if unfreeze < 0:
            raise ValueError(f"unfreeze must be a number of epochs, not {unfreeze}")
        self.slower, self.unfreeze, self.checkpointing = slower, unfreeze, checkpointing
        self.parts = [m for m in self.encoder.modules() if list(m.parameters(recurse=False))]
        self.learning = len(self.parts) if learning < 0 else min(learning, len(self.parts))
        self.at_epoch(0)
        hidden = layer_sizes("hidden", hidden)
        self.head = dense(source.layers[self.layer], hidden, dropout)
        self.output = nn.Linear(hidden[-1], genres)
        self.embedding_size = hidden[-1]

    def at_epoch(self, epoch: int) -> None:
        """Let those parts learn that do so in an epoch, the first being 0."""
        count = min(self.learning, epoch // self.unfreeze) if self.unfreeze else self.learning
        for place, part in enumerate(reversed(self.parts)):
            for weight in part.parameters(recurse=False):
                weight.requires_grad_(place < count)

    def learning_rates(self, rate: float) -> list[dict[str, Any]]:
        """Groups of the encoder's weights for an optimizer, each with its learning rate.

        Those that learn only later are among them: without a gradient they stay what they are.
        """
        parts = [*reversed(self.parts)][: self.learning]
        return [
            {"params": [*part.parameters(recurse=False)], "lr": rate * self.slower**place}
            for place, part in enumerate(parts, 1)
        ]

    def train(self, mode: bool = True) -> Model:
        """Let the head learn; the encoder's statistics and dropout stay as they were published."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, segments: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and embeddings of `[segments, size, frames]`."""
        if self.checkpointing and self.training:
            # In small parts: on the way back only what one of them gave is there at a time.
            parts = (
                torch.utils.checkpoint.checkpoint(self._encoded, part, use_reentrant=False)
                for part in torch.split(segments, _PART)
            )
            found = torch.cat([*parts])
        else:
            found = self._encoded(segments)
        embedding = self.head(found)
        return self.output(embedding), embedding

    def outputs(self, segments: Tensor) -> dict[str, Tensor]:
        """Logits, embedding, and the depths that the leiden paper compares, `[segments, size]`.

        `none` is the picture itself (of networks that look at one), `immediate` what the encoder
        gives, `deep` the first dense layer, `shallow` the last.
        """
        found = self.encoder(segments)
        # Its size as a plain number: an exported graph says it of each output.
        picture = {name: found[name].reshape(-1, size) for name, size in self.pictures.items()}
        immediate = found[self.layer]
        embedding = self.head(immediate)
        return {
            "logits": self.output(embedding),
            "embedding": embedding,
            **picture,
            "immediate": immediate,
            **depths(self.head, immediate),
        }

    def _encoded(self, segments: Tensor) -> Tensor:
        found: Tensor = self.encoder(segments)[self.layer]
        return found
