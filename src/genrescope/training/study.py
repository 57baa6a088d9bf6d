"""The data base of a study, shared by several processes: errors of its disk, and dead trials."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import BaseFileLock, Timeout

from genrescope.errors import FileError, RecipeError
from genrescope.locks import acquire

if TYPE_CHECKING:
    import optuna


def import_optuna() -> Any:
    """Optuna, which speaks only of errors.

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


def fail_dead(study: optuna.Study, folder: Path) -> None:
    """Let trials fail whose processes were killed, and remove their folders.

    A process holds the lock of its trial, which the system releases when it ends; a heartbeat alone
    would tell a minute later.
    """
    running = {t.number: t for t in study.get_trials(deepcopy=False) if t.state.name == "RUNNING"}
    names = {path.stem for path in folder.glob("trial-*")}
    for number in sorted(int(name[6:]) for name in names if name[6:].isdecimal()):
        try:
            lock = hold(folder, number)
        except Timeout:
            continue  # another process is at it
        if number in running:
            study.tell(number, state=import_optuna().trial.TrialState.FAIL, skip_if_finished=True)
        shutil.rmtree(folder / f"trial-{number}", ignore_errors=True)
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
