"""The option --listen, of the commands that classify."""

from __future__ import annotations

import typer

from genrescope.inference.listening import Listen, check_listen

LISTEN = typer.Option(
    "full",
    "--listen",
    metavar="full|auto|SECONDS",
    help="How much of a long track is read: all of it, as much as its genre takes to be clear, or "
    "so many seconds of it.",
)


def listen_option(value: str) -> Listen:
    """The value of --listen; a usage error where it is not valid."""
    try:
        return check_listen(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
