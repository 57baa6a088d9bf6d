"""`genrescope pack`: a model and its model card as one file."""

from __future__ import annotations

from pathlib import Path

import typer

from genrescope.cli.files import not_music
from genrescope.cli.terminal import argument, notice, printable
from genrescope.errors import FileError


def pack(
    model: str = typer.Argument(..., metavar="RUN", help="A run, a bundle, or a model's name."),
    out: Path = typer.Option(
        Path("model.zip"),
        "--out",
        "--output",
        "-o",
        callback=not_music,
        help="The file to write; its name ends in .zip.",
    ),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace a file that is there."),
) -> None:
    """Pack a model and its model card into one .zip, to give it to others.

    The card, README.md, has the form that model hubs read. What it says comes from the run: genres,
    data, licence and figures. The .zip can be used as it is: genrescope classify --model model.zip.

    Examples:

      genrescope pack runs/my-model --out my-model.zip
    """
    from genrescope.evaluation.model_card import pack as pack_bundle
    from genrescope.inference import Bundle

    if out.suffix.casefold() != ".zip":
        raise FileError(out, "expected a name that ends in .zip")
    if out.exists() and not overwrite:
        raise FileError(out, "is there already; --overwrite replaces it")
    pack_bundle(Bundle.load(model), out)
    notice(f"use it with: genrescope classify MUSIC --model {argument(out)}")
    typer.echo(printable(str(out)))
