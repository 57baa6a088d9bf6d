"""Scores as text, the same in reports, comparisons and on the terminal.

Conventions
-----------
Values and intervals are fractions from 0 to 1, as a `RunResult` has them, and None where they are
not defined; the text is in percent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

NOTHING = "–"


def percent(value: float | None, *, digits: int = 1) -> str:
    """A score in percent, as in "61.5 %"."""
    return NOTHING if value is None else f"{100 * value:.{digits}f} %"


def interval(
    ends: Sequence[float | None] | None,
    separator: str = " to ",
    *,
    digits: int = 1,
    unit: str = " %",
) -> str:
    """An interval in percent, as in "55.0 to 67.0 %"."""
    if ends is None:
        return NOTHING
    low, high = ends
    if low is None or high is None:
        return NOTHING
    return f"{100 * low:.{digits}f}{separator}{100 * high:.{digits}f}{unit}"


def escape_markdown(text: str) -> str:
    """Text on one line that Markdown shows as it is."""
    return re.sub(r"([\\`*\[\]<>|&#~]|\b_|_\b)", r"\\\1", " ".join(text.split()))


def markdown_table(columns: Sequence[str], alignment: str, rows: Iterable[Sequence[str]]) -> str:
    """A table whose cells are Markdown.

    Parameters
    ----------
    alignment
        For each column "l" (left) or "r" (right).
    """
    rule = ["---:" if side == "r" else "---" for side in alignment]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, rule, *rows))
