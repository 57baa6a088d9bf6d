"""A group of processes that train networks together, also on several machines (torchrun).

Every process is given the same command. The first (rank 0) carries it out: it alone reads the data
set, and it alone writes. For each network it sends what `fit` is given, with the checkpoint of an
earlier run, to the others, which need neither the data nor a shared file system. All of them then
train by Lightning's DDP.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.rendezvous import rendezvous

from genrescope.errors import GenrescopeError, printable
from genrescope.locks import scratch_folder
from genrescope.parallel import available_cores
from genrescope.training.augment import TrainingTrack
from genrescope.training.recipe import Recipe
from genrescope.training.trainers.base import EpochReport, History
from genrescope.training.trainers.held_out import HeldOut
from genrescope.training.trainers.lightning import fit
from genrescope.training.trainers.processes import load_arguments, store_arguments
from genrescope.training.trainers.sharing import NotSharedError

_NAMES = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK", "LOCAL_RANK")
_DIGITS = 9
_LONGEST_WAIT = timedelta(minutes=10)
"""For processes that are still to be started."""
_LONGEST_STEP = timedelta(minutes=30)
"""Of one exchange between processes that train; the first may evaluate an epoch meanwhile."""
_PIECE = 2**26
"""Bytes that are sent at once."""
_PAUSE = 0.2
"""Seconds between two looks for a message of the first process."""
_GOODBYE = 10
"""Seconds that the first process waits until the others know that it ends."""


class Group:
    """The group that this process is one of, made by `join`.

    As a context manager it tells the other processes how the first one has ended.

    Attributes
    ----------
    rank
        Number of this process, from 0.
    size
        Number of processes.
    broken
        Whether a process has died, so that nothing more can be trained.
    """

    def __init__(self, store: Any, rank: int, size: int) -> None:
        self.store, self.rank, self.size = store, rank, size
        self.networks = 0  # that were trained until now
        self.broken = False

    @classmethod
    def join(cls, longest_wait: timedelta = _LONGEST_WAIT) -> Group:
        """Join the group that the environment names, as torchrun does.

        Raises
        ------
        GenrescopeError
            When the environment is incomplete or wrong, or not all processes have come in time.
        """
        address, port, size, rank, local, per_machine = _environment()
        if torch.cuda.is_available():
            if torch.cuda.device_count() < per_machine:
                raise GenrescopeError(
                    f"LOCAL_WORLD_SIZE={per_machine}: this machine has "
                    f"{torch.cuda.device_count()} GPUs"
                )
            torch.cuda.set_device(local)
        try:
            store = next(rendezvous("env://", timeout=longest_wait))[0]
            dist.init_process_group(store=store, rank=rank, world_size=size, timeout=_LONGEST_STEP)
        except (RuntimeError, ValueError, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise GenrescopeError(
                f"process {rank} of {size}: no group at {address}:{port} within "
                f"{longest_wait.total_seconds():.0f} s; is each of them started? ({reason})"
            ) from error
        torch.set_num_threads(max(1, available_cores() // per_machine))
        return cls(store, rank, size)

    def __enter__(self) -> Group:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        # Processes that wait for this one find out.
        with suppress(RuntimeError):
            dist.destroy_process_group()
        if self.rank > 0:
            return
        # The text of other exceptions may be a mere exit code.
        reason = str(error) if isinstance(error, GenrescopeError) else ""
        outcome = "end" if error is None else ": ".join(filter(None, ("failed", reason)))
        with suppress(RuntimeError):
            self.store.set(self._key, outcome)
            # The store may end with this process.
            end = time.monotonic() + _GOODBYE
            while self.store.add("left", 0) < self.size - 1 and time.monotonic() < end:
                time.sleep(_PAUSE)

    @property
    def _key(self) -> str:
        """Of the first process's next message: "train", "end" or how it failed."""
        return f"genrescope-{self.networks}"

    def fit(
        self,
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
    ) -> tuple[nn.Module, History]:
        """Train a network together with the other processes, which `follow`; see `fit`.

        Raises
        ------
        RecipeError
            When several processes can't train this network.
        FileError
            When the arguments can't be written to the run's folder, as on a full disk.
        GenrescopeError
            When this process or another one fails or dies in training. What was trained is in the
            checkpoint.
        """
        file = checkpoint.with_name(f"{checkpoint.stem}-shared.pt")
        given: dict[str, Any] = {"shape": shape, "curves": curves}
        given |= {"held_out": held_out, "further": further}
        store_arguments(file, recipe, tracks, genres, **given)
        try:
            self.store.set(self._key, "train")
            self.networks += 1
            for each in (file, checkpoint):
                _send(each)
            given |= {"checkpoint": checkpoint, "report": report}
            return fit(recipe, tracks, genres, devices=self.size, **given)
        except RuntimeError as error:
            self.broken = True
            raise GenrescopeError(
                f"{recipe.name}: a process of the training failed or died "
                f"({_first_line(error)}); the same commands resume it"
            ) from error
        finally:
            file.unlink(missing_ok=True)

    def follow(self) -> None:
        """Train with the first process whatever it trains, until it ends.

        Raises
        ------
        GenrescopeError
            When it has failed or died.
        """
        try:
            while (message := self._next_message()) == "train":
                self.networks += 1
                with scratch_folder("train") as folder:
                    arguments, checkpoint = folder / "arguments.pt", folder / "checkpoint.ckpt"
                    for each in (arguments, checkpoint):
                        _receive(each)
                    given = load_arguments(arguments)
                    # The first process reports which recipes are refused, and goes on.
                    with suppress(NotSharedError):
                        fit(**given, checkpoint=checkpoint, report=_ignore, devices=self.size)
            self.store.add("left", 1)
        except RuntimeError as error:
            raise GenrescopeError(
                f"process {self.rank} of {self.size}: another process has ended "
                f"({_first_line(error)})"
            ) from error
        if message != "end":
            raise GenrescopeError(f"process {self.rank} of {self.size}: the first one {message}")

    def _next_message(self) -> str:
        """Wait for the first process's message; it may have features to compute."""
        while not self.store.check([self._key]):
            time.sleep(_PAUSE)
        return str(self.store.get(self._key).decode())


