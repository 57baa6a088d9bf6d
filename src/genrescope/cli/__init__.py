"""The command line: it parses arguments, calls the packages and prints what they return."""

from __future__ import annotations

import signal
import sys

import typer

from genrescope import __version__
from genrescope.cli import (
    classify,
    compare,
    convert,
    datasets,
    duplicates,
    embed,
    encoders,
    evaluate,
    examples,
    geometry,
    library,
    models,
    playlist,
    recipes,
    recommend,
    report,
    scan,
    serve,
    similar,
    sort,
    tags,
    train,
    tune,
)
from genrescope.cli import map as map_command
from genrescope.cli.terminal import drop_stdout, echo, error_line, prepare_streams
from genrescope.errors import GenrescopeError

app = typer.Typer(
    name="genrescope",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.command()(classify.classify)
app.command()(scan.scan)
app.command()(serve.serve)
app.command()(similar.similar)
app.command()(recommend.recommend)
app.command()(playlist.playlist)
app.command("map")(map_command.map_library)
app.command()(duplicates.duplicates)
app.command()(sort.sort)
app.command()(evaluate.evaluate)
app.command()(train.train)
app.command()(recipes.recipes)
app.command()(compare.compare)
app.command()(report.report)
app.command()(geometry.geometry)
app.command()(tune.tune)
app.command()(convert.convert)
app.command()(embed.embed)
app.add_typer(datasets.app, name="datasets")
app.add_typer(encoders.app, name="encoders")
app.add_typer(models.app, name="models")
app.add_typer(library.app, name="library")
app.add_typer(tags.app, name="tags")
app.command()(examples.examples)


def _version(requested: bool) -> None:
    if requested:
        echo(f"genrescope {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Classify music by genre.

    Exit codes: 0 success, 1 some files failed, 2 nothing was done, 130 interrupted.
    """


def main() -> None:
    """Run the command line; a known error is one line on stderr and exit code 2."""
    # As Ctrl-C: temporary files are removed, and what is finished is kept.
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP; nohup makes it be ignored
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    prepare_streams()
    code: str | int | None = 0
    try:
        app()
    except GenrescopeError as error:
        error_line(str(error))
        code = 2
    except SystemExit as end:
        code = end.code
    except BrokenPipeError:
        code = 1
    try:
        sys.stdout.flush()
    except OSError:  # whoever read our output has closed it, or the disk is full
        drop_stdout()
        code = code or 1
    sys.exit(code)
