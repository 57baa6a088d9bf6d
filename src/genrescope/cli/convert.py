"""`genrescope convert`: a bundle with smaller weights, and the effect on its predictions."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from genrescope.cli.terminal import Format, error_line, notice, progress, stderr, stdout
from genrescope.errors import FileError
from genrescope.inference import Bundle
from genrescope.wording import counted, size_in_words

if TYPE_CHECKING:
    from genrescope.training.convert import Agreement, Conversion


class Precision(StrEnum):
    """How weights are stored."""

    fp16 = "fp16"
    int8 = "int8"


def convert(
    model: str = typer.Argument(..., help="A shipped model (default), a run folder or a bundle."),
    precision: Precision = typer.Option(
        ..., "--precision", "-p", help="fp16: half the size. int8: a quarter."
    ),
    out: Path = typer.Option(
        ..., "--out", "--output", "-o", help="Folder of the new bundle; new or empty."
    ),
    data: Path | None = typer.Option(
        None,
        "--data",
        help="A data set to compare both on; for int8 also to calibrate with.",
    ),
    format: Format = typer.Option(
        Format.table, "--format", "-f", help="How the figures are written."
    ),
) -> None:
    """Make a smaller bundle of a model, and measure the effect.

    Size and time are always measured; with --data also how often both agree, and the accuracy on
    genres of the model. The measurements are stored in the new bundle.

    With --data, int8 is static: every fourth track is used for calibration, the others to compare.

    Without, int8 is dynamic, which is slower.

    Exit code 1: some tracks could not be decoded. 2: nothing was converted.

    Examples:

      genrescope convert default --precision fp16 --out small

      genrescope convert runs/default --precision int8 --data path/to/gtzan --out runs/default-int8
    """
    from genrescope.datasets import read_dataset
    from genrescope.training.convert import convert as make

    bundle = Bundle.load(model)
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise FileError(out, "is not an empty folder; name another one")
    except OSError as error:
        raise FileError(out, f"can't be written: {error.strerror}") from None
    dataset = None if data is None else read_dataset(data)
    for line in dataset.notices() if dataset else []:
        notice(line)
    with progress("tracks") as bar:
        task = bar.add_task("Comparing", total=len(dataset.tracks) if dataset else 0)
        made, conversion, failures = make(
            bundle,
            precision.value,
            dataset,
            report=lambda done, total: bar.update(task, completed=done, total=total),
        )
    for failure in failures:
        error_line(str(failure))
    try:
        made.save(out)
    except OSError as error:
        raise FileError(out, f"can't be written: {error.strerror}") from None
    if format is Format.json:
        typer.echo(json.dumps(conversion.to_dict(), indent=1))
    else:
        _show(conversion)
    stderr.print(f"Bundle: {out}", markup=False)
    if failures:
        raise typer.Exit(1)


def _show(conversion: Conversion) -> None:
    size, took = conversion.bytes, conversion.ms_per_segment
    table = Table("", "Before", "After", "", title=f"{conversion.precision}: {conversion.method}")
    table.add_row(
        "Size",
        size_in_words(int(size.before)),
        size_in_words(int(size.after)),
        f"{100 * size.after / size.before:.0f} %",
    )
    table.add_row(
        "Time per segment",
        f"{took.before:.2f} ms",
        f"{took.after:.2f} ms",
        f"{100 * took.after / took.before:.0f} %",
    )
    agreement = conversion.agreement
    if agreement and agreement.accuracy:
        accuracy = agreement.accuracy
        table.add_row(
            f"Accuracy on {counted(agreement.known_genre, 'track')}",
            f"{100 * accuracy.before:.1f} %",
            f"{100 * accuracy.after:.1f} %",
            f"{100 * (accuracy.after - accuracy.before):+.1f} points",
        )
    stdout.print(table)
    if agreement:
        stdout.print(_sentence(agreement))


def _sentence(agreement: Agreement) -> str:
    words = (
        f"{counted(agreement.tracks, 'track')} of {agreement.data}: "
        f"{100 * agreement.same_genre:.1f} % get the same genre, probabilities differ by "
        f"{agreement.mean_difference:.4f} on average."
    )
    test = agreement.mcnemar
    if test is None:
        return words + " Their genres are not those of the model."
    return (
        f"{words} Correct only before: {test.only_a}, only after: {test.only_b} "
        f"(McNemar p = {test.p:.2g})."
    )
