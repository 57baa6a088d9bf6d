"""`genrescope train`: carry out a recipe."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from genrescope.cli.engines import ADDRESS, Engine, ray_engine
from genrescope.cli.evaluate import show
from genrescope.cli.laboratory import (
    ARTISTS,
    CHANGES,
    DATA,
    FEATURES,
    TEACHER,
    need_laboratory,
    read_options,
    terminal_reporter,
    warnings_as_notices,
)
from genrescope.cli.signals import INTERRUPTED
from genrescope.cli.terminal import error_line, notice, progress, stderr, stdout
from genrescope.errors import GenrescopeError, RecipeError

if TYPE_CHECKING:
    from genrescope.evaluation.run_result import RunResult
    from genrescope.training.inputs import Inputs
    from genrescope.training.recipe import Recipe
    from genrescope.training.trainers.group import Group


@warnings_as_notices()
def train(
    recipe: str = typer.Argument(
        ..., help="A recipe or a family of recipes (see `genrescope recipes`), or a YAML file."
    ),
    data: Path | None = DATA,
    features: list[Path] = FEATURES,
    artists: Path | None = ARTISTS,
    teacher: list[Path] = TEACHER,
    weights: Path | None = typer.Option(
        None, "--weights", help="File or folder of an encoder's weights; by default the cache."
    ),
    also: list[Path] = typer.Option(
        [],
        "--also",
        metavar="DATA",
        help="A further data set to train on, not to test on; may be repeated.",
    ),
    out: Path | None = typer.Option(
        None, "--out", "--output", "-o", help="Folder of the run; runs/<recipe> by default."
    ),
    name: str | None = typer.Option(
        None, "--name", help="Name of the model and of its run; the recipe's by default."
    ),
    devices: int = typer.Option(
        1,
        "--devices",
        min=1,
        help="Processes that train a network together, each on a GPU or its share of the cores.",
    ),
    engine: Engine = typer.Option(
        Engine.local,
        "--engine",
        help="Where features are computed. local: on this machine. ray: on a Ray cluster.",
    ),
    address: str | None = ADDRESS,
    changes: list[str] = CHANGES,
) -> None:
    """Train a model by a recipe, test it, and write it as a bundle with a report.

    An interrupted run resumes where it stopped: give the same command again.

    A family of recipes is trained member by member; finished members are not trained again.

    On several machines start the same command on each with torchrun: the first process reads the
    data and writes the run, the others train with it.

    Examples:

      genrescope train my-genres --data my-music --name my-model

      genrescope train default --data path/to/gtzan --artists artists.csv

      genrescope train kth-table4 --data path/to/gtzan --set training.epochs=20

      genrescope train berkeley-fig6-means --data path/to/fma_metadata --features vggish.npz

      genrescope train leiden-table2/mobilenet_v2 --data path/to/gtzan --weights mobilenet.npz

      genrescope train my-recipe.yaml --data my-music --also path/to/gtzan

      torchrun --nnodes 2 --rdzv-endpoint HOST:29400 -m genrescope train default --data my-music
    """
    with _group_of_processes(devices) as group:
        from genrescope.datasets import read_dataset
        from genrescope.models import trainer_of
        from genrescope.training.recipe import expand, load_recipe

        names = expand(recipe)
        if name is not None and len(names) > 1:
            raise RecipeError(f"--name: {recipe} is a family of {len(names)} recipes")
        own = [] if name is None else [f"name={json.dumps(name)}"]
        cluster = ray_engine(engine, address, None)
        # A mistyped setting is named before the data set is read.
        loaded_recipes = {member: load_recipe(member, [*changes, *own]) for member in names}
        inputs = read_options(data, features, artists, teacher)
        further = [read_dataset(path) for path in also]
        options = {"--data": [data] if data else [], "--features": features}
        options |= {"--artists": [artists] if artists else [], "--teacher": teacher}
        options |= {"--also": also}
        results: list[RunResult] = []
        failed = 0
        for member, loaded in loaded_recipes.items():
            need_laboratory(torch=trainer_of(loaded.model) != "sklearn")
            if weights is not None:
                loaded = loaded.model_copy(update={"weights": weights})
            if loaded.split.i_know_this_leaks:
                error_line(
                    "this split leaks: segments of one track are in both the training and the test "
                    "subset, on purpose"
                )
            folder = out or Path("runs") / loaded.name
            if out and len(names) > 1:
                folder = out / member.removeprefix(recipe).strip("/")
            command = command_line(member, options, weights, changes, name, devices)
            given = {"also": further, "devices": group or devices, "engine": cluster}
            try:
                result = _execute(loaded, inputs, folder, command, given)
            except GenrescopeError as error:
                if len(names) == 1 or (group is not None and group.broken):
                    raise
                error_line(f"{loaded.name}: {error}")
                failed += 1
                continue
            results.append(result)
            if len(names) > 1:
                notice(f"{loaded.name}: {100 * result.accuracy:.1f} %")
        if not results:
            raise typer.Exit(2)
        if len(names) == 1:
            show(results[0])
            stderr.print(f"Run: {folder}   Report: {folder / 'report.html'}", markup=False)
        else:
            _show_family(results)
        if failed:
            raise typer.Exit(1)


@contextmanager
def _group_of_processes(devices: int) -> Iterator[Group | None]:
    """The group whose first process this is; None without torchrun. The others train, and end."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield None
        return
    if devices > 1:
        raise typer.BadParameter("--devices: torchrun has started the processes, leave it out")
    # Of parameters that could have been unused, and were not.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    need_laboratory()
    # Where a process waits for another, PyTorch lets no handler of Python run.
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    from genrescope.training.trainers.group import Group

    with Group.join() as group:
        if group.rank > 0:
            group.follow()
            raise typer.Exit
        yield group


def command_line(
    name: str,
    options: Mapping[str, Sequence[Path]],
    weights: Path | None,
    changes: Sequence[str],
    own_name: str | None = None,
    devices: int = 1,
) -> str:
    """The command that makes a run again, without where files lie on this machine."""
    recipe = re.sub(r"^.*/(?=[^/]+\.ya?ml(/|$))", "", name)
    words = ["genrescope", "train", recipe]
    for option, paths in options.items():
        for path in paths:
            words += [option, path.resolve().name]
    words += ["--weights", weights.resolve().name] if weights else []
    words += ["--name", own_name] if own_name else []
    words += ["--devices", str(devices)] if devices > 1 else []
    for change in changes:
        words += ["--set", re.sub(r"^(split\.folder=).*/(?=[^/])", r"\1", change)]
    return shlex.join(words)


def _execute(
    recipe: Recipe, inputs: Inputs, folder: Path, command: str, given: Mapping[str, Any]
) -> RunResult:
    from genrescope.training.run import execute

    with progress("steps") as bar:
        try:
            return execute(
                recipe,
                inputs.tracks,
                folder,
                name=inputs.name,
                command=command,
                vectors=inputs.vectors,
                teacher=inputs.teacher,
                reporter=terminal_reporter(bar),
                **given,
            )
        except KeyboardInterrupt:
            notice(f"interrupted; the same command resumes the run in {folder}")
            raise typer.Exit(INTERRUPTED) from None


def _show_family(results: Sequence[RunResult]) -> None:
    from genrescope.evaluation.formatting import interval, percent

    table = Table("Recipe", "Tracks", "Accuracy", "95 % interval", "Macro F1")
    for result in results:
        table.add_row(
            result.recipe,
            str(result.n),
            percent(result.accuracy),
            interval(result.interval.get("accuracy"), " - "),
            percent(result.macro_f1),
        )
    stdout.print(table)