def _environment() -> tuple[str, int, int, int, int, int]:
    """Address and port, number of processes, own number, that on this machine, and how many here.

    Raises
    ------
    GenrescopeError
        Names what is missing or wrong.
    """
    missing = [name for name in _NAMES if not os.environ.get(name)]
    if missing:
        raise GenrescopeError(
            f"WORLD_SIZE is set, but not {' and '.join(missing)}: "
            "start all processes with torchrun, or unset it"
        )
    os.environ.setdefault("LOCAL_WORLD_SIZE", "1")
    numbers = {}
    for name in (*_NAMES[1:], "LOCAL_WORLD_SIZE"):
        text = os.environ[name]
        if not text.isdecimal() or len(text) > _DIGITS:
            raise GenrescopeError(f"{name}={printable(text[:50])}: expected a number")
        numbers[name] = int(text)
    port, size, rank, local, per_machine = numbers.values()
    for name, limit in (("RANK", size), ("LOCAL_RANK", per_machine), ("MASTER_PORT", 2**16)):
        if numbers[name] >= limit:
            more = " (LOCAL_WORLD_SIZE)" if name == "LOCAL_RANK" else ""
            raise GenrescopeError(f"{name}={numbers[name]}: expected less than {limit}{more}")
    if per_machine == 0 or size % per_machine:
        raise GenrescopeError(
            f"LOCAL_WORLD_SIZE={per_machine}: expected the same number of processes on each "
            f"machine, {size} in all"
        )
    return os.environ["MASTER_ADDR"], port, size, rank, local, per_machine


def _send(file: Path) -> None:
    """Send a file to the other processes; nothing where there is none."""
    size = file.stat().st_size if file.is_file() else 0
    dist.broadcast(torch.tensor([size]), 0)
    if size:
        with file.open("rb") as opened:
            while piece := opened.read(_PIECE):
                dist.broadcast(torch.frombuffer(bytearray(piece), dtype=torch.uint8), 0)


def _receive(file: Path) -> None:
    """Receive what `_send` sends."""
    size = torch.zeros(1, dtype=torch.int64)
    dist.broadcast(size, 0)
    if missing := int(size):
        with file.open("wb") as opened:
            while missing:
                piece = torch.empty(min(_PIECE, missing), dtype=torch.uint8)
                dist.broadcast(piece, 0)
                opened.write(piece.numpy().tobytes())
                missing -= len(piece)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _ignore(*_: Any) -> None:
    """The report of epochs, of which the first process has its own."""
