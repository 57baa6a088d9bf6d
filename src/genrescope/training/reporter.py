"""How a run reports its progress."""

from __future__ import annotations

import warnings
from typing import Protocol


class Reporter(Protocol):
    """Receives the progress of a run."""

    def notice(self, text: str) -> None:
        """Receive something about the run that the user should know."""

    def features(self, done: int, total: int) -> None:
        """Receive how many tracks are read."""

    def embeddings(self, done: int, total: int) -> None:
        """Receive how many tracks are embedded by the encoder."""

    def epoch(self, job: str, epoch: int, epochs: int, loss: float, accuracy: float | None) -> None:
        """Receive the training loss of a job's epoch and, where measured, an accuracy.

        The accuracy is that on the middle segments of tracks which are not trained on.
        """

    def left_out(self, track: str, reason: str) -> None:
        """Receive the id of a track that can't be used, and why."""


class DefaultReporter:
    """Turns notices into warnings and ignores progress; others override what they need."""

    def notice(self, text: str) -> None:
        warnings.warn(text, stacklevel=4)

    def features(self, done: int, total: int) -> None: ...

    def embeddings(self, done: int, total: int) -> None: ...

    def epoch(
        self, job: str, epoch: int, epochs: int, loss: float, accuracy: float | None
    ) -> None: ...

    def left_out(self, track: str, reason: str) -> None: ...
