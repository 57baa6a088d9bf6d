"""`genrescope playlist`: a walk from one song to another."""

from __future__ import annotations

from pathlib import Path

import typer

from genrescope.cli.scan import LIBRARY
from genrescope.cli.similar import show_tracks
from genrescope.cli.terminal import Format


def playlist(
    start: str = typer.Option(..., "--from", metavar="TRACK", help="Where the walk begins."),
    end: str = typer.Option(..., "--to", metavar="TRACK", help="Where it ends."),
    length: int = typer.Option(12, "--length", min=2, max=200, help="Tracks, both ends counted."),
    library: str | None = LIBRARY,
    out: Path | None = typer.Option(None, "--out", "-o", metavar="FILE", help="Write it as M3U8."),
    format: Format = typer.Option(Format.table, "--format", "-f", help="How it is shown."),
) -> None:
    """Walk from one track to another in small steps, without playing anything twice.

    Each track is shown with its likeness to the one before.

    Examples:

      genrescope playlist --from waltz.flac --to riff.mp3 --length 12 --out walk.m3u8
    """
    from genrescope.library.playlist import walk, write_m3u8
    from genrescope.library.similar import Space
    from genrescope.library.store import Library

    tracks, steps = walk(Space(Library.open(library)), start, end, length)
    show_tracks(list(zip(tracks, [None, *steps], strict=True)), format, "likeness")
    if out is not None:
        write_m3u8(out, tracks)
