"""`genrescope train`: carry out a recipe."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from genrescope.cli.evaluate import show
from genrescope.cli.laboratory import (
    ARTISTS,
    CHANGES,
    DATA,
    FEATURES,
    TEACHER,
    Data,
    need_laboratory,
    reporter,
)
from genrescope.cli.terminal import error_line, notice, progress, stderr, stdout
from genrescope.errors import GenrescopeError
from genrescope.evaluation.run_result import RunResult

if TYPE_CHECKING:
    from genrescope.evaluation.metrics import Scores
    from genrescope.training.recipe import Recipe


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
    out: Path | None = typer.Option(
        None, "--out", "-o", help="Folder of the run; runs/<recipe> by default."
    ),
    changes: list[str] = CHANGES,
) -> None:
    """Train a model by a recipe, judge it, and write it as a bundle with a report.

    An interrupted run goes on where it stopped: give the same command again.

    A family of recipes is trained member by member; members that are done are not trained again.

    Examples:

      genrescope train default --data gtzan --artists artists.csv

      genrescope train kth-table4 --data gtzan --set training.epochs=20

      genrescope train berkeley-fig6-embedding --data fma_metadata --features vggish.npz

      genrescope train leiden-table2/mobilenet_v2 --data gtzan --weights mobilenet.npz

      genrescope train my-recipe.yaml --data my-music
    """
    need_laboratory()
    from genrescope.training.recipe import expand

    names = expand(recipe)
    material = Data.read(data, features, artists, teacher)
    judged: list[tuple[Recipe, Scores]] = []
    failed = 0
    for name in names:
        plan = material.fitting(name, changes)
        if weights is not None:
            plan = plan.model_copy(update={"weights": weights})
        if plan.split.i_know_this_leaks:
            error_line("this split leaks: segments of one track are on both sides, on purpose")
        folder = out or Path("runs") / plan.name
        if out and len(names) > 1:
            folder = out / name.removeprefix(recipe).strip("/")
        try:
            command = _spoken(name, material, weights, changes)
            scores = _carry_out(plan, material, folder, command)
        except GenrescopeError as error:
            if len(names) == 1:
                raise
            error_line(f"{plan.name}: {error}")
            failed += 1
            continue
        judged.append((plan, scores))
        if len(names) > 1:
            notice(f"{plan.name}: {100 * scores.values['accuracy']:.1f} %")
    if not judged:
        raise typer.Exit(2)
    if len(names) == 1:
        show(RunResult.read(folder))
        stderr.print(f"Run: {folder}   Report: {folder / 'report.html'}", markup=False)
    else:
        _show_family(judged)
    if failed:
        raise typer.Exit(1)


def _spoken(name: str, material: Data, weights: Path | None, changes: list[str]) -> str:
    """The command, for whoever reads the figures; without where files lie on this machine."""
    recipe = re.sub(r"^.*/(?=[^/]+\.ya?ml(/|$))", "", name)
    settings = [re.sub(r"^(split\.folder=).*/(?=[^/])", r"\1", change) for change in changes]
    own = f"--weights {weights.resolve().name}" if weights else ""
    words = ["genrescope train", recipe, material.command, own, *(f"--set {s}" for s in settings)]
    return " ".join(filter(None, words))


def _carry_out(plan: Recipe, material: Data, folder: Path, command: str) -> Scores:
    from genrescope.training.run import Run

    with progress("steps") as bar:
        run = Run(
            plan,
            material.tracks,
            folder,
            name=material.name,
            command=command,
            vectors=material.vectors,
            teacher=dict(material.teacher) if material.teacher else None,
            reporter=reporter(bar),
        )
        try:
            return run.execute()
        except KeyboardInterrupt:
            notice(f"interrupted; the same command goes on from {folder}")
            raise typer.Exit(130) from None


def _show_family(judged: list[tuple[Recipe, Scores]]) -> None:
    table = Table("Recipe", "Tracks", "Accuracy", "95 % interval", "Macro F1")
    for plan, scores in judged:
        low, high = scores.intervals["accuracy"]
        table.add_row(
            plan.name,
            str(scores.n),
            f"{100 * scores.values['accuracy']:.1f} %",
            f"{100 * low:.1f} - {100 * high:.1f} %",
            f"{100 * scores.values['macro_f1']:.1f} %",
        )
    stdout.print(table)
