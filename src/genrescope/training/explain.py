"""The settings of a recipe with their meaning, their default, and what a wrong name may mean.

Meanings are read from the docstrings of the classes that take the settings, so that they are stated
once.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from genrescope.aggregation import RULES
from genrescope.errors import RecipeError
from genrescope.features.registry import FEATURES
from genrescope.models.registry import MODELS
from genrescope.training.settings import Augmentation, BundleSettings, EmbeddingSettings

if TYPE_CHECKING:
    from genrescope.training.recipe import Recipe

REQUIRED = "required"
_SECTION = re.compile(r"^(Attributes|Parameters)\n-+\n(.*?)(?=^\w[^\n]*\n-+$|\Z)", re.M | re.S)


@dataclass(frozen=True)
class Setting:
    """A setting of a recipe.

    Attributes
    ----------
    key
        Its dotted name, as `--set` takes it.
    value, default
        As JSON values; a default of `REQUIRED` where it has to be stated.
    meaning
        One sentence or a few; empty where none is written.
    is_used
        Whether a run of this recipe reads it: a classifier has no epochs, lists have no fractions.
    """

    key: str
    value: Any
    default: Any
    meaning: str
    is_used: bool = True


def explained(recipe: Recipe) -> list[Setting]:
    """List all settings of a recipe, in the order of the recipe's sections."""
    unused = set(_unused(recipe))
    return [
        replace(setting, is_used=unused.isdisjoint(_above(setting.key)))
        for setting in _of_section("", recipe, type(recipe), recipe)
    ]


def _above(key: str) -> Iterator[str]:
    """A dotted name and those of the sections that it is in."""
    parts = key.split(".")
    return (".".join(parts[:n]) for n in range(1, len(parts) + 1))


def _unused(recipe: Recipe) -> Iterator[str]:
    """Settings and whole sections that a run of this recipe does not read."""
    if _trainer_of(str(recipe.model.get("kind"))) == "sklearn":
        yield from ("training", "ensemble")
        changes = set(Augmentation.model_fields) - {"waveform"}
        yield from (f"augmentation.{name}" for name in changes)
    if recipe.embedding is not None:
        yield from ("augmentation", "pool")
    if recipe.feature.get("kind") != "embedding" and "encoder" not in recipe.model:
        yield "weights"
    kinds_that_read = {
        "random by_segment": ("train", "validation", "test"),
        "folds": ("folds", "repeats"),
        "random folds": ("by_artist",),
        "lists": ("folder",),
        "by_segment": ("i_know_this_leaks",),
    }
    for kinds, names in kinds_that_read.items():
        if recipe.split.kind not in kinds.split():
            yield from (f"split.{name}" for name in names)


def _of_section(
    prefix: str, values: Any, kind: type[BaseModel], recipe: Recipe
) -> Iterator[Setting]:
    """The settings of a section; a section that is switched off has its defaults."""
    meanings = documented(kind)
    for name, field in kind.model_fields.items():
        key = f"{prefix}{name}"
        value = getattr(values, name, None)
        if key == "feature":
            yield from _of_feature(recipe)
        elif key == "model":
            yield from _of_model(recipe)
        elif isinstance(value, BaseModel):
            yield from _of_section(f"{key}.", value, type(value), recipe)
        else:
            default = field.get_default(call_default_factory=True)
            default = REQUIRED if default is PydanticUndefined else _plain(default)
            meaning = meanings.get(name, "")
            if key == "aggregation":
                meaning = f"{meaning.removesuffix('.')}: {', '.join(RULES.names())}."
            yield Setting(key, _plain(value), default, meaning)


def _of_feature(recipe: Recipe) -> Iterator[Setting]:
    kind = str(recipe.feature.get("kind"))
    yield Setting("feature.kind", kind, REQUIRED, "The feature; its own settings follow.")
    section = recipe.embedding or FEATURES.get(kind)
    feature: type[BaseModel] = section if isinstance(section, type) else type(section)
    meanings = documented(feature)
    for name, field in feature.model_fields.items():
        if name == "kind":
            continue
        default = field.get_default(call_default_factory=True)
        default = REQUIRED if default is PydanticUndefined else _plain(default)
        value = recipe.feature.get(name, default)
        yield Setting(f"feature.{name}", value, default, meanings.get(name, ""))


def _of_model(recipe: Recipe) -> Iterator[Setting]:
    yield Setting(
        "model.kind", recipe.model.get("kind"), REQUIRED, "The model; its own settings follow."
    )
    text, known, _ = _constructor(str(recipe.model.get("kind")))
    meanings = _meanings(text)
    for name, default in known.items():
        if name not in ("shape", "genres", "seed"):
            value = recipe.model.get(name, default)
            yield Setting(f"model.{name}", value, default, meanings.get(name, ""))
    for name, value in recipe.model.items():
        if name not in ("kind", *known):
            meaning = (
                "Choose among a few settings on validation tracks."
                if name == "tuned"
                else "A setting of the classifier itself; see its own documentation."
            )
            yield Setting(f"model.{name}", value, False if name == "tuned" else value, meaning)


def _trainer_of(kind: str) -> str:
    """Name of a model's trainer, as `genrescope.models.trainer_of`, without importing torch."""
    defined = _class_of(kind)
    for node in defined.body if defined else ():
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == "trainer":
            return str(_literal(node.value))  # type: ignore[attr-defined]
    return "torch"


