"""`genrescope models`: the models that are here, and those that can be fetched."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import typer

from genrescope.cli.info import info, is_outdated
from genrescope.cli.terminal import Format, is_plain, notice, printable
from genrescope.errors import FileError
from genrescope.settings import (
    SHIPPED_MODEL,
    default_model,
    read_settings,
    settings_file,
    write_settings,
)
from genrescope.wording import counted, size_in_words

app = typer.Typer(no_args_is_help=True, help="Models: which are here, and which can be fetched.")


@app.callback()
def _root() -> None:
    """Models: which are here, and which can be fetched."""


@app.command("list")
def list_(
    format: Format = typer.Option(Format.table, "--format", "-f", help="How the list is written."),
) -> None:
    """List the models, whether they are here, and which one is used where none is named.

    Examples:

      genrescope models list

      genrescope models list --format json
    """
    rows = _rows()
    if format is Format.json:
        typer.echo(json.dumps(rows, indent=1))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("Model", "", "Licence", "Download", "What it is", box=box.SIMPLE_HEAD)
    for row in rows:
        state = "in use" if row["in_use"] else "here" if row["here"] else "not here"
        if row["outdated"]:
            state += f", outdated: genrescope models fetch {row['name']}"
        size = size_in_words(row["download_bytes"]) if row["download_bytes"] else ""
        table.add_row(
            Text(row["name"], style="bold"), state, row["licence"], size, Text(row["about"])
        )
    Console(highlight=False).print(table)


@app.command()
def fetch(
    name: str = typer.Argument(..., help="One of genrescope models list."),
    weights: Path | None = typer.Option(
        None,
        "--weights",
        metavar="FILE",
        help="The published file, or a folder of all of them, where they are here already.",
    ),
) -> None:
    """Fetch a model: download its published weights, check them, and make a bundle of them.

    A download that broke off continues where it stopped. With GENRESCOPE_OFFLINE=1 nothing is
    downloaded. No torch is needed.

    A model whose licence forbids commercial use says so.

    Exit code 2: the weights could not be had; the message says which file to put where.

    Examples:

      genrescope models fetch audioset

      genrescope models fetch audioset --weights ~/Downloads/mn04_as_mAP_432.pt

      genrescope models fetch discogs400 --weights ~/Downloads
    """
    from genrescope.encoders.weights import is_here
    from genrescope.hub.catalogue import fetch as fetch_model
    from genrescope.hub.catalogue import known_model

    model = known_model(name)
    if weights is None and not is_here(model.weights):
        with _bar(model.weights.file, model.weights.size) as report:
            folder = fetch_model(model, report=report)
    else:
        folder = fetch_model(model, weights)
    typer.echo(printable(str(folder)))
    if "-NC-" in model.weights.licence:
        notice(f"its licence is {model.weights.licence}: not for commercial use")
    if default_model() != name:
        notice(f"use it with --model {name}, or always after: genrescope models use {name}")


app.command()(info)


@app.command()
def use(
    name: str = typer.Argument(..., help="A model's name, a run, or a bundle."),
) -> None:
    """Use a model wherever none is named, from now on.

    It is kept in the configuration file. The environment variable GENRESCOPE_MODEL takes
    precedence over it, and --model over both.

    Examples:

      genrescope models use audioset

      genrescope models use default
    """
    from genrescope.inference import Bundle
    from genrescope.inference.bundle import fetched_bundles, shipped_bundles

    bundle = Bundle.load(name)
    named = name in (*shipped_bundles(), *fetched_bundles())
    # A path must be found from any folder.
    write_settings(model=name if named else str(Path(name).resolve()))
    typer.echo(f"{name} is used where no model is named ({printable(str(settings_file()))})")
    _note_library(bundle.manifest.sha256)


def _note_library(sha256: str) -> None:
    """Say where the library was made with another model: a scan with this one needs --rescan."""
    from genrescope.library.places import LibraryError
    from genrescope.library.store import Library

    with suppress(LibraryError):
        opened = Library.open(None)
        if opened.model.sha256 != sha256:
            notice(
                f"the library was made with {opened.model.name}: the next scan needs --rescan, "
                f"or --model {opened.model.name}"
            )


def _rows() -> list[dict[str, Any]]:
    from genrescope.hub.catalogue import KNOWN

    used = default_model()
    shipped = {
        "name": SHIPPED_MODEL,
        "about": "GTZAN's ten genres; comes with the package",
        "licence": "Apache-2.0",
        "download_bytes": 0,
        "here": True,
        "outdated": False,
        "in_use": used == SHIPPED_MODEL,
    }
    return [shipped] + [
        {
            "name": model.name,
            "about": model.about,
            "licence": model.weights.licence,
            "download_bytes": model.weights.size,
            "here": model.is_here(),
            "outdated": model.is_here() and is_outdated(model.name),
            "in_use": used == model.name,
        }
        for model in KNOWN.values()
    ]


@contextmanager
def _bar(name: str, size: int) -> Iterator[Callable[[int, int], None]]:
    """A bar in bytes on stderr; silent where that is not a terminal."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TransferSpeedColumn,
    )

    from genrescope.cli.terminal import stderr

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    disable = not stderr.is_terminal
    with Progress(*columns, TransferSpeedColumn(), console=stderr, disable=disable) as bar:
        task = bar.add_task(name, total=size)
        yield lambda have, total: bar.update(task, completed=have, total=total or size)


def note_rejected(count: int, then: str) -> None:
    """Say how many tracks the default model takes for no music, and what to do about it.

    Parameters
    ----------
    count
        Of the tracks.
    then
        The command that classifies them by audioset once it is fetched.
    """
    notice(
        f"the default model takes {counted(count, 'track')} for no music. It rejects some music, "
        f"too; audioset rejects less: genrescope models fetch audioset, then {then}"
    )


def note_better_model() -> None:
    """Say once, on a terminal, that there is a model that knows more genres."""
    if is_plain(sys.stderr) or read_settings().get("told_of_audioset"):
        return
    notice(
        "a model of 19 genres with styles and instruments is one download of 4 MB away: "
        "genrescope models fetch audioset (said only once)"
    )
    with suppress(FileError):  # where nothing can be kept it is said again
        write_settings(told_of_audioset=True)
