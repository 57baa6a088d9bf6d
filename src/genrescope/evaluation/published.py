"""The figures that the five papers state, and which of them a recipe is compared with.

Conventions
-----------
They are stored in `published_results.csv`, one figure a line, in percent. A *row* of a paper's
table is one system under one protocol; it may have several figures, on the training, validation
and test subset.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from genrescope.errors import RecipeError

Subset = Literal["train", "validation", "test"]

_FILE = Path(__file__).with_name("published_results.csv")
_STATEMENTS = Path(__file__).with_name("published_statements.csv")
# The papers bear no date; their latest reference says when they can't have been written earlier.
PAPERS = {
    "berkeley": "Kuo, Tantivilaisin, Wang, Weiss: Transfer Learning with Convolutional Neural "
    "Networks on Mel-Spectrograms for Accurate Song Genre Prediction (2021 or later)",
    "deepsound": "Dang, Nguyen: DeepSound: Genre Recognition through Deep Learning (2021 or later)",
    "kth": "Xiong, Hu: Automatic music genre classification using deep learning technologies "
    "(2020 or later)",
    "leiden": "Matei, Nebreda Bernal, Jethoe: Classifying Music Genres: A Deep Dive into Sound "
    "Analysis (2020 or later)",
    "vellore": "Ramya V: Deep Learning for Automated Music Genre Classification Using Spectrograms "
    "(2024 or later)",
}
"""Authors, title and year of the papers, by the names that recipes use."""
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
        How the recipe's protocol differs from the paper's, apart from what the run's settings show.
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
        The paper, and the table or figure in it.
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
    def subset(self) -> Subset:
        """The subset that it was measured on; the test subset where the paper names none."""
        if "validation" in self.metric:
            return "validation"
        return "train" if "train" in self.metric else "test"

    @property
    def row(self) -> tuple[str, str, str, str, str]:
        """Paper, table, protocol, features and model: what the figures of one row share."""
        return self.paper, self.table, self.protocol, self.features, self.model


@dataclass(frozen=True)
class PublishedStatement:
    """A statement of a paper about its results in other terms than accuracy.

    Attributes
    ----------
    paper, table, protocol, features, model
        As of a `PublishedFigure`; the model is empty where the statement is about several.
    metric
        What was measured: "test loss", "recall" of a genre, or a difference of test accuracies.
    genre
        For a recall: the genre, or "every genre"; otherwise empty.
    low, high
        The stated range; both are the same number where the paper states one.
    unit
        "nats", "points" or "percent".
    """

    paper: str
    table: str
    protocol: str
    features: str
    model: str
    metric: str
    genre: str
    low: float
    high: float
    unit: str

    @property
    def stated(self) -> str:
        """The statement's number or range as text."""
        if self.low == self.high:
            return f"{self.low:g} {self.unit}"
        return f"{self.low:g} to {self.high:g} {self.unit}"

    def includes(self, value: float) -> bool:
        """Whether a value is in the stated range, ends included."""
        return self.low <= value <= self.high


@cache
def published_statements() -> tuple[PublishedStatement, ...]:
    """All statements of the papers other than accuracies, in the order of the papers."""
    with _STATEMENTS.open(encoding="utf-8", newline="") as file:
        return tuple(
            PublishedStatement(
                **{name: text for name, text in line.items() if name not in ("low", "high")},
                low=float(line["low"]),
                high=float(line["high"]),
            )
            for line in csv.DictReader(file)
        )


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


def published_figures(row: PublishedRow) -> list[PublishedFigure]:
    """All figures of one row of a paper's table.

    Parameters
    ----------
    row
        As a recipe names it. The protocol is needed only where the other fields match several rows.
        Case is ignored. A prefix ("fma descriptors:") and a suffix in brackets ("(84-d)") of the
        features may be left out.

    Raises
    ------
    RecipeError
        When the papers have no such row, or several.
    """
    found = [figure for figure in published_results() if _matches(figure, row)]
    rows = list(dict.fromkeys(figure.row for figure in found))
    fields = (row.paper, row.table, row.features, row.model, row.protocol)
    name = ", ".join(filter(None, fields))
    if not rows:
        raise RecipeError(f"no paper's table has the row: {name}")
    if len(rows) > 1:
        protocols = "; ".join(protocol for _, _, protocol, _, _ in rows)
        raise RecipeError(f"{name}: several rows, add the protocol of one of them: {protocols}")
    return found


def _matches(figure: PublishedFigure, row: PublishedRow) -> bool:
    return (
        _folded(row.paper) == _folded(figure.paper)
        and _folded(row.table) == _folded(figure.table)
        and _folded(row.model) == _folded(figure.model)
        and (not row.protocol or _folded(row.protocol) == _folded(figure.protocol))
        and _folded(row.features) in _spellings(figure.features)
    )


@cache
def _spellings(features: str) -> set[str]:
    """The ways in which a recipe may write a row's features."""
    whole = _folded(features)
    bare = re.sub(r"\s*\([^()]*\)$", "", whole)
    return {whole, bare, bare.removeprefix(_PREFIX), whole.removeprefix(_PREFIX)}


@cache
def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
