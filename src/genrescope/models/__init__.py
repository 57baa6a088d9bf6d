"""Networks that are trained here; one module a kind, each with a class `Model`.

A `Model(size, genres, **settings)` is a torch module that takes `[segments, size, frames]` and
gives `(logits [segments, genres], embedding [segments, embedding_size])`. It says its
`embedding_size`. Recipes name it by its module; nothing else has to be registered.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING, Any

from genrescope.errors import RecipeError

if TYPE_CHECKING:
    from torch import nn


def model_kinds() -> list[str]:
    """Names of the models there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def make_model(settings: dict[str, Any], *, size: int, genres: int) -> nn.Module:
    """Build a network from a recipe's settings.

    Raises
    ------
    RecipeError
        When the kind is unknown or a setting is not one of its own.
    """
    kind = settings.get("kind")
    if kind not in model_kinds():
        raise RecipeError(f"no model {kind!r}; there are: {', '.join(model_kinds())}")
    own = {name: value for name, value in settings.items() if name != "kind"}
    try:
        model: nn.Module = import_module(f"genrescope.models.{kind}").Model(size, genres, **own)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"model {kind}: {error}") from None
    return model
