"""The figures that the five papers state, and which of them a recipe is measured beside.

Conventions
-----------
They stand in `published_results.csv`, one figure a line, in percent. The *row* of a paper's table
is one system under one protocol; it may have several figures (of the training, validation and test
side).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from genrescope.errors import RecipeError

Side = Literal["train", "validation", "test"]

_FILE = Path(__file__).with_name("published_results.csv")
_PREFIX = "fma descriptors: "


class PublishedRow(BaseModel):
    """The row of a paper's table that a recipe is compared with.

    Attributes
    ----------
    paper, table, features, model, protocol
        As the table of published results has them. The protocol is left out where the others tell
        the row.
    elsewhere
        The paper's table for the same system on other data than it was trained on.
    differs
        How the recipe's protocol differs from the paper's, besides what a run shows by itself.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    paper: str = ""
    table: str = ""
    features: str = ""
    model: str = ""
    protocol: str = ""
    elsewhere: str = ""
    differs: str = ""


@dataclass(frozen=True)
class PublishedFigure:
    """One figure of a paper.

    Attributes
    ----------
    paper, table
        Where it stands.
    dataset, protocol
        What it was measured on, and how the data were split and cut.
    features, model
        The system.
    metric
        What was measured, in the paper's words.
    value_percent
        From 0 to 100.
    """

    paper: str
    table: str
    dataset: str
    protocol: str
    features: str
    model: str
    metric: str
    value_percent: float

    @property
    def side(self) -> Side:
        """The tracks that it was measured on; those of the test where the paper only says so."""
        if "validation" in self.metric:
            return "validation"
        return "train" if "train" in self.metric else "test"

    @property
    def row(self) -> tuple[str, str, str, str, str]:
        """Paper, table, protocol, features and model: what the figures of one row share."""
        return self.paper, self.table, self.protocol, self.features, self.model


@cache
def published_results() -> tuple[PublishedFigure, ...]:
    """All published figures, in the order of the papers' tables."""
    with _FILE.open(encoding="utf-8", newline="") as file:
        return tuple(
            PublishedFigure(
                **{name: text for name, text in line.items() if name != "value_percent"},
                value_percent=float(line["value_percent"]),
            )
            for line in csv.DictReader(file)
        )


def rows_of(published: Mapping[str, str]) -> list[PublishedFigure]:
    """All figures of one row of a paper's table.

    Parameters
    ----------
    published
        `paper`, `table`, `features` and `model`, and `protocol` where these leave several rows; as
        in a recipe. Capitals don't count. Features may be written without what stands before
        them ("fma descriptors:") or behind them in brackets ("(84-d)").

    Raises
    ------
    RecipeError
        When the papers have no such row, or several.
    """
    found = [figure for figure in published_results() if _is_meant(figure, published)]
    rows = list(dict.fromkeys(figure.row for figure in found))
    keys = ("paper", "table", "features", "model", "protocol")
    name = ", ".join(published[key] for key in keys if published.get(key))
    if not rows:
        raise RecipeError(f"no paper's table has the row: {name}")
    if len(rows) > 1:
        protocols = "; ".join(protocol for _, _, protocol, _, _ in rows)
        raise RecipeError(f"{name}: several rows, tell which by its protocol: {protocols}")
    return found


def _is_meant(figure: PublishedFigure, published: Mapping[str, str]) -> bool:
    def same(key: str) -> bool:
        return _folded(published.get(key, "")) == _folded(getattr(figure, key))

    return (
        same("paper")
        and same("table")
        and same("model")
        and (not published.get("protocol") or same("protocol"))
        and _folded(published.get("features", "")) in _spellings(figure.features)
    )


def _spellings(features: str) -> set[str]:
    """How a recipe may write a row's features."""
    whole = _folded(features)
    bare = re.sub(r"\s*\([^()]*\)$", "", whole)
    return {whole, bare, bare.removeprefix(_PREFIX), whole.removeprefix(_PREFIX)}


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
