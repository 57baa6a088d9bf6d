"""`genrescope similar`: what sounds like a track."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer
from rich.text import Text

from genrescope.cli.scan import LIBRARY
from genrescope.cli.terminal import Format, notice, printable, stdout

if TYPE_CHECKING:
    from genrescope.library.similar import Query
    from genrescope.library.store import Entry


def similar(
    track: str = typer.Argument(..., help="A file, or a track as the library shows it."),
    library: str | None = LIBRARY,
    n: int = typer.Option(10, "-n", min=1, help="Show so many."),
    not_same_artist: bool = typer.Option(False, "--not-same-artist", help="By somebody else."),
    not_same_album: bool = typer.Option(False, "--not-same-album", help="From another album."),
    genre: str | None = typer.Option(None, "--genre", help="Of this genre, as it was heard."),
    year: str | None = typer.Option(None, "--year", metavar="A-B", help="From these years."),
    playlist: Path | None = typer.Option(
        None, "--playlist", metavar="FILE", help="Write the track and these as M3U8."
    ),
    format: Format = typer.Option(Format.table, "--format", "-f", help="How they are written."),
) -> None:
    """Find what sounds like a track, most alike first.

    Likeness is the cosine around the library's middle: 1 is the same, 0 no more alike than any two
    tracks. A file that is not in the library is heard first.

    Examples:

      genrescope similar song.mp3

      genrescope similar song.mp3 --not-same-artist --year 1970-1979 --playlist like-song.m3u8
    """
    from genrescope.library.playlist import write_m3u8
    from genrescope.library.similar import Space, Wanted
    from genrescope.library.store import Library

    years = years_of(year)
    space = Space(Library.open(library))
    genre = genre and space.genre(genre)
    query = space.find(track)
    wanted = Wanted(
        genre,
        years,
        tag_of(query, "artist") if not_same_artist else None,
        tag_of(query, "album") if not_same_album else None,
    )
    found = space.nearest(query, n, wanted)
    show_tracks(found, format, "likeness")
    if not found:
        notice("no other track in the library is as wished")
        raise typer.Exit(1)
    if playlist is not None:
        write_m3u8(playlist, [query.entry, *(entry for entry, _ in found)])


def show_tracks(tracks: Sequence[tuple[Entry, float | None]], format: Format, what: str) -> None:
    """Show tracks, each with a figure, as a table or as JSON."""
    if format is Format.json:
        rows = [
            entry.to_dict() | {what: None if value is None else round(value, 6)}
            for entry, value in tracks
        ]
        typer.echo(json.dumps(rows, indent=1))
        return
    stdout.print(Text(f"{what.title():9} {'Genre':10} Track", style="bold"))
    for entry, value in tracks:
        line = Text(
            "         " if value is None else f"{round(value, 2) + 0.0:8.2f} ", style="cyan"
        )
        line.append(f" {entry.genre or '?':10} ", style="bold")
        line.append(printable(entry.name), style="default not bold")
        stdout.print(line)


def years_of(text: str | None) -> tuple[int, int] | None:
    """What `--year` says, 1975 or 1970-1979, as first and last year."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{4})(?:-(\d{4}))?", text.strip())
    if match is None:
        raise typer.BadParameter(f"--year wants 1975 or 1970-1979, not {text}")
    first, last = int(match[1]), int(match[2] or match[1])
    if first > last:
        raise typer.BadParameter(f"--year goes from earlier to later: {last}-{first}, not {text}")
    return first, last


def tag_of(query: Query, tag: Literal["artist", "album"]) -> str | None:
    """What a track's tags say, for `--not-same-…`; where that is nothing, it is said."""
    said: str | None = getattr(query.entry, tag)
    if said is None:
        notice(f"{query.name}: no {tag} in its tags, --not-same-{tag} leaves nothing out for it")
    return said
