"""Pretrained networks as embeddings: a stretch of sound in, a vector out.

Encoders know nothing of genres. Each is one module of this package, named as users name it, with a
class `Encoder` derived from `genrescope.encoders.base.Encoder`; nothing has to be registered. Files
that begin with `_` are parts that several encoders share. torch and keras are imported only inside
encoder modules, so that this package may be imported without them.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path

from genrescope.encoders.base import Embedding, Encoder
from genrescope.encoders.weights import Weights
from genrescope.errors import RecipeError

__all__ = ["Embedding", "Encoder", "Weights", "encoder_class", "encoder_kinds", "make_encoder"]

_OTHERS = ("base", "graph", "weights")


def encoder_kinds() -> list[str]:
    """Names of the encoders there are."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    return sorted(name for name in names if name[0] != "_" and name not in _OTHERS)


def encoder_class(name: str) -> type[Encoder]:
    """The class of an encoder, by its name.

    Raises
    ------
    RecipeError
        When there is no such encoder, or a package that it needs is missing.
    """
    if name not in encoder_kinds():
        raise RecipeError(f"no encoder {name!r}; there are: {', '.join(encoder_kinds())}")
    try:
        encoder: type[Encoder] = import_module(f"genrescope.encoders.{name}").Encoder
    except ModuleNotFoundError as error:
        needs = f"needs {error.name}: pip install 'genrescope[encoders]'"
        raise RecipeError(f"encoder {name}: {needs}") from None
    return encoder


def make_encoder(
    name: str, weights: Path | None = None, *, untrained: int | None = None
) -> Encoder:
    """Build an encoder; its weights are found, or downloaded, when they are first needed.

    Parameters
    ----------
    name
        One of `encoder_kinds()`.
    weights
        A file of weights, or a folder with all its files; by default the cache.
    untrained
        Seed of random weights, for whoever wants the architecture alone.

    Raises
    ------
    RecipeError
        When there is no such encoder, or a package that it needs is missing.
    """
    return encoder_class(name)(weights, untrained=untrained)
