"""Everything that defines an experiment, read from one YAML file."""

from __future__ import annotations

import copy
import functools
import itertools
import json
import os
import re
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from genrescope.aggregation import Aggregation
from genrescope.encoders import encoder_class, encoder_kinds
from genrescope.errors import RecipeError
from genrescope.features import Frontend, SegmentSettings
from genrescope.features.statistics import Statistic
from genrescope.legacy import renamed_recipe, warn_renamed

SHIPPED = Path(__file__).resolve().parents[1] / "recipes"
# What a network of an ensemble may have of its own.
_OWN = {"augmentation", "model", "training"}
_NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]*"


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WaveformAugmentation(_Settings):
    """Changed copies of each training track: louder or softer, higher or lower, noisier.

    A training segment is cut from the track itself or from one of its copies, each as likely, which
    is the rule of the leiden paper.

    Attributes
    ----------
    gain
        Greatest change in dB, either way.
    semitones
        Greatest shift in semitones, either way, at the same tempo.
    snr
        Signal-to-noise ratio in dB.
    """

    gain: float = Field(6.0, ge=0)
    semitones: float = Field(2.0, ge=0)
    snr: float = Field(20.0)


class Augmentation(_Settings):
    """Random changes of a training segment; 0 turns one off. Lengths are in bands and frames.

    Attributes
    ----------
    stretch
        Time is stretched by up to `exp(±stretch)`.
    roll
        Bands are shifted up or down by at most this many, as a change of pitch does.
    gain, slope
        Standard deviation of a factor around 1, and of a tilt from the lowest to the highest band.
    equalizer
        Standard deviation of a smooth random curve over the bands, as another mastering makes.
    noise
        Largest standard deviation of white noise.
    masks, mask_frames, mask_bands
        Stretches of time and of bands set to 0 (SpecAugment, Park et al. 2019): how many of each,
        and their greatest length.
    mixup
        Parameter of the beta distribution that two segments are mixed by (Zhang et al. 2018).
    waveform
        Changes of the audio itself; needs audio, stored spectrograms are left as they are.
    one_of
        A segment gets one of gain, roll and noise, or none of them, each as likely (the rule of
        the leiden paper); by default it gets all.
    """

    stretch: float = Field(0.0, ge=0, le=1)
    roll: int = Field(0, ge=0)
    gain: float = Field(0.0, ge=0)
    slope: float = Field(0.0, ge=0)
    equalizer: float = Field(0.0, ge=0)
    noise: float = Field(0.0, ge=0)
    masks: int = Field(0, ge=0)
    mask_frames: int = Field(0, ge=0)
    mask_bands: int = Field(0, ge=0)
    mixup: float = Field(0.0, ge=0, le=2)
    one_of: bool = False
    waveform: WaveformAugmentation | None = None


class TrainingSettings(_Settings):
    """How the weights are found.

    Attributes
    ----------
    optimizer
        "adam" counts `weight_decay` into the gradient, as an L2 penalty of half of it on the loss
        does; "adamw" takes it off the weights.
    schedule
        Of the learning rate: "one-cycle" (Smith 2018) or "constant".
    ema_decay
        Decay per step of the exponential moving average of the weights, which is what is kept.
        Trainings of few steps use a smaller one, see `fit`.
    accumulate
        Batches whose gradients are added up for one step: a large batch in little memory.
    keep
        The weights of the "last" epoch, or of the "best" one, judged on a segment of each track of
        the validation side (or of a fifth of the training side, where there is none).
    teacher_weight
        Weight of the teacher's targets in the loss, where a teacher is given.
    precision
        "auto" computes in bf16 where the processor has instructions for it.
    """

    epochs: int = Field(100, ge=1)
    batch_size: int = Field(32, ge=2)
    optimizer: Literal["adam", "adamw"] = "adamw"
    schedule: Literal["one-cycle", "constant"] = "one-cycle"
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    ema_decay: float = Field(0.99, ge=0, lt=1)
    accumulate: int = Field(1, ge=1)
    keep: Literal["last", "best"] = "last"
    teacher_weight: float = Field(0.5, ge=0)
    precision: Literal["auto", "bf16", "fp32"] = "auto"


