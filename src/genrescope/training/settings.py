"""The sections of a recipe: augmentation, training, split, published row, embedding, search."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from genrescope.encoders import encoder_kinds
from genrescope.errors import UnknownNameError
from genrescope.features.base import Values
from genrescope.registry import no_such

SplitKind = Literal["random", "folds", "lists", "official", "by_segment"]


class Settings(Values):
    """Base of all sections: unknown keys are refused, values are finite and can't be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class WaveformAugmentation(Settings):
    """Changed copies of each training track: another level, another pitch, with noise.

    Three copies are made of each training track, one with each change, whose amount is drawn anew
    for each segment of the track. A training segment is cut from the track itself or from one of
    its copies, all equally likely, which is the rule of the leiden paper: a quarter is unchanged.
    Since only one segment's level changes and not the whole track's, the change shows in features
    that are standardised over a window.

    Attributes
    ----------
    gain
        Largest change of level in dB, up or down.
    semitones
        Largest pitch shift in semitones, up or down, at the same tempo.
    snr
        Signal-to-noise ratio in dB.
    """

    gain: float = Field(6.0, ge=0)
    semitones: float = Field(2.0, ge=0)
    snr: float = Field(20.0)


class Augmentation(Settings):
    """Random changes of a training segment; 0 turns one off. Lengths are in bands and frames.

    Attributes
    ----------
    stretch
        Time is stretched by a factor between `exp(-stretch)` and `exp(stretch)`.
    roll
        Bands are shifted up or down by at most this many, which imitates a pitch shift.
    gain
        Standard deviation of a factor around 1.
    equalizer
        Standard deviation of a smooth random curve over the bands, as another mastering makes.
    noise
        Largest standard deviation of white noise.
    masks, mask_frames, mask_bands
        SpecAugment (Park et al., 2019): number of time masks and of frequency masks, and their
        maximum lengths. What is masked becomes 0.
    mixup
        Parameter of the beta distribution that two segments are mixed by (Zhang et al., 2018).
    waveform
        Changes of the audio itself; stored spectrograms and vectors are left as they are.
    one_of
        Apply one of gain, roll and noise, or none of them, each equally likely (the rule of the
        leiden paper); by default all three are applied. Tracks that have copies by `waveform` get
        none of the three: a segment has one change at most.
    """

    stretch: float = Field(0.0, ge=0, le=1)
    roll: int = Field(0, ge=0)
    gain: float = Field(0.0, ge=0)
    equalizer: float = Field(0.0, ge=0)
    noise: float = Field(0.0, ge=0)
    masks: int = Field(0, ge=0)
    mask_frames: int = Field(0, ge=0)
    mask_bands: int = Field(0, ge=0)
    mixup: float = Field(0.0, ge=0, le=2)
    one_of: bool = False
    waveform: WaveformAugmentation | None = None

    @property
    def changes_segments(self) -> bool:
        """Whether any change other than that of the waveform is switched on."""
        return self.model_copy(update={"waveform": None}) != Augmentation()


class TrainingSettings(Settings):
    """Optimizer, schedule and regularisation of a network's training.

    Attributes
    ----------
    epochs
        Passes over the training tracks; each shows one random segment of every track.
    batch_size
        Segments in a step of the optimizer.
    learning_rate
        The highest of the schedule.
    weight_decay
        Pulls the weights towards 0.
    label_smoothing
        Share of the target probability that is spread over all genres.
    optimizer
        "adam" adds `weight_decay` times the weights to the gradient, as an L2 penalty of half of
        it on the loss does; "adamw" decouples the decay from the gradient.
    decay_biases
        Whether `weight_decay` applies to biases and other vectors, too, not to matrices and filters
        alone.
    gradient_clip
        Largest norm of the gradient, which is scaled down to it; 0 leaves it as it is.
    schedule
        How the learning rate changes: "one-cycle" (Smith, 2018) or "constant".
    ema_decay
        Decay per step of the exponential moving average of the weights, which is what is kept.
        Short trainings use a smaller one, see `genrescope.training.trainers.lightning`.
    accumulate
        Batches whose gradients are summed for one step: a large batch in little memory.
    keep
        Keep the weights of the "last" epoch or of the "best" one by the accuracy on validation
        tracks, of which all segments are aggregated (on a fifth of the training tracks where the
        split has no validation subset).
    teacher_weight
        Weight of the distillation loss, where a teacher's targets are given.
    further_weight
        Weight of the loss of each further data set, where some are given.
    precision
        "auto" computes in bf16 where the processor has instructions for it.
    """

    epochs: int = Field(100, ge=1)
    batch_size: int = Field(32, ge=2)
    optimizer: Literal["adam", "adamw"] = "adamw"
    schedule: Literal["one-cycle", "constant"] = "one-cycle"
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    decay_biases: bool = True
    gradient_clip: float = Field(5.0, ge=0)
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    ema_decay: float = Field(0.99, ge=0, lt=1)
    accumulate: int = Field(1, ge=1)
    keep: Literal["last", "best"] = "last"
    teacher_weight: float = Field(0.5, ge=0)
    further_weight: float = Field(1.0, ge=0)
    precision: Literal["auto", "bf16", "fp32"] = "auto"


