"""`predictions.csv` of a run: what was said of each track that was judged.

Conventions
-----------
One row is one track in one part of the run, with the columns `track`, `part`, `genre`, `named`,
`confidence`, and one for the probability of each genre of the model.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genrescope.atomic import write_atomic
from genrescope.errors import FileError

FILE = "predictions.csv"
_FIXED = ["track", "part", "genre", "named", "confidence"]


@dataclass(frozen=True)
class Predictions:
    """What was said of tracks.

    Attributes
    ----------
    genres
        Of the model, in the order of the probabilities.
    tracks, parts
        Id of each row's track, and name of the part of the run that judged it.
    truth
        Number of each row's genre, int `[n]`.
    probabilities
        Float `[n, genres]`.
    """

    genres: tuple[str, ...]
    tracks: tuple[str, ...]
    parts: tuple[str, ...]
    truth: NDArray[np.intp]
    probabilities: NDArray[np.float64]

    @property
    def named(self) -> NDArray[np.intp]:
        """Number of the likeliest genre, int `[n]`."""
        return np.asarray(self.probabilities.argmax(axis=1))


def write_predictions(predictions: Predictions, folder: Path) -> None:
    """Write `predictions.csv` into a run's folder."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_FIXED, *predictions.genres])
    for track, part, truth, named, row in zip(
        predictions.tracks,
        predictions.parts,
        predictions.truth,
        predictions.named,
        predictions.probabilities,
        strict=True,
    ):
        genre, name = predictions.genres[truth], predictions.genres[named]
        writer.writerow([track, part, genre, name, *(f"{x:.6f}" for x in (row.max(), *row))])
    # A file's name may hold bytes that are no UTF-8.
    write_atomic(folder / FILE, text.getvalue().encode("utf-8", "surrogateescape"))


def read_predictions(folder: Path) -> Predictions:
    """Read `predictions.csv` of a run's folder.

    Raises
    ------
    FileError
        When it is missing, or not such a table.
    """
    path = folder / FILE
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            header, *rows = csv.reader(file)
        if header[: len(_FIXED)] != _FIXED or not rows:
            raise ValueError(f"its columns are not {', '.join(_FIXED)}, genres…")
        genres = tuple(header[len(_FIXED) :])
        if any(len(row) != len(header) for row in rows):
            raise ValueError("a row is too short or too long")
        return Predictions(
            genres,
            tuple(row[0] for row in rows),
            tuple(row[1] for row in rows),
            np.array([genres.index(row[2]) for row in rows]),
            _probabilities([row[len(_FIXED) :] for row in rows]),
        )
    except FileNotFoundError:
        raise FileError(path, "no such file; a finished run has it") from None
    except (OSError, ValueError, csv.Error) as error:
        raise FileError(path, f"not the predictions of a run: {error}") from None


def _probabilities(rows: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    values = np.array(rows, dtype=float)
    if values.size == 0 or not np.isfinite(values).all():
        raise ValueError("a probability is missing")
    return values
