"""`genrescope scan`: a collection's library, made and kept up to date."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import typer

from genrescope.cli.terminal import Format, error_line, notice, printable, progress, stdout
from genrescope.settings import default_model

LIBRARY = typer.Option(
    None,
    "--library",
    "-l",
    metavar="PLACE",
    help="The library's folder, or s3://, gs://, az://; by default in your data folder.",
)


def scan(
    folders: list[Path] = typer.Argument(..., metavar="FOLDER", help="Folders of music."),
    library: str | None = LIBRARY,
    model: str = typer.Option(
        default_model,
        "--model",
        "-m",
        help="A model's name (see genrescope models list), a run or a bundle.",
        show_default="the one in use",
    ),
    rescan: bool = typer.Option(
        False, "--rescan", help="Hear everything anew; needed to change the model."
    ),
    jobs: int | None = typer.Option(
        None, "--jobs", "-j", min=1, help="Files heard at once; as many as cores."
    ),
    format: Format = typer.Option(Format.table, "--format", "-f", help="How counts are written."),
) -> None:
    """Build or refresh a library of your music.

    Only new and changed files are heard; moved ones are recognised, deleted ones marked. It can be
    stopped at any point and goes on from there the next time.

    Exit code 1: some files failed. 2: nothing was done.

    Examples:

      genrescope scan ~/Music

      genrescope scan ~/Music /media/usb --library ~/shelf --format json
    """
    from genrescope.library.scan import scan as bring_up_to_date

    with progress("files") as bar:
        task = bar.add_task("Looking", total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, description="Listening", completed=done, total=total)

        report = bring_up_to_date(
            folders,
            library=library,
            model=model,
            rescan=rescan,
            jobs=jobs,
            progress=show,
            waiting=lambda pid: notice(f"another scan (process {pid}) is at work: waiting for it"),
        )
    for failure in report.failures:
        error_line(str(failure))
    counts = asdict(report.counts)
    if format is Format.json:
        fields = {"library": report.library.folder, **counts}
        fields |= {"failed_before": report.failed_before, "interrupted": report.interrupted}
        typer.echo(json.dumps(fields))
    else:
        stdout.print(", ".join(f"{count} {what}" for what, count in counts.items()), markup=False)
        if report.failed_before:
            notice(f"{report.failed_before} of the unchanged could not be heard before")
        notice(f"library: {printable(report.library.folder)}")
    if report.interrupted:
        notice("interrupted: what was heard is kept")
        sys.stdout.flush()
        # Threads that are in the middle of a file would keep the process for a while.
        os._exit(130)
    if report.failures:
        raise typer.Exit(1)
