"""Everything that defines an experiment, read from one YAML file."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from genrescope.errors import RecipeError
from genrescope.features import Frontend, SegmentSettings

SHIPPED = Path(__file__).resolve().parents[1] / "recipes"


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


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


class TrainingSettings(_Settings):
    """How the weights are found: AdamW with a one-cycle learning rate.

    Attributes
    ----------
    average
        Decay per step of the moving average of the weights, which is what is kept. Trainings of
        few steps use a smaller one, see `fit`.
    teacher_weight
        Weight of the teacher's targets in the loss, where a teacher is given.
    precision
        "auto" computes in bf16 where the processor has instructions for it.
    """

    epochs: int = Field(100, ge=1)
    batch_size: int = Field(32, ge=2)
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    average: float = Field(0.99, ge=0, lt=1)
    teacher_weight: float = Field(0.5, ge=0)
    precision: Literal["auto", "bf16", "fp32"] = "auto"


class SplitSettings(_Settings):
    """Which tracks are trained on, and which are kept for judging.

    Attributes
    ----------
    kind
        "random": `train`, `validation` and `test` parts by track. "folds": each track is tested
        once in `folds` trainings, then all are trained on. "lists": the lists in `folder`.
    by_artist
        Keep all tracks of an artist on one side.
    """

    kind: Literal["random", "folds", "lists"] = "random"
    train: float = Field(0.6, gt=0, lt=1)
    validation: float = Field(0.2, ge=0, lt=1)
    test: float = Field(0.2, ge=0, lt=1)
    folds: int = Field(5, ge=2)
    by_artist: bool = False
    folder: Path | None = None


class Recipe(_Settings):
    """An experiment; see the module `genrescope.recipes` folder for those that are shipped."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    description: str = ""
    paper: str | None = None
    seed: int = Field(0, ge=0, lt=2**31)
    feature: dict[str, Any]
    scale: Literal["track", "bands", "none"] = "track"
    segments: SegmentSettings
    augmentation: Augmentation = Augmentation()
    model: dict[str, Any]
    training: TrainingSettings = TrainingSettings()
    split: SplitSettings = SplitSettings()
    voting: Literal["mean"] = "mean"
    licence: str = "Apache-2.0"

    def model_post_init(self, _: object) -> None:
        """Refuse an unknown feature at once."""
        _ = self.frontend

    @property
    def frontend(self) -> Frontend:
        """Feature, scaling and segments, as training and inference share them."""
        return Frontend(feature=self.feature, scale=self.scale, segments=self.segments)


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def load_recipe(source: str | PathLike[str], changes: list[str] | None = None) -> Recipe:
    """Read a recipe by its shipped name or from a YAML file.

    Parameters
    ----------
    source
        A shipped name ("default") or a path.
    changes
        `key=value` settings that replace the file's, keys dotted ("training.epochs=3"), values as
        YAML reads them.

    Raises
    ------
    RecipeError
        When it is missing or malformed.
    """
    fields = _read(source)
    for change in changes or []:
        key, sign, value = change.partition("=")
        if not sign or not all(key.split(".")):
            raise RecipeError(f"{change!r}: wanted is KEY=VALUE, as in training.epochs=3")
        nested: Any = _yaml(value, change)
        for part in reversed(key.split(".")):
            nested = {part: nested}
        fields = _merged(fields, nested)
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RecipeError(f"recipe {source}: {place}: {first['msg']}") from None


def _read(source: str | PathLike[str], seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """Fields of a recipe, with those of the one it extends underneath."""
    shipped = str(source) in shipped_recipes()
    try:
        path = SHIPPED / f"{source}.yaml" if shipped else Path(source).resolve()
        text = path.read_text(encoding="utf-8")
    except (OSError, RuntimeError, ValueError):
        names = ", ".join(shipped_recipes())
        raise RecipeError(f"{source}: no such recipe; shipped are: {names}") from None
    if str(path) in seen:
        raise RecipeError(f"recipe {source}: extends itself")
    fields = _yaml(text, str(source))
    if not isinstance(fields, dict):
        raise RecipeError(f"recipe {source}: wanted are settings as `name: value`")
    base = fields.pop("extends", None)
    if base is None:
        return fields
    if not isinstance(base, str):
        raise RecipeError(f"recipe {source}: extends: wanted is a shipped name or a file")
    # A file is looked for beside the one that names it.
    origin = base if base in shipped_recipes() else path.parent / base
    return _merged(_read(origin, (*seen, str(path))), fields)


def _yaml(text: str, source: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise RecipeError(f"{source}: not YAML: {' '.join(str(error).split())}") from None


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged
