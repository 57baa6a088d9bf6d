"""Recipes: everything that defines an experiment, read from one YAML file."""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
import re
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from genrescope.aggregation import Aggregation
from genrescope.encoders import encoder_class
from genrescope.errors import BundleError, NotHereError, RecipeError
from genrescope.features import Frontend, SegmentSettings
from genrescope.features.statistics import Statistic
from genrescope.inference.bundle import Bundle
from genrescope.legacy import REMOVED_SETTINGS, renamed_recipe, warn_renamed
from genrescope.training.explain import unknown_settings
from genrescope.training.recipe_files import (
    axes_of,
    locate,
    members_in_words,
    merged,
    nested,
    parse,
    read_fields,
)
from genrescope.training.settings import (
    Augmentation,
    BundleSettings,
    EmbeddingSettings,
    Parameter,
    Published,
    Settings,
    SplitSettings,
    TrainingSettings,
)

# The sections that a network of an ensemble may change.
_NETWORK_SECTIONS = {"augmentation", "model", "training"}
_NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]*"


class Recipe(Settings):
    """An experiment; see the folder `genrescope/recipes` for those that are shipped.

    Attributes
    ----------
    name
        Name of the model and of its run.
    description
        One line for the list of recipes.
    published
        The row of a paper's table that it reproduces.
    seed
        Seed of everything random: splits, initial weights, batches.
    feature
        Settings of a feature with its `kind`, or `EmbeddingSettings` or `BundleSettings`.
    weights
        File or folder of an encoder's weights; by default they are in the cache.
    scale
        "track", "bands" and "none" as in `Frontend`; "standard" scales each value of the feature
        to mean 0 and standard deviation 1 over the training tracks.
    pool
        Statistics over a segment's frames, as in `Frontend`.
    segments
        What the model sees at once.
    augmentation
        Random changes of training segments.
    model
        Kind and settings of the model.
    training
        Optimizer, schedule and regularisation.
    split
        How tracks are divided into training, validation and test subsets.
    aggregation
        The rule by which the predictions of segments become that of their track, see
        `genrescope.aggregation`.
    licence
        Licence of the trained model, empty where its author has not stated one; the licences of
        weights that are part of it are added.
    ensemble
        Several networks instead of one, whose logits are averaged: for each the `augmentation`,
        `model` and `training` settings in which it differs from the recipe. Each has its own seed
        for weights and batches. The embedding is that of the first.
    search
        What `genrescope tune` may change: dotted names of settings, and their ranges.
    embedding
        Settings of the embedding that is the recipe's feature; None for other features.
    frontend
        Feature, scaling and segments, which training and inference share. That of an embedding is
        the encoder's, which needs the encoder's libraries.
    networks
        A recipe for each network of the ensemble; the recipe itself where there is none.
    """

    name: str = Field(pattern=rf"^{_NAME}(/{_NAME})*$")
    description: str = ""
    published: Published | None = None
    seed: int = Field(0, ge=0, lt=2**31)
    feature: dict[str, Any]
    weights: Path | None = None
    scale: Literal["track", "bands", "standard", "none"] = "track"
    segments: SegmentSettings
    pool: tuple[Statistic, ...] = ()
    augmentation: Augmentation = Augmentation()
    model: dict[str, Any]
    training: TrainingSettings = TrainingSettings()
    ensemble: tuple[dict[str, Any], ...] = ()
    split: SplitSettings = SplitSettings()
    aggregation: Aggregation = "mean_probability"
    licence: str = ""
    search: dict[str, Parameter] = Field(default_factory=dict)

    @field_validator("search", mode="before")
    @classmethod
    def _without_dropped(cls, search: Any) -> Any:
        """`setting: null` drops a setting of the recipe that is extended."""
        if not isinstance(search, dict):
            return search
        return {key: value for key, value in search.items() if value is not None}

    @model_validator(mode="before")
    @classmethod
    def _segments_of_the_bundle(cls, fields: Any) -> Any:
        """A trained model has its own segments: a recipe on its embeddings states none."""
        feature = fields.get("feature") if isinstance(fields, dict) else None
        if not isinstance(feature, dict) or feature.get("kind") != "bundle":
            return fields
        bundle = feature.get("bundle", "default")
        if isinstance(bundle, list | tuple):
            feature = {**feature, "bundle": _first_here(bundle)}
            fields = {**fields, "feature": feature}
        frontend = _frontend_of(BundleSettings.model_validate(feature).bundle)
        segments = frontend.segments.model_dump(mode="json")
        if fields.get("segments", segments) != segments:
            raise ValueError(f"segments: the bundle's are {segments}, and can't be changed")
        return {**fields, "segments": segments}

    def model_post_init(self, _: object) -> None:
        """Refuse settings that don't go together."""
        if self.embedding is None:
            _ = self.frontend  # an unknown feature is refused here
        elif self.pool:
            raise RecipeError("an embedding is pooled by its own setting: feature.pool")
        elif self.augmentation.waveform or self.augmentation.changes_segments:
            raise RecipeError("embeddings have no augmentation")
        for changes in self.ensemble:
            if unknown := ", ".join(sorted(set(changes) - _NETWORK_SECTIONS)):
                own = ", ".join(sorted(_NETWORK_SECTIONS))
                raise RecipeError(f"an ensemble's networks may differ in {own}, not in {unknown}")
        if any(own.augmentation.waveform != self.augmentation.waveform for own in self.networks):
            raise RecipeError("an ensemble's networks can't differ in augmentation.waveform")

    def __copy__(self) -> Recipe:
        """A copy without what was derived from the settings, since `model_copy` may change them."""
        copied = super().__copy__()
        for name in ("embedding", "frontend", "_members"):
            copied.__dict__.pop(name, None)
        return copied

    @functools.cached_property
    def embedding(self) -> EmbeddingSettings | BundleSettings | None:
        match self.feature.get("kind"):
            case "embedding":
                return EmbeddingSettings.model_validate(self.feature)
            case "bundle":
                return BundleSettings.model_validate(self.feature)
        return None

    @functools.cached_property
    def frontend(self) -> Frontend:
        embedding = self.embedding
        if isinstance(embedding, BundleSettings):
            return _frontend_of(embedding.bundle)
        return Frontend(
            feature=encoder_class(embedding.encoder).feature if embedding else self.feature,
            scale="none" if embedding or self.scale == "standard" else self.scale,
            segments=self.segments,
            pool=self.pool,
        )

    @property
    def networks(self) -> tuple[Recipe, ...]:
        return self._members if self.ensemble else (self,)

    @functools.cached_property
    def _members(self) -> tuple[Recipe, ...]:
        fields = self.model_dump(mode="json", exclude={"ensemble"})
        count = len(self.ensemble)
        return tuple(
            _validated(
                # Runs that differ in their seed have no network in common.
                merged({**fields, "seed": (self.seed * count + number) % 2**31}, own),
                f"{self.name}: ensemble, network {number + 1}",
            )
            for number, own in enumerate(self.ensemble)
        )

    @property
    def expects_teacher(self) -> bool:
        """Whether it states a weight for a teacher's targets, and so is meant to have them."""
        stated = [self.training.model_dump(exclude_unset=True)]
        stated += [own.get("training") or {} for own in self.ensemble]
        return any(settings.get("teacher_weight") for settings in stated)

    @property
    def epochs(self) -> int:
        """Epochs of one training, over all networks."""
        return sum(network.training.epochs for network in self.networks)

    @property
    def portable(self) -> dict[str, Any]:
        """The settings as JSON, without where lists and weights lie on this machine."""
        settings = self.model_dump(mode="json")
        if self.split.folder is not None:
            settings["split"]["folder"] = self.split.folder.name
        if self.weights is not None:
            settings["weights"] = self.weights.name
        return settings


