"""Predictions as a table (pandas) and as a picture (Matplotlib); both are optional packages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from genrescope.errors import FileError, GenrescopeError
from genrescope.wording import confidence_percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

    from genrescope.inference.prediction import Prediction

_DRAWN_GENRES = 6  # more colours are hard to distinguish


def to_frame(predictions: Iterable[Prediction | FileError]) -> DataFrame:
    """Predictions as a pandas DataFrame with a row for each.

    Parameters
    ----------
    predictions
        As `Classifier.predict_many` yields them. A file that could not be classified becomes a row
        with its path and the reason in the column `error`.

    Returns
    -------
    pandas.DataFrame
        Columns `path`, `genre`, `confidence`, `duration`, `warnings`, `error`, and the probability
        of each genre.

    Raises
    ------
    GenrescopeError
        When pandas is not installed.

    Examples
    --------
    >>> import genrescope
    >>> classifier = genrescope.load()
    >>> frame = genrescope.to_frame(classifier.predict_many(["walking-bass.flac", "absent.mp3"]))
    >>> frame[["path", "duration", "error"]]
                    path  duration         error
    0  walking-bass.flac      12.0          None
    1         absent.mp3       NaN  no such file
    """
    try:
        import pandas
    except ImportError:
        raise GenrescopeError("a table needs pandas: pip install 'genrescope[notebook]'") from None
    rows: list[dict[str, object]] = []
    genres: dict[str, None] = {}
    for result in predictions:
        if isinstance(result, FileError):
            rows.append({"path": result.path, "genre": None, "error": result.reason})
            continue
        genres |= dict.fromkeys(sorted(result.probabilities))
        row = {"path": result.path, "genre": result.genre, "confidence": result.confidence}
        row |= {"duration": result.duration, "warnings": "; ".join(result.warnings)}
        rows.append({**row, "error": None, **result.probabilities})
    columns = ["path", "genre", "confidence", "duration", "warnings", "error", *genres]
    frame = pandas.DataFrame(rows, columns=columns)
    # Missing text is None, as in `Prediction`; pandas turns some of it into NaN.
    texts = ["path", "genre", "warnings", "error"]
    frame[texts] = frame[texts].astype(object).where(frame[texts].notna(), None)
    return frame


def plot(prediction: Prediction, axes: Axes | None = None) -> Axes:
    """Draw the probabilities of the genres over time, see `Prediction.plot`."""
    try:
        from matplotlib import pyplot
    except ImportError:
        raise GenrescopeError(
            "a picture needs Matplotlib: pip install 'genrescope[notebook]'"
        ) from None
    if axes is None:
        axes = pyplot.subplots(figsize=(8, 3), layout="constrained")[1]
    shown = [genre for genre, _ in prediction.top(_DRAWN_GENRES)]
    middles = [(segment.start + segment.end) / 2 for segment in prediction.timeline]
    layers = [[segment.probabilities[g] for segment in prediction.timeline] for g in shown]
    if len(middles) == 1:  # a single segment is drawn over its whole length
        middles = [prediction.timeline[0].start, prediction.timeline[0].end]
        layers = [layer * 2 for layer in layers]
    if layers:
        axes.stackplot(middles, layers, labels=shown)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes.set(xlabel="time in s", ylabel="probability", ylim=(0, 1))
    axes.set_xlim(0, max(prediction.duration, 1e-3))
    title = f"{prediction.genre or 'no genre'} ({confidence_percent(prediction.confidence)})"
    axes.set_title(title)
    return axes
