"""The typed parts of a `RunResult`: scores of genres and folds, data, split, provenance.

Conventions
-----------
Scores are fractions from 0 to 1, and None where they are not defined.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from genrescope.wording import valid_text


def _finite(value: Any) -> Any:
    """None in place of NaN and infinities, which JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _valid_text(value: Any) -> Any:
    return valid_text(value) if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_valid_text)]
Score = Annotated[float | None, BeforeValidator(_finite)]
Interval = tuple[Score, Score]


class Values(BaseModel):
    """Base of what is stored; fields of later versions are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class GenreScores(Values):
    """Scores of one genre.

    Attributes
    ----------
    n
        Its test tracks.
    precision, recall, f1
        From 0 to 1.
    recall_interval
        95 % bootstrap interval of the recall.
    """

    n: int
    precision: float
    recall: float
    f1: float
    recall_interval: Interval | None = None


class FoldResult(Values):
    """One fold of a cross-validation, or the only training of a run without folds.

    Attributes
    ----------
    train_tracks, test_tracks
        How many tracks it was trained on and tested on.
    accuracy
        On its test tracks.
    """

    train_tracks: int | None = None
    test_tracks: int | None = None
    accuracy: Score = None


class DataDescription(Values):
    """Description of a data set, without local paths.

    Attributes
    ----------
    name
        Empty where it is not known.
    tracks, with_artist
        How many tracks it has, and for how many of them the artist is known.
    fingerprint
        Hash of the tracks' ids, genres, artists and sizes.
    """

    name: Text = ""
    tracks: int | None = None
    with_artist: int | None = None
    fingerprint: str | None = None

    def __str__(self) -> str:
        return self.name or "unnamed data"


class SplitDescription(Values):
    """The settings of a split, as `training.recipe.SplitSettings` has them.

    Attributes
    ----------
    kind
        "random", "folds", "lists", "official" or "by_segment".
    train, validation, test
        Fractions of a random split.
    folds, repeats
        Folds of a cross-validation, and how often it is repeated.
    by_artist
        Whether all tracks of an artist are in one subset.
    """

    kind: str = ""
    train: float = 0.0
    validation: float = 0.0
    test: float = 0.0
    folds: int | None = None
    repeats: int = 1
    by_artist: bool = False

    @property
    def fractions(self) -> str:
        """Training, validation and test fraction in percent, as in 60/20/20."""
        return "/".join(f"{100 * part:.0f}" for part in (self.train, self.validation, self.test))

    def __str__(self) -> str:
        """The split in words, as in "random 60/20/20 by track"."""
        by = "by artist" if self.by_artist else "by track"
        match self.kind:
            case "random":
                return f"random {self.fractions} {by}"
            case "by_segment":
                return f"random {self.fractions} by segment, which leaks"
            case "folds":
                repeats = f", {self.repeats} repetitions" if self.repeats > 1 else ""
                return f"{self.folds} folds {by}{repeats}"
            case "official":
                return "the data set's own split"
            case "lists":
                return "given lists of tracks"
            case _:
                return self.kind


class LeftOut(Values):
    """A track that could not be used, and why where that is known."""

    track: Text
    reason: Text = ""

    def __str__(self) -> str:
        return f"{self.track}: {self.reason}" if self.reason else self.track


class Provenance(Values):
    """Where an evaluated model comes from: its recipe, its data and the versions used."""

    model_config = ConfigDict(extra="allow", frozen=True)

    recipe: dict[str, Any] = {}
    data: DataDescription = DataDescription()
