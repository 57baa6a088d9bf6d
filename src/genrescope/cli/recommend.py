"""`genrescope recommend`: from a few liked tracks to more of the kind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from genrescope.cli.scan import LIBRARY
from genrescope.cli.similar import tag_of, years_of
from genrescope.cli.terminal import Format, notice, printable, stdout

if TYPE_CHECKING:
    from genrescope.library.recommend import Recommendation


def recommend(
    like: list[str] = typer.Option(
        ..., "--like", metavar="TRACK", help="You like it: a file, or a track of the library."
    ),
    dislike: list[str] = typer.Option(
        [], "--dislike", metavar="TRACK", help="You don't like it; nor what is like it."
    ),
    library: str | None = LIBRARY,
    n: int = typer.Option(20, "-n", min=1, help="Show so many."),
    diversity: float = typer.Option(
        0.3, "--diversity", min=0, max=1, help="0: the nearest. 1: as unlike each other as can be."
    ),
    not_same_artist: bool = typer.Option(
        False, "--not-same-artist", help="By nobody that you named."
    ),
    genre: str | None = typer.Option(None, "--genre", help="Of this genre, as it was heard."),
    year: str | None = typer.Option(None, "--year", metavar="A-B", help="From these years."),
    playlist: Path | None = typer.Option(
        None, "--playlist", metavar="FILE", help="Write what is recommended as M3U8."
    ),
    format: Format = typer.Option(Format.table, "--format", "-f", help="How they are written."),
) -> None:
    """Recommend tracks of your library by a few that you like, and some that you don't.

    Each comes with its reason. The score goes by likeness, 1 for the same and 0 for no more alike
    than any two tracks, less what a track has of those you don't like. A file that is not in the
    library is heard first.

    Examples:

      genrescope recommend --like song.mp3

      genrescope recommend --like waltz.flac --like riff.mp3 --dislike noise.mp3 -n 30
      --not-same-artist --playlist more.m3u8
    """
    from genrescope.library.playlist import write_m3u8
    from genrescope.library.recommend import recommend as recommended
    from genrescope.library.similar import Space, Wanted
    from genrescope.library.store import Library

    years = years_of(year)
    space = Space(Library.open(library))
    genre = genre and space.genre(genre)
    likes, dislikes = ([space.find(track) for track in tracks] for tracks in (like, dislike))
    wanted = [Wanted(genre, years)]
    if not_same_artist:
        wanted += [Wanted(not_artist=tag_of(each, "artist")) for each in (*likes, *dislikes)]
    found = recommended(space, likes, dislikes, n=n, diversity=diversity, wanted=wanted)
    _show(found, format)
    if not found:
        notice("no other track in the library is as wished")
        raise typer.Exit(1)
    if playlist is not None:
        write_m3u8(playlist, [each.entry for each in found])


def _show(found: Sequence[Recommendation], format: Format) -> None:
    if format is Format.json:
        typer.echo(json.dumps([each.to_dict() for each in found], indent=1))
        return
    stdout.print(Text(f"{'Score':9} {'Genre':10} Track, and why", style="bold"))
    for each in found:
        line = Text(f"{round(each.score, 2) + 0.0:8.2f} ", style="cyan")
        line.append(f" {each.entry.genre or '?':10} ", style="bold")
        line.append(printable(each.entry.name), style="default not bold")
        line.append(f"  {printable(each.reason)}", style="dim not bold")
        stdout.print(line)
