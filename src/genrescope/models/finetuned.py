"""A pretrained network that is fine-tuned, with a head for the genres on top.

Its recipe has the encoder's own front end as feature and a segment as long as one of the encoder's,
or with `concatenate` as several; networks for pictures take any length. Frozen layers stay as
published; the others have a lower learning rate the nearer they are to the input, and may be
unfrozen later (Howard and Ruder, ACL 2018, sections 3.2 and 3.3: "discriminative" rates, "gradual
unfreezing").
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from genrescope.encoders import make_encoder
from genrescope.encoders._imagenet import PictureNetwork
from genrescope.errors import RecipeError, UnknownNameError
from genrescope.models.layers import dense, dense_depths, layer_sizes
from genrescope.registry import no_such

_CHECKPOINTED = 8  # segments at a time


class FineTuned(nn.Module):
    """An encoder, dense layers, one layer on top; the last dense layer is the embedding.

    Parameters
    ----------
    shape
        Size and frames of a segment.
    genres
        Number of genres.
    encoder, layer
        One of `genrescope.encoders`, and one of its layers; its default layer if none is named.
    weights
        File or folder of its weights; by default the cache.
    weights_seed
        Seed of random weights in the place of published ones.
    hidden
        Nodes of each dense layer.
    dropout
        After each dense layer, in training.
    trained_modules
        Number of the encoder's modules that are trained, counted from the output: 0 freezes the
        encoder, -1 trains all. Every module with weights of its own counts; a network of Keras
        counts as one.
    unfreeze
        Number of epochs after which one more module is unfrozen, from the output to the input; the
        head alone is trained before. 0 trains all `trained_modules` modules from the start.
    layer_decay
        Factor of the learning rate from the head to the last module, and from each to the one
        before it.
    colours
        Colour map of matplotlib in which a network for pictures is shown the grey levels, such as
        "magma", that of librosa's display; grey by default.
    concatenate
        Take a segment that is several times as long as the encoder's, whose embeddings lie side by
        side in the head's input.
    checkpointing
        Compute the encoder again in the backward pass, 8 segments at a time, instead of keeping
        its activations: less memory, more time.
    """

    trainer: ClassVar[str] = "torch"

    def __init__(
        self,
        shape: tuple[int, int],
        genres: int,
        *,
        encoder: str,
        layer: str | None = None,
        weights: str | None = None,
        weights_seed: int | None = None,
        hidden: Sequence[int] = (256,),
        dropout: float = 0.2,
        trained_modules: int = -1,
        unfreeze: int = 0,
        layer_decay: float = 0.9,
        checkpointing: bool = False,
        colours: str | None = None,
        concatenate: bool = False,
    ) -> None:
        super().__init__()
        source = make_encoder(
            encoder, Path(weights) if weights else None, weights_seed=weights_seed
        )
        self.layer = layer or source.default_layer
        if self.layer not in source.layers:
            raise UnknownNameError(no_such(f"{encoder} has no layer", self.layer, source.layers))
        own = shape[1] if source.any_length else source.frontend.segment_frames
        self.count = shape[1] // own if concatenate else 1
        if self.count * own != shape[1] or not self.count:
            raise ValueError(
                f"{encoder} takes segments of {own} frames ({source.seconds:g} s)"
                f"{' or of a multiple' * concatenate}, not of {shape[1]}"
            )
        if not 0 < layer_decay <= 1:
            raise ValueError(f"layer_decay must be above 0 and at most 1, not {layer_decay:g}")
        self.pictures = {name: size for name, size in source.layers.items() if name == "none"}
        self.encoder = source.network()
        if colours:
            _paint(self.encoder, encoder, colours)
        if unfreeze < 0:
            raise ValueError(f"unfreeze must be a number of epochs, not {unfreeze}")
        self.layer_decay, self.unfreeze, self.checkpointing = layer_decay, unfreeze, checkpointing
        self.parts = [m for m in self.encoder.modules() if list(m.parameters(recurse=False))]
        self.trained_modules = (
            len(self.parts) if trained_modules < 0 else min(trained_modules, len(self.parts))
        )
        self.at_epoch(0)
        hidden = layer_sizes("hidden", hidden)
        self.head = dense(self.count * source.layers[self.layer], hidden, dropout)
        self.output = nn.Linear(hidden[-1], genres)
        self.embedding_size = hidden[-1]

    def at_epoch(self, epoch: int) -> None:
        """Unfreeze the modules that are trained in an epoch, the first being 0."""
        count = (
            min(self.trained_modules, epoch // self.unfreeze)
            if self.unfreeze
            else self.trained_modules
        )
        for place, part in enumerate(reversed(self.parts)):
            for weight in part.parameters(recurse=False):
                weight.requires_grad_(place < count)

    def learning_rates(self, rate: float) -> list[dict[str, Any]]:
        """Groups of the encoder's weights for an optimizer, each with its learning rate.

        Weights that are unfrozen later are included: without a gradient they do not change.
        """
        parts = [*reversed(self.parts)][: self.trained_modules]
        return [
            {"params": [*part.parameters(recurse=False)], "lr": rate * self.layer_decay**place}
            for place, part in enumerate(parts, 1)
        ]

    def train(self, mode: bool = True) -> FineTuned:
        """Set the mode of the head; the encoder stays in evaluation mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, segments: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and embeddings of `[segments, size, frames]`."""
        if self.checkpointing and self.training:
            # A few segments at a time, so that in the backward pass only their activations are in
            # memory.
            parts = (
                torch.utils.checkpoint.checkpoint(self._encoded, part, use_reentrant=False)
                for part in torch.split(segments, _CHECKPOINTED)
            )
            found = torch.cat([*parts])
        else:
            found = self._encoded(segments)
        embedding = self.head(found)
        return self.output(embedding), embedding

    def outputs(self, segments: Tensor) -> dict[str, Tensor]:
        """Logits, embedding, and the depths that the leiden paper compares, `[segments, size]`.

        `none` is the picture itself (of networks for pictures), `immediate` the encoder's output,
        `deep` the output of the first dense layer, `shallow` that of the last.
        """
        found = self.encoder(self._cut(segments))
        # The size is a plain number, so that an exported graph states it.
        picture = {name: found[name].reshape(-1, size) for name, size in self.pictures.items()}
        immediate = self._joined(found[self.layer])
        embedding = self.head(immediate)
        return {
            "logits": self.output(embedding),
            "embedding": embedding,
            **picture,
            "immediate": immediate,
            **dense_depths(self.head, immediate),
        }

    def _encoded(self, segments: Tensor) -> Tensor:
        return self._joined(self.encoder(self._cut(segments))[self.layer])

    def _cut(self, segments: Tensor) -> Tensor:
        """`[n, size, frames]` to the encoder's segments, `[n * count, size, its frames]`."""
        if self.count == 1:
            return segments
        _, size, frames = segments.shape
        parts = segments.reshape(-1, size, self.count, frames // self.count)
        return parts.transpose(1, 2).flatten(0, 1)

    def _joined(self, embeddings: Tensor) -> Tensor:
        """`[n * count, width]` to `[n, count * width]`."""
        if self.count == 1:
            return embeddings
        return embeddings.reshape(-1, self.count * embeddings.shape[1])


def _paint(network: nn.Module, encoder: str, colours: str) -> None:
    """Give a network for pictures the colours of a colour map.

    Raises
    ------
    RecipeError
        When matplotlib, which has the colour maps, is missing.
    ValueError
        When the colour map does not exist, or the network does not take pictures.
    """
    if not isinstance(network, PictureNetwork):
        raise ValueError(f"{encoder} takes no pictures, and so no colours")
    try:
        from matplotlib import colormaps
    except ImportError:
        raise RecipeError("colours need matplotlib: pip install 'genrescope[lab]'") from None
    if colours not in colormaps:
        raise ValueError(f"no colour map {colours!r}: see matplotlib.colormaps")
    network.paint(colormaps[colours](range(256))[:, :3].tolist())
