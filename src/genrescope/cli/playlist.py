"""`genrescope playlist`: from one track to another in small steps."""

from __future__ import annotations

from pathlib import Path

import typer

from genrescope.cli.files import not_music
from genrescope.cli.filters import FilterOptions
from genrescope.cli.options import grouped
from genrescope.cli.scan import LIBRARY
from genrescope.cli.similar import show_tracks, write_playlist
from genrescope.cli.terminal import Format


@grouped
def playlist(
    start: str = typer.Option(..., "--from", metavar="TRACK", help="The first track."),
    end: str = typer.Option(..., "--to", metavar="TRACK", help="The last track."),
    length: int = typer.Option(
        12, "--length", min=2, max=200, help="Number of tracks, including both ends."
    ),
    library: str | None = LIBRARY,
    filters: FilterOptions = FilterOptions(),
    out: Path | None = typer.Option(
        None,
        "--out",
        "--output",
        "-o",
        metavar="FILE",
        callback=not_music,
        help="Write the playlist as M3U8.",
    ),
    format: Format = typer.Option(Format.table, "--format", "-f", help="Output format."),
) -> None:
    """Make a playlist that leads from one track to another in small steps.

    No recording comes twice. Each track is shown with its similarity to the one before. Filters
    choose the tracks between the two ends.

    Examples:

      genrescope playlist --from waltz.flac --to riff.mp3 --length 12 --out path.m3u8

      genrescope playlist --from waltz.flac --to riff.mp3 --instrument piano
    """
    from genrescope.library.playlist import playlist_between
    from genrescope.library.similar import Space
    from genrescope.library.store import Library

    opened = Library.open(library)
    allowed = filters.of(opened)
    tracks, steps = playlist_between(Space(opened), start, end, length, allowed)
    show_tracks(list(zip(tracks, [None, *steps], strict=True)), format)
    if out is not None:
        write_playlist(out, tracks)
