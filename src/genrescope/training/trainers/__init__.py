"""How models are trained: one module a trainer, each with a class `Trainer`.

A model's class names its trainer (`trainer = "sklearn"`); a class that names none is a torch
network. A trainer in another package is an entry point of the group `genrescope.trainers`.
"""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING

from genrescope.models import trainer_of
from genrescope.registry import Registry

if TYPE_CHECKING:
    from genrescope.training.recipe import Recipe
    from genrescope.training.trainers.base import Trainer

_NO_TRAINERS = ("base", "lightning")

TRAINERS = Registry(
    "trainer",
    "genrescope.trainers",
    {
        module.name: f"{__name__}.{module.name}:Trainer"
        for module in pkgutil.iter_modules(__path__)
        if module.name not in _NO_TRAINERS
    },
)


def make_trainer(recipe: Recipe) -> Trainer:
    """Make the trainer of a recipe's model; it has checked the recipe.

    Raises
    ------
    RecipeError
        When there is no such model or trainer, or the recipe asks the trainer for something it
        can't do.
    """
    trainer: Trainer = TRAINERS.get(trainer_of(recipe.model))()
    trainer.check(recipe)
    return trainer
