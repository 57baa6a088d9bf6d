"""Options that say which tracks of a library are meant, for all commands that have them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from genrescope.library.similar import TrackFilter
    from genrescope.library.store import Library

GENRE = typer.Option(None, "--genre", help="Only of this predicted genre.")
STYLE = typer.Option(None, "--style", help="Only with this style, such as techno.")
INSTRUMENT = typer.Option(None, "--instrument", help="Only with this instrument.")
MOOD = typer.Option(None, "--mood", help="Only with this mood.")
MAX_DURATION = typer.Option(
    None, "--max-duration", metavar="MINUTES", min=0, help="Leave out longer tracks, such as mixes."
)
YEAR = typer.Option(None, "--year", metavar="A-B", help="Only from these years.")


def filter_of(
    library: Library,
    *,
    genre: str | None = None,
    style: str | None = None,
    instrument: str | None = None,
    mood: str | None = None,
    year: str | None = None,
    max_duration: float | None = None,
) -> TrackFilter:
    """The filter of the options, in the spelling of the library; `max_duration` in minutes.

    Raises
    ------
    GenrescopeError
        The library's model has no such genre, or no track has the style, instrument or mood.
    """
    from genrescope.library.corrections import read_corrections
    from genrescope.library.similar import TrackFilter, find_label, genre_of

    years = years_of(year)
    return TrackFilter(
        genre and genre_of(library, genre),
        years,
        style=style and find_label(library, "styles", style),
        instrument=instrument and find_label(library, "instruments", instrument),
        mood=mood and find_label(library, "moods", mood),
        max_duration=None if max_duration is None else 60.0 * max_duration,
        corrections=read_corrections(library),
    )


def years_of(text: str | None) -> tuple[int, int] | None:
    """The first and last year of `--year`, which is 1975 or 1970-1979."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{4})(?:-(\d{4}))?", text.strip())
    if match is None:
        raise typer.BadParameter(f"--year has to be like 1975 or 1970-1979, not {text}")
    first, last = int(match[1]), int(match[2] or match[1])
    if first > last:
        raise typer.BadParameter(f"--year has to be in order: {last}-{first}, not {text}")
    return first, last
