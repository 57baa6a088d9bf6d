"""Adapts a recipe to the data set at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from genrescope.datasets import Track
from genrescope.features import is_stored_spectrogram
from genrescope.features.base import StftFeature
from genrescope.features.image import Image
from genrescope.features.plotted import PLOTTED_COLUMNS, PLOTTED_SECONDS, is_plotted
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
    for kind, stored in _stored_settings(recipe, tracks):
        notice(f"{kind}: hop_length {stored['hop_length']} instead of the recipe's")
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


def _stored_settings(
    recipe: Recipe, tracks: Sequence[Track]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The kind of picture that the tracks are, and the settings of the feature that suit it."""
    feature = recipe.frontend.computed
    pictures = [track.path for track in tracks if is_stored_spectrogram(track.path)]
    if recipe.embedding or not pictures or not isinstance(feature, StftFeature):
        return
    if isinstance(feature, Image) and is_plotted(pictures[0]):
        hop_length = round(PLOTTED_SECONDS / PLOTTED_COLUMNS * feature.sample_rate)
        if feature.hop_length != hop_length:
            yield "drawn spectrograms", {"hop_length": hop_length, "center": False}
    elif feature.hop_length != STORED_HOP_LENGTH:
        settings = {"hop_length": STORED_HOP_LENGTH, "center": False, "n_bins": STORED_BINS}
        yield "stored spectrograms", settings
