"""`genrescope recommend`: more like a few liked tracks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from genrescope.cli.files import not_music
from genrescope.cli.filters import GENRE, INSTRUMENT, MAX_DURATION, MOOD, STYLE, YEAR, filter_of
from genrescope.cli.scan import LIBRARY
from genrescope.cli.similar import tag_of, write_playlist
from genrescope.cli.terminal import Format, notice, printable, stdout

if TYPE_CHECKING:
    from genrescope.library.recommend import Recommendation


def recommend(
    like: list[str] = typer.Option(
        ..., "--like", metavar="TRACK", help="A liked track: a file, or a track of the library."
    ),
    dislike: list[str] = typer.Option(
        [], "--dislike", metavar="TRACK", help="A disliked track; tracks like it sink."
    ),
    library: str | None = LIBRARY,
    n: int = typer.Option(20, "-n", min=1, help="Number of tracks."),
    diversity: float = typer.Option(
        0.3,
        "--diversity",
        min=0,
        max=1,
        help="0: the nearest. 1: as different from each other as possible.",
    ),
    not_same_artist: bool = typer.Option(
        False, "--not-same-artist", help="Leave out the artists of the named tracks."
    ),
    genre: str | None = GENRE,
    style: str | None = STYLE,
    instrument: str | None = INSTRUMENT,
    mood: str | None = MOOD,
    max_duration: float | None = MAX_DURATION,
    year: str | None = YEAR,
    playlist: Path | None = typer.Option(
        None,
        "--playlist",
        metavar="FILE",
        callback=not_music,
        help="Write the recommended tracks as M3U8.",
    ),
    format: Format = typer.Option(Format.table, "--format", "-f", help="Output format."),
) -> None:
    """Recommend tracks of your library by a few that you like, and some that you don't.

    Each comes with its reason. The score is a similarity, 1 for the same and 0 for no more alike
    than any two tracks, less a third of that to a disliked track. A file that is not in the library
    is classified first.

    Examples:

      genrescope recommend --like song.mp3

      genrescope recommend --like waltz.flac --like riff.mp3 --dislike noise.mp3 -n 30
      --not-same-artist --playlist more.m3u8
    """
    from genrescope.library.recommend import recommend as find_recommended
    from genrescope.library.similar import Space, TrackFilter
    from genrescope.library.store import Library

    opened = Library.open(library)
    allowed = filter_of(
        opened,
        genre=genre,
        style=style,
        instrument=instrument,
        mood=mood,
        year=year,
        max_duration=max_duration,
    )
    space = Space(opened)
    likes, dislikes = ([space.find(track) for track in tracks] for tracks in (like, dislike))
    filters = [allowed]
    if not_same_artist:
        filters += [TrackFilter(not_artist=tag_of(each, "artist")) for each in (*likes, *dislikes)]
    found = find_recommended(space, likes, dislikes, n=n, diversity=diversity, filters=filters)
    _show(found, format)
    if not found:
        notice("no other track in the library matches")
        raise typer.Exit(1)
    if playlist is not None:
        write_playlist(playlist, [each.entry for each in found])


def _show(found: Sequence[Recommendation], format: Format) -> None:
    if format is Format.json:
        typer.echo(json.dumps([each.to_dict() for each in found], indent=1))
        return
    stdout.print(Text(f"{'Score':9} {'Genre':10} Track, and reason", style="bold"))
    for each in found:
        line = Text(f"{round(each.score, 2) + 0.0:8.2f} ", style="cyan")
        line.append(f" {each.entry.genre or '?':10} ", style="bold")
        line.append(printable(each.entry.name), style="default not bold")
        line.append(f"  {printable(each.reason)}", style="dim not bold")
        stdout.print(line)
