"""Names of version 0.1: recipe keys, fields of bundles and runs, aggregation rules.

Files of that version are read for one more version. `renamed_recipe`, `renamed_manifest` and
`renamed_metrics` return the fields under the names that are used now; nothing else in the package
knows the old ones.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

from genrescope.atomic import write_atomic

AGGREGATIONS = {
    "mean": "mean_probability",
    "geometric": "mean_logits",
    "median": "median_probability",
    "mode": "majority",
}
PREDICTION_COLUMNS = {"part": "fold", "named": "predicted"}
_DOTTED = {"voting": "aggregation", "training.average": "training.ema_decay"}
# Settings of a section, where it is of that kind or states none.
_SETTINGS = {
    ("model", "finetuned"): {
        "learning": "trained_modules",
        "slower": "layer_decay",
        "untrained": "weights_seed",
    },
    ("feature", "embedding"): {"untrained": "weights_seed"},
}
_DOTTED |= {
    f"{section}.{old}": f"{section}.{new}"
    for (section, _), settings in _SETTINGS.items()
    for old, new in settings.items()
}
REMOVED_SETTINGS = {
    "augmentation.slope": "was removed in version 0.2; augmentation.equalizer does the most like it"
}
# Settings that these features had in common with all others in version 0.1, and never used.
_UNUSED_SETTINGS = {
    "stored": {"sample_rate", "n_fft", "hop_length", "center", "n_bins", "n_mels", "fmin", "fmax"},
    "waveform": {"n_fft", "hop_length", "center", "n_bins", "n_mels", "fmin", "fmax"},
}
# Files in the folder of a job, which version 0.1 called a part.
_JOB_FILES = {"heard.npz": "logits.npz", "learned.json": "training.json"}
# How the problems begin that version 0.1 stored in libraries although they need not last.
_PASSING_PROBLEMS = (
    "not readable: ",
    "no such file",
    "unexpected ",
    "the decoder was stopped",
    "the process that decoded it died",
)
_JOB_TRACKS = {"aside": "monitored", "heard": "predicted"}


class RenamedWarning(FutureWarning):
    """A name of version 0.1 is used, which a later version will refuse."""


def renamed_recipe(fields: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The fields of a recipe under the names used now, and what was renamed, as "old -> new".

    Fields that are not what a recipe has in their place are left for validation to refuse.
    """
    new, changes = dict(fields), list[str]()
    _rename(new, "voting", "aggregation", changes)
    _rename_value(new, "aggregation", changes)
    if isinstance(new.get("training"), Mapping):
        new["training"] = dict(new["training"])
        _rename(new["training"], "average", "ema_decay", changes, prefix="training.")
    _rename_settings(new, changes)
    _drop_slope(new)
    _drop_unused(new, changes)
    ensemble = new.get("ensemble")
    if isinstance(ensemble, list | tuple):
        new["ensemble"] = [_renamed_network(own, changes) for own in ensemble]
    for section in ("search", "variants"):
        if isinstance(new.get(section), Mapping):
            new[section] = dict(new[section])
            for old, now in _DOTTED.items():
                _rename(new[section], old, now, changes, prefix=f"{section}.")
    if isinstance(new.get("variants"), Mapping):
        new["variants"] = {
            key: _renamed_axis(key, axis, changes) for key, axis in new["variants"].items()
        }
    return new, changes


def warn_renamed(name: str, changes: list[str]) -> None:
    """Say once a place which old names a recipe uses; they are refused from version 0.3 on."""
    if changes:
        listed = ", ".join(dict.fromkeys(changes))
        warnings.warn(
            f"{name}: settings of version 0.1, refused from version 0.3 on: {listed}",
            RenamedWarning,
            stacklevel=3,
        )


