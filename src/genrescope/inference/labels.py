"""From the labels of a sound tagger to genres, styles, instruments and moods, or to "no music".

A tagger such as EfficientAT gives one logit for each of AudioSet's 527 labels, and several labels
may be true at once. The rules here are data in a bundle, see `LabelHead`:

- The logit of a genre is the largest logit of its labels, plus an offset. Its offsets and the
  bundle's temperature are fitted by `tools/audioset_head.py`; a softmax over genres follows, as for
  any other bundle.
- Styles, instruments, moods and uses are labels of their own: the mean over segments of the
  sigmoid of the logit.
- Music is a label, too. Where its mean probability is under a threshold, the recording is not
  music, and its kind is the most probable of the other kinds of sound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from genrescope.features.base import Change

MUSIC = "music"
NO_MUSIC = "no music"
# A kind of sound must be this probable to be named; otherwise it is just "no music".
_NAMED_ABOVE = 0.1
# Largest probability of music for a steady sound: none of 408 cuts of music is as steady
# (`tools/no_music.py`).
_STEADY = 1 / 206


@dataclass(frozen=True)
class SoundLabels:
    """Kind, styles, instruments and moods of a recording.

    Attributes
    ----------
    kind
        "music", "speech", "noise", "tone", …, or "no music" where none of them is probable.
    music
        Probability of music.
    styles, instruments, moods, uses
        Name to probability, most probable first; those under the threshold are left out. Several
        may be true at once.
    style_genres
        The genre of the first level that each of the model's styles belongs to.
    """

    kind: str
    music: float
    styles: Mapping[str, float] = field(default_factory=dict)
    instruments: Mapping[str, float] = field(default_factory=dict)
    moods: Mapping[str, float] = field(default_factory=dict)
    uses: Mapping[str, float] = field(default_factory=dict)
    style_genres: Mapping[str, str] = field(default_factory=dict)

    def describe(self) -> str:
        """The kind of sound in words: "music", "no music", or "speech, no music"."""
        return self.kind if self.kind in (MUSIC, NO_MUSIC) else f"{self.kind}, {NO_MUSIC}"

    def to_dict(self) -> dict[str, Any]:
        """The labels as JSON has them."""
        groups = {name: getattr(self, name) for name in _GROUPS}
        return {
            "kind": self.kind,
            "music": round(self.music, 6),
            **{name: {k: round(v, 6) for k, v in group.items()} for name, group in groups.items()},
        }


_GROUPS = ("styles", "instruments", "moods", "uses")


class GenreEvidence(BaseModel):
    """The labels that are evidence of a genre, as numbers of outputs, and the genre's offset."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    labels: tuple[int, ...] = Field(min_length=1)
    offset: float = Field(0.0, allow_inf_nan=False)


