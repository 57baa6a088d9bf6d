"""Options and progress bars of `train` and `tune`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from genrescope.cli.terminal import NoBar, error_line, notice
from genrescope.errors import DatasetError, RecipeError
from genrescope.legacy import RenamedWarning

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from genrescope.training.inputs import Inputs
    from genrescope.training.reporter import Reporter

DATA = typer.Option(
    None,
    "--data",
    help="Path of a data set (genrescope datasets list), a folder of genre folders, or a CSV.",
)
FEATURES = typer.Option(
    [], "--features", help="Stored features of the tracks (.npz or .csv); may be repeated."
)
ARTISTS = typer.Option(None, "--artists", help="CSV with the columns track and artist.")
TEACHER = typer.Option(
    [],
    "--teacher",
    help="A larger network's activations as additional targets (.npz); may be repeated.",
)
CHANGES = typer.Option(
    [], "--set", metavar="KEY=VALUE", help="Change a setting of the recipe; may be repeated."
)


def read_options(
    data: Path | None, features: list[Path], artists: Path | None, teacher: list[Path]
) -> Inputs:
    """Read what the options name, and show what was left out.

    Raises
    ------
    DatasetError
        When nothing is named, or something can't be read.
    """
    from genrescope.training.inputs import read_inputs

    if data is None and not features:
        raise DatasetError("--data (or --features that name genres) is needed")
    inputs = read_inputs(data, features=features, artists=artists, teacher=teacher)
    for line in inputs.notices:
        notice(line)
    return inputs


def need_laboratory(*, torch: bool = True) -> None:
    """Say what to install where training can't be imported.

    Parameters
    ----------
    torch
        Whether a network is trained; scikit-learn's classifiers need no torch.

    Raises
    ------
    RecipeError
        Names what is missing.
    """
    modules = ("lightning", "torch") if torch else ("onnx", "skl2onnx", "sklearn")
    for module in ("matplotlib", *modules):
        try:
            import_module(module)
        except ModuleNotFoundError as error:
            raise RecipeError(
                f"training needs {error.name}: pip install 'genrescope[train]' (see the README)"
            ) from None


@contextmanager
def warnings_as_notices() -> Iterator[None]:
    """Show each warning of old names in a recipe as one line, and only once."""
    shown = set[str]()
    show_others = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *more: Any, **named: Any) -> None:
        if not issubclass(category, RenamedWarning):
            show_others(message, category, *more, **named)
        elif str(message) not in shown:
            shown.add(str(message))
            notice(str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always", RenamedWarning)
        warnings.showwarning = show
        yield


def terminal_reporter(bar: Progress | NoBar) -> Reporter:
    """Progress bars on a terminal; now and then a line where there is none."""
    from genrescope.training.protocols import HOLDOUT
    from genrescope.training.reporter import DefaultReporter

    tasks: dict[str, TaskID] = {}

    class Terminal(DefaultReporter):
        """Shows a run on the terminal."""

        def notice(self, text: str) -> None:
            notice(text)

        def features(self, done: int, total: int) -> None:
            if "features" not in tasks:
                tasks["features"] = bar.add_task("Reading tracks")
            bar.update(tasks["features"], completed=done, total=total)

        def embeddings(self, done: int, total: int) -> None:
            if "embeddings" not in tasks:
                tasks["embeddings"] = bar.add_task("Embedding tracks")
            bar.update(tasks["embeddings"], completed=done, total=total)

        def epoch(
            self, job: str, epoch: int, epochs: int, loss: float, accuracy: float | None
        ) -> None:
            # The only job has a name for its folder alone.
            named = "" if job == HOLDOUT else f"{job}: "
            if job not in tasks:
                tasks[job] = bar.add_task(named or "Training")
            measured = "" if accuracy is None else f", validation accuracy {100 * accuracy:.0f} %"
            state = f"{named}loss {loss:.3f}"
            bar.update(tasks[job], completed=epoch, total=epochs, description=state)
            if not sys.stderr.isatty() and epoch % max(1, epochs // 10) == 0:
                notice(f"{named}epoch {epoch} of {epochs}, loss {loss:.3f}{measured}")

        def left_out(self, track: str, reason: str) -> None:
            error_line(f"left out: {track}: {reason}")

    return Terminal()
