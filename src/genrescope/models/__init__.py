"""What is trained here; one module a kind, each with a class `Model`.

`Model(shape, genres, **settings)` is told the shape `(size, frames)` of a segment and the number
of genres, and raises ValueError for settings that can't be. There are two sorts:

- **Networks** are torch modules. They take segments `[n, size, frames]`, give `(logits [n, genres],
  embedding [n, embedding_size])` and say their `embedding_size`. Training, export to ONNX and
  the check of that export are the same for all of them and live in `genrescope.training`.
- **Classifiers** of scikit-learn (`classical`) are fitted in one go instead: their class says
  `trainer = "sklearn"`. They have `fit(vectors [n, size * frames], labels [n])`, `onnx() -> bytes`,
  `candidates(settings)` and `embedding_size`, and also take a `seed`.

A new network is one new file here. A recipe names it by its file name (`model: {kind: cnn}`) and
gives its settings beside that; nothing has to be registered. Files that begin with `_` are parts
that several models share.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

from genrescope.errors import RecipeError


def model_kinds() -> list[str]:
    """Names of the models there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name[0] != "_")


def model_class(kind: object) -> Any:
    """Import the class of a kind of model.

    Raises
    ------
    RecipeError
        When there is no such kind.
    """
    if kind not in model_kinds():
        raise RecipeError(f"no model {kind!r}; there are: {', '.join(model_kinds())}")
    return import_module(f"genrescope.models.{kind}").Model


def make_model(settings: dict[str, Any], *, shape: tuple[int, int], genres: int) -> Any:
    """Build a model from a recipe's settings.

    Parameters
    ----------
    settings
        `kind`, and the settings of that kind.
    shape
        Size and frames of a segment.
    genres
        Number of genres.

    Returns
    -------
    model
        A torch module, whose weights are drawn from torch's random numbers, or a
        `genrescope.models.classical.Model`.

    Raises
    ------
    RecipeError
        When the kind is unknown, a setting is not one of its own or not possible, or a package that
        the model needs is missing.
    """
    kind = settings.get("kind")
    own = {name: value for name, value in settings.items() if name != "kind"}
    try:
        return model_class(kind)(shape, genres, **own)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"model {kind}: {error}") from None
