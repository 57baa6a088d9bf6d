"""Trains one network in several processes, each on a device, and leaves the usual checkpoint.

What `fit` is given is stored in a file next to the checkpoint, which all processes map into memory:
they share one copy of the tracks. Lightning's DDP exchanges the gradients, by NCCL between GPUs and
by Gloo between processors.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.multiprocessing import get_context
from torch.multiprocessing.spawn import (
    ProcessContext,
    ProcessExitedException,
    ProcessRaisedException,
    start_processes,
)

from genrescope.atomic import open_atomic
from genrescope.errors import FileError, GenrescopeError, RecipeError
from genrescope.parallel import available_cores
from genrescope.training.augment import TrainingTrack
from genrescope.training.recipe import Recipe
from genrescope.training.trainers.base import EpochReport
from genrescope.training.trainers.held_out import HeldOut
from genrescope.training.trainers.lightning import fit

_PAUSE = 0.2
"""Seconds after which it is looked whether a process has died, at the latest."""


def check_devices(devices: int) -> None:
    """Refuse more devices than this machine has: GPUs, or cores where it has none.

    Raises
    ------
    RecipeError
        Says how many there are.
    """
    has_gpus = torch.cuda.is_available()
    there = torch.cuda.device_count() if has_gpus else available_cores()
    if devices > there:
        what = "GPU" if has_gpus else "core"
        raise RecipeError(f"{devices} devices: this machine has {there} {what}{'s' * (there > 1)}")


def fit_in_processes(
    devices: int,
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
) -> None:
    """Train a network to its last epoch; `fit` then takes it from the checkpoint.

    Parameters
    ----------
    devices
        Number of processes. Each has a GPU of its own, or its share of the cores.
    recipe, tracks, genres, shape, checkpoint, report, curves, held_out, further
        As for `fit`.

    Raises
    ------
    RecipeError
        When several processes can't train this network.
    FileError
        When the run's folder can't be written to, as on a full disk.
    GenrescopeError
        When a process died. What was trained is in the checkpoint.
    """
    file = checkpoint.with_name(f"{checkpoint.stem}-shared.pt")
    given: dict[str, Any] = {"shape": shape, "curves": curves}
    given |= {"held_out": held_out, "further": further}
    store_arguments(file, recipe, tracks, genres, **given)
    here, there = zip(*(get_context("spawn").Pipe() for _ in range(devices)), strict=True)
    errors: list[Exception] = []

    def receive() -> None:
        for pipe in here:
            while pipe.poll():
                message = pipe.recv()
                if isinstance(message, Exception):
                    errors.append(message)
                else:
                    report(*message)  # which may raise, as where there is one process
                    pipe.send(None)

    # Of parameters that could have been unused, and were not.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # It listens before the processes are told its port, which no other program can take any more.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    processes: ProcessContext | None = None
    try:
        processes = start_processes(  # type: ignore[no-untyped-call]
            _train,
            (str(file), str(checkpoint), devices, store.port, there),
            nprocs=devices,
            join=False,
            start_method="spawn",
        )
        while not processes.join(0, grace_period=5):
            wait([*here, *processes.sentinels], _PAUSE)
            receive()
    except (ProcessExitedException, ProcessRaisedException) as error:
        receive()
        if errors:
            raise errors[0] from None
        reason = str(error).strip().splitlines()[-1]
        raise GenrescopeError(
            f"{recipe.name}: a process of the training died ({reason}); the same command resumes it"
        ) from error
    finally:
        for process in processes.processes if processes else ():
            process.kill()
            process.join()
        file.unlink(missing_ok=True)


def _train(
    rank: int,
    file: str,
    checkpoint: str,
    devices: int,
    port: int,
    pipes: Sequence[Connection[Any, Any]],
) -> None:
    """Take part in a training, as the process of a rank."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"  # the process that started this one has it
    os.environ |= dict.fromkeys(("RANK", "LOCAL_RANK"), str(rank))
    os.environ |= dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(devices))
    torch.set_num_threads(max(1, available_cores() // devices))

    def report(*scores: Any) -> None:
        pipes[rank].send(scores)
        pipes[rank].recv()  # no epoch begins before the last one is shown

    try:
        given = load_arguments(Path(file))
        fit(**given, checkpoint=Path(checkpoint), report=report, devices=devices)
    except (GenrescopeError, OSError) as error:
        pipes[rank].send(error)
        raise


def store_arguments(
    file: Path,
    recipe: Recipe,
    tracks: list[TrainingTrack],
    genres: int,
    *,
    shape: tuple[int, int],
    curves: Mapping[str, list[TrainingTrack]],
    held_out: HeldOut | None,
    further: Sequence[list[TrainingTrack]],
) -> None:
    """Store what `fit` is given in a file, for other processes.

    Raises
    ------
    FileError
        When it can't be written.
    """
    stored = {
        "recipe": recipe.model_dump(mode="json"),
        "tracks": _stored(tracks),
        "genres": genres,
        "shape": list(shape),
        "curves": {name: _stored(each) for name, each in curves.items()},
        "held_out": vars(held_out) if held_out else None,
        "further": [_stored(each) for each in further],
    }
    try:
        with open_atomic(file) as opened:
            torch.save(stored, opened)
    except (OSError, RuntimeError) as error:  # torch has its own for a disk that is full
        raise FileError(file, f"can't be written: {error}") from None


def load_arguments(file: Path) -> dict[str, Any]:
    """The arguments of `fit` by name from a file, which is mapped into memory."""
    stored = torch.load(file, mmap=True, weights_only=True)
    held_out = stored["held_out"]
    return {
        "recipe": Recipe.model_validate(stored["recipe"]),
        "tracks": _loaded(stored["tracks"]),
        "genres": stored["genres"],
        "shape": tuple(stored["shape"]),
        "curves": {name: _loaded(each) for name, each in stored["curves"].items()},
        "held_out": HeldOut(**held_out) if held_out else None,
        "further": [_loaded(each) for each in stored["further"]],
    }


def _stored(tracks: Sequence[TrainingTrack]) -> list[tuple[Any, ...]]:
    return [(t.values, t.label, t.targets, list(t.copies), t.separate) for t in tracks]


def _loaded(stored: Sequence[tuple[Any, ...]]) -> list[TrainingTrack]:
    return [
        TrainingTrack(values, label, targets, tuple(copies), separate)
        for values, label, targets, copies, separate in stored
    ]