def _first_here(bundles: Sequence[str]) -> str:
    """The first of some models that is on this machine, or else the last."""
    for bundle in bundles[:-1]:
        with contextlib.suppress(BundleError):
            Bundle.load(bundle)
            return bundle
    return bundles[-1]


@functools.lru_cache(maxsize=8)
def _frontend_of(bundle: str) -> Frontend:
    return Bundle.load(bundle).manifest.frontend


def expand(source: str | PathLike[str]) -> list[str]:
    """List the recipes that a name stands for: itself, or the members of a family.

    A recipe with `variants` is a family. Its members are called `family/label`, with a label for
    each axis of the variants; `family` and `family/label-of-the-first-axis` stand for several.

    Raises
    ------
    RecipeError
        When there is no such recipe.
    """
    path, labels = locate(source)
    axes = axes_of(read_fields(path), source)
    if len(labels) > len(axes) or any(
        label not in changes for label, changes in zip(labels, axes, strict=False)
    ):
        raise RecipeError(f"{source}: no such recipe; {members_in_words(axes)}")
    stem = str(source).removesuffix("".join(f"/{label}" for label in labels))
    rest = [list(axis) for axis in axes[len(labels) :]]
    return ["/".join([stem, *labels, *more]) for more in itertools.product(*rest)]


