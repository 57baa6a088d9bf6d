"""Trains torch networks, one or several, and exports them as one ONNX graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from genrescope.encoders.graph import to_onnx
from genrescope.errors import RecipeError
from genrescope.models import trainer_of
from genrescope.training.augment import TrainingTrack
from genrescope.training.data import TrainingData
from genrescope.training.distillation import standardised_targets
from genrescope.training.protocols import TrainingJob
from genrescope.training.recipe import Recipe
from genrescope.training.trainers.base import EpochReport, History, TrainedModel
from genrescope.training.trainers.group import Group
from genrescope.training.trainers.held_out import HeldOut
from genrescope.training.trainers.lightning import fit, is_finished
from genrescope.training.trainers.processes import check_devices, fit_in_processes

# The accuracy on training tracks is measured on about this many of them.
_TRAINING_CURVE = 200


@runtime_checkable
class NamesOutputs(Protocol):
    """A network that gives more than logits and one embedding."""

    def outputs(self, segments: Tensor) -> dict[str, Tensor]:
        """Every output `[n, size]` by name, "logits" and "embedding" among them."""
        ...


class Trainer:
    """Trains a recipe's networks one after another, and averages their logits.

    Attributes
    ----------
    devices
        Processes of this machine that train each network together, or the group of processes that
        do.
    """

    devices: int | Group = 1

    def check(self, recipe: Recipe) -> None:
        """Refuse an ensemble in which not everything is a torch network."""
        if any(trainer_of(own.model) != "torch" for own in recipe.networks):
            raise RecipeError(f"{recipe.name}: an ensemble has to be of networks")

    def use_devices(self, devices: int | Group) -> None:
        """Train each network in several processes of this machine, or by a group of them."""
        if isinstance(devices, int):
            check_devices(devices)
        self.devices = devices

    def needs_validation(self, recipe: Recipe) -> bool:
        """Whether the best epoch of a network is kept."""
        return any(own.training.keep == "best" for own in recipe.networks)

    def train(
        self,
        job: TrainingJob,
        data: TrainingData,
        recipe: Recipe,
        checkpoint: Path,
        report: EpochReport,
    ) -> TrainedModel:
        """Train each network; scaling that is fitted on training tracks goes into the graph."""
        train, monitored = training_tracks(job, data), _tracks(job.monitored, data)
        scaling = _mean_and_deviation(train) if recipe.scale == "standard" else None
        if scaling:
            train, monitored = (_scaled(tracks, *scaling) for tracks in (train, monitored))
        held_out = None
        if self.needs_validation(recipe):
            held_out = HeldOut.of(job.validation, data, scaling, recipe.aggregation)
        further = further_tracks(data)
        if scaling:
            further = [_scaled(tracks, *_mean_and_deviation(tracks)) for tracks in further]
        curves = {
            "accuracy": monitored,
            "train_accuracy": train[:: max(1, len(train) // _TRAINING_CURVE)],
        }
        networks: list[nn.Module] = []
        history: History = []
        for number, own in enumerate(recipe.networks, 1):
            before = len(history)
            stem = f"{checkpoint.stem}-{number}" if recipe.ensemble else checkpoint.stem
            given: dict[str, Any] = {
                "shape": data.shape,
                "checkpoint": checkpoint.with_stem(stem),
                # Epochs are numbered through all networks.
                "report": lambda epoch, *scores, before=before: report(before + epoch, *scores),
                "curves": curves,
                "held_out": held_out,
                "further": further,
            }
            arguments = own, train, len(data.genres)
            if isinstance(self.devices, Group):
                network, epochs = self.devices.fit(*arguments, **given)
            else:
                if self.devices > 1 and not is_finished(given["checkpoint"], own):
                    fit_in_processes(self.devices, *arguments, **given)
                network, epochs = fit(*arguments, **given)
            networks.append(network)
            history += [{**epoch, "epoch": before + epoch["epoch"]} for epoch in epochs]
        network = _Ensemble(networks) if recipe.ensemble else networks[0]
        return TrainedModel(_exported(network, scaling, data.shape), history)


def training_tracks(job: TrainingJob, data: TrainingData) -> list[TrainingTrack]:
    """The job's training tracks as tensors, with changed copies and a teacher's targets."""
    tracks = _tracks(job.train, data)
    targets = standardised_targets(data.targets, job.train) if data.targets else {}
    width = next(iter(targets.values())).shape[1] if targets else 0
    unknown = np.full((1, width), np.nan, np.float32)
    return [
        replace(
            track,
            targets=torch.from_numpy(targets.get(name, unknown)),
            copies=tuple(
                torch.from_numpy(copy.frames(data.frontend)) for copy in data.copies.get(name, ())
            ),
        )
        for name, track in zip(job.train, tracks, strict=True)
    ]


def further_tracks(data: TrainingData) -> list[list[TrainingTrack]]:
    """The tracks of each further data set as tensors."""
    return [
        [TrainingTrack(torch.from_numpy(values), label) for values, label in each]
        for each in data.further
    ]


def _tracks(names: Iterable[str], data: TrainingData) -> list[TrainingTrack]:
    separate = data.encoder is not None or bool(data.frontend.pool)
    return [
        TrainingTrack(torch.from_numpy(data.frames(name)), data.label(name), separate=separate)
        for name in names
    ]


class _Ensemble(nn.Module):
    """Several networks: the mean of their logits, and the embedding of the first.

    All embeddings concatenated found no more tracks of the same genre than one did, and are as many
    times as long.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, segments: Tensor) -> tuple[Tensor, Tensor]:
        logits, embeddings = zip(*(network(segments) for network in self.networks), strict=True)
        return torch.stack(logits).mean(dim=0), embeddings[0]


