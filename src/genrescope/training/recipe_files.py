"""The files of recipes: which one a name stands for, what it extends, and a family's variants."""

from __future__ import annotations

import copy
import functools
import math
import os
from os import PathLike
from pathlib import Path
from typing import Any

from genrescope.errors import RecipeError
from genrescope.evaluation.run_result import RECIPE_FILE
from genrescope.legacy import renamed_recipe, warn_renamed
from genrescope.registry import did_you_mean
from genrescope.untrusted import LARGEST_RECIPE, RepeatedKeyError, parse_yaml, read_limited

SHIPPED = Path(__file__).resolve().parents[1] / "recipes"
_LARGEST_FAMILY = 10_000
_OF_ALL_CLASSIFIERS = ("kind", "pca", "tuned")


@functools.cache
def shipped_recipes() -> tuple[str, ...]:
    """The recipes that come with the package; a family by its own name."""
    names = (path.relative_to(SHIPPED).with_suffix("") for path in SHIPPED.rglob("*.yaml"))
    return tuple(sorted(name.as_posix() for name in names if not name.name.startswith("_")))


def locate(source: str | PathLike[str]) -> tuple[Path, list[str]]:
    """Find the file that a name stands for, and the labels after it."""
    parts = os.fspath(source).split("/")
    for count in range(len(parts), 0, -1):
        name = "/".join(parts[:count])
        if name in shipped_recipes():
            return SHIPPED / f"{name}.yaml", parts[count:]
        try:
            if Path(name).is_file():
                return Path(name).resolve(), parts[count:]
        except (OSError, RuntimeError, ValueError):
            break
    if not os.fspath(source):
        raise RecipeError("the name of a recipe is empty")
    if os.path.isdir(source):  # noqa: PTH112 - Path's raises for names that are too long
        inside = Path(source, RECIPE_FILE)
        hint = f" (did you mean '{inside}'?)" if inside.is_file() else ""
        raise RecipeError(f"{source}: a folder; expected a recipe's name or YAML file{hint}")
    names = shipped_recipes()
    hint = did_you_mean(source, names)
    everything = f"; shipped are: {', '.join(names)}"
    raise RecipeError(f"{source}: no such recipe{hint or everything}")


def axes_of(fields: dict[str, Any], source: object) -> list[dict[str, dict[str, Any]]]:
    """List the axes of a family: for each axis the changes by label.

    An axis is written as `name: {label: {changes}}`, or as `dotted.setting: [value, ...]`, where
    the values are the labels. `label: null` drops a label of the recipe it extends.
    """
    variants = fields.get("variants") or {}
    if not isinstance(variants, dict):
        raise RecipeError(f"recipe {source}: variants: expected axes as `name: ...`")
    axes = []
    for key, axis in variants.items():
        if isinstance(axis, list):
            axes.append({str(value): nested(key, value) for value in axis})
        elif isinstance(axis, dict) and all(isinstance(v, dict | None) for v in axis.values()):
            axes.append({str(label): v for label, v in axis.items() if v is not None})
        else:
            raise RecipeError(f"recipe {source}: variants.{key}: expected labels or values")
        if not axes[-1]:
            raise RecipeError(f"recipe {source}: variants.{key}: no variants")
    if math.prod(map(len, axes)) > _LARGEST_FAMILY:
        raise RecipeError(f"recipe {source}: more than {_LARGEST_FAMILY} variants")
    return axes


def members_in_words(axes: list[dict[str, dict[str, Any]]]) -> str:
    """A family's labels for an error; empty where it has no axes."""
    return "" if not axes else "a family of " + "/".join(f"({'|'.join(axis)})" for axis in axes)


def nested(key: str, value: Any) -> Any:
    """The settings of a dotted name: `a.b` and 1 are `{a: {b: 1}}`."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def read_fields(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read the fields of a recipe, merged over those of the recipe it extends."""
    if path in seen:
        raise RecipeError(f"recipe {path}: extends itself")
    try:
        shared, renamed = _parsed(path, path.stat().st_mtime_ns)
    except (OSError, ValueError) as error:
        raise RecipeError(f"recipe {path}: {error}") from None
    warn_renamed(path.name, renamed)
    # The variants, by far the most of a family, are only read, see `axes_of`.
    fields = {
        key: value if key == "variants" else copy.deepcopy(value) for key, value in shared.items()
    }
    base = fields.pop("extends", None)
    if base is None:
        return fields
    if not isinstance(base, str):
        raise RecipeError(f"recipe {path}: extends: expected a shipped name or a file")
    # A file is looked for next to the one that names it; names with _ are only to be extended.
    shipped = SHIPPED / f"{base}.yaml"
    origin = shipped if shipped.is_file() else (path.parent / base).resolve()
    if not origin.is_file():
        reason = f"extends {base}, which is neither a shipped recipe nor a file"
        raise RecipeError(f"recipe {path}: {reason}")
    return merged(read_fields(origin, (*seen, path)), fields)


@functools.lru_cache(maxsize=256)
def _parsed(path: Path, changed: int) -> tuple[dict[str, Any], list[str]]:  # noqa: ARG001 - a changed file is read again
    """The settings of a file, and what was renamed; the members of a family share them."""
    fields = parse(read_limited(path, LARGEST_RECIPE).decode("utf-8"), str(path))
    if not isinstance(fields, dict):
        raise RecipeError(f"recipe {path}: expected settings as `name: value`")
    return renamed_recipe(fields)


def parse(text: str, source: str) -> Any:
    """Parse YAML; `source` is named in errors."""
    try:
        return parse_yaml(text)
    except RepeatedKeyError as error:
        raise RecipeError(f"{source}: {error}") from None
    except ValueError as error:
        raise RecipeError(f"{source}: not YAML: {error}") from None


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Merge settings; a feature or model of another kind replaces the old one as a whole.

    A classifier of another name has its settings replaced, too: a `C` means nothing to a forest.
    """
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        if not isinstance(value, dict) or not isinstance(old, dict):
            result[key] = value
            continue
        other = value.get("kind", old.get("kind")) != old.get("kind")
        replaced = other and key in ("feature", "model")
        if key == "model" and "name" in value and value["name"] != old.get("name", value["name"]):
            old = {name: old[name] for name in _OF_ALL_CLASSIFIERS if name in old}
        result[key] = value if replaced else merged(old, value)
    return result
