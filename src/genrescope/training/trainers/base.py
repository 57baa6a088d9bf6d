"""The protocol of a trainer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from genrescope.training.data import TrainingData
from genrescope.training.protocols import TrainingJob
from genrescope.training.recipe import Recipe

if TYPE_CHECKING:
    from genrescope.training.trainers.group import Group

History = list[dict[str, float]]
EpochReport = Callable[[int, float, float | None], None]
"""Called with the number, the training loss and, where measured, the accuracy of an epoch."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained model as an ONNX graph, and how it was trained.

    Attributes
    ----------
    onnx
        Takes `segments` `[n, size, frames]`; gives `logits` `[n, genres]`, `embedding`
        `[n, size]`, and other layers that the model names.
    history
        Loss of each epoch, and accuracies where they are measured; empty without epochs.
    chosen
        Settings that were chosen on validation tracks, with the accuracy there.
    """

    onnx: bytes
    history: History = field(default_factory=list)
    chosen: dict[str, Any] = field(default_factory=dict)


class Trainer(Protocol):
    """Trains the model of a recipe."""

    def check(self, recipe: Recipe) -> None:
        """Refuse a recipe that asks for something this trainer can't do.

        Raises
        ------
        RecipeError
            Says what.
        """

    def needs_validation(self, recipe: Recipe) -> bool:
        """Whether it chooses settings or an epoch on a job's validation tracks."""

    def train(
        self,
        job: TrainingJob,
        data: TrainingData,
        recipe: Recipe,
        checkpoint: Path,
        report: EpochReport,
    ) -> TrainedModel:
        """Train a model.

        Parameters
        ----------
        job
            The model is trained on `job.train`; settings may be chosen on `job.validation`; the
            history may show `job.monitored`. No other track may be used.
        data
            Features and labels of all tracks.
        recipe
            Model, its settings, and the seed.
        checkpoint
            File to store the state in, and to resume from where it exists. Other files may be
            written next to it whose names begin with its stem.
        report
            Called after each epoch.
        """


@runtime_checkable
class UsesDevices(Protocol):
    """A trainer that can train a model on several devices at once."""

    def use_devices(self, devices: int | Group) -> None:
        """Train on several devices of this machine, or on those of a group of processes.

        Raises
        ------
        RecipeError
            When this machine has fewer.
        """
