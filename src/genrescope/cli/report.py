"""`genrescope report`: a run as a page to read."""

from __future__ import annotations

from pathlib import Path

import typer

from genrescope.cli.terminal import printable


def report(
    run: Path = typer.Argument(..., help="Folder of a finished run, or of an evaluation's --out."),
) -> None:
    """Write report.html and report.md of a run again, with its pictures.

    The HTML page is one file that can be sent to somebody: it has its pictures in it, and asks
    nothing of the network. The pictures are drawn anew where matplotlib is installed.

    Examples:

      genrescope report runs/default-random
    """
    from genrescope.evaluation.report import write_report

    for page in write_report(run):
        typer.echo(printable(str(page)))
