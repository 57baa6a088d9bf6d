"""Data sets, one module each; a new one is a new module here, or an entry point of a package.

`LAYOUTS` names them all. Code that reads data sets knows none by name.
"""

from __future__ import annotations

from functools import cache
from pkgutil import iter_modules

from genrescope.datasets.layout import Layout
from genrescope.registry import Registry

LAYOUTS = Registry(
    "data set",
    "genrescope.datasets",
    {module.name: f"{__name__}.{module.name}:LAYOUT" for module in iter_modules(__path__)},
)


def layout(name: str) -> Layout:
    """The layout of this name; a package may define it as a class or as an instance.

    Raises
    ------
    RecipeError
        When there is none of this name.
    """
    found = LAYOUTS.get(name)
    made: Layout = found() if isinstance(found, type) else found
    return made


@cache
def builtin_repeats() -> tuple[tuple[str, ...], ...]:
    """Known repeats of all data sets that come with Genrescope.

    For tracks whose data set is not recognised, such as a table of GTZAN's tracks. Those of other
    packages are not among them: a split must not depend on what else is installed.
    """
    return tuple(ids for name in sorted(LAYOUTS.builtin) for ids in layout(name).repeats)
