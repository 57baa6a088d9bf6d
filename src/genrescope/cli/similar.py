"""`genrescope similar`: the tracks most similar to one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer
from rich.text import Text

from genrescope.cli.files import not_music
from genrescope.cli.filters import FilterOptions
from genrescope.cli.options import grouped
from genrescope.cli.scan import LIBRARY
from genrescope.cli.terminal import Format, notice, printable, stdout

if TYPE_CHECKING:
    from genrescope.library.rows import Entry
    from genrescope.library.similar import Query


@grouped
def similar(
    track: str = typer.Argument(..., help="A file, or a track of the library by its name."),
    library: str | None = LIBRARY,
    n: int = typer.Option(10, "-n", min=1, help="Number of tracks."),
    not_same_artist: bool = typer.Option(
        False, "--not-same-artist", help="Leave out tracks by the same artist."
    ),
    not_same_album: bool = typer.Option(
        False, "--not-same-album", help="Leave out tracks of the same album."
    ),
    filters: FilterOptions = FilterOptions(),
    playlist: Path | None = typer.Option(
        None,
        "--playlist",
        metavar="FILE",
        callback=not_music,
        help="Write the track and these tracks as M3U8.",
    ),
    format: Format = typer.Option(Format.table, "--format", "-f", help="Output format."),
) -> None:
    """Find the tracks most similar to one, most similar first.

    Similarity is the cosine around the library's mean: 1 is the same, 0 no more alike than any two
    tracks. A file that is not in the library is classified first.

    Examples:

      genrescope similar song.mp3

      genrescope similar song.mp3 --not-same-artist --year 1970-1979 --playlist like-song.m3u8
    """
    from genrescope.library.similar import Space
    from genrescope.library.store import Library

    opened = Library.open(library)
    allowed = filters.of(opened)
    space = Space(opened)
    query = space.find(track)
    allowed = replace(
        allowed,
        not_artist=tag_of(query, "artist") if not_same_artist else None,
        not_album=tag_of(query, "album") if not_same_album else None,
    )
    found = space.nearest(query, n, allowed)
    show_tracks(found, format)
    if not found:
        notice(filters.no_match(opened, other=True))
        raise typer.Exit(1)
    if playlist is not None:
        write_playlist(playlist, [query.entry, *(entry for entry, _ in found)])


def show_tracks(tracks: Sequence[tuple[Entry, float | None]], format: Format) -> None:
    """Show tracks, each with its similarity, as a table or as JSON."""
    if format is Format.json:
        rows = [
            entry.to_dict() | {"similarity": None if value is None else round(value, 6)}
            for entry, value in tracks
        ]
        typer.echo(json.dumps(rows, indent=1))
        return
    stdout.print(Text(f"{'Similarity':10} {'Genre':10} Track", style="bold"))
    for entry, value in tracks:
        line = Text(" " * 10 if value is None else f"{round(value, 2) + 0.0:10.2f}", style="cyan")
        line.append(f" {entry.answer:10} ", style="bold")
        line.append(printable(entry.name), style="default not bold")
        stdout.print(line)


def write_playlist(file: Path, entries: Sequence[Entry]) -> None:
    """Write a playlist; a notice for each track that it can't name."""
    from genrescope.library.playlist import write_m3u8

    for left_out in write_m3u8(file, entries):
        notice(f"not in the playlist, for its name holds a line break: {left_out}")


def tag_of(query: Query, tag: Literal["artist", "album"]) -> str | None:
    """The artist or album of a track, for `--not-same-…`; a notice where its tags have none."""
    value: str | None = getattr(query.entry, tag)
    if value is None:
        notice(f"{query.name}: no {tag} in its tags, --not-same-{tag} leaves nothing out for it")
    return value
