"""Vectors that were computed elsewhere and stored: a pretrained network's, say, or a table's.

They can't be computed from audio here; a model that learned from them is given such vectors again.
"""

from __future__ import annotations

from pydantic import Field

from genrescope.errors import RecipeError
from genrescope.features.base import FeatureSettings
from genrescope.features.spectrogram import FloatArray, Spectrogram


class Feature(FeatureSettings):
    """A vector for each stretch of a track, as it was stored.

    Attributes
    ----------
    name
        What the vectors are, for whoever reads the recipe.
    width
        Numbers in a vector.
    seconds
        From one vector of a track to the next.
    """

    name: str
    width: int = Field(ge=1)
    seconds: float = Field(30.0, gt=0)

    @property
    def size(self) -> int:
        """Numbers in a vector."""
        return self.width

    @property
    def hop(self) -> float:
        """Seconds from vector to vector."""
        return self.seconds

    def of_spectrogram(self, _: Spectrogram) -> FloatArray:
        """Refuse: there is no rule to compute them by."""
        raise RecipeError(f"the vectors {self.name!r} are stored, not computed from audio")
