"""The result of a run: what `metrics.json` holds, typed.

A run is a recipe that was carried out, or the evaluation of a finished model on other music. Both
write a `RunResult`; reports, comparisons and tools read nothing else. The file's schema has a
version; files of version 0.1, which had none, are read through `genrescope.legacy`.

Conventions
-----------
Scores and intervals are fractions from 0 to 1. A score that is not defined is None, and null in
JSON. Methods with "percent" in their names give percent.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from genrescope.atomic import write_atomic
from genrescope.datasets.fingerprints import counted_note
from genrescope.errors import FileError
from genrescope.evaluation.metrics import METRICS, Scores
from genrescope.evaluation.published import PublishedRow
from genrescope.evaluation.run_values import (
    DataDescription,
    FoldResult,
    GenreScores,
    Interval,
    LeftOut,
    Provenance,
    Score,
    SplitDescription,
    Text,
    Values,
)
from genrescope.inference import Manifest
from genrescope.legacy import renamed_metrics, renamed_recipe
from genrescope.untrusted import parse_yaml

FILE = "metrics.json"
RECIPE_FILE = "recipe.yaml"
SCHEMA_VERSION: Literal[2] = 2

Kind = Literal["run", "evaluation"]


class RunResult(Values):
    """The result of a recipe's run, or of the evaluation of a finished model.

    Attributes
    ----------
    recipe, model
        Name of the recipe that was carried out, or of the finished model that was evaluated; the
        other one is None.
    data
        What was trained and tested on; of an evaluation, what the model was tested on.
    n
        Different test tracks; of a run that leaks, segments.
    accuracy … expected_calibration_error
        Scores on the test tracks, see `genrescope.evaluation.metrics`.
    log_loss
        Cross-entropy on the test tracks, in nats.
    interval
        95 % bootstrap intervals of the scores, by name.
    grouped_by_artist
        Whether the bootstrap drew all tracks of an artist together.
    by_genre
        Scores of each genre that has test tracks.
    confusion
        Counts `[genre, predicted genre]`, over all genres of the model.
    train_accuracy, validation_accuracy
        Accuracy of the final network on its training and validation tracks; None where there are
        none, or it was not measured.
    segment_train_accuracy
        Accuracy on the segments of the last training epoch as they were trained on: changed at
        random, with dropout active; None where that was not measured.
    folds
        Each fold by its name; a run without folds has a single one.
    train_tracks, validation_tracks
        How many tracks the network that is kept was trained on and validated on.
    tracks_used_in_training
        For an evaluation: how many of the scored tracks the model was trained on, by the
        fingerprints in its bundle; None where it lists none. Of a run on the embedding of a trained
        model: on how many that model was.
    tracks_perhaps_used_in_training
        For an evaluation: scored tracks for which that is not known, because they have no
        fingerprint (steady sound); None where the bundle lists no tracks.
    test_tracks_of_training_artists
        Test tracks whose artist is among those trained on; None where no artist is known.
    left_out
        Tracks that could not be used.
    split
        Settings of a run's split; None for an evaluation.
    seed
        Seed of the run, or of the run that the model comes from.
    leaked
        Whether segments of one track were in both the training and the test subset.
    published
        The row of a paper's table to compare with.
    temperature
        That divides the logits before the softmax.
    chosen_settings
        Settings of a classifier that were chosen on validation tracks, and the accuracy there.
    teacher_tracks
        Tracks that had a teacher's targets.
    genre_map
        For an evaluation: genres of the data that were counted as another genre of the model.
    unknown_genres
        For an evaluation: genres of the data whose tracks were left out, because the model does not
        have them.
    segment_rule
        The `genrescope.features.segments.SEGMENT_RULE` by which segments were cut; 1 where it was
        not stored.
    command
        The command line that makes the result again, without where files lie on this machine; a
        guess where it was not stored.
    provenance
        For an evaluation: where the model comes from.
    settings
        The recipe's settings, as `recipe.yaml` or the model's provenance has them; not stored here.
    folder
        Where the result was read from; not stored.
    tested, right
        Hash of the test tracks, and for each of them, in the order of their ids, 1 where it was
        predicted correctly, else 0; stored in records alone, see `genrescope.evaluation.records`.
    outdated
        How the recipe of that name differs by now from the one that was carried out; not stored.
    """

    schema_version: Literal[2] = SCHEMA_VERSION
    recipe: str | None = None
    model: str | None = None
    data: DataDescription = DataDescription()
    n: int
    accuracy: float = Field(ge=0, le=1)
    top3_accuracy: Score = None
    macro_precision: Score = None
    macro_recall: Score = None
    macro_f1: Score = None
    roc_auc: Score = None
    expected_calibration_error: Score = None
    log_loss: float | None = Field(None, ge=0)
    interval: dict[str, Interval] = Field({})
    grouped_by_artist: bool = False
    by_genre: dict[str, GenreScores] = Field({})
    confusion: list[list[int]] = Field([])
    train_accuracy: Score = None
    segment_train_accuracy: Score = None
    validation_accuracy: Score = None
    folds: dict[str, FoldResult] = Field({})
    train_tracks: int | None = None
    validation_tracks: int | None = None
    tracks_used_in_training: int | None = None
    tracks_perhaps_used_in_training: int | None = None
    test_tracks_of_training_artists: int | None = None
    left_out: list[LeftOut] = Field([])
    split: SplitDescription | None = None
    seed: int | None = None
    leaked: bool = False
    published: PublishedRow | None = None
    temperature: float | None = None
    chosen_settings: dict[str, Any] = Field({})
    teacher_tracks: int = 0
    genre_map: dict[Text, str] = Field({})
    unknown_genres: list[Text] = Field([])
    segment_rule: int = 1
    command: Text = ""
    provenance: Provenance | None = None
    settings: dict[str, Any] = Field(default={}, exclude=True)
    folder: Path | None = Field(default=None, exclude=True)
    tested: str = Field(default="", exclude=True)
    right: str = Field(default="", exclude=True)
    outdated: str = Field(default="", exclude=True)

    @model_validator(mode="after")
    def _names_recipe_or_model(self) -> RunResult:
        if (self.recipe is None) == (self.model is None):
            raise ValueError("expected the name of either a recipe or a model")
        return self

    @classmethod
    def from_scores(cls, scores: Scores, **fields: Any) -> RunResult:
        """Make a result of computed scores and the other fields.

        `n` is the number of scored predictions unless it is given: repeated folds score each track
        several times.
        """
        return cls.model_validate({**scores.to_dict(), **fields})

    def to_dict(self) -> dict[str, Any]:
        """The result as `metrics.json` and a bundle's manifest have it."""
        return self.model_dump(mode="json")

    def write(self, folder: Path) -> None:
        """Write `metrics.json` into a run's folder, atomically."""
        write_atomic(folder / FILE, json.dumps(self.to_dict(), indent=1).encode())

    @classmethod
    def read(cls, folder: Path) -> RunResult:
        """Read the result of a run from its folder, with the settings of its `recipe.yaml`.

        Raises
        ------
        FileError
            When `metrics.json` is missing or damaged, or `recipe.yaml` is damaged.
        """
        path = folder / FILE
        try:
            result = _parse(path.read_bytes())
            path = folder / RECIPE_FILE
            origin: Any = result.provenance.model_dump() if result.provenance else {}
            if path.is_file():
                origin = parse_yaml(path.read_text(encoding="utf-8"), 2**24)
            if not isinstance(origin, dict):
                raise ValueError("expected settings as `name: value`")
            return result.model_copy(update=_from_origin(result, origin) | {"folder": folder})
        except FileNotFoundError:
            raise FileError(folder, f"no finished run: it has no {path.name}") from None
        except (OSError, ValueError, RecursionError) as error:
            reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
            raise FileError(path, f"can't be read: {reason}") from None

    @property
    def kind(self) -> Kind:
        """Whether a recipe was carried out, or a finished model evaluated, and nothing trained."""
        return "run" if self.model is None else "evaluation"

    @property
    def name(self) -> str:
        """The recipe's name, or the model's and the data set's."""
        return f"{self.model} on {self.data}" if self.kind == "evaluation" else str(self.recipe)

    @property
    def tested_on_training_data(self) -> bool:
        """Whether a finished model was evaluated on tracks that it was trained on.

        Where its bundle does not list them, on the data set of the same name.
        """
        if self.tracks_used_in_training is not None:
            return self.tracks_used_in_training > 0
        trained_on = self.provenance.data.name if self.provenance else ""
        return self.kind == "evaluation" and bool(trained_on) and trained_on == self.data.name

    @property
    def training_note(self) -> str:
        """How many of the scored tracks were used in training; empty where none was, or unknown."""
        used, perhaps = self.tracks_used_in_training, self.tracks_perhaps_used_in_training
        return counted_note(used or 0, perhaps or 0, self.n) or ""

    @property
    def comparable_row(self) -> PublishedRow | None:
        """The row of a paper's table that the scores may be compared with.

        For a finished model on other data that is the paper's table for other data, if there is
        one. A run that leaks is compared with nothing, and neither is a model on the data set that
        it was trained on.
        """
        row = self.published
        if row is None or self.leaked or self.tested_on_training_data:
            return None
        if self.kind == "evaluation":
            row = row.model_copy(update={"table": row.elsewhere})
        return row if row.table else None

    @property
    def protocol(self) -> str:
        """The split in words; of an evaluation, what was tested."""
        if self.training_note:
            return f"{self.split or 'all tracks'}, {self.training_note}"
        if self.tested_on_training_data:
            return "all tracks, including those it was trained on"
        return str(self.split or "") or "all tracks"

    @property
    def fold_accuracies(self) -> dict[str, float]:
        """Accuracy of each fold, where it was measured."""
        found = {name: fold.accuracy for name, fold in self.folds.items()}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def scores(self) -> dict[str, float | None]:
        """The scores by name, in the order of `METRICS`."""
        return {name: getattr(self, name) for name in METRICS}

    def percent(self, name: str) -> float | None:
        """A score from 0 to 100, by its field's name; None where it was not measured."""
        value: float | None = getattr(self, name)
        return None if value is None else 100 * value

    def interval_percent(self, name: str) -> tuple[float, float] | None:
        """The 95 % interval of a score, from 0 to 100; None where there is none."""
        low, high = self.interval.get(name) or (None, None)
        return None if low is None or high is None else (100 * low, 100 * high)


