"""`genrescope recommend`: more like a few liked tracks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from genrescope.cli.files import not_music
from genrescope.cli.filters import FilterOptions
from genrescope.cli.options import grouped
from genrescope.cli.scan import LIBRARY
from genrescope.cli.similar import tag_of, write_playlist
from genrescope.cli.terminal import Format, notice, printable, stdout

if TYPE_CHECKING:
    from genrescope.library.recommend import Recommendation


@grouped
def recommend(
    tracks: list[str] = typer.Argument(
        None, metavar="TRACK...", help="Liked tracks: files, or tracks of the library."
    ),
    # As the liked tracks were given before they were arguments.
    like: list[str] = typer.Option([], "--like", metavar="TRACK", hidden=True),
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
    filters: FilterOptions = FilterOptions(),
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

      genrescope recommend song.mp3

      genrescope recommend waltz.flac riff.mp3 --dislike noise.mp3 -n 30
      --not-same-artist --playlist more.m3u8
    """
    from genrescope.library.recommend import recommend as find_recommended
    from genrescope.library.similar import Space, TrackFilter
    from genrescope.library.store import Library

    named = [*(tracks or ()), *like]
    if not named:
        raise typer.BadParameter("name at least one liked TRACK")
    opened = Library.open(library)
    wanted = [filters.of(opened)]
    space = Space(opened)
    likes, dislikes = ([space.find(track) for track in each] for each in (named, dislike))
    if not_same_artist:
        wanted += [TrackFilter(not_artist=tag_of(each, "artist")) for each in (*likes, *dislikes)]
    found = find_recommended(space, likes, dislikes, n=n, diversity=diversity, filters=wanted)
    _show(found, format)
    if not found:
        notice(filters.no_match(opened, other=True))
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
        line.append(f" {each.entry.answer:10} ", style="bold")
        line.append(printable(each.entry.name), style="default not bold")
        line.append(f"  {printable(each.reason)}", style="dim not bold")
        stdout.print(line)
