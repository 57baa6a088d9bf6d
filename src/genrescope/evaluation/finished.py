"""Finished runs and evaluations, as their folders tell of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from genrescope.errors import FileError
from genrescope.legacy import renamed_recipe


@dataclass(frozen=True)
class Finished:
    """A run, or an evaluation of a model on other music.

    Attributes
    ----------
    folder
        Where it lies.
    metrics
        Its `metrics.json`.
    recipe
        Settings of the recipe; empty where they are not known.
    data
        What it was trained and judged on; of an evaluation, what the model was judged on.
    """

    folder: Path
    metrics: Mapping[str, Any]
    recipe: Mapping[str, Any]
    data: Mapping[str, Any]

    @property
    def elsewhere(self) -> bool:
        """Whether a finished model was judged on other music."""
        return "recipe" not in self.metrics

    @property
    def name(self) -> str:
        """The recipe's name, or the model's and what it heard."""
        if self.elsewhere:
            return f"{self.metrics['model']} on {self.data_name}"
        return str(self.metrics["recipe"])

    @property
    def title(self) -> str:
        """Its name, and its folder's where that is another: one recipe may have many runs."""
        own = self.elsewhere or self.folder.as_posix().endswith(self.name)
        return self.name if own else f"{self.name} ({self.folder.name})"

    @property
    def data_name(self) -> str:
        """Name of the music it was judged on."""
        return str(self.data.get("name") or "unnamed data")

    @property
    def leaked(self) -> bool:
        """Whether segments of one track were on both sides."""
        return bool(self.metrics.get("leaked"))

    @property
    def published(self) -> dict[str, str] | None:
        """The row of a paper that it is measured beside."""
        return row_beside(self.metrics)

    @property
    def known(self) -> bool:
        """Whether a finished model was judged on the data set that it had learned from."""
        return _is_known(self.metrics)

    @property
    def split(self) -> Mapping[str, Any]:
        """Settings of its split; empty for an evaluation."""
        split = self.metrics.get("split")
        return split if isinstance(split, dict) else {}

    @property
    def n(self) -> int:
        """Tracks judged; of a leaked run, segments."""
        return int(self.metrics["n"])

    @property
    def seed(self) -> int | None:
        """Of the run, or of the run that the model comes from."""
        seed = self.metrics.get("seed", self.recipe.get("seed"))
        return seed if isinstance(seed, int) else None

    @property
    def command(self) -> str:
        """What to type to have it again."""
        if command := self.metrics.get("command"):
            return str(command)
        if self.elsewhere:
            return f"genrescope evaluate {self.metrics['model']} --data {self.data_name}"
        return f"genrescope train {self.metrics['recipe']}"

    def percent(self, name: str) -> float | None:
        """A figure of the metrics, from 0 to 100; None where it was not measured."""
        value: Any = self.metrics.get(name)
        return 100 * float(value) if _is_number(value) else None

    def interval(self, name: str) -> tuple[float, float] | None:
        """The 95 % interval of a figure, from 0 to 100; None where there is none."""
        found = (self.metrics.get("interval") or {}).get(name)
        if not isinstance(found, list) or len(found) != 2 or not all(map(_is_number, found)):
            return None
        return 100 * float(found[0]), 100 * float(found[1])


def row_beside(metrics: Mapping[str, Any]) -> dict[str, str] | None:
    """The row of a paper that a `metrics.json` is measured beside.

    A finished model on other music stands beside the paper's figure for that, if there is one. What
    leaks stands beside nothing, and neither does a model on the data set it had learned from.
    """
    row = metrics.get("published")
    if not isinstance(row, dict) or metrics.get("leaked") or _is_known(metrics):
        return None
    texts = {name: str(text) for name, text in row.items() if text is not None}
    if "recipe" not in metrics:
        texts["table"] = texts.get("elsewhere", "")
    return texts if texts.get("table") else None


def _is_known(metrics: Mapping[str, Any]) -> bool:
    learned = (metrics.get("provenance") or {}).get("data")
    name = learned.get("name") if isinstance(learned, dict) else None
    return "recipe" not in metrics and name is not None and name == metrics.get("data")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def read_finished(folder: Path) -> Finished:
    """Read a run's folder, or one that an evaluation wrote.

    Raises
    ------
    FileError
        When its `metrics.json` or `recipe.yaml` is missing or damaged.
    """
    path = folder / "metrics.json"
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(metrics, dict) or not _is_number(metrics.get("accuracy")):
            raise ValueError("has no accuracy")
        if not _is_number(metrics.get("n")) or not {"recipe", "model"} & metrics.keys():
            raise ValueError("has no number of tracks, or neither recipe nor model")
        path = folder / "recipe.yaml"
        origin = metrics.get("provenance") or {}
        if path.is_file():
            origin = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(origin, dict):
            raise ValueError("wanted are settings as `name: value`")
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise FileError(path, f"no finished run: {reason}") from None
    recipe = origin.get("recipe")
    return Finished(
        folder,
        metrics,
        renamed_recipe(recipe)[0] if isinstance(recipe, dict) else {},
        _data(metrics, origin),
    )


def _data(metrics: Mapping[str, Any], origin: Mapping[str, Any]) -> Mapping[str, Any]:
    """What was heard; an evaluation names a folder, which may lie anywhere."""
    data = metrics.get("data")
    if isinstance(data, str):
        return {"name": Path(data).name}
    if data is None and "recipe" in metrics:
        data = origin.get("data")
    return data if isinstance(data, dict) else {}


def finished_in(folder: Path) -> tuple[list[Finished], list[FileError]]:
    """All finished runs and evaluations in a folder and its folders, and those that are damaged.

    Raises
    ------
    FileError
        When there is no such folder.
    """
    if not folder.is_dir():
        raise FileError(folder, "no such folder")
    found, problems = [], []
    for path in sorted(folder.rglob("metrics.json")):
        try:
            found.append(read_finished(path.parent))
        except FileError as error:
            problems.append(error)
    return found, problems
