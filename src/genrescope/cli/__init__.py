"""The command line: it parses arguments, calls the packages and prints what they return."""

from __future__ import annotations

import atexit
import gc
import inspect
import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from threading import active_count
from time import monotonic, sleep
from typing import Any

import typer
from typer.core import TyperCommand

from genrescope import __version__
from genrescope.cli.signals import INTERRUPTED, handle_signals, is_interrupted, leave
from genrescope.cli.terminal import drop_stdout, echo, error_line, prepare_streams
from genrescope.errors import GenrescopeError, printable
from genrescope.heap import keep_freed_memory
from genrescope.parallel import available_cores

# Commands in the order of --help, each with its module here and the function in it.
COMMANDS = {
    "classify": "classify",
    "scan": "scan",
    "serve": "serve",
    "similar": "similar",
    "recommend": "recommend",
    "playlist": "playlist",
    "map": "map_library",
    "duplicates": "duplicates",
    "sort": "sort",
    "evaluate": "evaluate",
    "train": "train",
    "recipes": "recipes",
    "compare": "compare",
    "info": "info",
    "pack": "pack",
    "report": "report",
    "geometry": "geometry",
    "tune": "tune",
    "convert": "convert",
    "embed": "embed",
    "datasets": "app",
    "encoders": "app",
    "models": "app",
    "library": "app",
    "tags": "app",
    "examples": "examples",
}


class Command(TyperCommand):
    """A command that refuses empty values, such as those of an unset variable in a script.

    `--out ""` would otherwise name the current folder. Commands that list what can't be read among
    many paths list empty ones, too.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse, after a look at what was typed."""
        typed, _, order = self.make_parser(ctx).parse_args(args=list(args))
        parameter: Any
        for parameter in order:
            value = typed.get(parameter.name)
            values = value if isinstance(value, list | tuple) else [value]
            if "" in values and parameter.name != "paths":
                raise typer.BadParameter("it is empty", ctx=ctx, param=parameter)
        return super().parse_args(ctx, args)


def command_line(names: Iterable[str] = tuple(COMMANDS)) -> typer.Typer:
    """The command line with some of `COMMANDS`; only their modules are imported."""
    app = typer.Typer(
        name="genrescope",
        no_args_is_help=True,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    for name in names:
        command = getattr(import_module(f"genrescope.cli.{name}"), COMMANDS[name])
        if isinstance(command, typer.Typer):
            for registered in command.registered_commands:
                registered.help = registered.help or _help(registered.callback)
                registered.cls = Command
            app.add_typer(command, name=name)
        else:
            app.command(name, help=_help(command), cls=Command)(command)
    return app


def _help(command: Any) -> str | None:
    """The docstring with each paragraph as one line, which the terminal wraps by its own width."""
    text = inspect.getdoc(command)
    # Indented lines, lists and what follows \\f or \\b are kept as they are.
    return text and re.sub(r"(?<=\S)\n(?=[^\s\-*\f\b])", " ", text)


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return command_line()


def _version(requested: bool) -> None:
    if requested:
        echo(f"genrescope {__version__}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Classify music by genre.

    Exit codes: 0 success, 1 some files failed, 2 nothing was done, 130 interrupted by
    Ctrl-C, 143 by SIGTERM.
    """


def _start_decoder(words: list[str]) -> None:
    """Start the process that decodes, where one file is classified and there is a core for it."""
    from genrescope.audio.kinds import AUDIO_SUFFIXES

    files = [word for word in words if os.path.splitext(word)[1].lower() in AUDIO_SUFFIXES]  # noqa: PTH122
    if len(files) == 1 and os.path.isfile(files[0]) and available_cores() > 1:  # noqa: PTH113
        from genrescope.audio.process import start_early

        start_early()


def main() -> None:
    """Run the command line; a known error is one line on stderr and exit code 2."""
    handle_signals()
    keep_freed_memory()
    # Otherwise pydantic looks through all installed packages for plugins, at every start.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    prepare_streams()
    # What is imported stays: to look through it for garbage again and again takes 30 ms.
    gc.disable()
    code: str | int | None = 0
    try:
        # To import one command takes a third of the time of all; completion and help need all.
        first = sys.argv[1] if len(sys.argv) > 1 else ""
        if first == "--version":
            names: Iterable[str] = ()
        elif first in COMMANDS and "_GENRESCOPE_COMPLETE" not in os.environ:
            names = [first]
        else:
            names = COMMANDS
        if first == "classify":
            _start_decoder(sys.argv[2:])
        app = command_line(names)
        gc.freeze()
        gc.enable()
        app()
    except GenrescopeError as error:
        error_line(str(error))
        code = 2
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:  # before a command has begun
        code = INTERRUPTED
    except BrokenPipeError:
        code = 1
    except (
        UnicodeEncodeError
    ) as error:  # a library's name of a file, in a locale without its letters
        error_line(
            f"{printable(str(error.object))}: this locale ({error.encoding}) can't name the file; "
            "set LC_ALL=C.UTF-8"
        )
        code = 2
    except OSError as error:  # a full disk, say, where nothing else could be said of it
        where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        error_line(f"{where}{error.strerror or error}")
        code = 2
    except Exception as error:
        if not is_interrupted():
            raise
        # What a library has made of the KeyboardInterrupt.
        error_line(f"interrupted: {type(error).__name__}: {error}")
    if code == INTERRUPTED or is_interrupted():  # click makes 1 of it at a question
        leave()
    try:
        sys.stdout.flush()
    except OSError:  # whoever read our output has closed it, or the disk is full
        drop_stdout()
        code = code or 1
    sys.exit(code)


def _wait_for_threads(seconds: float = 0.05) -> None:
    """Wait a moment for threads that were told to end, and need a turn to do so."""
    end = monotonic() + seconds
    while active_count() > 1 and monotonic() < end:
        sleep(0.001)


def run() -> None:
    """Run the command line as a program.

    What Python does at its end, taking every module apart, is left out where nothing else runs.
    """
    try:
        main()
    except SystemExit as end:
        _wait_for_threads()
        if active_count() > 1 or not isinstance(end.code, int | None):
            raise
        atexit._run_exitfuncs()
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(end.code or 0)
