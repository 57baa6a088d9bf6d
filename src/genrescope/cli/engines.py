"""`--engine` and `--address`: where the files of a command are decoded and classified."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from genrescope.audio.files import PassedOver
from genrescope.cli.files import find
from genrescope.errors import FileError
from genrescope.inference.listening import Listen

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


def find_sources(
    arguments: Iterable[str], *, null: bool, passed_over: PassedOver
) -> list[Path | str | FileError]:
    """As `find`, with the audio files at addresses, for engines that read them."""
    from genrescope.inference.addresses import audio_at, is_address

    found: list[Path | str | FileError] = []
    for argument in arguments:
        if not is_address(argument):
            found += find([argument], null=null, passed_over=passed_over)
            continue
        try:
            found += audio_at(argument, passed_over)
        except FileError as error:
            found.append(error)
    return found
