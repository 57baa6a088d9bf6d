"""Vectors that were computed elsewhere and stored: embeddings of a network, or rows of a table.

They can't be computed from audio here: a model that was trained on such vectors classifies vectors.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import Field, model_validator

from genrescope.audio import Waveform
from genrescope.errors import RecipeError
from genrescope.features.base import Computed, Feature
from genrescope.features.spectrogram import FloatArray


class Stored(Feature):
    """Vectors of a track in the order of time, `[width, vectors]`.

    Attributes
    ----------
    name
        What the vectors are, for readers of the recipe.
    width
        Numbers in a vector.
    seconds
        Seconds from one vector of a track to the next.
    columns
        Ranges `[first, end)` of a vector's numbers that are used, counted from 0; all by default.
    """

    name: str
    width: int = Field(ge=1)
    seconds: float = Field(30.0, gt=0)
    columns: tuple[tuple[int, int], ...] = Field((), exclude_if=lambda columns: not columns)

    @model_validator(mode="after")
    def _there(self) -> Self:
        for first, end in self.columns:
            if not 0 <= first < end <= self.width:
                raise ValueError(f"columns {first} to {end} are not within {self.width} numbers")
        return self

    @property
    def size(self) -> int:
        """Numbers of a vector that are used."""
        return sum(end - first for first, end in self.columns) or self.width

    def used(self, vectors: FloatArray) -> FloatArray:
        """The columns of vectors `[n, width]` that are used, `[n, size]`."""
        if not self.columns:
            return vectors
        return np.concatenate([vectors[:, first:end] for first, end in self.columns], axis=1)

    @property
    def hop_seconds(self) -> float:
        """Seconds from vector to vector."""
        return self.seconds

    def compute(self, waveform: Waveform) -> Computed:
        """Refuse audio.

        Raises
        ------
        RecipeError
            Always.
        """
        del waveform
        raise RecipeError(f"the vectors {self.name!r} are stored, not computed from audio")