def _exported(
    network: nn.Module, scaling: tuple[Tensor, Tensor] | None, shape: tuple[int, int]
) -> bytes:
    """Export a network with its scaling as ONNX, with every output that it names."""
    if not isinstance(network, NamesOutputs):
        whole = _Scaled(network, *scaling) if scaling else network
        return to_onnx(whole.eval(), shape, ("logits", "embedding"))
    named = _AllOutputs(_ScaledOutputs(network, *scaling) if scaling else network)
    with torch.inference_mode():
        names = (*named.eval().cpu().network.outputs(torch.zeros(1, *shape)),)  # type: ignore[operator]
    return to_onnx(named, shape, names)


class _AllOutputs(nn.Module):
    """A network that gives all its named outputs, in their order."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, segments: Tensor) -> tuple[Tensor, ...]:
        return (*self.network.outputs(segments).values(),)  # type: ignore[operator]


class _Scaled(nn.Module):
    """A network after the scaling that was fitted on its training tracks."""

    def __init__(self, network: nn.Module, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.network = network
        self.mean, self.deviation = nn.Buffer(mean), nn.Buffer(deviation)

    def forward(self, segments: Tensor) -> tuple[Tensor, Tensor]:
        logits, embedding = self.network((segments - self.mean) / self.deviation)
        return logits, embedding


class _ScaledOutputs(_Scaled):
    """The same for a network that names its outputs."""

    def outputs(self, segments: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.network.outputs(  # type: ignore[operator]
            (segments - self.mean) / self.deviation
        )
        return found


def _mean_and_deviation(tracks: Sequence[TrainingTrack]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each value of the feature over all frames, `[size, 1]`."""
    frames = sum(track.values.shape[1] for track in tracks)
    mean = torch.stack([t.values.double().sum(dim=1) for t in tracks]).sum(dim=0) / frames
    squares = [((t.values.double() - mean[:, None]) ** 2).sum(dim=1) for t in tracks]
    deviation = (torch.stack(squares).sum(dim=0) / frames).sqrt().clamp_min(1e-6)
    return mean.float()[:, None], deviation.float()[:, None]


def _scaled(
    tracks: Sequence[TrainingTrack], mean: Tensor, deviation: Tensor
) -> list[TrainingTrack]:
    return [
        replace(
            track,
            values=(track.values - mean) / deviation,
            copies=tuple((copy - mean) / deviation for copy in track.copies),
        )
        for track in tracks
    ]
