"""Results of runs next to the page that shows them, so that a page outlives its runs' folders.

`results.jsonl` has one run a line: its result without the tables of single genres' intervals, the
settings of its recipe, and which test tracks it predicted correctly. A run that is found in a
folder takes the place of the record with the same command line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genrescope.atomic import write_atomic
from genrescope.errors import FileError
from genrescope.evaluation.predictions import FILE as PREDICTIONS
from genrescope.evaluation.run_result import RunResult
from genrescope.evaluation.significance import correct_tracks

# Comments on a recipe, and what a page does not show.
_LEFT_OUT_SETTINGS = {"description", "published", "search", "licence", "weights"}
_LEFT_OUT_FIELDS = {"folds", "chosen_settings", "provenance"}


def records_of(page: Path) -> Path:
    """Where the records of a page are."""
    return page.with_suffix(".jsonl")


def read_records(path: Path) -> list[RunResult]:
    """Read the results that an earlier comparison stored; none where there is no file.

    Raises
    ------
    FileError
        When the file can't be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(path, f"can't be read: {error}") from None
    found = []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            fields = json.loads(line)
            result = RunResult.model_validate(fields["result"])
            more = {
                "settings": dict(fields["settings"]),
                "folder": Path(fields["folder"]),
                "tested": str(fields.get("tested", "")),
                "right": str(fields.get("right", "")),
            }
        except (ValueError, KeyError, TypeError) as error:
            reason = f"line {number} is damaged: {' '.join(str(error).split())}"
            raise FileError(path, reason) from None
        found.append(result.model_copy(update=more))
    return found


def with_correct_tracks(run: RunResult) -> RunResult:
    """A run of a folder, with which of its test tracks were predicted correctly."""
    if run.folder is None or not (run.folder / PREDICTIONS).is_file():
        return run
    correct = sorted(correct_tracks(run.folder).items())
    tracks = hashlib.sha256(repr([track for track, _ in correct]).encode("utf-8", "replace"))
    right = "".join("01"[is_right] for _, is_right in correct)
    return run.model_copy(update={"tested": tracks.hexdigest()[:16], "right": right})


def joined_with_runs(records: Sequence[RunResult], runs: Sequence[RunResult]) -> list[RunResult]:
    """The runs, and the records of other command lines."""
    commands = {run.command for run in runs}
    return [*runs, *(record for record in records if record.command not in commands)]


def write_records(path: Path, runs: Sequence[RunResult], folder: Path) -> None:
    """Write runs as records, sorted by command line.

    Parameters
    ----------
    path
        The file of the records.
    runs
        What is written.
    folder
        That the runs were found in: where each lies is written relative to it.
    """
    lines = [_line(run, folder) for run in sorted(runs, key=lambda run: run.command)]
    # Bytes of a folder's name that are not UTF-8 become JSON's own escapes.
    write_atomic(path, "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))


def _line(run: RunResult, folder: Path) -> str:
    result = {
        name: value
        for name, value in run.to_dict().items()
        if name not in _LEFT_OUT_FIELDS and value not in (None, "", [], {})
    }
    result["by_genre"] = {
        genre: {name: value for name, value in scores.items() if name != "recall_interval"}
        for genre, scores in result.get("by_genre", {}).items()
    }
    where = run.folder or Path(run.name)
    fields: dict[str, Any] = {
        "folder": (where.relative_to(folder) if where.is_relative_to(folder) else where).as_posix(),
        "result": result,
        "settings": {k: v for k, v in run.settings.items() if k not in _LEFT_OUT_SETTINGS},
    }
    if run.right:
        fields |= {"tested": run.tested, "right": run.right}
    return json.dumps(fields, ensure_ascii=False)
