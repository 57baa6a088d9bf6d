"""Options that say which tracks of a library are meant, for all commands that have them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from genrescope.library.similar import TrackFilter
    from genrescope.library.store import Library


@dataclass(frozen=True)
class FilterOptions:
    """Which tracks of a library are meant."""

    genre: Annotated[str | None, typer.Option("--genre", help="Only of this predicted genre.")] = (
        None
    )
    style: Annotated[
        str | None, typer.Option("--style", help="Only with this style, such as techno.")
    ] = None
    instrument: Annotated[
        str | None, typer.Option("--instrument", help="Only with this instrument.")
    ] = None
    mood: Annotated[str | None, typer.Option("--mood", help="Only with this mood.")] = None
    max_duration: Annotated[
        float | None,
        typer.Option(
            "--max-duration",
            metavar="MINUTES",
            min=0,
            help="Leave out longer tracks, such as mixes.",
        ),
    ] = None
    year: Annotated[
        str | None, typer.Option("--year", metavar="A-B", help="Only from these years.")
    ] = None

    def of(self, library: Library) -> TrackFilter:
        """The filter that the options ask for, in the spelling of a library.

        Raises
        ------
        GenrescopeError
            The library's model has no such genre, or no track has the style, instrument or mood.
        typer.BadParameter
            `--year` is neither a year nor a range of years.
        """
        from genrescope.library.similar import TrackFilter, find_label, genre_of

        years = years_of(self.year)
        return TrackFilter(
            self.genre and genre_of(library, self.genre),
            years,
            style=self.style and find_label(library, "styles", self.style),
            instrument=self.instrument and find_label(library, "instruments", self.instrument),
            mood=self.mood and find_label(library, "moods", self.mood),
            max_duration=None if self.max_duration is None else 60.0 * self.max_duration,
        )

    def no_match(self, library: Library, *, other: bool = False) -> str:
        """Why no track passes, for a notice: none of the genre, or none that passes all filters."""
        from genrescope.library.similar import genre_of

        if self.genre is not None:
            genre, known = genre_of(library, self.genre), library.model.genres
            found = {each.effective_genre for each in library.entries() if not each.deleted}
            if genre not in found:
                there = ", ".join(name for name in known if name in found) or "none"
                return f"no track in the library has the genre {genre}; its genres are: {there}"
        return f"no {'other ' if other else ''}track in the library matches"


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