def renamed_manifest(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a bundle's manifest of schema 1 as schema 2 has them."""
    new = dict(fields)
    _rename(new, "voting", "aggregation", [])
    _rename_value(new, "aggregation", [])
    return {**new, "schema_version": 2}


_METRICS = {
    "parts": "folds",
    "train": "train_tracks",
    "validation": "validation_tracks",
    "by_artists_learned_from": "test_tracks_of_training_artists",
    "chosen": "chosen_settings",
    "by_artist": "grouped_by_artist",
}


def renamed_metrics(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `metrics.json` of version 0.1 as schema 2 has them.

    Fields that are not what stood in their place are left for validation to refuse.
    """
    new = {key: value for key, value in fields.items() if value is not None}
    for old, now in _METRICS.items():
        _rename(new, old, now, [])
    if isinstance(new.get("folds"), Mapping):
        new["folds"] = {name: _renamed_fold(fold) for name, fold in new["folds"].items()}
    left_out, failed = new.get("left_out", []), new.pop("failed", [])
    if isinstance(left_out, list) and isinstance(failed, list):
        new["left_out"] = [_left_out(entry) for entry in [*left_out, *failed]]
    if isinstance(new.get("data"), str):  # of an evaluation: a name, or a path
        new["data"] = {"name": PurePath(new["data"]).name}
    if "recipe" in new:
        new.pop("model", None)
        split = new.get("split")
        if isinstance(split, Mapping):
            new["grouped_by_artist"] = bool(split.get("by_artist"))
    for key in ("published", "data", "split"):
        if isinstance(new.get(key), Mapping):
            new[key] = {name: value for name, value in new[key].items() if value is not None}
    return {**new, "schema_version": 2}


def _renamed_fold(fold: Any) -> Any:
    if not isinstance(fold, Mapping):
        return fold
    new = dict(fold)
    _rename(new, "train", "train_tracks", [])
    _rename(new, "test", "test_tracks", [])
    return new


def _left_out(entry: Any) -> Any:
    """A track that was left out: its id in a run, its path and the reason in an evaluation."""
    if isinstance(entry, Mapping):
        return {"track": entry.get("path"), "reason": entry.get("reason", "")}
    return {"track": entry}


def migrate_run_folder(folder: Path) -> None:
    """Rename the folders and files of a run of version 0.1 in place, so that it can resume.

    It may be interrupted at any point and called again.

    Raises
    ------
    OSError
        When something can't be renamed.
    """
    jobs = folder / "jobs"
    if (folder / "parts").is_dir() and not jobs.exists():
        for job in (folder / "parts").iterdir():
            for old, new in _JOB_FILES.items():
                if (job / old).is_file():
                    (job / old).replace(job / new)
            tracks = job / "tracks.json"
            if tracks.is_file():
                with suppress(ValueError):  # a damaged file is refused when the job is claimed
                    fields = json.loads(tracks.read_text(encoding="utf-8"))
                    fields = {_JOB_TRACKS.get(name, name): ids for name, ids in fields.items()}
                    write_atomic(tracks, json.dumps(fields, indent=1).encode())
        (folder / "parts").rename(jobs)


def _rename_settings(fields: dict[str, Any], changes: list[str], prefix: str = "") -> None:
    """Rename the settings of the model and of the feature that had private names."""
    for (section, kind), settings in _SETTINGS.items():
        stated = fields.get(section)
        if isinstance(stated, Mapping) and stated.get("kind", kind) == kind:
            fields[section] = dict(stated)
            for old, new in settings.items():
                _rename(fields[section], old, new, changes, prefix=f"{prefix}{section}.")


def _drop_slope(fields: dict[str, Any]) -> None:
    """Drop `augmentation.slope` where it is off, as nearly all recipes have it."""
    augmentation = fields.get("augmentation")
    if isinstance(augmentation, Mapping) and augmentation.get("slope", 1) == 0:
        rest = {name: value for name, value in augmentation.items() if name != "slope"}
        fields["augmentation"] = rest


def _drop_unused(fields: dict[str, Any], changes: list[str]) -> None:
    """Drop settings that had no effect: of the feature, and `model.whiten` where it is off."""
    feature, model = fields.get("feature"), fields.get("model")
    if isinstance(feature, Mapping) and isinstance(kind := feature.get("kind"), str):
        unused = [name for name in feature if name in _UNUSED_SETTINGS.get(kind, ())]
        if unused:
            fields["feature"] = {k: v for k, v in feature.items() if k not in unused}
            changes += [f"feature.{name}, which {kind} does not use" for name in unused]
    if isinstance(model, Mapping) and model.get("whiten") is False:
        fields["model"] = {name: v for name, v in model.items() if name != "whiten"}


def _renamed_axis(key: str, axis: Any, changes: list[str]) -> Any:
    """The labels of an axis of a family: values of a dotted setting, or changes by label."""
    if isinstance(axis, list):
        return [AGGREGATIONS.get(v, v) if key == "aggregation" else v for v in axis]
    if not isinstance(axis, Mapping):
        return axis
    labels = {}
    for label, settings in axis.items():
        labels[label] = settings
        if isinstance(settings, Mapping):
            labels[label], found = renamed_recipe(settings)
            changes += found
    return labels


def _renamed_network(own: Any, changes: list[str]) -> Any:
    if not isinstance(own, Mapping):
        return own
    own = dict(own)
    _rename_settings(own, changes, prefix="ensemble.")
    _drop_slope(own)
    if not isinstance(own.get("training"), Mapping):
        return own
    training = dict(own["training"])
    _rename(training, "average", "ema_decay", changes, prefix="ensemble.training.")
    return {**own, "training": training}


def _rename(
    fields: dict[str, Any], old: str, new: str, changes: list[str], prefix: str = ""
) -> None:
    if old in fields and new not in fields:
        fields[new] = fields.pop(old)
        changes.append(f"{prefix}{old} -> {prefix}{new}")


def _rename_value(fields: dict[str, Any], key: str, changes: list[str]) -> None:
    value = fields.get(key)
    if isinstance(value, str) and value in AGGREGATIONS:
        fields[key] = AGGREGATIONS[value]
        changes.append(f"{key}: {value} -> {fields[key]}")


def is_passing_problem(problem: str | None) -> bool:
    """Whether a problem in a library's row was no decode error, so that the file is tried again."""
    return problem is not None and problem.startswith(_PASSING_PROBLEMS)