def result_of_bundle(manifest: Manifest) -> RunResult | None:
    """The result that a bundle states of itself; None where it states none that can be read."""
    try:
        return _parse(json.dumps(manifest.metrics).encode())
    except (ValueError, RecursionError):
        return None


def changed_settings(command: str) -> list[str]:
    """The settings that a command line changes in its recipe, each `name=value`."""
    try:
        words = shlex.split(command)
    except ValueError:
        return []
    pairs = [value for name, value in pairwise(words) if name in ("--set", "-s")]
    return pairs + [word.removeprefix("--set=") for word in words if word.startswith("--set=")]


def find_runs(folder: Path) -> tuple[list[RunResult], list[FileError]]:
    """All finished runs and evaluations in a folder and its folders, and those that are damaged.

    Raises
    ------
    FileError
        When there is no such folder.
    """
    if not folder.is_dir():
        raise FileError(folder, "no such folder")
    found, problems = [], []
    for path in sorted(folder.rglob(FILE)):
        try:
            found.append(RunResult.read(path.parent))
        except FileError as error:
            problems.append(error)
    return found, problems


def _parse(text: str | bytes) -> RunResult:
    """Parse a `metrics.json`, of this version or of 0.1.

    Raises
    ------
    ValueError
        When it is not the result of a run, or of a later schema; says why on one line.
    """
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise ValueError("expected a JSON object")
    version = fields.get("schema_version")
    if version is None:  # of version 0.1
        fields = renamed_metrics(fields)
    elif version != SCHEMA_VERSION:
        raise ValueError(f"schema version {version}, not {SCHEMA_VERSION}")
    try:
        return RunResult.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None


def _from_origin(result: RunResult, origin: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a result that come from `recipe.yaml` or the model's provenance."""
    recipe, data, more = origin.get("recipe"), origin.get("data"), dict[str, Any]()
    if isinstance(recipe, dict):
        more["settings"] = renamed_recipe(recipe)[0]
        if result.seed is None and isinstance(recipe.get("seed"), int):
            more["seed"] = recipe["seed"]
    if not result.command:
        more["command"] = (
            f"genrescope evaluate {result.model} --data {result.data}"
            if result.kind == "evaluation"
            else f"genrescope train {result.recipe}"
        )
    if result.kind == "run":
        # A metrics.json of version 0.1 may lack these.
        if isinstance(data, dict) and result.data == DataDescription():
            more["data"] = DataDescription.model_validate(data)
        if isinstance(origin.get("teacher"), list) and not result.teacher_tracks:
            more["teacher_tracks"] = len(origin["teacher"])
    return more
