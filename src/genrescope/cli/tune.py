"""`genrescope tune`: search for better settings of a recipe."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import typer
from rich.table import Table

from genrescope.cli.laboratory import ARTISTS, CHANGES, DATA, FEATURES, Data, need_laboratory
from genrescope.cli.terminal import Format, notice, progress, stderr, stdout


def tune(
    recipe: str = typer.Argument(..., help="A recipe with a search (see `genrescope recipes`)."),
    data: Path | None = DATA,
    features: list[Path] = FEATURES,
    artists: Path | None = ARTISTS,
    trials: int = typer.Option(
        30, "--trials", "-n", min=1, help="How many trials the study shall have in all."
    ),
    jobs: int = typer.Option(1, "--jobs", "-j", min=1, help="Processes that work on the study."),
    out: Path | None = typer.Option(
        None, "--out", "-o", help="Folder of the study; runs/tune/<recipe> by default."
    ),
    changes: list[str] = CHANGES,
    format: Format = typer.Option(
        Format.table, "--format", "-f", help="How the outcome is written."
    ),
) -> None:
    """Search for better settings of a recipe, on its validation tracks alone.

    The test side is never heard: train the best recipe to see whether it holds there.

    The study lies in one SQLite file. An interrupted search goes on with the same command.

    Examples:

      genrescope tune kth-table4/cnn/mfcc-delta --data gtzan --trials 40

      genrescope train runs/tune/kth-table4/cnn/mfcc-delta/best.yaml --data gtzan
    """
    need_laboratory()
    import torch

    from genrescope.training.tune import open_study
    from genrescope.training.tune import tune as search

    # Asked to end, it cleans up as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    material = Data.read(data, features, artists, [])
    plan = material.fitting(recipe, changes)
    folder = out or Path("runs") / "tune" / plan.name
    open_study(plan, material.tracks, folder, material.vectors)  # before others join it
    # Each process its share of the cores: more threads than cores only wait for each other.
    threads = max(1, torch.get_num_threads() // jobs)
    torch.set_num_threads(threads)
    helpers = [_helper(folder, threads) for _ in range(jobs - 1)]
    try:
        with progress("trials") as bar:
            task = bar.add_task("Trials", total=trials)

            def report(done: int, best: float | None) -> None:
                seen = "" if best is None else f", best {100 * best:.1f} %"
                bar.update(task, completed=min(done, trials), description=f"Trials{seen}")
                if not sys.stderr.isatty():
                    notice(f"trial {done} of {trials}{seen}")

            found = search(
                plan,
                material.tracks,
                folder,
                trials=trials,
                vectors=material.vectors,
                report=report,
            )
    except KeyboardInterrupt:
        notice(f"interrupted; the same command goes on from {folder}")
        raise typer.Exit(130) from None
    finally:
        for helper in helpers:
            helper.terminate()
        for helper in helpers:
            helper.wait()
    if format is Format.json:
        fields = {**vars(found), "recipe": str(found.recipe)}
        typer.echo(json.dumps(fields, indent=1))
        return
    table = Table("Setting", "Best", "Importance", title=f"{found.trials} trials of {plan.name}")
    for name, value in found.settings.items():
        share = found.importance.get(name)
        table.add_row(name, f"{value}", "" if share is None else f"{100 * share:.0f} %")
    stdout.print(table)
    start = "unknown" if found.start is None else f"{100 * found.start:.1f} %"
    stdout.print(
        f"Validation accuracy {start} with the recipe's own settings, "
        f"{100 * found.best:.1f} % with the best; {found.pruned} trials given up early."
    )
    stderr.print(f"Best recipe: {found.recipe}   Picture: {folder / 'tuning.png'}", markup=False)


def _helper(folder: Path, threads: int) -> subprocess.Popen[bytes]:
    """The same command once more, with one process and nothing to say."""
    arguments = [*sys.argv[1:], "--jobs", "1", "--out", str(folder)]
    return subprocess.Popen(  # noqa: S603 - our own command line again
        [sys.executable, "-m", "genrescope", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
