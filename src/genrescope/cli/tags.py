"""`genrescope classify --write-tags`, and `genrescope tags undo`."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genrescope.cli.signals import INTERRUPTED
from genrescope.cli.terminal import argument, echo, error_line, message, notice, printable
from genrescope.errors import FileError, GenrescopeError, TagError
from genrescope.wording import confidence_percent, counted

if TYPE_CHECKING:
    from genrescope.library.tags import TagChange

app = typer.Typer(help="Genre tags that were written, and taking them back.", no_args_is_help=True)

# A file and its most probable genres with their probabilities, most probable first.
Named = tuple[str, Sequence[tuple[str, float]]]

_KEPT = {
    "keep": "kept with another genre (--overwrite replaces it, --append adds to it)",
    "unknown": "kept with a genre that the model does not know (--force replaces it)",
    "same": "with this genre already",
}


@dataclass(frozen=True)
class TagOptions:
    """Options of `--write-tags`."""

    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="With --write-tags: replace genres that are there."),
    ] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --write-tags: only show what would change.")
    ] = False
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --write-tags: do not ask.")] = False
    append: Annotated[
        bool,
        typer.Option("--append", help="With --write-tags: add to the genres that are there."),
    ] = False
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="With --overwrite: replace genres that the model does not know, too."
        ),
    ] = False
    min_confidence: Annotated[
        float,
        typer.Option(
            "--min-confidence",
            min=0,
            max=1,
            help="With --write-tags: write no genre of a lower probability.",
        ),
    ] = 0.5
    count: Annotated[
        int,
        typer.Option(
            "--count", min=1, help="With --write-tags: genres and styles to write at most."
        ),
    ] = 1
    library: Annotated[
        str | None,
        typer.Option(
            "--library",
            "-l",
            metavar="PLACE",
            help="With --write-tags: use the genres corrected in this library.",
            show_default="the one in your data folder",
        ),
    ] = None

    def check(self, write_tags: bool) -> None:
        """Refuse options that contradict each other, or need `--write-tags`.

        Raises
        ------
        typer.BadParameter
            When they do.
        """
        if self != TagOptions() and not write_tags:
            raise typer.BadParameter(
                "--overwrite, --append, --force, --min-confidence, --count, --dry-run, --yes and "
                "--library need --write-tags"
            )
        if self.overwrite and self.append:
            raise typer.BadParameter("choose one of --overwrite and --append")
        if self.force and not self.overwrite:
            raise typer.BadParameter("--force needs --overwrite")
        if write_tags and not (self.yes or self.dry_run) and not sys.stdin.isatty():
            raise typer.BadParameter(
                "--write-tags asks before it writes, but stdin is not a terminal: "
                "add --yes or --dry-run"
            )


def write_tags(
    named: Sequence[Named], genres: Sequence[str], options: TagOptions
) -> list[FileError]:
    """Show what would change, ask, and change it; return what failed.

    Parameters
    ----------
    named
        Classified files; without any genre where nothing can be told.
    genres
        Those that the model knows, and its styles.
    options
        How.
    """
    from genrescope.library.tags import genre_name, plan_genre

    known = None if options.force else [genre_name(genre) for genre in genres]
    settings = {"overwrite": options.overwrite, "append": options.append}
    failures: list[FileError] = []
    changes: list[tuple[TagChange, list[str], float]] = []
    others: Counter[str] = Counter()
    for path, probable in _with_corrections(named, options.library):
        confident = [
            genre_name(genre)
            for genre, probability in probable[: options.count]
            if probability >= options.min_confidence
        ]
        if not confident:
            others["unsure" if probable else "silent"] += 1
            continue
        try:
            change = plan_genre(path, confident, known=known, **settings)
        except TagError as error:
            failures.append(error)
            error_line(str(error))
            continue
        if change.action == "write":
            changes.append((change, confident, probable[0][1]))
        else:
            others[change.action] += 1
    for change, _, confidence in changes:
        line = f"{change.path}: {change.before or 'no genre'} -> {change.after} "
        line += f"({confidence_percent(confidence)})"
        message("", (printable(line), ""))
    _show_counts(others, options.min_confidence)
    if not changes or options.dry_run:
        would = f"{counted(len(changes), 'file')} would be changed"
        notice(would if options.dry_run else "no tag needs a change")
        return failures
    if not _agreed(len(changes), options.yes):
        notice("nothing was changed")
        return failures
    _remove_leftovers([change.path for change, *_ in changes])
    named_files = [(os.fsdecode(change.path), confident) for change, confident, _ in changes]
    return failures + write_genres(named_files, known=known, **settings)


def write_genres(files: Iterable[tuple[str, Sequence[str]]], **settings: Any) -> list[FileError]:
    """Write genres into files; print what failed, how many were changed, and how to undo it.

    Parameters
    ----------
    files
        Each with its genres.
    settings
        Arguments of `TagJournal.write_genre`.

    Returns
    -------
    list of FileError
        What failed. Where it is the journal, the last, the files behind it were not tried.

    Raises
    ------
    FileError
        The journal can't be written, and nothing was changed.
    """
    from genrescope.library.tag_journal import TagJournal

    journal, written, failures = TagJournal(), 0, list[FileError]()
    interrupted = False
    try:
        for path, genres in files:
            try:
                change = journal.write_genre(path, genres, **settings)
                written += change.action == "write"
            except TagError as error:
                failures.append(error)
                error_line(str(error))
    except FileError as error:  # nothing more can be written that could be undone
        if not written:
            raise
        failures.append(error)
        error_line(str(error))
    except KeyboardInterrupt:
        interrupted = True
    undo_hint = "; to undo: genrescope tags undo" if written or interrupted else ""
    before = "interrupted: " if interrupted else ""
    notice(f"{before}wrote the genre into {counted(written, 'file')}{undo_hint}")
    if interrupted:
        raise typer.Exit(INTERRUPTED)
    return failures


def _with_corrections(named: Sequence[Named], library: str | None) -> Iterator[Named]:
    """The files; genres that were corrected in a library come first, with certainty."""
    from genrescope.library.content import content_of
    from genrescope.library.places import default_library
    from genrescope.library.store import Library, is_library

    corrections: dict[str, str] = {}
    with suppress(GenrescopeError) if library is None else nullcontext():
        place = library or default_library()
        if library is not None or is_library(place):
            corrections = Library.open(place).corrections()
    used = 0
    for path, probable in named:
        genre = None
        if corrections:
            with suppress(FileError):  # which is told about when its tags are read
                genre = corrections.get(content_of(Path(path)))
        if genre is not None:
            used += 1
            probable = [(genre, 1.0), *(each for each in probable if each[0] != genre)]
        yield path, probable
    if used:
        has = "has" if used == 1 else "have"
        notice(f"{counted(used, 'file')} {has} a genre corrected in the library")


@app.callback()
def _root() -> None:
    """Genre tags that were written, and taking them back."""


@app.command()
def undo(
    journal: Path | None = typer.Argument(
        None, metavar="[JOURNAL]", help="The journal of a run; by default the last one's."
    ),
) -> None:
    """Give files the genres back that they had before classify --write-tags.

    Only files whose genre is still what was written are changed. Called again, it goes back to the
    run before, unless something can still be undone.

    Exit code 1: some files were changed since, are gone, or can't be written.

    Examples:

      genrescope tags undo
    """
    from genrescope.library.tag_journal import journal_before, kept_journal, latest_journal
    from genrescope.library.tag_journal import undo as take_back

    journal = journal or latest_journal()
    undone, failures = take_back(journal)
    for failure in failures:
        error_line(str(failure))
    echo(f"{undone} undone, {len(failures)} left alone")
    if failures:
        if journal.exists():
            notice(f"{printable(str(journal))} is kept, for another try")
            if older := journal_before(journal):
                notice(f"the run before: genrescope tags undo {argument(older)}")
        elif (kept := kept_journal(journal)).exists():
            notice(f"should the files come back: genrescope tags undo {argument(kept)}")
        raise typer.Exit(1)


def _show_counts(others: Counter[str], min_confidence: float) -> None:
    """How many files stay as they are, and why."""
    reasons = _KEPT | {
        "unsure": f"less certain than {min_confidence:g} (--min-confidence)",
        "silent": "without a predicted genre",
    }
    for reason, text in reasons.items():
        if others[reason]:
            notice(f"{counted(others[reason], 'file')} {text}")


def _agreed(count: int, yes: bool) -> bool:
    try:
        return yes or typer.confirm(f"Write the genre into {counted(count, 'file')}?", err=True)
    except typer.Abort:
        notice("interrupted: nothing was changed")
        raise typer.Exit(INTERRUPTED) from None


def _remove_leftovers(files: Sequence[Path]) -> None:
    from genrescope.library.leftovers import remove_leftovers

    folders = {Path(os.path.realpath(file)).parent for file in files}
    for file in remove_leftovers(folders):
        notice(f"removed what an interrupted run had left: {file}")
