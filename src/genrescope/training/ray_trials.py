"""Trials of a search as tasks of a Ray cluster.

The study stays a file of the process that searches, and nothing else writes to it: it draws the
settings of each trial, hands them to a task, and stores what comes of it. A task that trains tells
an actor of each epoch, and learns from it whether its trial is pruned.
"""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from filelock import BaseFileLock

from genrescope.datasets import Track
from genrescope.errors import FileError, GenrescopeError
from genrescope.inference.ray_engine import RayEngine
from genrescope.locks import scratch_folder
from genrescope.training.data import describe
from genrescope.training.recipe import Recipe, changed
from genrescope.training.reporter import DefaultReporter
from genrescope.training.run import execute
from genrescope.training.study import (
    begin,
    best_accuracy,
    draw,
    finished,
    import_optuna,
    own_settings,
    release,
)

if TYPE_CHECKING:
    import optuna

_ATTEMPTS = 3
"""How often settings are tried whose process dies."""
_PAUSE = 0.5
"""Seconds between two looks at the reports of running trials."""
_GOODBYE = 5
"""Seconds that running trials have to end in when the search does."""


class _Running(NamedTuple):
    trial: optuna.Trial
    lock: BaseFileLock


class RayTrials:
    """The trials of one study on a cluster.

    Parameters
    ----------
    engine
        Connected to the cluster. Its nodes read the tracks under their paths.
    study, folder
        The study and its folder; locks in the folder tell other processes which trials run.
    recipe
        With a `search`.
    tracks, vectors
        As for `execute`.
    notice
        Called with one line for each task that has died.
    """

    def __init__(
        self,
        engine: RayEngine,
        study: optuna.Study,
        recipe: Recipe,
        folder: Path,
        tracks: Sequence[Track],
        vectors: Mapping[str, Any] | None,
        notice: Callable[[str], None],
    ) -> None:
        self.ray, self.study, self.recipe, self.folder = engine.ray, study, recipe, folder
        self.notice = notice
        self.states = import_optuna().trial.TrialState
        self.start = own_settings(recipe)
        # A worker of the cluster has a folder of its own, so that paths have to be absolute.
        tracks = [replace(track, path=track.path.absolute()) for track in tracks]
        found = describe(tracks, vectors=vectors)["fingerprint"]
        self.inputs = [self.ray.put(each) for each in (recipe, tracks, vectors, found)]
        self.board = self.ray.remote(
            num_cpus=0, max_restarts=-1, max_task_retries=-1, max_concurrency=1
        )(_Board).remote()
        self.running: dict[Any, _Running] = {}
        self.deaths = Counter[str]()

    def run(self, trials: int, report: Callable[[int, float | None], None] | None) -> None:
        """Try settings until the study has so many trials.

        Raises
        ------
        GenrescopeError
            When the recipe's own settings can't be carried out, or a file can't be read.
        """
        try:
            while self._missing(trials) or self.running:
                while self._missing(trials) and len(self.running) < self._places():
                    self._begin()
                done, _ = self.ray.wait([*self.running], timeout=_PAUSE)
                self._store_reports()
                for task in done:
                    trial, lock = self.running[task]
                    try:
                        self._end(trial, task)
                    finally:
                        del self.running[task]
                        release(lock)
                    if report:
                        report(len(finished(self.study)), best_accuracy(self.study))
        finally:
            self._stop()
            self.ray.kill(self.board)

    def _stop(self) -> None:
        """End the trials that run: asked to, a task removes its folder; killed, it leaves it."""
        try:
            tasks = [*self.running]
            for task in tasks:
                self.ray.cancel(task)
            if tasks:
                self.ray.wait(tasks, num_returns=len(tasks), timeout=_GOODBYE)
        finally:
            for task, (trial, lock) in self.running.items():
                self.ray.cancel(task, force=True)
                self.study.tell(trial, state=self.states.FAIL, skip_if_finished=True)
                release(lock)

    def _missing(self, trials: int) -> bool:
        return len(finished(self.study)) + len(self.running) < trials

    def _places(self) -> int:
        """How many trials run at once; the cluster may have grown."""
        resources = self.ray.cluster_resources()
        return max(1, int(resources.get("GPU", 0)) or int(resources.get("CPU", 0)))

    def _begin(self) -> None:
        trial, lock = begin(self.study, self.folder)
        try:
            drawn = draw(self.study, trial, self.recipe)
        except BaseException:
            self.study.tell(trial, state=self.states.FAIL)
            release(lock)
            raise
        has_gpus = bool(self.ray.cluster_resources().get("GPU"))
        # Ray would repeat a task that died without a word to the study.
        options = {"num_cpus": 1, "num_gpus": int(has_gpus), "max_retries": 0}
        run = self.ray.remote(**options)(_run_trial)
        task = run.remote(*self.inputs, drawn, trial.number, self.board)
        self.running[task] = _Running(trial, lock)

    def _store_reports(self) -> None:
        """Store the accuracies of epochs, and prune trials by them."""
        trials = {running.trial.number: running.trial for running in self.running.values()}
        for number, epoch, accuracy in self.ray.get(self.board.take.remote()):
            if trial := trials.get(number):
                trial.report(accuracy, epoch)
                if trial.should_prune():
                    self.board.prune.remote(number)

    def _end(self, trial: optuna.Trial, task: Any) -> None:
        """Store the outcome of a trial."""
        errors = self.ray.exceptions
        try:
            outcome = self.ray.get(task)
        except errors.RayTaskError as error:
            self.study.tell(trial, state=self.states.FAIL)
            cause = error.cause
            reason = f"trial {trial.number}: unexpected {type(cause).__name__}: {cause}"
            raise GenrescopeError(reason) from error
        except errors.RayError as error:
            self._died(trial, error)
            return
        if isinstance(outcome, float):
            self.study.tell(trial, outcome)
            return
        is_fatal = trial.params == self.start or isinstance(outcome, FileError)
        if outcome is not None and is_fatal:  # it would be the same with any settings
            self.study.tell(trial, state=self.states.FAIL)
            raise outcome
        self.study.tell(trial, state=self.states.PRUNED)

    def _died(self, trial: optuna.Trial, error: Exception) -> None:
        """Try the settings of a trial again whose process died, but not for ever."""
        settings = json.dumps(trial.params, sort_keys=True)
        self.deaths[settings] += 1
        died = f"trial {trial.number}: its process died"
        if self.deaths[settings] < _ATTEMPTS:
            self.study.tell(trial, state=self.states.FAIL)
            self.study.enqueue_trial(trial.params)
            self.notice(f"{died}; its settings are tried again")
        elif trial.params == self.start:
            self.study.tell(trial, state=self.states.FAIL)
            reason = f"{died} {_ATTEMPTS} times with the recipe's own settings; out of memory?"
            raise GenrescopeError(reason) from error
        else:
            self.study.tell(trial, state=self.states.PRUNED)
            self.notice(f"{died} {_ATTEMPTS} times; its settings count as pruned")


