"""Predictions to scores with intervals, reports, and comparisons with other runs and with papers.

`evaluate` (in `genrescope.evaluation.evaluate`) evaluates a finished model; `RunResult` is what a
run leaves behind; `compare` compares two runs, `compare_with_published` compares runs with papers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genrescope.evaluation.metrics import Scores, compute_scores
    from genrescope.evaluation.predictions import Predictions, read_predictions
    from genrescope.evaluation.published_comparison import compare_with_published
    from genrescope.evaluation.report import write_report
    from genrescope.evaluation.run_result import RunResult
    from genrescope.evaluation.significance import compare

__all__ = [
    "Predictions",
    "RunResult",
    "Scores",
    "compare",
    "compare_with_published",
    "compute_scores",
    "read_predictions",
    "write_report",
]

_MODULES = {
    "Predictions": "predictions",
    "RunResult": "run_result",
    "Scores": "metrics",
    "compare": "significance",
    "compare_with_published": "published_comparison",
    "compute_scores": "metrics",
    "read_predictions": "predictions",
    "write_report": "report",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that importing one module stays cheap."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
