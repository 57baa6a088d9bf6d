"""Finds the weights of a network for one split; resumes where a kill left it.

PyTorch Lightning runs the loop: checkpoints, averaging of weights and precision are its own.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from lightning.pytorch.callbacks import Callback, Checkpoint, EMAWeightAveraging
from torch import Tensor, nn
from torch.utils.data import DataLoader

from genrescope.models import make_model
from genrescope.training.augment import Batches, TrainingTrack
from genrescope.training.recipe import Recipe

History = list[dict[str, float]]


class _Task(pl.LightningModule):
    """Cross-entropy to the genres, and squared error to a teacher where there is one."""

    def __init__(
        self,
        recipe: Recipe,
        network: nn.Module,
        tracks: list[TrainingTrack],
        genres: int,
        frames: int,
    ) -> None:
        super().__init__()
        self.recipe, self.network, self.tracks = recipe, network, tracks
        self.genres, self.frames = genres, frames
        targets = tracks[0].teacher.shape[1]
        self.teacher = (
            nn.Sequential(nn.Dropout(0.2), nn.Linear(int(network.embedding_size), targets))  # type: ignore[arg-type]
            if targets
            else None
        )
        self.history: History = []
        self.losses: list[float] = []
        self.best: dict[str, Any] = {}

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of the present epoch; asked for anew each epoch."""
        recipe = self.recipe
        batches = Batches(
            self.tracks,
            self.genres,
            self.frames,
            min(recipe.training.batch_size, len(self.tracks)),
            recipe.training.label_smoothing,
            recipe.augmentation,
            recipe.seed,
            self.current_epoch,
        )
        return DataLoader(_Epoch(batches), batch_size=None)

    def on_train_epoch_start(self) -> None:
        """Some networks learn with other parts in later epochs."""
        at_epoch: Any = getattr(self.network, "at_epoch", None)
        if at_epoch:
            at_epoch(self.current_epoch)

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], _: int) -> Tensor:
        # What is random inside the network (dropout) must be the same after a resume.
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.global_step)
        segments, targets, teacher = batch
        logits, embedding = self.network(segments)
        loss = F.cross_entropy(logits.float(), targets)
        if self.teacher is not None:
            known = teacher.isfinite().all(dim=1)
            if known.any():
                guess = self.teacher(embedding).float()[known]
                loss = loss + self.recipe.training.teacher_weight * F.mse_loss(
                    guess, teacher[known]
                )
        self.losses.append(float(loss.detach()))
        return loss

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"], checkpoint["best"] = self.history, self.best

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history, self.best = checkpoint["history"], checkpoint.get("best", {})

    def configure_optimizers(self) -> Any:
        settings = self.recipe.training
        kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
        # What is frozen has no part in it; a network may want slower steps for some of it.
        rates: Any = getattr(self.network, "learning_rates", None)
        groups = rates(settings.learning_rate) if rates else []
        grouped = {id(weight) for group in groups for weight in group["params"]}
        rest = [w for w in self.parameters() if w.requires_grad and id(w) not in grouped]
        optimizer = kind(
            [{"params": rest, "lr": settings.learning_rate}, *groups],
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
            # A rise of exactly one step makes torch divide by zero.
            pct_start=max(0.25, min(1.5 / steps, 0.75)),
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


class _Epoch(torch.utils.data.IterableDataset[Any]):
    """An iterable with a length as a data set, so that Lightning can count its steps."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class _SaveEachEpoch(Checkpoint):
    """Keeps the newest state; a kill while it is written leaves the one before."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: pl.Trainer, _: pl.LightningModule) -> None:
        temporary = self.path.with_suffix(".part")
        trainer.save_checkpoint(temporary)
        temporary.replace(self.path)


class _Record(Callback):
    """Keeps the loss of each epoch, and about twenty times the accuracy on the tracks watched."""

    def __init__(
        self,
        report: Callable[[int, float, float | None], None],
        watch: Mapping[str, list[TrainingTrack]],
        frames: int,
        averaging: EMAWeightAveraging,
        *,
        keep_best: bool,
    ) -> None:
        self.report, self.averaging, self.keep_best = report, averaging, keep_best
        self.watch = {name: _middles(tracks, frames) for name, tracks in watch.items() if tracks}

    def on_train_epoch_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        number = trainer.current_epoch + 1
        epoch = {"epoch": number, "loss": sum(task.losses) / len(task.losses)}
        task.losses.clear()
        network = self.averaging._average_model.module.network
        if self.keep_best or number % max(1, (trainer.max_epochs or 1) // 20) == 0:
            epoch |= {name: _accuracy(network, *seen) for name, seen in self.watch.items()}
        if self.keep_best and epoch["accuracy"] > task.best.get("accuracy", -1.0):
            state = {name: values.clone() for name, values in network.state_dict().items()}
            task.best = {"epoch": number, "accuracy": epoch["accuracy"], "state": state}
        task.history.append(epoch)
        self.report(number, epoch["loss"], epoch.get("accuracy"))


def _middles(tracks: list[TrainingTrack], frames: int) -> tuple[Tensor, Tensor]:
    """The middle segment of each track, and its genre."""
    middles = []
    for track in tracks:
        values = track.values.repeat(1, -(-frames // track.values.shape[1]))
        start = (values.shape[1] - frames) // 2
        middles.append(values[:, start : start + frames])
    return torch.stack(middles), torch.tensor([track.label for track in tracks])


def _accuracy(network: nn.Module, segments: Tensor, labels: Tensor) -> float:
    was_training, device = network.training, next(network.parameters()).device
    network.eval()
    with torch.inference_mode():
        batches = (batch.to(device) for batch in torch.split(segments, 64))
        named = [network(batch)[0].argmax(dim=1).cpu() for batch in batches]
    network.train(was_training)
    return float((torch.cat(named) == labels).float().mean())


def fit(
    recipe: Recipe,
    tracks: list[TrainingTrack],
    genres: int,
    *,
    shape: tuple[int, int],
    checkpoint: Path,
    report: Callable[[int, float, float | None], None],
    watch: Mapping[str, list[TrainingTrack]],
) -> tuple[nn.Module, History]:
    """Train the recipe's network on these tracks.

    Parameters
    ----------
    recipe
        Model and training settings, augmentation, seed.
    tracks
        The training side, and nothing else.
    genres
        Number of genres.
    shape
        Of a segment as the network sees it: size and frames.
    checkpoint
        Written after each epoch; training goes on from it where it is there.
    report
        Called with the number, the loss and, where it was measured, the accuracy of each epoch.
    watch
        Tracks by what the history calls the accuracy on them. It decides nothing, unless the
        recipe keeps the best epoch: then that with the highest `accuracy`, the first of equals.

    Returns
    -------
    network, history
        The network with the averaged weights, in evaluation mode; a loss per epoch.
    """
    torch.manual_seed(recipe.seed)
    settings = dict(recipe.model)
    if settings.get("kind") == "finetuned" and recipe.weights:
        settings["weights"] = recipe.weights
    network: nn.Module = make_model(settings, shape=shape, genres=genres)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    task = _Task(recipe, network, tracks, genres, shape[1])
    batch_size = min(recipe.training.batch_size, len(tracks))
    batches = len(tracks) // batch_size
    steps = recipe.training.epochs * -(-batches // recipe.training.accumulate)
    # In a short training a long average would still be made of the random weights of the start:
    # like this, less than e⁻⁵ of them is left in the end.
    averaging = EMAWeightAveraging(decay=max(0.0, min(recipe.training.ema_decay, 1 - 5 / steps)))
    keep_best = recipe.training.keep == "best"
    record = _Record(report, watch, shape[1], averaging, keep_best=keep_best)
    with _quiet():
        trainer = pl.Trainer(
            max_epochs=recipe.training.epochs,
            accelerator="auto",
            devices=1,
            precision=_precision(recipe.training.precision),
            gradient_clip_val=5.0,
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
            # Lightning turns Ctrl-C into an exit of its own.
            raise KeyboardInterrupt from None
    # Lightning does it at the end of a training, but not where a checkpoint has nothing left to do.
    averaging.on_train_end(trainer, task)
    if keep_best:
        task.network.load_state_dict(task.best["state"])
    trained: nn.Module = task.network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return trained.eval(), task.history


def _precision(wanted: str) -> Any:
    fast = torch.cuda.is_available() or torch.cpu._is_avx512_bf16_supported()
    return "bf16-mixed" if wanted == "bf16" or (wanted == "auto" and fast) else "32-true"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's advice on loggers and workers is of no use to whoever runs a recipe."""
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
