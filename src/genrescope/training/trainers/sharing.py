"""Which networks several processes can train together."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import nn

from genrescope.errors import RecipeError
from genrescope.training.recipe import Recipe


class NotSharedError(RecipeError):
    """Several processes can't train a network together; all of them find that."""


@runtime_checkable
class Unfreezes(Protocol):
    """A network of which more parameters are trained in later epochs."""

    def at_epoch(self, epoch: int) -> None:
        """Unfreeze what is trained in an epoch, the first being 0."""


def check_shared(recipe: Recipe, network: nn.Module, segments: int, devices: int) -> None:
    """Refuse what processes can't share: a batch of few segments, layers that are unfrozen later.

    DDP exchanges the gradients of those parameters that are trained from the beginning.

    Raises
    ------
    NotSharedError
        The same in each process.
    """
    if segments < devices:
        raise NotSharedError(
            f"{recipe.name}: a batch has {segments} segments, too few for {devices} devices"
        )
    if isinstance(network, Unfreezes):
        trained = []
        for epoch in (recipe.training.epochs - 1, 0):
            network.at_epoch(epoch)
            trained.append([weights.requires_grad for weights in network.parameters()])
        if trained[0] != trained[1]:
            raise NotSharedError(
                f"{recipe.name}: layers that are unfrozen later need a single device"
            )