class _Board:
    """The actor: what running trials have reached, and which of them are pruned."""

    def __init__(self) -> None:
        self.reports: list[tuple[int, int, float]] = []
        self.pruned = set[int]()

    def report(self, number: int, epoch: int, accuracy: float) -> bool:
        """Receive the accuracy of a trial's epoch; whether the trial is pruned."""
        self.reports.append((number, epoch, accuracy))
        return number in self.pruned

    def take(self) -> list[tuple[int, int, float]]:
        """The reports since the last call: number, epoch and accuracy."""
        taken, self.reports = self.reports, []
        return taken

    def prune(self, number: int) -> None:
        """Stop a trial at its next report."""
        self.pruned.add(number)


class _PrunedError(Exception):
    """The trial of this task is pruned."""


class _BoardReporter(DefaultReporter):
    """Tells the actor of each epoch, and stops the trial where that says so."""

    def __init__(self, number: int, board: Any) -> None:
        self.number, self.board = number, board

    def notice(self, text: str) -> None:
        """Ignore it: the search has given it once."""

    def epoch(
        self,
        job: str,  # noqa: ARG002
        epoch: int,
        epochs: int,  # noqa: ARG002
        loss: float,  # noqa: ARG002
        accuracy: float | None,
    ) -> None:
        """Report the accuracy of an epoch where it was measured."""
        import ray

        if accuracy is None:
            return
        is_pruned = False
        # Without the actor the trial goes on to its end.
        with suppress(ray.exceptions.RayActorError):
            is_pruned = ray.get(self.board.report.remote(self.number, epoch, accuracy))
        if is_pruned:
            raise _PrunedError


def _run_trial(
    recipe: Recipe,
    tracks: Sequence[Track],
    vectors: Mapping[str, Any] | None,
    fingerprint: str,
    drawn: dict[str, Any],
    number: int,
    board: Any,
) -> float | GenrescopeError | None:
    """The task: the accuracy of a trial, why it can't be carried out, or None if it is pruned."""
    if describe(tracks, vectors=vectors)["fingerprint"] != fingerprint:
        place = tracks[0].path.parent
        return FileError(place, f"on node {socket.gethostname()} it is not the data of the search")
    with scratch_folder("trial") as folder:
        try:
            result = execute(
                changed(recipe, drawn),
                tracks,
                folder / "run",
                vectors=vectors,
                reporter=_BoardReporter(number, board),
                scored="validation",
            )
        except _PrunedError:
            return None
        except GenrescopeError as error:
            return error
    return float(result.accuracy)
