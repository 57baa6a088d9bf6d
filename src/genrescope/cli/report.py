"""`genrescope report`: the report of a run as HTML and Markdown."""

from __future__ import annotations

from pathlib import Path

import typer

from genrescope.cli.terminal import printable


def report(
    run: Path = typer.Argument(..., help="Folder of a finished run, or of an evaluation's --out."),
) -> None:
    """Write report.html and report.md of a run again, with its pictures.

    The HTML page is one file that can be sent to somebody: its pictures are in it, and it loads
    nothing from the network. The pictures are drawn again where matplotlib is installed.

    Examples:

      genrescope report runs/default-random
    """
    from genrescope.evaluation.report import write_report

    for page in write_report(run):
        typer.echo(printable(str(page)))
