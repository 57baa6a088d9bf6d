"""Trains one network with PyTorch Lightning; an interrupted training resumes at its last epoch.

Checkpoints, averaging of weights, precision and the exchange of gradients between processes (DDP)
are Lightning's own. Processes that train a network together draw the same batches, and each takes
every n-th segment of a batch: a step is that of one process alone.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import lightning.pytorch as pl
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from lightning.pytorch.callbacks import Callback, Checkpoint, EMAWeightAveraging
from lightning.pytorch.plugins.environments import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.utils.data import DataLoader

from genrescope.models import make_model, model_class
from genrescope.training.augment import Batches, TrainingTrack
from genrescope.training.recipe import Recipe
from genrescope.training.trainers.base import EpochReport, History
from genrescope.training.trainers.held_out import HeldOut, logits_of
from genrescope.training.trainers.losses import counted_rows, frozen_batch_statistics, genre_loss
from genrescope.training.trainers.sharing import Unfreezes, check_shared


@runtime_checkable
class OwnLearningRates(Protocol):
    """A network some of whose parameters have another learning rate."""

    def learning_rates(self, rate: float) -> list[dict[str, Any]]:
        """Parameter groups of an optimizer, given the recipe's learning rate."""
        ...


class _Task(pl.LightningModule):
    """Cross-entropy with the genres, and squared error to a teacher's targets if there are any.

    Each step also has a batch of each further data set; the loss of a set is over the genres
    that it has, see `genrescope.training.further`.
    """

    def __init__(
        self,
        recipe: Recipe,
        network: nn.Module,
        tracks: list[TrainingTrack],
        genres: int,
        frames: int,
        further: Sequence[list[TrainingTrack]] = (),
    ) -> None:
        super().__init__()
        self.further = [*further]
        # None: all genres, in which nothing has to be selected.
        self.own_genres = [_genres_of(each) if further else None for each in (tracks, *further)]
        self.recipe, self.network, self.tracks = recipe, network, tracks
        self.genres, self.frames = genres, frames
        targets = tracks[0].targets.shape[1]
        self.teacher = (
            nn.Sequential(nn.Dropout(0.2), nn.Linear(int(network.embedding_size), targets))  # type: ignore[arg-type]
            if targets
            else None
        )
        self.history: History = []
        self.losses: list[float] = []
        self.right: list[float] = []
        self.best: dict[str, Any] = {}

    def train_dataloader(self) -> DataLoader[Any]:
        """Make the batches of the current epoch; called before each epoch."""
        batches = self._batches(self.tracks, self.recipe.seed)
        # Other seeds than the members of an ensemble have.
        further = [
            self._batches(each, self.recipe.seed + 7919 * number)
            for number, each in enumerate(self.further, 1)
        ]
        return DataLoader(_Epoch(batches, further), batch_size=None)

    def _batches(self, tracks: list[TrainingTrack], seed: int) -> Batches:
        recipe = self.recipe
        return Batches(
            tracks,
            self.genres,
            self.frames,
            min(recipe.training.batch_size, len(tracks)),
            recipe.training.label_smoothing,
            recipe.augmentation,
            seed,
            self.current_epoch,
        )

    def on_train_epoch_start(self) -> None:
        if isinstance(self.network, Unfreezes):
            self.network.at_epoch(self.current_epoch)

    def training_step(self, batch: tuple[Any, ...], index: int) -> Tensor:
        # What is random inside the network (dropout) must be the same after resuming, and another
        # for each batch: `global_step` counts steps of the optimizer, each of several batches.
        count = self.recipe.training.accumulate
        seed = self.recipe.seed * 1_000_003 + self.global_step * count + index % count
        torch.manual_seed(seed + 15_485_863 * self.global_rank)
        parts = [self._own_rows(*each) for each in zip(batch, self.own_genres, strict=True)]
        (segments, labels, targets), share = parts[0]
        logits, embedding = self.network(segments)
        loss = share * genre_loss(logits.float(), labels, self.own_genres[0])
        for (own, part), genres in zip(parts[1:], self.own_genres[1:], strict=True):
            other, other_labels = own[:2]
            with frozen_batch_statistics(self.network):
                other_logits = self.network(other)[0]
            weight = self.recipe.training.further_weight * part
            loss = loss + weight * genre_loss(other_logits.float(), other_labels, genres)
        if self.teacher is not None:
            known = targets.isfinite().all(dim=1)
            if known.any():
                part = self._share(known, batch[0][2].isfinite().all(dim=1))
                predicted = self.teacher(embedding).float()[known]
                weight = self.recipe.training.teacher_weight * part
                loss = loss + weight * F.mse_loss(predicted, targets[known])
        self.losses.append(float(loss.detach()))
        right = logits.detach().argmax(dim=1) == labels.argmax(dim=1)
        self.right.append(share * float(right.float().mean()))
        return loss

    def _own_rows(
        self, batch: Sequence[Tensor], genres: Tensor | None
    ) -> tuple[Sequence[Tensor], float]:
        """The rows of a batch that this process trains on, and the weight of its mean loss."""
        world = self.trainer.world_size
        own = [values[self.global_rank :: world] for values in batch]
        return own, self._share(counted_rows(own[1], genres), counted_rows(batch[1], genres))

    def _share(self, own: Tensor, whole: Tensor) -> float:
        """The weight of a process's mean over `own` rows: the mean of all processes is the whole's.

        Gradients are averaged over the processes, though their rows are not equally many.
        """
        world = self.trainer.world_size
        return 1.0 if world == 1 else world * int(own.sum()) / max(1, int(whole.sum()))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"], checkpoint["best"] = self.history, self.best

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history, self.best = checkpoint["history"], checkpoint.get("best", {})

    def configure_optimizers(self) -> Any:
        settings = self.recipe.training
        kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
        groups: list[dict[str, Any]] = []
        if isinstance(self.network, OwnLearningRates):
            groups = self.network.learning_rates(settings.learning_rate)
        grouped = {id(weight) for group in groups for weight in group["params"]}
        rest = [w for w in self.parameters() if w.requires_grad and id(w) not in grouped]
        groups = [{"params": rest, "lr": settings.learning_rate}, *groups]
        if not settings.decay_biases:
            groups = [part for group in groups for part in _without_decay_of_biases(group)]
        optimizer = kind(
            groups,
            settings.learning_rate,
            weight_decay=settings.weight_decay,
        )
        if settings.schedule == "constant":
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            [group["lr"] for group in optimizer.param_groups],
            total_steps=steps,
            # A warm-up of exactly one step makes torch divide by zero.
            pct_start=max(0.25, min(1.5 / steps, 0.75)),
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def _without_decay_of_biases(group: dict[str, Any]) -> list[dict[str, Any]]:
    """An optimizer's group as two: matrices and filters, and without decay the vectors."""
    vectors = [weights for weights in group["params"] if weights.ndim < 2]
    others = [weights for weights in group["params"] if weights.ndim >= 2]
    parts = [{**group, "params": others}, {**group, "params": vectors, "weight_decay": 0.0}]
    return [part for part in parts if part["params"]]