class SplitSettings(_Settings):
    """Which tracks are trained on, and which are kept for judging.

    Attributes
    ----------
    kind
        "random": `train`, `validation` and `test` parts by track. "folds": each track is tested
        once in `folds` trainings, then all are trained on. "lists": the lists in `folder`.
        "official": the data set's own. "by_segment": parts of single segments, so that one track
        is on all sides; only to show what such leakage does to a figure.
    by_artist
        Keep all tracks of an artist on one side.
    repeats
        How often the folds are dealt anew.
    i_know_this_leaks
        Without it "by_segment" is refused.
    """

    kind: Literal["random", "folds", "lists", "official", "by_segment"] = "random"
    train: float = Field(0.6, gt=0, lt=1)
    validation: float = Field(0.2, ge=0, lt=1)
    test: float = Field(0.2, ge=0, lt=1)
    folds: int = Field(5, ge=2)
    repeats: int = Field(1, ge=1)
    by_artist: bool = False
    folder: Path | None = None
    i_know_this_leaks: bool = False

    @model_validator(mode="after")
    def _honest(self) -> SplitSettings:
        if (self.kind == "by_segment") != self.i_know_this_leaks:
            raise ValueError(
                "a split by_segment has segments of one track on both sides, so its figures mean "
                "nothing: it wants i_know_this_leaks: true, and no other split does"
            )
        return self


class Published(_Settings):
    """The figure of a paper that a recipe is measured beside: one row of the published results.

    Attributes
    ----------
    paper, table, features, model, protocol
        As the table of published results has them; `{model.name}` stands for a setting. The
        protocol is left out where the others tell the row.
    elsewhere
        The paper's table for the same system on other music than it learned from.
    differs
        How the recipe's protocol differs from the paper's, beside what a run shows by itself.
    """

    paper: str
    table: str
    features: str
    model: str
    protocol: str = ""
    elsewhere: str = ""
    differs: str = ""


class Parameter(_Settings):
    """A setting that tuning may choose: one of `choices`, or a number from `low` to `high`.

    `log` draws it evenly over orders of magnitude. Whole bounds make a whole number.
    """

    choices: list[Any] | None = None
    low: float | int | None = None
    high: float | int | None = None
    log: bool = False

    @model_validator(mode="after")
    def _bounded(self) -> Parameter:
        bounds = self.low is not None and self.high is not None and self.low < self.high
        if bounds == bool(self.choices):
            raise ValueError("wanted are choices: [...], or low: and a greater high:")
        return self

    def label(self, value: Any) -> str:
        """A choice as text, which is how a study stores it; 0 and 0.0 are one choice."""
        return json.dumps(next((c for c in self.choices or [] if c == value), value))

    def choice(self, label: str) -> Any:
        """The choice of a label."""
        return json.loads(label)

    def allows(self, value: Any) -> bool:
        """Whether a value lies within it."""
        if self.choices:
            return value in self.choices
        return isinstance(value, int | float) and self.low <= value <= self.high  # type: ignore[operator]


class EmbeddingSettings(_Settings):
    """A feature that a pretrained network computes.

    Attributes
    ----------
    encoder, layer
        One of `genrescope.encoders`, and where in it; its usual layer if none is named.
    pool
        What becomes of the embeddings of one segment: "none" leaves them side by side, "mean" and
        "mean_std_max" sum them up.
    untrained
        Seed of random weights in the place of published ones, to see what those are worth.
    """

    kind: Literal["embedding"]
    encoder: str
    layer: str | None = None
    pool: Literal["none", "mean", "mean_std_max"] = "mean"
    untrained: int | None = Field(None, ge=0)

    @field_validator("encoder")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in encoder_kinds():
            raise ValueError(f"no encoder {name!r}; there are: {', '.join(encoder_kinds())}")
        return name


