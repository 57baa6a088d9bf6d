"""Training: a recipe and a data set in, a run out, with weights, metrics, pictures and a bundle."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genrescope.training.inputs import Inputs, read_inputs
    from genrescope.training.recipe import Recipe, load_recipe
    from genrescope.training.recipe_files import shipped_recipes
    from genrescope.training.reporter import DefaultReporter, Reporter
    from genrescope.training.run import execute

_HOME = {
    **dict.fromkeys(("Recipe", "load_recipe"), "genrescope.training.recipe"),
    "shipped_recipes": "genrescope.training.recipe_files",
    **dict.fromkeys(("Inputs", "read_inputs"), "genrescope.training.inputs"),
    **dict.fromkeys(("DefaultReporter", "Reporter"), "genrescope.training.reporter"),
    "execute": "genrescope.training.run",
}
__all__ = [
    "DefaultReporter",
    "Inputs",
    "Recipe",
    "Reporter",
    "execute",
    "load_recipe",
    "read_inputs",
    "shipped_recipes",
]


def __getattr__(name: str) -> Any:
    """Import names only when they are asked for: most of this package needs the extra `train`."""
    if name not in _HOME:
        raise AttributeError(f"module 'genrescope.training' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """List the names that are imported on demand, too, for tab completion."""
    return sorted({*globals(), *__all__})
