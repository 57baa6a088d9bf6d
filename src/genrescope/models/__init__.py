"""What is trained here; one module a kind, each with a class `Model`.

`Model(shape, genres, **settings)` is told the shape `(size, frames)` of a segment and the number
of genres, and raises ValueError for settings that can't be. There are two sorts:

- **Networks** are torch modules. They take segments `[n, size, frames]`, give `(logits [n, genres],
  embedding [n, embedding_size])` and say their `embedding_size`. Training, export to ONNX and
  the check of that export are the same for all of them and live in `genrescope.training`.
- **Classifiers** of scikit-learn (`classical`) are fitted in one go instead: they have
  `fit(vectors [n, size * frames], labels [n])`, `onnx() -> bytes` and `embedding_size`, and also
  take a `seed`.

A new network is one new file here. A recipe names it by its file name (`model: {kind: cnn}`) and
gives its settings beside that; nothing has to be registered. Files that begin with `_` are parts
that several models share.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

from genrescope.errors import RecipeError

FITTED = "classical"
"""The kind that is fitted with scikit-learn; all others are torch networks."""


def model_kinds() -> list[str]:
    """Names of the models there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name[0] != "_")


def make_model(
    settings: dict[str, Any], *, shape: tuple[int, int], genres: int, seed: int = 0
) -> Any:
    """Build a model from a recipe's settings.

    Parameters
    ----------
    settings
        `kind`, and the settings of that kind.
    shape
        Size and frames of a segment.
    genres
        Number of genres.
    seed
        Of a classifier's random numbers; networks draw from torch's, which the caller seeds.

    Returns
    -------
    model
        A torch module, or a `genrescope.models.classical.Model`.

    Raises
    ------
    RecipeError
        When the kind is unknown, a setting is not one of its own or can't be, or a package that
        the model needs is missing.
    """
    kind = settings.get("kind")
    if kind not in model_kinds():
        raise RecipeError(f"no model {kind!r}; there are: {', '.join(model_kinds())}")
    own = {name: value for name, value in settings.items() if name != "kind"}
    seeded = {"seed": seed} if kind == FITTED else {}
    try:
        return import_module(f"genrescope.models.{kind}").Model(shape, genres, **own, **seeded)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"model {kind}: {error}") from None