@cache
def _constructor(kind: str) -> tuple[str, dict[str, Any], bool]:
    """A model's docstring, and its settings with their defaults, read without importing torch.

    The last value says whether it takes other settings, too.
    """
    defined = _class_of(kind)
    if defined is None:
        return "", {}, True
    known: dict[str, Any] = {}
    is_open = True  # a constructor that it inherits is not read
    for method in defined.body:
        if isinstance(method, ast.FunctionDef) and method.name == "__init__":
            is_open = method.args.kwarg is not None
            for argument, default in _with_defaults(method.args):
                known[argument.arg] = REQUIRED if default is None else _literal(default)
    return ast.get_docstring(defined) or "", known, is_open


@cache
def _class_of(kind: str) -> ast.ClassDef | None:
    """The definition of a model's class; None where its source is not here."""
    module, _, name = MODELS.place(kind).partition(":")
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef))
    return next((node for node in classes if node.name == name), None)


def _with_defaults(arguments: ast.arguments) -> Iterator[tuple[ast.arg, ast.expr | None]]:
    """The arguments of a method but `self`, with their defaults."""
    by_place = arguments.args[1:]
    defaults = [None] * len(by_place) + arguments.defaults
    yield from zip(by_place, defaults[-len(by_place) :] if by_place else [], strict=True)
    yield from zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)


def _literal(node: ast.expr) -> Any:
    try:
        return _plain(ast.literal_eval(node))
    except ValueError:
        return ast.unparse(node)


def documented(kind: type) -> dict[str, str]:
    """Descriptions of attributes, from the docstrings of a class and its bases."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        found |= _meanings(inspect.cleandoc(each.__doc__ or ""))
    return found


def _meanings(text: str) -> dict[str, str]:
    """The meaning of each name of a docstring's attributes or parameters."""
    found: dict[str, str] = {}
    if section := _SECTION.search(text):
        names: list[str] = []
        for line in section[2].splitlines():
            if line[:1].strip():
                names = [name.strip() for name in line.partition(":")[0].split(",")]
                found |= dict.fromkeys(names, "")
            elif line.strip():
                found |= {name: f"{found[name]} {line.strip()}".strip() for name in names}
    return found


def unknown_settings(fields: Mapping[str, Any], recipe: type[Recipe]) -> Iterator[tuple[str, str]]:
    """The dotted names in a recipe's fields that are not settings.

    Yields
    ------
    key, hint
        The name, and the words " (did you mean `split.folds`?)"; empty where none is near. A name
        that is right in another section is found there.
    """
    everywhere = list(_keys("", recipe))
    for prefix, name, siblings in _unknown("", fields, recipe):
        same = [key for key in everywhere if key.rpartition(".")[2] == name]
        by_last = {key.rpartition(".")[2]: key for key in reversed(everywhere)}
        by_last |= {each: f"{prefix}{each}" for each in siblings}
        near = difflib.get_close_matches(name, siblings, n=1)
        near = near or difflib.get_close_matches(name, by_last, n=1)
        meant = same or [by_last[each] for each in near]
        yield f"{prefix}{name}", f" (did you mean `{meant[0]}`?)" if meant else ""


def _unknown(
    prefix: str, fields: Mapping[str, Any], section: type[BaseModel]
) -> Iterator[tuple[str, str, list[str]]]:
    """Prefix and name of each key that is not a setting, and the names that are known there."""
    for name, value in fields.items():
        key = f"{prefix}{name}"
        if name not in section.model_fields:
            yield prefix, str(name), list(section.model_fields)
        elif not isinstance(value, Mapping):
            continue
        elif key in ("feature", "model"):
            names = _names_of_feature(value) if key == "feature" else _names_of_model(value)
            if names is not None:
                own = {"kind", *names}
                yield from ((f"{key}.", str(other), names) for other in value if other not in own)
        else:
            for each in _sections(section.model_fields[name].annotation):
                yield from _unknown(f"{key}.", value, each)


def _names_of_feature(settings: Mapping[str, Any]) -> list[str] | None:
    """The settings of a feature; None where it is not known here."""
    kind = settings.get("kind")
    if kind in ("embedding", "bundle"):
        section = EmbeddingSettings if kind == "embedding" else BundleSettings
        return list(section.model_fields)
    try:
        return list(FEATURES.get(str(kind)).model_fields)
    except RecipeError:
        return None


def _names_of_model(settings: Mapping[str, Any]) -> list[str] | None:
    """The settings of a model; None where it is not known here, or takes any."""
    try:
        _, known, is_open = _constructor(str(settings.get("kind")))
    except RecipeError:
        return None
    names = [name for name in known if name not in ("shape", "genres")]
    return names if known and not is_open else None


def _keys(prefix: str, kind: type[BaseModel]) -> Iterator[str]:
    for name, field in kind.model_fields.items():
        yield f"{prefix}{name}"
        for section in _sections(field.annotation):
            yield from _keys(f"{prefix}{name}.", section)


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """The sections among what a field may be; not those of a table of values."""
    options = getattr(annotation, "__args__", ()) or (annotation,)
    if getattr(annotation, "__origin__", None) in (dict, tuple, list):
        return
    for option in options:
        if isinstance(option, type) and issubclass(option, BaseModel):
            yield option


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_defaults=True)
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value if isinstance(value, bool | int | float | str | None) else str(value)
