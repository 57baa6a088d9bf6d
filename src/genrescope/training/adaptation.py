"""Adapts a recipe to the data set at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from genrescope.datasets import Track
from genrescope.features import is_stored_spectrogram
from genrescope.features.base import StftFeature
from genrescope.features.spectrogram import STORED_BINS, STORED_HOP_LENGTH
from genrescope.training.recipe import Recipe


def adapt(
    recipe: Recipe,
    tracks: Sequence[Track],
    teacher: Mapping[str, Any],
    notice: Callable[[str], None],
) -> Recipe:
    """Return the recipe as it can be carried out on these tracks.

    Stored spectrograms have their own hop and number of FFT bins. A split can only be by artist
    where artists are known.

    Parameters
    ----------
    recipe
        As it was written.
    tracks
        The data set.
    teacher
        A teacher's targets by track id; empty without one.
    notice
        Called with one line for each difference from the recipe.
    """
    if _needs_stored_hop(recipe, tracks):
        notice(f"stored spectrograms: hop_length {STORED_HOP_LENGTH} instead of the recipe's")
        stored = {"hop_length": STORED_HOP_LENGTH, "center": False, "n_bins": STORED_BINS}
        recipe = recipe.model_copy(update={"feature": {**recipe.feature, **stored}})
    if recipe.split.by_artist and not any(track.artist for track in tracks):
        notice(
            "no artists are known: the split is by track alone, so scores are higher than on new "
            "artists"
        )
        split = recipe.split.model_copy(update={"by_artist": False})
        recipe = recipe.model_copy(update={"split": split})
    if recipe.expects_teacher and not teacher:
        notice("no teacher's targets are given: the recipe's distillation loss is left out")
    elif teacher and not any(own.training.teacher_weight for own in recipe.networks):
        notice("the recipe gives the teacher's targets no weight (training.teacher_weight)")
    return recipe


def _needs_stored_hop(recipe: Recipe, tracks: Sequence[Track]) -> bool:
    if recipe.embedding or not isinstance(recipe.frontend.computed, StftFeature):
        return False
    stored = any(is_stored_spectrogram(track.path) for track in tracks)
    return stored and recipe.frontend.computed.hop_length != STORED_HOP_LENGTH
