"""How models are trained: one module a trainer, each with a class `Trainer`.

A model's class names its trainer (`trainer = "sklearn"`); a class that names none is a torch
network. A trainer in another package is an entry point of the group `genrescope.trainers`.
"""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING

from genrescope.errors import RecipeError
from genrescope.models import trainer_of
from genrescope.registry import Registry
from genrescope.training.trainers.base import UsesDevices

if TYPE_CHECKING:
    from genrescope.training.recipe import Recipe
    from genrescope.training.trainers.base import Trainer
    from genrescope.training.trainers.group import Group

_NO_TRAINERS = ("base", "group", "held_out", "lightning", "losses", "processes")

TRAINERS = Registry(
    "trainer",
    "genrescope.trainers",
    {
        module.name: f"{__name__}.{module.name}:Trainer"
        for module in pkgutil.iter_modules(__path__)
        if module.name not in _NO_TRAINERS
    },
)


def make_trainer(recipe: Recipe, devices: int | Group = 1) -> Trainer:
    """Make the trainer of a recipe's model; it has checked the recipe.

    Parameters
    ----------
    recipe
        Names the model.
    devices
        Number of devices of this machine to train on at once, or the group of processes that
        train it.

    Raises
    ------
    RecipeError
        When there is no such model or trainer, or the recipe asks the trainer for something it
        can't do, or there are fewer devices.
    """
    trainer: Trainer = TRAINERS.get(trainer_of(recipe.model))()
    trainer.check(recipe)
    if devices != 1:
        if not isinstance(trainer, UsesDevices):
            instead = "leave --devices out" if isinstance(devices, int) else "start one process"
            raise RecipeError(
                f"{recipe.name}: only networks are trained on several devices: {instead}"
            )
        trainer.use_devices(devices)
    return trainer
