"""`genrescope tune`: search for better settings of a recipe."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import typer
from rich.table import Table

from genrescope.cli.engines import ADDRESS, Engine, ray_engine
from genrescope.cli.laboratory import (
    ARTISTS,
    CHANGES,
    DATA,
    FEATURES,
    need_laboratory,
    read_options,
    warnings_as_notices,
)
from genrescope.cli.signals import INTERRUPTED
from genrescope.cli.terminal import Format, notice, progress, stderr, stdout
from genrescope.wording import counted


@warnings_as_notices()
def tune(
    recipe: str = typer.Argument(..., help="A recipe with a search (see `genrescope recipes`)."),
    data: Path | None = DATA,
    features: list[Path] = FEATURES,
    artists: Path | None = ARTISTS,
    trials: int = typer.Option(
        30, "--trials", "-n", min=1, help="Number of trials of the study, earlier ones included."
    ),
    jobs: int | None = typer.Option(
        None,
        "--jobs",
        "-j",
        min=1,
        help="Trials at once: 1 by default, with --engine ray as many as there are cores.",
    ),
    engine: Engine = typer.Option(
        Engine.local, "--engine", help="local: processes of this machine. ray: a Ray cluster."
    ),
    address: str | None = ADDRESS,
    out: Path | None = typer.Option(
        None, "--out", "--output", "-o", help="Folder of the study; runs/tune/<recipe> by default."
    ),
    changes: list[str] = CHANGES,
    format: Format = typer.Option(
        Format.table, "--format", "-f", help="How the outcome is written."
    ),
) -> None:
    """Search for better settings of a recipe, on its validation tracks alone.

    The test tracks are never used: train the best recipe to see its scores on them.

    The study is stored in one SQLite file. An interrupted search resumes with the same command.

    On a Ray cluster each node reads the data under the same paths. A trial whose process dies is
    tried again.

    Examples:

      genrescope tune kth-table4/cnn/mfcc-delta --data path/to/gtzan --trials 40

      genrescope train runs/tune/kth-table4/cnn/mfcc-delta/best.yaml --data path/to/gtzan
    """
    need_laboratory()
    from genrescope.training.recipe import load_recipe
    from genrescope.training.tune import tune as search

    cluster = ray_engine(engine, address, jobs)
    inputs = read_options(data, features, artists, [])
    loaded = load_recipe(recipe, changes)
    folder = out or Path("runs") / "tune" / loaded.name
    try:
        with progress("trials") as bar:
            task = bar.add_task("Trials", total=trials)

            def report(done: int, best: float | None) -> None:
                accuracy = "" if best is None else f", best {100 * best:.1f} %"
                bar.update(task, completed=min(done, trials), description=f"Trials{accuracy}")
                if not sys.stderr.isatty():
                    notice(f"trial {done} of {trials}{accuracy}")

            found = search(
                loaded,
                inputs.tracks,
                folder,
                trials=trials,
                jobs=jobs or 1,
                engine=cluster,
                vectors=inputs.vectors,
                report=report,
                notice=notice,
            )
    except KeyboardInterrupt:
        notice(f"interrupted; the same command resumes the search in {folder}")
        raise typer.Exit(INTERRUPTED) from None
    if format is Format.json:
        fields = {**vars(found), "recipe": str(found.recipe)}
        typer.echo(json.dumps(fields, indent=1))
        return
    title = f"{counted(found.trials, 'trial')} of {loaded.name}"
    table = Table("Setting", "Best", "Importance", title=title)
    for name, value in found.settings.items():
        share = found.importance.get(name)
        table.add_row(name, f"{value}", "" if share is None else f"{100 * share:.0f} %")
    stdout.print(table)
    if not found.importance:
        notice("importance: too few finished trials to tell, or all of one accuracy")
    start = "unknown" if found.start is None else f"{100 * found.start:.1f} %"
    stdout.print(
        f"Validation accuracy {start} with the recipe's own settings, "
        f"{100 * found.best:.1f} % with the best; {counted(found.pruned, 'trial')} stopped early."
    )
    stderr.print(f"Best recipe: {found.recipe}   Picture: {folder / 'tuning.png'}", markup=False)
