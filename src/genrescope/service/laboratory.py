"""The laboratory's runs, their reports, and their comparison with the papers."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from genrescope.evaluation.published_comparison import compare_with_published
from genrescope.evaluation.run_result import RunResult, find_runs
from genrescope.service.problems import ProblemError

_REPORT = "report.html"


def list_runs(folder: Path | None) -> list[dict[str, Any]]:
    """Finished runs and evaluations, by name."""
    return [
        {
            "id": _id(run, folder),
            "name": run.name,
            "accuracy": run.accuracy,
            "interval": run.interval.get("accuracy"),
            "macro_f1": run.macro_f1,
            "n": run.n,
            "leaked": run.leaked,
            "has_report": (Path(str(run.folder)) / _REPORT).is_file(),
        }
        for run in sorted(_runs(folder), key=lambda run: run.name)
    ]


def read_report(folder: Path | None, run_id: str) -> str:
    """The page of a run.

    Raises
    ------
    ProblemError
        404, when the run does not exist or has no report.
    """
    for run in _runs(folder):
        page = Path(str(run.folder)) / _REPORT
        if _id(run, folder) == run_id and page.is_file():
            return page.read_text("utf-8")
    raise ProblemError(404, "no such report")


def comparison(folder: Path | None) -> list[dict[str, Any]]:
    """The figures of papers that a run can be compared with, next to the run's."""
    if folder is None or not folder.is_dir():
        return []
    rows = [row.to_dict() for row in compare_with_published(folder).rows]
    for row in rows:
        row["run"] = row["run"] and {"name": row["run"]["name"]}
    return rows


def _runs(folder: Path | None) -> list[RunResult]:
    return find_runs(folder)[0] if folder is not None and folder.is_dir() else []


def _id(run: RunResult, folder: Path | None) -> str:
    place = Path(str(run.folder)).relative_to(folder) if folder else run.name
    return hashlib.sha256(os.fsencode(place)).hexdigest()[:20]
