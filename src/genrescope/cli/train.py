"""`genrescope train`: carry out a recipe."""

from __future__ import annotations

import sys
from pathlib import Path

import typer
from rich.progress import TaskID

from genrescope.cli.evaluate import show
from genrescope.cli.terminal import error_line, notice, progress, stderr
from genrescope.datasets import scan, with_artists
from genrescope.errors import RecipeError


def train(
    recipe: str = typer.Argument(
        ..., help="A shipped recipe (default, default-random, default-filtered) or a YAML file."
    ),
    data: Path = typer.Option(
        ..., "--data", help="Folder of genre folders: audio or stored spectrograms."
    ),
    artists: Path | None = typer.Option(
        None, "--artists", help="CSV with the columns track and artist."
    ),
    teacher: list[Path] = typer.Option(
        [],
        "--teacher",
        help="Activations of a larger network to learn from (.npz); may be repeated.",
    ),
    out: Path | None = typer.Option(
        None, "--out", "-o", help="Folder of the run; runs/<recipe> by default."
    ),
    changes: list[str] = typer.Option(
        [], "--set", metavar="KEY=VALUE", help="Change a setting of the recipe; may be repeated."
    ),
) -> None:
    """Train a model by a recipe, judge it, and write it as a bundle.

    An interrupted run goes on where it stopped: give the same command again.

    Examples:

      genrescope train default --data gtzan --artists artists.csv

      genrescope train default-random --data gtzan --set training.epochs=20

      genrescope train my-recipe.yaml --data my-music
    """
    try:
        import lightning  # noqa: F401
        import torch  # noqa: F401

        from genrescope.training.recipe import load_recipe
        from genrescope.training.run import Reporter, Run
        from genrescope.training.teacher import load_teacher
    except ModuleNotFoundError as error:
        raise RecipeError(
            f"training needs {error.name}: pip install 'genrescope[train]' (see the README)"
        ) from None

    tracks = scan(data)
    if artists is not None:
        tracks = with_artists(tracks, artists)
    plan = load_recipe(recipe, changes)
    targets = load_teacher(teacher) if teacher else None
    if plan.split.by_artist and not any(track.artist for track in tracks):
        notice("no artists known (--artists): split by track alone, which flatters the figures")
        plan = load_recipe(recipe, [*changes, "split.by_artist=false"])
    folder = out or Path("runs") / plan.name

    with progress("steps") as bar:
        tasks: dict[str, TaskID] = {}

        class Terminal(Reporter):
            """Bars on a terminal; now and then a line where there is none."""

            def features(self, done: int, total: int) -> None:
                if "features" not in tasks:
                    tasks["features"] = bar.add_task("Reading tracks")
                bar.update(tasks["features"], completed=done, total=total)

            def epoch(self, part: str, epoch: int, epochs: int, loss: float) -> None:
                if part not in tasks:
                    tasks[part] = bar.add_task(part)
                bar.update(
                    tasks[part],
                    completed=epoch,
                    total=epochs,
                    description=f"{part}, loss {loss:.3f}",
                )
                if not sys.stderr.isatty() and epoch % max(1, epochs // 10) == 0:
                    notice(f"{part}: epoch {epoch} of {epochs}, loss {loss:.3f}")

            def left_out(self, problem: str) -> None:
                error_line(f"left out: {problem}")

        run = Run(
            plan,
            tracks,
            folder,
            teacher=targets,
            reporter=Terminal(),
        )
        try:
            judgement = run.execute()
        except KeyboardInterrupt:
            notice(f"interrupted; the same command goes on from {folder}")
            raise typer.Exit(130) from None
    show(judgement)
    stderr.print(f"Run: {folder}   Bundle: {folder / 'bundle'}", markup=False)
