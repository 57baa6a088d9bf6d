"""Search for better settings of a recipe, by its validation tracks alone.

Optuna proposes and prunes (Akiba et al. 2019): a tree-structured Parzen estimator draws settings,
and a trial whose accuracy on validation segments is below the median of the others is pruned. All
trials are stored in one SQLite file, so that a study can be interrupted, resumed, and worked on by
several processes at once.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from genrescope.atomic import write_atomic
from genrescope.datasets import Track
from genrescope.errors import FileError, GenrescopeError, RecipeError
from genrescope.features.cache import FeatureCache
from genrescope.training.adaptation import adapt
from genrescope.training.data import describe
from genrescope.training.identity import hash_files, hash_inputs
from genrescope.training.recipe import Recipe, changed
from genrescope.training.reporter import DefaultReporter
from genrescope.training.run import execute
from genrescope.training.run_folder import states_same_run
from genrescope.training.study import (
    alone,
    best_accuracy,
    complete,
    draw,
    fail_dead,
    finished,
    import_optuna,
    own_settings,
    running,
    stored,
)
from genrescope.training.trainers import make_trainer

if TYPE_CHECKING:
    import optuna

    from genrescope.inference.ray_engine import RayEngine


_GOODBYE = 30
"""Seconds that a process of the search has to end in when it is asked to."""


@dataclass(frozen=True)
class Tuned:
    """Result of a study.

    Attributes
    ----------
    trials, pruned
        Finished trials, and those among them that were stopped early.
    start
        Validation accuracy with the recipe's own settings; None where that trial was pruned.
    best
        Validation accuracy with the best settings.
    settings
        The best ones, by dotted name.
    importance
        Share of the variance that each setting explains, from 0 to 1; empty with few trials.
    recipe
        File of the best recipe.
    """

    trials: int
    pruned: int
    start: float | None
    best: float
    settings: dict[str, Any]
    importance: dict[str, float]
    recipe: Path


class _TrialReporter(DefaultReporter):
    """Tells Optuna of each epoch, and stops the trial when Optuna prunes it."""

    def __init__(self, trial: optuna.Trial) -> None:
        self.trial = trial

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
        import optuna

        if accuracy is None:
            return
        self.trial.report(accuracy, epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned


def tune(
    recipe: Recipe,
    tracks: Sequence[Track],
    folder: Path,
    *,
    trials: int,
    jobs: int = 1,
    engine: RayEngine | None = None,
    vectors: Mapping[str, Any] | None = None,
    report: Callable[[int, float | None], None] | None = None,
    notice: Callable[[str], None] = warnings.warn,
) -> Tuned:
    """Try settings until the study has `trials` trials; the first is the recipe as it is.

    Parameters
    ----------
    recipe
        With a `search` and a split that has a validation subset.
    tracks, vectors
        As for `execute`; the test tracks are never used.
    folder
        Folder of the study, with `study.sqlite3`, `best.yaml`, `tuning.png`, `trials.json`.
    trials
        Number of trials of the study, including those of earlier calls and of other processes.
    jobs
        Processes that work on it at once, each on its share of the cores. Of a script that asks for
        more than one, what it runs has to stand under `if __name__ == "__main__"`.
    engine
        A Ray cluster that runs the trials, as many at once as it has GPUs, or else cores; `jobs`
        is not used then. Each node reads the tracks under their own paths.
    report
        Called with the number of finished trials and the best accuracy so far.
    notice
        Called with one line for each way in which the recipe is adapted to the tracks, and for
        each process that has died.

    Raises
    ------
    RecipeError
        When there is nothing to search, or no validation subset, or the folder has another study.
    """
    recipe = adapt(recipe, tracks, {}, notice)
    with stored(folder):
        study = open_study(recipe, tracks, folder, vectors)
        if engine is not None:
            from genrescope.training.ray_trials import RayTrials

            search = RayTrials(engine, study, recipe, folder, tracks, vectors, notice)
            search.run(trials, report)
        else:
            threads = _share_cores(jobs)
            shared = (recipe, tracks, folder, trials, vectors, threads)
            with _other_processes(jobs - 1, shared, notice):
                _search(study, recipe, tracks, folder, trials, vectors, report)
        fail_dead(study, folder)
    return _conclude(study, recipe, folder)


def _search(
    study: optuna.Study,
    recipe: Recipe,
    tracks: Sequence[Track],
    folder: Path,
    trials: int,
    vectors: Mapping[str, Any] | None,
    report: Callable[[int, float | None], None] | None,
) -> None:
    """Try settings until the study has so many trials."""
    library, start = import_optuna(), own_settings(recipe)
    while len(finished(study)) < trials:
        with running(study, folder) as trial:
            drawn = draw(study, trial, recipe)
            try:
                result = execute(
                    changed(recipe, drawn),
                    tracks,
                    folder / f"trial-{trial.number}",
                    vectors=vectors,
                    reporter=_TrialReporter(trial),
                    scored="validation",
                )
            except library.TrialPruned:
                study.tell(trial, state=library.trial.TrialState.PRUNED)
            except GenrescopeError as error:
                if trial.params == start or isinstance(error, FileError):
                    raise  # it would be the same with any settings
                # These settings do not go together.
                study.tell(trial, state=library.trial.TrialState.PRUNED)
            else:
                study.tell(trial, result.accuracy)
        if report:
            report(len(finished(study)), best_accuracy(study))


def _share_cores(jobs: int) -> int:
    """Give this process its share of the cores: more threads than cores only wait for each other.

    Returns
    -------
    threads
        Threads of each process.
    """
    import torch

    threads = max(1, torch.get_num_threads() // jobs)
    if jobs > 1:
        torch.set_num_threads(threads)
    return threads


@contextmanager
def _other_processes(
    count: int, arguments: tuple[Any, ...], notice: Callable[[str], None]
) -> Iterator[None]:
    """Let other processes work on a study; they are ended on leaving. Their errors are shown."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_work, args=arguments) for _ in range(count)]
    try:
        for process in processes:
            process.start()
        yield
        for process in processes:
            if process.exitcode:
                notice(f"a process of the search ended early, with exit code {process.exitcode}")
    finally:
        for process in processes:
            if process.pid is not None:
                process.terminate()
        for process in processes:
            if process.pid is not None:
                process.join(_GOODBYE)
                process.kill()
                process.join()


