"""`genrescope examples`: sound to try things with, on any machine."""

from __future__ import annotations

from pathlib import Path

import typer


def examples(
    folder: Path = typer.Argument(Path("examples"), help="Where the clips are written."),
    seconds: float = typer.Option(
        12.0, "--seconds", min=2.0, max=600.0, help="Length of each clip."
    ),
    seed: int = typer.Option(0, "--seed", min=0, help="Another seed, other music."),
) -> None:
    """Synthesise short clips in a few styles.

    They are made of drums, bass, chords and melody by a program, so that there is something to
    classify without any music at hand. What a model says of them is no measure of its accuracy.

    Examples:

      genrescope examples clips && genrescope classify clips
    """
    from genrescope.examples import write_examples

    for path in write_examples(folder, seconds=seconds, seed=seed):
        typer.echo(path)