class SplitSettings(Settings):
    """How tracks are divided into training, validation and test subsets.

    Attributes
    ----------
    kind
        "random": the fractions `train`, `validation` and `test`, stratified by genre. "folds":
        `folds`-fold cross-validation, after which one more model is trained on all tracks.
        "lists": the lists of tracks in `folder`. "official": the data set's own split.
        "by_segment": fractions of single segments instead of tracks, so that segments of one track
        are in all subsets; only to show how much such a leak inflates the scores.
    train, validation, test
        Fractions of the tracks, for "random" and "by_segment".
    folds
        Number of folds.
    folder
        Folder of the lists of tracks, for "lists".
    by_artist
        Keep all tracks of an artist in one subset (of "random" and "folds").
    repeats
        Number of cross-validation repetitions, each with other folds.
    i_know_this_leaks
        "by_segment" is refused without it.
    """

    kind: SplitKind = "random"
    train: float = Field(0.6, gt=0, lt=1)
    validation: float = Field(0.2, ge=0, lt=1)
    test: float = Field(0.2, ge=0, lt=1)
    folds: int = Field(5, ge=2)
    repeats: int = Field(1, ge=1)
    by_artist: bool = False
    folder: Path | None = None
    i_know_this_leaks: bool = False

    @model_validator(mode="after")
    def _leaks_only_on_purpose(self) -> SplitSettings:
        if (self.kind == "by_segment") != self.i_know_this_leaks:
            raise ValueError(
                "a split by_segment puts segments of one track into both the training and the test "
                "subset, so its scores mean nothing: it needs i_know_this_leaks: true, and no "
                "other split may set that"
            )
        return self


class Published(Settings):
    """The row of a paper's table that a recipe reproduces.

    Attributes
    ----------
    paper, table, features, model, protocol
        As the table of published results has them; `{model.name}` is replaced by that setting of
        the recipe. The protocol is left out where the other fields identify the row, and all but
        the paper where it states no figure.
    elsewhere
        The paper's table for the same system on other data than it was trained on.
    differs
        How the recipe's protocol differs from the paper's, apart from what a run shows by itself.
    """

    paper: str
    table: str = ""
    features: str = ""
    model: str = ""
    protocol: str = ""
    elsewhere: str = ""
    differs: str = ""


class Parameter(Settings):
    """A setting that the search may change: one of `choices`, or a number from `low` to `high`.

    `log` samples it on a logarithmic scale. Whole bounds make a whole number.
    """

    choices: list[Any] | None = None
    low: float | int | None = None
    high: float | int | None = None
    log: bool = False

    @model_validator(mode="after")
    def _bounded(self) -> Parameter:
        bounds = self.low is not None and self.high is not None and self.low < self.high
        if bounds == bool(self.choices):
            raise ValueError("expected either choices: [...], or low: and a greater high:")
        return self

    def label(self, value: Any) -> str:
        """A choice as text, which is how a study stores it; 0 and 0.0 are one choice."""
        return json.dumps(next((c for c in self.choices or [] if c == value), value))

    def choice(self, label: str) -> Any:
        """The choice of a label."""
        return json.loads(label)

    def allows(self, value: Any) -> bool:
        """Whether a value is one of the choices or within the bounds."""
        if self.choices:
            return value in self.choices
        return isinstance(value, int | float) and self.low <= value <= self.high  # type: ignore[operator]


class EmbeddingSettings(Settings):
    """A feature that a pretrained network computes.

    Attributes
    ----------
    encoder
        The pretrained network; one of `genrescope encoders list`.
    layer
        The layer that the embedding is taken from; the encoder's default layer if none is named.
    pool
        How the embeddings within one segment are combined: "none" keeps the sequence, "mean" and
        "mean_std_max" are statistics over it.
    weights_seed
        Seed of random weights instead of the published ones, as a baseline.
    """

    kind: Literal["embedding"]
    encoder: str
    layer: str | None = None
    pool: Literal["none", "mean", "mean_std_max"] = "mean"
    weights_seed: int | None = Field(None, ge=0)

    @field_validator("encoder")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in encoder_kinds():
            raise UnknownNameError(no_such("no encoder", name, encoder_kinds()))
        return name


class BundleSettings(Settings):
    """A feature that a trained model computes: its logits and its embedding, of each segment.

    Attributes
    ----------
    bundle
        The model: a name of `genrescope models list`, a run, or a bundle. A recipe may state
        several; the first that is on this machine is taken, and only its name is kept.
    """

    kind: Literal["bundle"]
    bundle: str = "default"