def _genres_of(tracks: list[TrainingTrack]) -> Tensor:
    """The labels that occur, sorted."""
    return torch.tensor(sorted({track.label for track in tracks if track.label >= 0}))


class _Epoch(torch.utils.data.IterableDataset[Any]):
    """The batches of an epoch as a data set with a length, by which Lightning counts steps.

    An item is a batch of the run's own data set and one of each further set, which begins again
    where it ends before the first.
    """

    def __init__(self, batches: Batches, further: Sequence[Batches] = ()) -> None:
        self.batches, self.further = batches, further

    def __iter__(self) -> Iterator[Any]:
        return zip(self.batches, *map(itertools.cycle, self.further), strict=False)

    def __len__(self) -> int:
        return len(self.batches)


class _SaveEachEpoch(Checkpoint):
    """Saves the state after each epoch; a kill during saving leaves the one before.

    With several processes all take part, and the first one writes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: pl.Trainer, _: pl.LightningModule) -> None:
        temporary = self.path.with_suffix(".part")
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            temporary.replace(self.path)


class _Record(Callback):
    """Records the loss of each epoch, and about twenty times the accuracies on `curves`."""

    def __init__(
        self,
        report: EpochReport,
        curves: Mapping[str, list[TrainingTrack]],
        frames: int,
        averaging: EMAWeightAveraging,
        held_out: HeldOut | None,
    ) -> None:
        self.report, self.averaging, self.held_out = report, averaging, held_out
        self.curves = {
            name: _middle_segments(tracks, frames) for name, tracks in curves.items() if tracks
        }

    def on_train_epoch_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        number = trainer.current_epoch + 1
        means = [sum(values) / len(values) for values in (task.losses, task.right)]
        task.losses.clear()
        task.right.clear()
        if trainer.world_size > 1:
            means = trainer.strategy.reduce(torch.tensor(means, device=task.device)).tolist()
        if not trainer.is_global_zero:
            return
        epoch = {"epoch": number, "loss": means[0], "segment_accuracy": means[1]}
        network = self.averaging._average_model.module.network
        if number % max(1, (trainer.max_epochs or 1) // 20) == 0:
            epoch |= {name: _accuracy(network, *tracks) for name, tracks in self.curves.items()}
        if self.held_out:
            epoch["accuracy"] = self.held_out.accuracy(network)
        if self.held_out and epoch["accuracy"] > task.best.get("accuracy", -1.0):
            state = {name: values.clone() for name, values in network.state_dict().items()}
            task.best = {"epoch": number, "accuracy": epoch["accuracy"], "state": state}
        task.history.append(epoch)
        self.report(number, epoch["loss"], epoch.get("accuracy"))


def _middle_segments(tracks: list[TrainingTrack], frames: int) -> tuple[Tensor, Tensor]:
    """The middle segment of each track, `[n, size, frames]`, and its label."""
    middles = []
    for track in tracks:
        values = track.values.repeat(1, -(-frames // track.values.shape[1]))
        start = (values.shape[1] - frames) // 2
        if track.separate:
            start -= start % frames
        middles.append(values[:, start : start + frames])
    return torch.stack(middles), torch.tensor([track.label for track in tracks])


def _accuracy(network: nn.Module, segments: Tensor, labels: Tensor) -> float:
    return float((logits_of(network, segments).argmax(dim=1) == labels).float().mean())


def fit(
    recipe: Recipe,
    tracks: list[TrainingTrack],
    genres: int,
    *,
    shape: tuple[int, int],
    checkpoint: Path,
    report: EpochReport,
    curves: Mapping[str, list[TrainingTrack]],
    held_out: HeldOut | None = None,
    further: Sequence[list[TrainingTrack]] = (),
    devices: int = 1,
) -> tuple[nn.Module, History]:
    """Train a network.

    Parameters
    ----------
    recipe
        Model and training settings, augmentation, seed.
    tracks
        Training tracks, and no others.
    genres
        Number of genres.
    shape
        Shape of a segment as the network sees it: `(size, frames)`.
    checkpoint
        Written after each epoch; training resumes from it where it exists.
    report
        Called after each epoch.
    curves
        Tracks by the name that the history gives the accuracy on them, measured on the middle
        segment of each. They decide nothing.
    held_out
        Where the recipe keeps the best epoch: the tracks that it is chosen on by the highest
        accuracy, the first of equals.
    further
        Tracks of further data sets, all of which are trained on.
    devices
        Processes that call this at the same time with the same arguments, each for a device. Their
        environment is that which torchrun makes, see `genrescope.training.trainers.processes` and
        `genrescope.training.trainers.group`. Only the first has the history.

    Returns
    -------
    network, history
        The network with the averaged weights, in evaluation mode; losses and accuracies.

    Raises
    ------
    RecipeError
        When several processes can't train this network, or have too few segments in a batch.
    """
    torch.manual_seed(recipe.seed)
    settings = dict(recipe.model)
    if recipe.weights and "weights" in signature(model_class(settings)).parameters:
        settings["weights"] = recipe.weights
    network: nn.Module = make_model(settings, shape=shape, genres=genres)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    task = _Task(recipe, network, tracks, genres, shape[1], further)
    batch_size = min(recipe.training.batch_size, len(tracks))
    if devices > 1:
        check_shared(recipe, network, min([batch_size, *map(len, further)]), devices)
    batches = len(tracks) // batch_size
    steps = recipe.training.epochs * -(-batches // recipe.training.accumulate)
    # In a short training a long average would still contain the random initial weights: with this
    # decay less than e⁻⁵ of them is left in the end.
    averaging = EMAWeightAveraging(decay=max(0.0, min(recipe.training.ema_decay, 1 - 5 / steps)))
    keep_best = recipe.training.keep == "best"
    record = _Record(report, curves, shape[1], averaging, held_out if keep_best else None)
    own = devices if devices == 1 else int(os.environ["LOCAL_WORLD_SIZE"])
    with _quiet():
        trainer = pl.Trainer(
            max_epochs=recipe.training.epochs,
            accelerator="auto" if devices == 1 or torch.cuda.is_available() else "cpu",
            devices=own,
            num_nodes=devices // own,
            strategy="auto" if devices == 1 else _strategy(),
            # Without GPUs torch has none, and each process normalises by its own segments.
            sync_batchnorm=devices > 1 and torch.cuda.is_available(),
            precision=_precision(recipe.training.precision),
            gradient_clip_val=recipe.training.gradient_clip or None,
            accumulate_grad_batches=recipe.training.accumulate,
            callbacks=[averaging, record, _SaveEachEpoch(checkpoint)],
            reload_dataloaders_every_n_epochs=1,
            logger=False,
            enable_checkpointing=True,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        try:
            trainer.fit(
                task,
                ckpt_path=checkpoint if checkpoint.is_file() else None,
                weights_only=True,
            )
        except SystemExit:
            # Lightning turns Ctrl-C into an exit.
            raise KeyboardInterrupt from None
    # Lightning does this at the end of a training, but not if the checkpoint already was its end.
    averaging.on_train_end(trainer, task)
    if keep_best and trainer.is_global_zero:  # the only process that measures each epoch
        task.network.load_state_dict(task.best["state"])
    trained: nn.Module = task.network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return trained.eval(), task.history


def is_finished(checkpoint: Path, recipe: Recipe) -> bool:
    """Whether a checkpoint is that of a network's last epoch."""
    if not checkpoint.is_file():
        return False
    state = torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True)
    return len(state["history"]) >= recipe.training.epochs


def _strategy() -> DDPStrategy:
    # A process whose segments have no targets of the teacher does not use what predicts them.
    environment = TorchElasticEnvironment()
    return DDPStrategy(cluster_environment=environment, find_unused_parameters=True)


def _precision(setting: str) -> Any:
    fast = torch.cuda.is_available() or torch.cpu._is_avx512_bf16_supported()
    return "bf16-mixed" if setting == "bf16" or (setting == "auto" and fast) else "32-true"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's advice on loggers and workers, which does not apply here."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
