"""`genrescope examples`: synthetic clips to try things with."""

from __future__ import annotations

from pathlib import Path

import typer

from genrescope.cli.terminal import argument, echo, notice


def examples(
    folder: Path = typer.Argument(Path("examples"), help="Where the clips are written."),
    seconds: float = typer.Option(
        12.0, "--seconds", min=2.0, max=600.0, help="Length of each clip."
    ),
    seed: int = typer.Option(0, "--seed", min=0, help="Another seed gives other music."),
) -> None:
    """Synthesise a few short clips of music.

    They are made of drums, bass, chords and melody by a program, so that there is something to
    classify on any machine. The predictions for them are no measure of a model's accuracy.

    Examples:

      genrescope examples clips && genrescope classify clips
    """
    from genrescope.examples import write_examples

    for path in write_examples(folder, seconds=seconds, seed=seed):
        echo(path)
    notice(f"next: genrescope classify {argument(folder)}")