def load_recipe(source: str | PathLike[str], changes: list[str] | None = None) -> Recipe:
    """Read a recipe by its shipped name or from a YAML file.

    Parameters
    ----------
    source
        A shipped name ("default"), a path, or either with the labels of a member of a family
        ("kth-table4/cnn/mfcc").
    changes
        `key=value` settings that replace the file's, keys dotted ("training.epochs=3"), values as
        YAML reads them.

    Raises
    ------
    RecipeError
        When it is missing or malformed, or stands for several recipes.
    """
    path, labels = locate(source)
    fields = read_fields(path)
    axes = axes_of(fields, source)
    fields.pop("variants", None)
    if len(labels) != len(axes) or any(
        label not in axis for label, axis in zip(labels, axes, strict=True)
    ):
        raise RecipeError(f"{source}: {members_in_words(axes) or 'no such recipe'}")
    for label, axis in zip(labels, axes, strict=True):
        fields = merged(fields, copy.deepcopy(axis[label]))
    if labels and "name" in fields:
        fields["name"] = "/".join([str(fields["name"]), *labels])
    given: dict[str, Any] = {}
    for change in changes or []:
        key, sign, value = change.partition("=")
        if not sign or not all(key.split(".")):
            raise RecipeError(f"{change!r}: expected KEY=VALUE, as in training.epochs=3")
        settings, renamed = renamed_recipe(nested(key, parse(value, change)))
        warn_renamed(change, renamed)
        given = merged(given, settings)
    return _filled(_validated(merged(fields, given), source))


def changed(recipe: Recipe, settings: dict[str, Any]) -> Recipe:
    """Return the recipe with other settings, given by dotted name.

    Raises
    ------
    RecipeError
        When the result is not a valid recipe.
    """
    fields = recipe.model_dump(mode="json")
    for key, value in settings.items():
        fields = merged(fields, nested(key, value))
    return _validated(fields, recipe.name)


def _validated(fields: dict[str, Any], source: object) -> Recipe:
    """A recipe; all that is wrong with it is in one error."""
    named = dict(unknown_settings(fields, Recipe))
    unknown = [
        f"{key}: {REMOVED_SETTINGS.get(key) or f'there is no such setting{near}'}"
        for key, near in named.items()
    ]
    try:
        recipe = Recipe.model_validate(fields)
    except RecipeError:
        if not unknown:
            raise
    except ValidationError as error:
        found = error.errors()
        causes = [each.get("ctx", {}).get("error") for each in found]
        not_here = not unknown and all(isinstance(cause, NotHereError) for cause in causes)
        kind = NotHereError if not_here else RecipeError
        others = [_problem(each) for each in found if ".".join(map(str, each["loc"])) not in named]
        raise kind(f"recipe {source}: {'; '.join([*unknown, *others])}") from None
    if unknown:
        raise RecipeError(f"recipe {source}: {'; '.join(unknown)}")
    return recipe


def _problem(error: Mapping[str, Any]) -> str:
    """One of pydantic's errors in a few words."""
    place = ".".join(str(part) for part in error["loc"])
    known = {
        "missing": "is missing",
        "extra_forbidden": "there is no such setting",
        # Names of recipes and runs, which are folders' names, too.
        "string_pattern_mismatch": "expected letters from A to Z, digits, and . _ + - behind the "
        f"first of them, not {error.get('input')!r}",
    }
    message = known.get(error["type"], str(error["msg"]))
    return (f"{place}: " if place else "") + message.removeprefix("Value error, ")


def _filled(recipe: Recipe) -> Recipe:
    """Replace names of settings in `published` by their values."""
    if recipe.published is None:
        return recipe
    fields = recipe.model_dump(mode="json")

    def value(match: re.Match[str]) -> str:
        found: Any = fields
        for part in match[1].split("."):
            found = found.get(part) if isinstance(found, dict) else None
        return "/".join(map(str, found)) if isinstance(found, list) else str(found)

    texts = {
        name: re.sub(r"\{([a-z_.]+)\}", value, text)
        for name, text in recipe.published.model_dump().items()
    }
    return recipe.model_copy(update={"published": Published(**texts)})
