"""What the classifier says of a track."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.inference.labels import Tags

_SURE = 0.5
"""A genre that is less probable may be named together with the next one."""


@dataclass(frozen=True)
class SegmentPrediction:
    """What is heard in one stretch of a track, from `start` to `end` in seconds."""

    start: float
    end: float
    probabilities: dict[str, float]

    @property
    def genre(self) -> str:
        """The likeliest genre of the stretch."""
        return max(self.probabilities, key=self.probabilities.__getitem__)


@dataclass(frozen=True)
class Prediction:
    """What is heard in a track.

    Attributes
    ----------
    path
        The file as it was given; None for a waveform.
    genre
        The likeliest genre, or None where there is nothing but silence.
    probabilities
        Calibrated probability of each genre, likeliest first; they sum to 1.
    timeline
        The same for each segment heard, in order.
    embedding
        float32 `[size]`, the mean over segments of what the network's last layer sees; of several
        networks, the first one's.
    duration
        Seconds heard.
    warnings
        Problems met on the way, in plain words.
    tags
        Styles, instruments, moods, and whether it is music at all; None where the model can't tell.
    """

    path: str | None
    genre: str | None
    probabilities: dict[str, float]
    timeline: list[SegmentPrediction]
    embedding: NDArray[np.float32] = field(repr=False)
    duration: float
    warnings: list[str]
    tags: Tags | None = None

    @property
    def answer(self) -> str:
        """The genre in words: two genres where either may be right, or what it is instead."""
        if self.genre is None:
            return self.tags.kind if self.tags else "silence"
        (first, likely), *rest = self.top(2)
        if rest and likely < _SURE and rest[0][1] >= likely / 2:
            return f"{first} or {rest[0][0]}"
        return first

    @property
    def confidence(self) -> float:
        """Probability of the genre; 0 where none can be told."""
        return 0.0 if self.genre is None else self.probabilities[self.genre]

    def top(self, n: int) -> list[tuple[str, float]]:
        """The `n` likeliest genres with their probabilities; none where none can be told."""
        return [] if self.genre is None else list(self.probabilities.items())[:n]

    def to_dict(self, *, timeline: bool = True) -> dict[str, Any]:
        """The prediction as JSON writes it (the embedding is left out)."""
        return {
            "path": self.path,
            "genre": self.genre,
            "confidence": round(self.confidence, 6),
            "probabilities": _rounded(self.probabilities),
            "timeline": [
                {
                    "start": round(segment.start, 3),
                    "end": round(segment.end, 3),
                    "genre": segment.genre,
                    "probabilities": _rounded(segment.probabilities),
                }
                for segment in (self.timeline if timeline else [])
            ],
            "duration": round(self.duration, 3),
            "warnings": self.warnings,
            **({"answer": self.answer, **self.tags.to_dict()} if self.tags else {}),
        }


def _rounded(probabilities: dict[str, float]) -> dict[str, float]:
    return {genre: round(value, 6) for genre, value in probabilities.items()}
