"""The data base of a study, shared by several processes: its trials, dead ones, disk errors."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import BaseFileLock, Timeout

from genrescope.errors import FileError, RecipeError
from genrescope.locks import acquire, held
from genrescope.training.recipe import Recipe
from genrescope.training.settings import Parameter

if TYPE_CHECKING:
    import optuna


def import_optuna() -> Any:
    """Import Optuna, with only its errors logged.

    Raises
    ------
    RecipeError
        When it is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError:
        raise RecipeError("tuning needs optuna: pip install 'genrescope[lab]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


@contextmanager
def stored(folder: Path) -> Iterator[None]:
    """Turn what the data base of a study raises where the disk fails into a FileError."""
    import_optuna()
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import DatabaseError

    try:
        yield
    except (DatabaseError, StorageInternalError) as error:
        reason = getattr(error, "orig", None) or error.__cause__ or error
        line = (str(reason).splitlines() or [type(error).__name__])[0]
        raise FileError(folder, f"the study can't be written: {line}") from error


def alone(folder: Path) -> AbstractContextManager[None]:
    """Keep other processes from beginning trials, and from looking for dead ones, meanwhile."""
    return held(folder / "study.lock")


def fail_dead(study: optuna.Study, folder: Path) -> None:
    """Let trials fail whose processes have ended without a word, and remove their folders.

    A process holds the lock of its trial, which the system releases when it ends.
    """
    with alone(folder):
        trials = study.get_trials(deepcopy=False)
        running = {trial.number for trial in trials if trial.state.name == "RUNNING"}
        names = {path.stem[6:] for path in folder.glob("trial-*")}
        for number in sorted(running | {int(name) for name in names if name.isdecimal()}):
            try:
                lock = hold(folder, number)
            except Timeout:
                continue  # another process is at it
            if number in running:
                failed = import_optuna().trial.TrialState.FAIL
                study.tell(number, state=failed, skip_if_finished=True)
            shutil.rmtree(folder / f"trial-{number}", ignore_errors=True)
            release(lock)


def begin(study: optuna.Study, folder: Path) -> tuple[optuna.Trial, BaseFileLock]:
    """Begin a trial, with its lock."""
    with alone(folder):
        trial = study.ask()
        return trial, hold(folder, trial.number)


@contextmanager
def running(study: optuna.Study, folder: Path) -> Iterator[optuna.Trial]:
    """A trial of this process, which fails where anything is raised.

    Optuna's own loop is not used: it turns a Ctrl-C that comes while it stores an outcome, or an
    outcome that can't be stored, into an error of its own.
    """
    trial, lock = begin(study, folder)
    try:
        yield trial
    except BaseException:
        with suppress(Exception):  # where it can't be stored, it is found dead later
            failed = import_optuna().trial.TrialState.FAIL
            study.tell(trial, state=failed, skip_if_finished=True)
        raise
    finally:
        # Not before the outcome is stored: without a lock the trial would be taken for dead.
        shutil.rmtree(folder / f"trial-{trial.number}", ignore_errors=True)
        release(lock)


def hold(folder: Path, number: int) -> BaseFileLock:
    """Acquire the lock of a trial.

    Raises
    ------
    Timeout
        When another process has it.
    """
    return acquire(folder / f"trial-{number}.lock")


def release(lock: BaseFileLock) -> None:
    """Remove and release the lock of a trial that has ended."""
    Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


def own_settings(recipe: Recipe) -> dict[str, Any]:
    """Parameters of the first trial: the recipe as it is.

    Raises
    ------
    RecipeError
        When the search does not include them.
    """
    fields = recipe.model_dump(mode="json")
    start = {}
    for name, parameter in recipe.search.items():
        value: Any = fields
        for key in name.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        start[name] = parameter.label(value) if parameter.choices else value
        if not parameter.allows(value):
            raise RecipeError(
                f"{recipe.name}: search.{name} does not include the recipe's own {value!r}"
            )
    return start


def draw(study: optuna.Study, trial: optuna.Trial, recipe: Recipe) -> dict[str, Any]:
    """Draw the settings of a trial, by their dotted names."""
    # Seeded by trial: one process alone draws the same again, several never the same at once.
    seed = recipe.seed * 1_000_003 + trial.number
    library = import_optuna()
    with warnings.catch_warnings():
        # Of `constant_liar`.
        warnings.simplefilter("ignore", library.exceptions.ExperimentalWarning)
        study.sampler = library.samplers.TPESampler(seed=seed % 2**32, constant_liar=True)
    return {name: _draw(trial, name, parameter) for name, parameter in recipe.search.items()}


def _draw(trial: optuna.Trial, name: str, parameter: Parameter) -> Any:
    if parameter.choices:
        labels = [parameter.label(choice) for choice in parameter.choices]
        drawn = trial.suggest_categorical(name, labels)
        return parameter.choices[labels.index(drawn)]
    low, high = parameter.low, parameter.high
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high, log=parameter.log)
    return trial.suggest_float(name, float(low or 0), float(high or 0), log=parameter.log)


def finished(study: optuna.Study) -> list[Any]:
    """Trials that ended, pruned ones included; not those that were interrupted."""
    ended = ("COMPLETE", "PRUNED")
    return [t for t in study.get_trials(deepcopy=False) if t.state.name in ended]


def complete(study: optuna.Study) -> list[Any]:
    """Trials that ended with an accuracy."""
    return [t for t in finished(study) if t.value is not None and t.state.name == "COMPLETE"]


def best_accuracy(study: optuna.Study) -> float | None:
    """The highest accuracy of a complete trial; None where there is none."""
    values = [trial.value for trial in complete(study)]
    return max(values) if values else None
