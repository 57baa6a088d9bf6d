"""The result of classifying a track: `Prediction`, and `SegmentPrediction` for each segment."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import printable
from genrescope.inference.labels import SoundLabels
from genrescope.inference.sections import Section, find_sections, shares_of
from genrescope.wording import confidence_percent, counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCHEMA_VERSION = 1
"""Of `Prediction.to_dict`; raised whenever a field is renamed, removed, or changes its meaning."""

_HTML_GENRES = 5
_CERTAIN = 0.5
"""A genre that is less probable than this may be named together with the next one."""


@dataclass(frozen=True)
class SegmentPrediction:
    """Probabilities of one segment of a track, from `start` to `end` in seconds."""

    start: float
    end: float
    probabilities: dict[str, float]

    @property
    def genre(self) -> str:
        """The most probable genre of the segment."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    def to_dict(self) -> dict[str, Any]:
        """The segment as JSON has it."""
        return {
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "genre": self.genre,
            "probabilities": rounded(self.probabilities),
        }


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """Genre, probabilities, timeline and embedding of a track.

    Two predictions are equal when all their attributes are.

    Attributes
    ----------
    path
        The file as the caller named it; None for a waveform, an array, bytes or a file object.
    genre
        The most probable genre, or None where the track holds no audible sound.
    probabilities
        Calibrated probability of each genre, most probable first; they sum to 1.
    timeline
        The probabilities of each segment, in order of time.
    embedding
        float32 `[size]`, the mean over segments of the network's last hidden layer; for an
        ensemble, of the first network.
    duration
        Decoded length in seconds.
    warnings
        Problems that did not prevent a prediction, as text.
    labels
        Styles, instruments, moods, and whether it is music at all; None for models without them.
    listen
        How much of the track was read: "full", or "auto" or a number of seconds where that was
        asked for and the track is longer, see `Classifier.predict`.

    Examples
    --------
    >>> import genrescope
    >>> prediction = genrescope.load().predict("walking-bass.flac")
    >>> prediction.genre == max(prediction.probabilities, key=prediction.probabilities.get)
    True
    >>> [round(prediction.timeline[0].start), round(prediction.timeline[-1].end)]
    [0, 12]
    >>> prediction == genrescope.load().predict("walking-bass.flac")
    True
    >>> prediction.to_dict()["schema_version"]
    1
    """

    path: str | None
    genre: str | None
    probabilities: dict[str, float]
    timeline: list[SegmentPrediction]
    embedding: NDArray[np.float32] = field(repr=False)
    duration: float
    warnings: list[str]
    labels: SoundLabels | None = None
    listen: str = "full"

    @property
    def answer(self) -> str:
        """The genre in words: two genres where both are likely, or the kind of sound."""
        if self.genre is None:
            return self.labels.kind if self.labels else "silence"
        (first, likely), *rest = self.top(2)
        if rest and likely < _CERTAIN and rest[0][1] >= likely / 2:
            return f"{first} or {rest[0][0]}"
        return first

    @property
    def confidence(self) -> float:
        """Probability of the genre; 0 where there is none."""
        return 0.0 if self.genre is None else self.probabilities[self.genre]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Prediction):
            return NotImplemented
        return self._comparable() == other._comparable() and np.array_equal(
            self.embedding, other.embedding
        )

    __hash__ = None  # type: ignore[assignment]

    def _comparable(self) -> tuple[Any, ...]:
        # Comparing arrays gives an array, so the embedding is compared separately.
        return tuple(getattr(self, f.name) for f in fields(self) if f.name != "embedding")

    def __repr__(self) -> str:
        name = "" if self.path is None else f"{self.path!r}, "
        warnings = f", {counted(len(self.warnings), 'warning')}" if self.warnings else ""
        return (
            f"Prediction({name}genre={self.genre!r}, confidence={self.confidence:.2f}, "
            f"duration={self.duration:.1f} s{warnings})"
        )

    def _repr_html_(self) -> str:
        """Show the most probable genres as bars, for notebooks."""
        from html import escape  # whose table of entities a command need not load

        title = escape(printable(self.path)) if self.path is not None else "waveform"
        rows = "".join(
            f"<tr><td>{escape(genre)}</td><td><div style='width:{round(150 * value)}px;"
            f"height:0.8em;background:#3b82c4'></div></td><td>{confidence_percent(value)}</td></tr>"
            for genre, value in self.top(_HTML_GENRES)
        )
        notes = "".join(f"<div>{escape(text)}</div>" for text in self.warnings)
        head = f"<b>{escape(self.genre or 'no genre')}</b> &middot; {title} &middot; "
        return f"<div>{head}{self.duration:.1f} s<table>{rows}</table>{notes}</div>"

    def top(self, n: int) -> list[tuple[str, float]]:
        """The `n` most probable genres with their probabilities; none where there is no genre."""
        return [] if self.genre is None else list(self.probabilities.items())[:n]

    def tag_values(self, n: int) -> list[tuple[str, float]]:
        """At most `n` genres and styles for a file's tag, each with a genre's probability.

        The most probable genre comes first, then its styles, then the next genre. A style has the
        probability of its genre, so that it is written where the genre is.
        """
        tags = self.labels
        found: list[tuple[str, float]] = []
        for genre, probability in self.top(n):
            styles = [s for s in tags.styles if tags.style_genres.get(s) == genre] if tags else []
            found += [(name, probability) for name in (genre, *styles)]
        return found[:n]

    def sections(self) -> list[Section]:
        """The timeline as sections of one genre each, see `genrescope.inference.sections`."""
        return find_sections(self.timeline)

    def shares(self) -> dict[str, float]:
        """Fraction of the sections' time that each genre takes, largest first; they sum to 1."""
        return shares_of(self.sections())

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draw the probabilities of the genres over time.

        Parameters
        ----------
        axes
            Where to draw; new axes by default.

        Raises
        ------
        GenrescopeError
            When Matplotlib is not installed.
        """
        from genrescope.inference.display import plot

        return plot(self, axes)

    def to_dict(self, *, timeline: bool = True) -> dict[str, Any]:
        """The prediction as JSON has it, without the embedding.

        Parameters
        ----------
        timeline
            Whether to include all segments, and the sections that they are joined to.
        """
        segments = self.timeline if timeline else []
        sections = self.sections() if timeline else []
        return {
            "schema_version": SCHEMA_VERSION,
            "path": self.path,
            "genre": self.genre,
            "confidence": round(self.confidence, 6),
            "probabilities": rounded(self.probabilities),
            "timeline": [segment.to_dict() for segment in segments],
            "sections": [
                {
                    "start": round(section.start, 3),
                    "end": round(section.end, 3),
                    "genre": section.genre,
                    "probability": round(section.probability, 6),
                }
                for section in sections
            ],
            "shares": rounded(shares_of(sections)),
            "duration": round(self.duration, 3),
            "warnings": self.warnings,
            **({} if self.listen == "full" else {"listen": self.listen}),
            **({"answer": self.answer, **self.labels.to_dict()} if self.labels else {}),
        }


def rounded(probabilities: dict[str, float]) -> dict[str, float]:
    """Probabilities as JSON has them."""
    return {genre: round(float(value), 6) for genre, value in probabilities.items()}
