"""From training tracks to a model that stands by itself, whichever sort of model it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from genrescope.encoders.graph import to_onnx
from genrescope.errors import GenrescopeError
from genrescope.models import FITTED, make_model
from genrescope.training.augment import TrainingTrack
from genrescope.training.fit import History, fit
from genrescope.training.recipe import Recipe

Report = Callable[[int, float, float | None], None]


@dataclass(frozen=True)
class Learned:
    """A trained model as the bytes of an ONNX graph, and how it came about.

    Attributes
    ----------
    history
        Of each epoch; empty where there are none.
    chosen
        Settings chosen on tracks set aside for that, with the accuracy there.
    """

    model: bytes
    history: History = field(default_factory=list)
    chosen: dict[str, Any] = field(default_factory=dict)


def learn(
    recipe: Recipe,
    train: list[TrainingTrack],
    aside: list[TrainingTrack],
    genres: int,
    *,
    shape: tuple[int, int],
    checkpoint: Path,
    report: Report,
) -> Learned:
    """Train the recipe's model.

    Parameters
    ----------
    recipe
        What to do.
    train
        Tracks to learn from.
    aside
        Tracks not learned from: networks are watched on them, settings of scikit-learn's
        classifiers are chosen on them where the recipe says `tuned: true`.
    genres
        Number of genres.
    shape
        Of a segment as the model sees it: size and frames.
    checkpoint
        Of a network, to go on from; those of an ensemble have their numbers in its name.
    report
        Called with the number, the loss and sometimes the accuracy on `aside` of an epoch.
    """
    if recipe.model.get("kind") == FITTED:
        return _learn_classical(recipe, train, aside, genres, shape)
    scaling = _statistics(train) if recipe.scale == "standard" else None
    if scaling:
        train, aside = (_standardised(tracks, *scaling) for tracks in (train, aside))
    watch = {"accuracy": aside, "train_accuracy": train[:: max(1, len(train) // 200)]}
    networks: list[nn.Module] = []
    history: History = []
    for number, own in enumerate(recipe.networks, 1):
        before = len(history)
        part = f"{checkpoint.stem}-{number}" if recipe.ensemble else checkpoint.stem
        network, epochs = fit(
            own,
            train,
            genres,
            shape=shape,
            checkpoint=checkpoint.with_stem(part),
            # Epochs are counted on from one network to the next.
            report=lambda epoch, *seen, before=before: report(before + epoch, *seen),
            watch=watch,
        )
        networks.append(network)
        history += [{**epoch, "epoch": before + epoch["epoch"]} for epoch in epochs]
    network = _Ensemble(networks) if recipe.ensemble else networks[0]
    if scaling:
        scaled = _StandardisedOutputs if hasattr(network, "outputs") else _Standardised
        network = scaled(network, *scaling).eval()
    return Learned(_exported(network, shape), history)


class _Ensemble(nn.Module):
    """Several networks: the mean of their logits, and the embedding of the first.

    All embeddings side by side found no more tracks of a genre than one, and are as many times as
    long.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, segments: Tensor) -> tuple[Tensor, Tensor]:
        logits, embeddings = zip(*(network(segments) for network in self.networks), strict=True)
        return torch.stack(logits).mean(dim=0), embeddings[0]


def _exported(network: nn.Module, shape: tuple[int, int]) -> bytes:
    """The network as ONNX, with every embedding that it names as an output."""
    if not hasattr(network, "outputs"):
        return to_onnx(network, shape, ("logits", "embedding"))
    whole = _Outputs(network.eval().cpu())
    with torch.inference_mode():
        names = (*whole.named(torch.zeros(1, *shape)),)
    return to_onnx(whole, shape, names)


class _Outputs(nn.Module):
    """A network that gives all its named outputs, in their order."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def named(self, segments: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.network.outputs(segments)  # type: ignore[operator]
        return found

    def forward(self, segments: Tensor) -> tuple[Tensor, ...]:
        return (*self.named(segments).values(),)


def _learn_classical(
    recipe: Recipe,
    train: list[TrainingTrack],
    aside: list[TrainingTrack],
    genres: int,
    shape: tuple[int, int],
) -> Learned:
    def classifier(settings: dict[str, Any]) -> Any:
        return make_model(settings, shape=shape, genres=genres, seed=recipe.seed)

    settings = dict(recipe.model)
    chosen: dict[str, Any] = {}
    if settings.pop("tuned", False):
        from genrescope.models.classical import candidates

        learned, judged = _rows(train), _rows(aside)
        scores, refused = [], None
        for candidate in candidates(str(settings.get("name"))):
            model = classifier({**settings, **candidate})
            try:
                model.fit(*learned)
            except GenrescopeError as error:  # as 200 neighbours among fewer segments
                refused = error
                continue
            named = model.pipeline.predict(judged[0])
            scores.append((float((named == judged[1]).mean()), candidate))
        if refused and not scores:
            raise refused
        # The first of equals: candidates begin with the simplest.
        accuracy, best = max(scores, key=lambda score: score[0])
        chosen = {**best, "accuracy": round(accuracy, 6), "of": len(scores)}
        settings |= best
    model = classifier(settings)
    model.fit(*_rows(train))
    return Learned(model.onnx(), chosen=chosen)


def _rows(tracks: Sequence[TrainingTrack]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Segments as rows `[n, size * frames]`, those of changed copies too, and the genre of each."""
    parts = [(values, track.label) for track in tracks for values in (track.values, *track.copies)]
    vectors = np.concatenate([values.numpy().T for values, _ in parts])
    labels = np.concatenate([np.full(values.shape[1], label) for values, label in parts])
    return vectors, labels


def _statistics(tracks: Sequence[TrainingTrack]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each number of the feature, `[size, 1]`, over all frames."""
    frames = sum(track.values.shape[1] for track in tracks)
    mean = torch.stack([t.values.double().sum(dim=1) for t in tracks]).sum(dim=0) / frames
    squares = [((t.values.double() - mean[:, None]) ** 2).sum(dim=1) for t in tracks]
    deviation = (torch.stack(squares).sum(dim=0) / frames).sqrt().clamp_min(1e-6)
    return mean.float()[:, None], deviation.float()[:, None]


def _standardised(
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


class _Standardised(nn.Module):
    """A network behind the scaling that was fitted on its training tracks."""

    def __init__(self, network: nn.Module, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.network = network
        self.mean, self.deviation = nn.Buffer(mean), nn.Buffer(deviation)

    def forward(self, segments: Tensor) -> tuple[Tensor, Tensor]:
        logits, embedding = self.network(self.scaled(segments))
        return logits, embedding

    def scaled(self, segments: Tensor) -> Tensor:
        return (segments - self.mean) / self.deviation


class _StandardisedOutputs(_Standardised):
    """As that, of a network that names its outputs."""

    def outputs(self, segments: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.network.outputs(self.scaled(segments))  # type: ignore[operator]
        return found