class Recipe(_Settings):
    """An experiment; see the folder `genrescope/recipes` for those that are shipped.

    Attributes
    ----------
    feature
        Settings of a feature with its `kind`, or `EmbeddingSettings`.
    weights
        File or folder of an encoder's weights; by default the cache has them.
    scale
        "track", "bands" and "none" as in `Frontend`; "standard" brings each number of the feature
        to mean 0 and deviation 1 over the training tracks.
    pool
        Statistics over a segment's frames, as in `Frontend`.
    ensemble
        Several networks in the place of one, whose logits are averaged: of each the
        `augmentation`, `model` and `training` settings in which it differs from the recipe. Each
        has a seed of its own, for its weights and batches. The embedding is the first one's.
    search
        What `genrescope tune` may change: dotted names of settings, and their ranges.
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
    licence: str = "Apache-2.0"
    search: dict[str, Parameter] = {}

    def model_post_init(self, _: object) -> None:
        """Refuse an unknown feature at once."""
        if self.embedding is None:
            _ = self.frontend
        elif self.pool:
            raise RecipeError("an embedding is pooled by its own setting: feature.pool")
        if self.embedding or self.model.get("kind") == "classical":
            kept = set() if self.embedding else {"waveform"}
            unheard = self.augmentation.model_fields_set - kept
            if any(
                getattr(self.augmentation, name) != getattr(Augmentation(), name)
                for name in unheard
            ):
                raise RecipeError("embeddings and classifiers have no augmentation of segments")
        for changes in self.ensemble:
            if unknown := ", ".join(sorted(set(changes) - _OWN)):
                own = ", ".join(sorted(_OWN))
                raise RecipeError(f"an ensemble's networks may differ in {own}, not in {unknown}")
        if self.ensemble and any(
            recipe.model.get("kind") == "classical" for recipe in (self, *self.networks)
        ):
            raise RecipeError("an ensemble has to be of networks")
        if any(own.augmentation.waveform != self.augmentation.waveform for own in self.networks):
            raise RecipeError("an ensemble's networks can't differ in augmentation.waveform")

    @property
    def networks(self) -> tuple[Recipe, ...]:
        """A recipe for each network of its ensemble; itself where it has none."""
        if not self.ensemble:
            return (self,)
        fields = self.model_dump(mode="json", exclude={"ensemble"})
        count = len(self.ensemble)
        return tuple(
            _validated(
                # Runs that differ in their seed have no network in common.
                _merged({**fields, "seed": (self.seed * count + number) % 2**31}, own),
                f"{self.name}: ensemble, network {number + 1}",
            )
            for number, own in enumerate(self.ensemble)
        )

    @property
    def taught(self) -> bool:
        """Whether it says what a teacher weighs, and so means to have one."""
        named = [self.training.model_dump(exclude_unset=True)]
        named += [own.get("training") or {} for own in self.ensemble]
        return any(settings.get("teacher_weight") for settings in named)

    @property
    def epochs(self) -> int:
        """Of one training, over all networks."""
        return sum(network.training.epochs for network in self.networks)

    @property
    def embedding(self) -> EmbeddingSettings | None:
        """Settings of the embedding that is this recipe's feature, if it is one."""
        if self.feature.get("kind") != "embedding":
            return None
        return EmbeddingSettings.model_validate(self.feature)

    @property
    def frontend(self) -> Frontend:
        """Feature, scaling and segments, as training and inference share them.

        That of an embedding is the encoder's, which needs the encoder's libraries.
        """
        embedding = self.embedding
        return Frontend(
            feature=encoder_class(embedding.encoder).feature if embedding else self.feature,
            scale="none" if embedding or self.scale == "standard" else self.scale,
            segments=self.segments,
            pool=self.pool,
        )


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with the package; families by their own name."""
    names = (path.relative_to(SHIPPED).with_suffix("") for path in SHIPPED.rglob("*.yaml"))
    return sorted(name.as_posix() for name in names if not name.name.startswith("_"))


def expand(source: str | PathLike[str]) -> list[str]:
    """Names of all recipes that a name stands for: itself, or the members of a family.

    A recipe with `variants` is a family. Its members are called `family/label`, with a label for
    each axis of the variants; `family` and `family/label-of-the-first-axis` stand for several.

    Raises
    ------
    RecipeError
        When there is no such recipe.
    """
    path, labels = _locate(source)
    axes = _axes(_read(path), source)
    if len(labels) > len(axes) or any(
        label not in changes for label, changes in zip(labels, axes, strict=False)
    ):
        raise RecipeError(f"{source}: no such recipe; {_members(axes)}")
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
        When it is missing or malformed, or stands for several.
    """
    path, labels = _locate(source)
    fields = _read(path)
    axes = _axes(fields, source)
    fields.pop("variants", None)
    if len(labels) != len(axes) or any(
        label not in axis for label, axis in zip(labels, axes, strict=True)
    ):
        raise RecipeError(f"{source}: {_members(axes) or 'no such recipe'}")
    for label, axis in zip(labels, axes, strict=True):
        fields = _merged(fields, axis[label])
    if labels and "name" in fields:
        fields["name"] = "/".join([str(fields["name"]), *labels])
    for change in changes or []:
        key, sign, value = change.partition("=")
        if not sign or not all(key.split(".")):
            raise RecipeError(f"{change!r}: wanted is KEY=VALUE, as in training.epochs=3")
        settings, renamed = renamed_recipe(_nested(key, _yaml(value, change)))
        warn_renamed(f"--set {change}", renamed)
        fields = _merged(fields, settings)
    return _filled(_validated(fields, source))


