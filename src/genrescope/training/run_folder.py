"""The folder of a run: what is claimed, resumed and stored in it.

A run folder holds `recipe.yaml`, `metrics.json`, `predictions.csv`, pictures, `report.html` and
`report.md`, and `bundle/`. Each job has a folder in `jobs/` with `tracks.json`, its checkpoint and,
once it is finished, `model.onnx`, `training.json` (history, chosen settings) and `logits.npz`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import ValidationError

from genrescope.atomic import write_atomic
from genrescope.errors import FileError, RecipeError
from genrescope.evaluation import plots
from genrescope.evaluation.predictions import Predictions, write_predictions
from genrescope.evaluation.report import write_report
from genrescope.evaluation.run_result import RunResult
from genrescope.inference.bundle import Bundle
from genrescope.legacy import migrate_run_folder, renamed_recipe
from genrescope.training.protocols import TrainingJob
from genrescope.training.recipe import Recipe
from genrescope.training.trainers.base import History, TrainedModel
from genrescope.untrusted import open_npz, parse_yaml

Logits = dict[str, NDArray[np.float32]]
"""`[segments, genres]` by track id."""

# These do not change what a run computes.
_COMMENTS = frozenset({"description", "published", "search", "licence"})


@dataclass(frozen=True)
class JobFolder:
    """The folder of one job."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        """The file in which a trainer stores its state."""
        return self.path / "checkpoint.ckpt"

    @property
    def finished(self) -> bool:
        """Whether the job's model is trained and its logits are stored."""
        return (self.path / "logits.npz").is_file()

    def store(self, model: TrainedModel, logits: Logits) -> None:
        """Store the result of a job, and remove its checkpoint, which is no longer needed."""
        write_atomic(self.path / "model.onnx", model.onnx)
        notes = {"history": model.history, "chosen": model.chosen}
        write_atomic(self.path / "training.json", json.dumps(notes).encode())
        write_atomic(self.path / "logits.npz", _packed(logits))
        for checkpoint in self.path.glob(f"{self.checkpoint.stem}*"):
            checkpoint.unlink()

    def load(self) -> tuple[TrainedModel, Logits]:
        """Read what a finished job stored.

        Raises
        ------
        FileError
            When a file is missing or damaged.
        """
        try:
            notes = json.loads((self.path / "training.json").read_text(encoding="utf-8"))
            onnx = (self.path / "model.onnx").read_bytes()
            logits = _unpacked(self.path / "logits.npz")
            return TrainedModel(onnx, notes["history"], notes["chosen"]), logits
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = f"damaged, delete it to train again: {' '.join(str(error).split())}"
            raise FileError(self.path, reason) from None


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run of one recipe on one data set."""

    path: Path

    @classmethod
    def claim(
        cls,
        path: Path,
        recipe: Recipe,
        data: Mapping[str, Any],
        teacher: Iterable[str],
        inputs: Mapping[str, str] | None = None,
    ) -> RunFolder:
        """Store recipe and data in the folder; raise an error if it holds another run.

        Parameters
        ----------
        path
            Path of the folder. An unfinished run of the same recipe and data in it resumes.
        recipe
            The recipe of the run.
        data
            Description of the data set.
        teacher
            Tracks for which a teacher's targets are given.
        inputs
            Hashes of everything else that the run depends on, see `genrescope.training.identity`.
            A run of a version that did not store them resumes with any.

        Raises
        ------
        RecipeError
            When the folder holds a run of another recipe, other data or other inputs.
        FileError
            When the folder can't be written to.
        """
        fields = {"recipe": recipe.portable, "data": dict(data), "teacher": sorted(teacher)}
        fields["inputs"] = dict(inputs or {})
        file = path / "recipe.yaml"
        try:
            path.mkdir(parents=True, exist_ok=True)
            migrate_run_folder(path)
            # As long as no job was begun, as after a mistyped command, the folder can be reused.
            begun = file.is_file() and _begun(path / "jobs")
            if begun and not states_same_run(file, fields, ignoring=_COMMENTS):
                raise RecipeError(
                    f"{path}: holds a run of another recipe, other data, or another content of a "
                    "teacher, weights or model; name another folder, or delete this one"
                )
            text = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
            write_atomic(file, text.encode())
        except OSError as error:
            raise FileError(path, f"can't be written: {error.strerror}") from None
        return cls(path)

    def job(self, job: TrainingJob, files: str = "") -> JobFolder:
        """Claim the folder of a job; raise an error if it was begun with other tracks or files.

        The lists of a split, the subsets in a table, or the files may have changed since.

        Parameters
        ----------
        job
            The job with the ids of its tracks.
        files
            Hash of the tracks' files; "" where they have none. A job of a version that did not
            store it resumes with any files.

        Raises
        ------
        RecipeError
            When the job was begun with other tracks or files.
        """
        folder = JobFolder(self.path / "jobs" / job.name)
        tracks = {
            "train": list(job.train),
            "monitored": list(job.monitored),
            "predicted": list(job.predicted),
        }
        file = folder.path / "tracks.json"
        if _begun(folder.path) and file.is_file():
            stated = _read_json(file)
            known = stated.pop("files", files) if isinstance(stated, dict) else files
            if stated != tracks or known != files:
                other = "another split"
                if stated == tracks:
                    other = "the same tracks, but a file was changed since (or only its tags)"
                raise RecipeError(
                    f"{self.path}: holds a run of {other}; name another folder, or delete this one"
                )
        folder.path.mkdir(parents=True, exist_ok=True)
        write_atomic(file, json.dumps({**tracks, "files": files}, indent=1).encode())
        return folder

    def finish(
        self,
        result: RunResult,
        predictions: Predictions,
        histories: Mapping[str, History],
        bundle: Bundle,
    ) -> None:
        """Write the result, the predictions, the learning curves, the bundle and the report."""
        result.write(self.path)
        write_predictions(predictions, self.path)
        plots.curves(dict(histories), self.path / "curves.png")
        bundle.save(self.path / "bundle")
        write_report(self.path)


def _begun(folder: Path) -> bool:
    """Whether anything but lists of tracks was stored."""
    return any(path.name != "tracks.json" for path in folder.rglob("*") if path.is_file())


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None


def states_same_run(
    file: Path, fields: Mapping[str, Any], *, ignoring: Collection[str] = ()
) -> bool:
    """Whether a `recipe.yaml` states these fields, apart from some settings of its recipe.

    Settings that were added to recipes later count as their defaults. A file of a version that did
    not store `inputs` fits any.
    """
    try:
        stated = parse_yaml(file.read_text(encoding="utf-8"), 2**24)
    except ValueError:
        return False
    if isinstance(stated, Mapping) and "inputs" not in stated:
        fields = {key: value for key, value in fields.items() if key != "inputs"}
    return bool(_completed(stated, ignoring) == _completed(fields, ignoring))


def _completed(fields: Any, ignoring: Collection[str]) -> Any:
    if not isinstance(fields, Mapping) or not isinstance(fields.get("recipe"), Mapping):
        return fields
    recipe = {key: value for key, value in fields["recipe"].items() if key not in ignoring}
    with suppress(RecipeError, ValidationError):
        recipe = Recipe.model_validate(renamed_recipe(recipe)[0]).model_dump(mode="json")
    return {**fields, "recipe": recipe}


def _packed(logits: Logits) -> bytes:
    """Logits of many tracks as an `.npz` of three arrays."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        tracks=np.array(list(logits), dtype=np.str_),
        segments=np.array([len(values) for values in logits.values()], dtype=np.intp),
        logits=np.concatenate(list(logits.values())) if logits else np.zeros((0, 0), np.float32),
    )
    return buffer.getvalue()


def _unpacked(path: Path) -> Logits:
    with open_npz(path) as arrays:
        ends = np.cumsum(arrays["segments"])
        values = np.split(arrays["logits"], ends[:-1]) if len(ends) else []
        return dict(zip(arrays["tracks"].tolist(), values, strict=True))
