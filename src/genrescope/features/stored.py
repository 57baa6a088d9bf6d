"""Vectors that were computed elsewhere and stored: embeddings of a network, or rows of a table.

There is no rule here to compute them from audio: a model that was trained on such vectors is given
vectors again.
"""

from __future__ import annotations

from pydantic import Field

from genrescope.audio import Waveform
from genrescope.errors import RecipeError
from genrescope.features.base import Computed, Feature


class Stored(Feature):
    """Vectors of a track in the order of time, `[width, vectors]`.

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

    def compute(self, waveform: Waveform) -> Computed:
        """Refuse audio.

        Raises
        ------
        RecipeError
            Always.
        """
        del waveform
        raise RecipeError(f"the vectors {self.name!r} are stored, not computed from audio")
