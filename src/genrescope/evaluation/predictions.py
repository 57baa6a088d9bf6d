"""`predictions.csv` of a run: the prediction of each test track.

Conventions
-----------
One row is one track in one fold of the run, with the columns `track`, `fold`, `artist` (where any
artist is known), `genre`, `predicted`, `confidence`, and one for the probability of each genre of
the model. Where a run has no folds, `fold` is the name of its only training.
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
from genrescope.legacy import PREDICTION_COLUMNS

FILE = "predictions.csv"
_COLUMNS = ["track", "fold", "genre", "predicted", "confidence"]


@dataclass(frozen=True)
class Predictions:
    """Predictions of tracks whose genres are known.

    Attributes
    ----------
    genres
        Genres of the model, in the order of the probabilities.
    tracks, folds
        Id of each row's track, and name of the fold whose model predicted it.
    truth
        Index of each row's true genre, int `[n]`.
    probabilities
        Float `[n, genres]`.
    artists
        Artist of each row's track, empty where unknown; no entries where all are unknown.
    """

    genres: tuple[str, ...]
    tracks: tuple[str, ...]
    folds: tuple[str, ...]
    truth: NDArray[np.intp]
    probabilities: NDArray[np.float64]
    artists: tuple[str, ...] = ()

    @property
    def predicted(self) -> NDArray[np.intp]:
        """Index of the most probable genre, int `[n]`."""
        return np.asarray(self.probabilities.argmax(axis=1))


def write_predictions(predictions: Predictions, folder: Path) -> None:
    """Write `predictions.csv` into a run's folder."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    artists = [[name] for name in predictions.artists] if any(predictions.artists) else []
    columns = [*_COLUMNS[:2], *["artist"] * bool(artists), *_COLUMNS[2:]]
    writer.writerow([*columns, *predictions.genres])
    for track, fold, artist, truth, predicted, row in zip(
        predictions.tracks,
        predictions.folds,
        artists or [[]] * len(predictions.tracks),
        predictions.truth,
        predictions.predicted,
        predictions.probabilities,
        strict=True,
    ):
        genre, name = predictions.genres[truth], predictions.genres[predicted]
        figures = (f"{x:.6f}" for x in (row.max(), *row))
        writer.writerow([track, fold, *artist, genre, name, *figures])
    # A file's name may hold bytes that are not UTF-8.
    write_atomic(folder / FILE, text.getvalue().encode("utf-8", "surrogateescape"))


def read_predictions(folder: Path) -> Predictions:
    """Read `predictions.csv` of a run's folder, also one that version 0.1 wrote.

    Raises
    ------
    FileError
        When it is missing, or not such a table.
    """
    path = folder / FILE
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            header, *rows = csv.reader(file)
        artists: tuple[str, ...] = ()
        if header[2:3] == ["artist"] and all(len(row) == len(header) for row in rows):
            artists = tuple(row.pop(2) for row in rows)
            header.pop(2)
        fixed = header[: len(_COLUMNS)]
        if [PREDICTION_COLUMNS.get(name, name) for name in fixed] != _COLUMNS or not rows:
            raise ValueError(f"its columns are not {', '.join(_COLUMNS)}, genres…")
        genres = tuple(header[len(_COLUMNS) :])
        if any(len(row) != len(header) for row in rows):
            raise ValueError("a row is too short or too long")
        return Predictions(
            genres,
            tuple(row[0] for row in rows),
            tuple(row[1] for row in rows),
            np.array([genres.index(row[2]) for row in rows]),
            _probabilities([row[len(_COLUMNS) :] for row in rows]),
            artists,
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