class LabelHead(BaseModel):
    """How the logits of labels become genres and other labels; see the module's docstring.

    Attributes
    ----------
    size
        Number of labels, that is of the network's logits.
    genres
        Evidence of each genre of the bundle.
    music
        Number of the label "music".
    music_above
        A recording whose probability of music is lower is not music.
    styles, instruments, moods, uses
        Name to label.
    style_genres
        Style to genre; by default as in the taxonomy.
    shown_above
        A style, instrument, mood or use that is less probable is left out.
    sounds
        Kinds of sound without music: name to labels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    size: int = Field(gt=0)
    genres: dict[str, GenreEvidence] = Field(min_length=2)
    music: int
    music_above: float = Field(gt=0, lt=1)
    styles: dict[str, int] = {}
    style_genres: dict[str, str] = {}
    instruments: dict[str, int] = {}
    moods: dict[str, int] = {}
    uses: dict[str, int] = {}
    shown_above: float = Field(0.1, gt=0, lt=1)
    sounds: dict[str, tuple[int, ...]] = {}

    @model_validator(mode="after")
    def _labels_exist(self) -> Self:
        numbers = [self.music]
        for group in (self.styles, self.instruments, self.moods, self.uses):
            numbers += group.values()
        for labels in (*self.sounds.values(), *(g.labels for g in self.genres.values())):
            numbers += labels
        if not all(0 <= number < self.size for number in numbers):
            raise ValueError(f"expected labels from 0 to {self.size - 1}")
        return self

    def genre_logits(self, logits: NDArray[np.floating]) -> NDArray[np.float32]:
        """Logits of genres `[segments, genres]` from logits of labels `[segments, size]`."""
        columns = [
            logits[:, list(evidence.labels)].max(axis=1) + evidence.offset
            for evidence in self.genres.values()
        ]
        return np.stack(columns, axis=1).astype(np.float32)

    def has_music(self, logits: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Which segments are music, bool `[segments]`."""
        return np.asarray(_sigmoid(logits[:, self.music]) >= self.music_above)

    def margin(self, logits: NDArray[np.floating]) -> float:
        """By how much the mean probability of music is above `music_above`, in nats.

        This is the first-order approximation, at `music_above`, of a difference of log-odds. It is
        linear in the probability, as `read` compares means of probabilities. With log-odds a few
        windows that certainly are not music would outweigh a majority that are music.
        """
        above = self.music_above
        music = _sigmoid(logits[:, self.music]).mean()
        return float((music - above) / (above * (1 - above)))

    def read(self, logits: NDArray[np.floating]) -> SoundLabels:
        """The labels of a track, from the logits of its segments `[segments, size]`."""
        probabilities = _sigmoid(logits).mean(axis=0)
        music = float(probabilities[self.music])
        groups = {name: self._likely(getattr(self, name), probabilities) for name in _GROUPS}
        if music >= self.music_above:
            parents = self.style_genres or _usual_style_genres()
            return SoundLabels(MUSIC, music, **groups, style_genres=parents)
        return SoundLabels(self._sound(probabilities), music)

    def _likely(
        self, labels: Mapping[str, int], probabilities: NDArray[np.float64]
    ) -> dict[str, float]:
        found = {name: float(probabilities[label]) for name, label in labels.items()}
        ranked = sorted(found.items(), key=lambda item: -item[1])
        return {name: value for name, value in ranked if value >= self.shown_above}

    def _sound(self, probabilities: NDArray[np.float64]) -> str:
        def likeliest(labels: Sequence[int]) -> float:
            return float(probabilities[list(labels)].max())

        found = {name: likeliest(labels) for name, labels in self.sounds.items()}
        best = max(found, key=found.__getitem__, default=NO_MUSIC)
        return best if found.get(best, 0.0) >= _NAMED_ABOVE else NO_MUSIC


class MusicDetector(BaseModel):
    """Whether a recording is music, by logistic regression on its mean embedding.

    For bundles whose network knows genres only. The embedding's numbers `x` become
    `(x - mean) / deviation`; the probability is the sigmoid of `weights . x + bias`.

    Attributes
    ----------
    music_above
        Probability under which a recording is no music.
    steady_below
        If the total change of a recording (`genrescope.features.base.Change`) is less than this in
        the window where it is largest, it is a steady sound and not music, whatever its embedding.
        None turns this off.
    smooth_below
        The same for its change from frame to frame, which is small for tones that glide.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    music_above: float = Field(gt=0, lt=1)
    steady_below: float | None = Field(None, gt=0)
    smooth_below: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if not len(self.mean) == len(self.deviation) == len(self.weights) > 0:
            raise ValueError("expected as many means, deviations and weights")
        if not all(value > 0 for value in self.deviation):
            raise ValueError("expected deviations above 0")
        return self

    def probability(self, embedding: NDArray[np.floating]) -> float:
        """Probability of music, from the mean embedding of a track."""
        return float(_sigmoid(np.asarray(self._logit(embedding))))

    def margin(self, embedding: NDArray[np.floating]) -> float:
        """By how much the logit of the probability is above that of `music_above`."""
        return float(self._logit(embedding) - _log_odds(self.music_above))

    def _logit(self, embedding: NDArray[np.floating]) -> np.floating:
        scaled = (embedding - np.array(self.mean)) / np.array(self.deviation)
        return np.float64(scaled @ np.array(self.weights) + self.bias)

    def read(self, embedding: NDArray[np.floating], changes: Sequence[Change] = ()) -> SoundLabels:
        """Whether a track is music, from its mean embedding and how much its windows change."""
        music = self.probability(embedding)
        if changes:
            most = (max(c.total for c in changes), max(c.step for c in changes))
            limits = (self.steady_below, self.smooth_below)
            if any(m < limit for m, limit in zip(most, limits, strict=True) if limit is not None):
                music = min(music, _STEADY)
        return SoundLabels(MUSIC if music >= self.music_above else NO_MUSIC, music)


def _usual_style_genres() -> Mapping[str, str]:
    from genrescope.taxonomy import taxonomy  # reads YAML, which other models need not

    genres = taxonomy().genres.values()
    return {style: genre.name for genre in genres for style in genre.styles}


def _sigmoid(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -60, 60))))


def _log_odds(probability: float) -> np.floating:
    kept = np.clip(probability, 1e-9, 1 - 1e-9)
    return np.float64(np.log(kept / (1 - kept)))
