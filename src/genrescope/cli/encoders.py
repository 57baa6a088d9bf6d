"""`genrescope encoders`: the pretrained networks and their weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from genrescope.cli.terminal import Format, error_line, notice, printable, stderr
from genrescope.errors import RecipeError
from genrescope.wording import size_in_words

if TYPE_CHECKING:
    from genrescope.encoders import Encoder, Weights
    from genrescope.encoders.base import Check

app = typer.Typer(no_args_is_help=True, help="Pretrained networks and their weights.")


@app.callback()
def _root() -> None:
    """Pretrained networks and their weights."""


@app.command("list")
def list_(
    format: Format = typer.Option(Format.table, "--format", "-f", help="Output format."),
) -> None:
    """List the encoders, their layers and weights, under which licence, and whether they are here.

    Examples:

      genrescope encoders list

      genrescope encoders list --format json
    """
    from genrescope.encoders import encoder_class, encoder_kinds

    classes, missing = [], []
    for name in encoder_kinds():
        try:
            classes.append(encoder_class(name))
        except RecipeError as error:
            missing.append(str(error))
    if format is Format.json:
        typer.echo(json.dumps([_fields(encoder) for encoder in classes], indent=1))
    else:
        _show(classes)
    for reason in missing:
        notice(reason)


@app.command()
def fetch(
    name: str = typer.Argument(..., help="One of genrescope encoders list."),
) -> None:
    """Download the weights of an encoder into the cache.

    A download that broke off continues where it stopped. With GENRESCOPE_OFFLINE=1 nothing is
    downloaded.

    Exit code 2: they could not be downloaded; the error says which file to put where.

    Examples:

      genrescope encoders fetch vggish
    """
    from genrescope.encoders import encoder_class

    for path in _fetch(encoder_class(name)):
        typer.echo(printable(str(path)))


@app.command()
def verify(
    name: str = typer.Argument(..., help="One of genrescope encoders list."),
    weights: Path | None = typer.Option(
        None, "--weights", metavar="PATH", help="A file of weights, or a folder with all of them."
    ),
    format: Format = typer.Option(Format.table, "--format", "-f", help="Output format."),
) -> None:
    """Check the weights of an encoder: their hash, that they fit, and the published figures.

    Weights that are not here are downloaded first.

    Exit code 0: it passed. 1: a figure is off. 2: the weights are missing, or not the published.

    Examples:

      genrescope encoders verify vggish

      genrescope encoders verify vggish --weights ~/Downloads/vggish-10086976.pth
    """
    from genrescope.encoders import encoder_class
    from genrescope.encoders.weights import digest

    kind = encoder_class(name)
    if weights is None:
        _fetch(kind)
    encoder = kind(weights)
    files = [encoder.file(file) for file in encoder.weights]
    encoder.network()
    checks = encoder.checks()
    passed = all(check.passed for check in checks)
    if format is Format.json:
        fields = {
            "name": name,
            "files": [printable(str(path)) for path in files],
            "passed": passed,
            "checks": [{**asdict(check), "passed": check.passed} for check in checks],
        }
        typer.echo(json.dumps(fields, indent=1))
    else:
        for path, file in zip(files, encoder.weights, strict=True):
            known = file.sha256 and digest(path).startswith(file.sha256)
            typer.echo(f"{printable(str(path))}: {'as published' if known else 'no hash known'}")
        _show_checks(name, checks)
    if not passed:
        if format is Format.table:
            error_line(f"{name}: FAIL, a figure is not what was published")
        raise typer.Exit(1)
    if format is Format.table:
        typer.echo(f"{name}: pass")


def _fetch(kind: type[Encoder]) -> list[Path]:
    """All files of weights, downloaded with a progress bar where they are missing."""
    from genrescope.encoders import weights as files

    paths = []
    for weights in kind.weights:
        if files.is_here(weights):
            paths.append(files.find(weights))
            continue
        with _bar(weights.file, weights.size) as report:
            paths.append(files.fetch(weights, report))
    return paths


@contextmanager
def _bar(name: str, size: int) -> Iterator[Callable[[int, int], None]]:
    """A progress bar in bytes on stderr, where that is a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    speed = (TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, *speed, console=stderr, disable=not stderr.is_terminal) as bar:
        task = bar.add_task(name, total=size)
        yield lambda have, total: bar.update(task, completed=have, total=total or size)


def _fields(encoder: type[Encoder]) -> dict[str, Any]:
    from genrescope.encoders.weights import is_here, weights_folder

    return {
        "name": encoder.name,
        "layers": encoder.layers,
        "default_layer": encoder.default_layer,
        "seconds": encoder.seconds,
        "step": encoder.step,
        "weights": [
            {
                **asdict(weights),
                "here": is_here(weights),
                "path": printable(str(weights_folder() / weights.file)),
            }
            for weights in encoder.weights
        ],
    }


def _show(encoders: list[type[Encoder]]) -> None:
    from genrescope.encoders.weights import is_here

    console = Console(highlight=False, soft_wrap=True)
    for encoder in encoders:
        layers = ", ".join(f"{layer} {size}" for layer, size in encoder.layers.items())
        console.print(Text(encoder.name, style="bold"))
        console.print(Text(f"  layers: {layers}; by default {encoder.default_layer}"))
        console.print(Text(f"  segments: {encoder.seconds:g} s, one every {encoder.step:g} s"))
        for weights in encoder.weights:
            console.print(Text("  ").append(*_HERE[is_here(weights)]).append(_in_words(weights)))
            console.print(Text(f"    {weights.url}", style="dim"))


_HERE = {True: ("here      ", "green"), False: ("not here  ", "yellow")}


def _in_words(weights: Weights) -> str:
    # Of some hashes only the first digits are published.
    digits = f", SHA-256 {weights.sha256[:12]}…" if weights.sha256 else ""
    size = size_in_words(weights.size)
    return f"{weights.file}: {weights.about} ({size}, {weights.licence}{digits})"


def _show_checks(name: str, checks: list[Check]) -> None:
    if not checks:
        typer.echo(f"{name}: the weights fit; nothing is published to compare with")
        return
    table = Table("Figure", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("Published", "Ours", "May differ by", ""):
        table.add_column(column, justify="right")
    for check in checks:
        verdict = Text("pass", style="green") if check.passed else Text("FAIL", style="bold red")
        figures = (f"{check.published:.4g}", f"{check.found:.4g}", f"{100 * check.tolerance:g} %")
        table.add_row(check.what, *figures, verdict)
    Console(highlight=False).print(table)