def _work(
    recipe: Recipe,
    tracks: Sequence[Track],
    folder: Path,
    trials: int,
    vectors: Mapping[str, Any] | None,
    threads: int,
) -> None:
    """Work on a study in a process of its own, until it is done or the process is asked to end."""
    import torch

    # It is ended by the process that started it, which gets the Ctrl-C of the terminal as well.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        torch.set_num_threads(threads)
        study = _join_study(recipe, folder)
        _search(study, recipe, tracks, folder, trials, vectors, None)


def open_study(
    recipe: Recipe,
    tracks: Sequence[Track],
    folder: Path,
    vectors: Mapping[str, Any] | None = None,
) -> optuna.Study:
    """Make the study of a folder, or open the one that is there.

    Raises
    ------
    RecipeError
        When there is nothing to search, or the folder has another study.
    """
    import_optuna()
    if not recipe.search:
        raise RecipeError(f"{recipe.name}: has no search: nothing to tune")
    if recipe.split.kind == "folds":
        raise RecipeError(f"{recipe.name}: a split into folds has no validation subset")
    recipe = adapt(recipe, tracks, {}, lambda _: None)
    make_trainer(recipe)
    own_settings(recipe)  # refuses a search that does not include them, before a folder is made
    try:
        folder.mkdir(parents=True, exist_ok=True)
        inputs = {**hash_inputs(recipe, {}), "files": hash_files(recipe, tracks, FeatureCache())}
        _claim(folder, recipe, describe(tracks, vectors=vectors), inputs)
    except OSError as error:
        raise FileError(folder, f"can't be written: {error.strerror}") from None
    return _join_study(recipe, folder)


def _join_study(recipe: Recipe, folder: Path) -> optuna.Study:
    """The study of a folder whose recipe and data were compared; made where there is none."""
    library, start = import_optuna(), own_settings(recipe)
    with alone(folder):  # two processes that begin at once would both make its tables
        storage = library.storages.RDBStorage(
            f"sqlite:///{(folder / 'study.sqlite3').resolve()}",
            # Other processes write, too, on a machine that may be busy; SQLite gives up after 5 s.
            engine_kwargs={"connect_args": {"timeout": 60}},
        )
        study: optuna.Study = library.create_study(
            storage=storage,
            study_name=recipe.name,
            direction="maximize",
            load_if_exists=True,
            pruner=library.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=5),
        )
    fail_dead(study, folder)
    kept = [t for t in study.get_trials(deepcopy=False) if t.state.name != "FAIL"]
    if not any(start in (t.params, t.system_attrs.get("fixed_params")) for t in kept):
        study.enqueue_trial(start)
    return study


def _claim(folder: Path, recipe: Recipe, data: dict[str, Any], inputs: dict[str, str]) -> None:
    """Write down recipe, data and inputs, or refuse a folder that holds another study."""
    fields = {"recipe": recipe.model_dump(mode="json"), "data": data, "inputs": inputs}
    text = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
    path = folder / "recipe.yaml"
    if path.is_file() and not states_same_run(path, fields):
        raise RecipeError(
            f"{folder}: holds a study of another recipe or other data; name another folder"
        )
    write_atomic(path, text.encode())


def _conclude(study: optuna.Study, recipe: Recipe, folder: Path) -> Tuned:
    """Write the best recipe, the list of trials and the picture."""
    from genrescope.evaluation import plots

    ended = complete(study)
    if not ended:
        raise RecipeError(f"{recipe.name}: no trial was completed")
    best = max(ended, key=lambda trial: (trial.value, -trial.number))
    settings = {
        name: parameter.choice(best.params[name]) if parameter.choices else best.params[name]
        for name, parameter in recipe.search.items()
    }
    fields = changed(recipe, settings).model_dump(mode="json", exclude_defaults=True)
    fields |= {"name": f"{recipe.name}-tuned", "search": {}}
    text = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
    write_atomic(folder / "best.yaml", text.encode())
    importance = _importance(study) if len(ended) >= 8 else {}
    records = [
        {"number": t.number, "state": t.state.name.lower(), "value": t.value, **t.params}
        for t in finished(study)
    ]
    write_atomic(folder / "trials.json", json.dumps(records, indent=1).encode())
    plots.tuning(records, importance, folder / "tuning.png")
    start = own_settings(recipe)
    first = next((trial for trial in ended if trial.params == start), None)
    return Tuned(
        trials=len(records),
        pruned=sum(record["state"] == "pruned" for record in records),
        start=None if first is None else float(first.value),
        best=float(best.value),
        settings=settings,
        importance=importance,
        recipe=folder / "best.yaml",
    )


def _importance(study: optuna.Study) -> dict[str, float]:
    optuna = import_optuna()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Where the trials don't tell, Optuna would give each setting the same share.
            warnings.filterwarnings("error", message=".*importances will be equal")
            found = optuna.importance.get_param_importances(study)
    except (RuntimeError, ValueError, UserWarning):
        return {}  # the trials did not differ
    return {name: round(float(value), 4) for name, value in found.items()}
