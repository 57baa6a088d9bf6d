"""`--engine` and `--address`: where the files of a command are decoded and classified."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from genrescope.audio.files import PassedOver
from genrescope.cli.files import find, names_on_stdin
from genrescope.errors import FileError
from genrescope.inference.listening import Listen
from genrescope.redaction import redacted

if TYPE_CHECKING:
    from genrescope.inference.ray_engine import RayEngine


class Engine(StrEnum):
    """Where the work is done."""

    local = "local"
    ray = "ray"


ENGINE = typer.Option(
    Engine.local,
    "--engine",
    help="local: threads of this process. ray: a Ray cluster, also for s3://, gs://, https://.",
)
ADDRESS = typer.Option(
    None,
    "--address",
    metavar="ADDRESS",
    help="With --engine ray: the cluster; by default RAY_ADDRESS, else one on this machine.",
    show_default=False,
)


def ray_engine(engine: Engine, address: str | None, jobs: int | None) -> RayEngine | None:
    """The connection to Ray, or None for the local engine.

    Raises
    ------
    typer.BadParameter
        For an address without `--engine ray`.
    GenrescopeError
        When Ray is not installed, or the cluster can't be reached.
    """
    if engine is Engine.local:
        if address is not None:
            raise typer.BadParameter("--address needs --engine ray")
        return None
    if jobs is not None and (address or os.environ.get("RAY_ADDRESS")):
        raise typer.BadParameter("--jobs is for Ray on this machine: a cluster has its own size")
    from genrescope.inference.ray_engine import RayEngine

    return RayEngine(address, jobs)


def check_whole(engine: Engine, listen: Listen) -> None:
    """Refuse to read parts of tracks on a cluster, which is a usage error.

    Raises
    ------
    typer.BadParameter
        For another `listen` than "full".
    """
    if engine is not Engine.local and listen != "full":
        raise typer.BadParameter("--engine ray reads whole tracks: leave --listen out")


def check_local(sources: Iterable[Path | str], options: Mapping[str, bool]) -> None:
    """Refuse options that need files of this machine where there are addresses.

    Raises
    ------
    typer.BadParameter
        For the first option that is on.
    """
    first = next((each for each in sources if isinstance(each, str)), None)
    for name, is_on in options.items():
        if is_on and first is not None:
            raise typer.BadParameter(f"{name} needs files of this machine, not {redacted(first)}")


def find_sources(
    arguments: Iterable[str], *, null: bool, passed_over: PassedOver
) -> list[Path | str | FileError]:
    """As `find`, with the audio files at addresses, for engines that read them.

    An address that differs from one before it in its secrets alone gives an error in its place:
    without them nobody could tell their rows apart.
    """
    found = _found_sources(arguments, null=null, passed_over=passed_over)
    known: dict[str, str] = {}
    for number, each in enumerate(found):
        if isinstance(each, str) and known.setdefault(redacted(each), each) != each:
            reason = "named before with another secret, which is not stored: give it alone"
            found[number] = FileError(each, reason)
    return found


def _found_sources(
    arguments: Iterable[str], *, null: bool, passed_over: PassedOver
) -> list[Path | str | FileError]:
    from genrescope.audio.addresses import audio_at, local_path, names_address

    found: list[Path | str | FileError] = []
    for argument in arguments:
        if argument == "-" and not os.path.lexists(argument):
            if names := names_on_stdin(null):
                found += _found_sources(names, null=null, passed_over=passed_over)
            else:
                found.append(FileError("-", "no names on stdin"))
            continue
        if not names_address(local_path(argument)):
            found += find([argument], null=null, passed_over=passed_over)
            continue
        try:
            found += audio_at(argument, passed_over)
        except FileError as error:
            found.append(error)
    return found