def changed(recipe: Recipe, settings: dict[str, Any]) -> Recipe:
    """The recipe with other settings, given by dotted name.

    Raises
    ------
    RecipeError
        When the outcome is no valid recipe.
    """
    fields = recipe.model_dump(mode="json")
    for key, value in settings.items():
        fields = _merged(fields, _nested(key, value))
    return _validated(fields, recipe.name)


def _validated(fields: dict[str, Any], source: object) -> Recipe:
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise RecipeError(f"recipe {source}: {place}: {message}") from None


def _filled(recipe: Recipe) -> Recipe:
    """Put settings in the place of their names, in what is published."""
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


def _locate(source: str | PathLike[str]) -> tuple[Path, list[str]]:
    """The file that a name stands for, and the labels behind it."""
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
    names = ", ".join(shipped_recipes())
    raise RecipeError(f"{source}: no such recipe; shipped are: {names}")


def _axes(fields: dict[str, Any], source: object) -> list[dict[str, dict[str, Any]]]:
    """What varies in a family: for each axis the changes by label.

    An axis is written as `name: {label: {changes}}`, or as `dotted.setting: [value, ...]`, where
    the values are the labels. `label: null` drops a label of the recipe it extends.
    """
    variants = fields.get("variants") or {}
    if not isinstance(variants, dict):
        raise RecipeError(f"recipe {source}: variants: wanted are axes as `name: ...`")
    axes = []
    for key, axis in variants.items():
        if isinstance(axis, list):
            axes.append({str(value): _nested(key, value) for value in axis})
        elif isinstance(axis, dict) and all(isinstance(v, dict | None) for v in axis.values()):
            axes.append({str(label): v for label, v in axis.items() if v is not None})
        else:
            raise RecipeError(f"recipe {source}: variants.{key}: wanted are labels or values")
    return axes


def _members(axes: list[dict[str, dict[str, Any]]]) -> str:
    return "" if not axes else "a family of " + "/".join(f"({'|'.join(axis)})" for axis in axes)


def _nested(key: str, value: Any) -> Any:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def _read(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Fields of a recipe, with those of the one it extends underneath."""
    if path in seen:
        raise RecipeError(f"recipe {path}: extends itself")
    try:
        fields = copy.deepcopy(_parsed(path, path.stat().st_mtime_ns))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe {path}: {error}") from None
    if not isinstance(fields, dict):
        raise RecipeError(f"recipe {path}: wanted are settings as `name: value`")
    fields, renamed = renamed_recipe(fields)
    warn_renamed(path.name, renamed)
    base = fields.pop("extends", None)
    if base is None:
        return fields
    if not isinstance(base, str):
        raise RecipeError(f"recipe {path}: extends: wanted is a shipped name or a file")
    # A file is looked for beside the one that names it; what begins with _ is only to be extended.
    shipped = SHIPPED / f"{base}.yaml"
    origin = shipped if shipped.is_file() else (path.parent / base).resolve()
    if not origin.is_file():
        raise RecipeError(f"recipe {path}: extends {base}, which is no shipped recipe and no file")
    return _merged(_read(origin, (*seen, path)), fields)


@functools.lru_cache(maxsize=256)
def _parsed(path: Path, changed: int) -> Any:  # noqa: ARG001 - a changed file is read anew
    """A file's YAML; members of a family share it."""
    return _yaml(path.read_text(encoding="utf-8"), str(path))


def _yaml(text: str, source: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise RecipeError(f"{source}: not YAML: {' '.join(str(error).split())}") from None


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Settings over settings; a feature or model of another kind replaces the old one whole."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if not isinstance(value, dict) or not isinstance(old, dict):
            merged[key] = value
            continue
        other = value.get("kind", old.get("kind")) != old.get("kind")
        replaced = other and key in ("feature", "model")
        merged[key] = value if replaced else _merged(old, value)
    return merged
