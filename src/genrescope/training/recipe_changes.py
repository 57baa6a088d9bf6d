"""How a recipe has changed since a run was made by it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from genrescope.errors import RecipeError
from genrescope.evaluation.run_result import RunResult, changed_settings
from genrescope.features.segments import REPEATED_PART, SEGMENT_RULE
from genrescope.features.spectrogram import STORED_HOP_LENGTH
from genrescope.legacy import renamed_recipe
from genrescope.training.recipe import Recipe, load_recipe

# What adapts to the data, or does not belong to the experiment.
_IGNORED = re.compile(
    r"name|description|published.*|search.*|licence|weights|split\.(folder|by_artist)"
)
_OF_STORED = {"feature.hop_length", "feature.center", "feature.n_bins"}


def outdated(run: RunResult) -> str:
    """Say how the recipe of a run's command line differs by now from the one carried out.

    Returns
    -------
    text
        Empty where they are the same, or the recipe is none that is known here.
    """
    if run.kind == "evaluation" or not run.recipe or not run.settings:
        return ""
    try:
        words = shlex.split(run.command)
        source = words[words.index("train") + 1] if "train" in words else run.recipe
        now = load_recipe(source, changed_settings(run.command))
        then = Recipe.model_validate(renamed_recipe({**run.settings, "name": now.name})[0])
    except (RecipeError, ValidationError, ValueError):
        return ""
    before, after = _settings(then), _settings(now)
    stored = before.get("feature.hop_length") == STORED_HOP_LENGTH
    changed = [
        f"{key} was {_text(before.get(key))}, is {_text(after.get(key))}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
        and not _IGNORED.fullmatch(key)
        and not (stored and key in _OF_STORED)
    ]
    if not changed and run.segment_rule < SEGMENT_RULE and _repeats_segments(now):
        return "measured before a repeated last segment was left out"
    return f"measured with an older recipe ({', '.join(changed)})" if changed else ""


def _repeats_segments(recipe: Recipe) -> bool:
    """Whether a last segment may begin so early that it is left out now."""
    if recipe.feature.get("kind") == "stored":
        return False
    return recipe.frontend.segment_step // REPEATED_PART > 1


def _settings(recipe: Recipe) -> dict[str, Any]:
    """All settings by dotted name."""
    return dict(_flat(recipe.model_dump(mode="json")))


def _flat(fields: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif value is not None:
            yield prefix + name, value


def _text(value: object) -> str:
    return "not set" if value is None else str(value)
