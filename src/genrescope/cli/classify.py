"""`genrescope classify`: the genre of every file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path

import typer

from genrescope.cli.files import find
from genrescope.cli.terminal import error_line, notice, printable, progress, stderr
from genrescope.cli.writers import WRITERS, output
from genrescope.errors import FileError, TagError
from genrescope.inference import Classifier
from genrescope.settings import default_model


class Format(StrEnum):
    """How results are written."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


def classify(
    paths: list[str] = typer.Argument(
        ...,
        metavar="PATH",
        help="Files, folders (searched through), globs; - reads names from stdin.",
    ),
    format: Format = typer.Option(Format.table, "--format", "-f", help="How results are written."),
    top: int = typer.Option(1, "--top", min=1, help="Show so many of the likeliest genres."),
    timeline: bool = typer.Option(
        False, "--timeline", help="In the table: where in the track each genre is heard."
    ),
    model: str = typer.Option(
        default_model,
        "--model",
        "-m",
        help="A model's name (see genrescope models list), a run or a bundle.",
        show_default="the one in use",
    ),
    jobs: int | None = typer.Option(
        None, "--jobs", "-j", min=1, help="Files heard at once; as many as cores."
    ),
    destination: Path | None = typer.Option(
        None, "--output", "-o", help="Write to this file instead of stdout."
    ),
    write_tags: bool = typer.Option(
        False, "--write-tags", help="Put the genre into the files' own tags."
    ),
    overwrite: bool = typer.Option(
        False, "--overwrite", help="With --write-tags: replace genres that are there."
    ),
    dry_run: bool = typer.Option(
        False, "--dry-run", help="With --write-tags: only show what would change."
    ),
    yes: bool = typer.Option(False, "--yes", "-y", help="With --write-tags: do not ask."),
) -> None:
    """Name the genre of music files.

    A file that can't be heard never stops the rest: it is listed at the end.

    Exit code 1: some files failed. 2: nothing could be classified.

    Examples:

      genrescope classify ~/Music

      genrescope classify song.mp3 --top 3 --timeline

      genrescope classify '~/Music/**/*.flac' --format csv --output genres.csv

      find . -name '*.opus' | genrescope classify - --format jsonl

      genrescope classify ~/Music --write-tags --dry-run
    """
    if (overwrite or dry_run or yes) and not write_tags:
        raise typer.BadParameter("--overwrite, --dry-run and --yes go with --write-tags")
    if write_tags and not (yes or dry_run) and not sys.stdin.isatty():
        raise typer.BadParameter("nobody is there to ask: --write-tags needs --yes or --dry-run")
    classifier = Classifier.load(model)
    found = list(find(paths))
    files = [item for item in found if isinstance(item, Path)]
    failures = [item for item in found if isinstance(item, FileError)]
    # Only what is still needed: a whole collection's timelines would fill the memory.
    named: list[tuple[str | None, str | None]] = []
    interrupted = False
    # The bar first: while it is on the screen, what is printed goes above it.
    with progress("files") as bar, output(destination) as stream:
        writer = WRITERS[format.value](stream, classifier.genres, top=top, timeline=timeline)
        task = bar.add_task("Listening", total=len(files))
        try:
            for result in classifier.predict_many(files, jobs=jobs):
                if isinstance(result, FileError):
                    failures.append(result)
                else:
                    named.append((result.path, result.genre))
                    writer.write(result)
                bar.advance(task)
        except KeyboardInterrupt:
            interrupted = True
        writer.close()
    for failure in failures:
        error_line(str(failure))
    if interrupted:
        notice(f"interrupted: {len(named)} of {len(files)} files were classified")
        sys.stdout.flush()
        # Threads that are in the middle of a file would keep the process for a while.
        os._exit(130)
    if write_tags:
        failures += _write_tags(named, overwrite=overwrite, dry_run=dry_run, yes=yes)
    if failures:
        stderr.print(f"{len(named)} classified, {len(failures)} failed", style="bold")
        raise typer.Exit(1 if named else 2)


def _write_tags(
    named: Iterable[tuple[str | None, str | None]], *, overwrite: bool, dry_run: bool, yes: bool
) -> list[TagError]:
    """Show what would change, ask, and change it; gives what failed."""
    from genrescope.library import tags

    genres = {path: tags.genre_name(genre) for path, genre in named if path and genre}

    def each(act: Callable[..., tags.TagChange], paths: Iterable[str]) -> list[tags.TagChange]:
        changes = []
        for path in paths:
            try:
                changes.append(act(path, genres[path], overwrite=overwrite))
            except TagError as error:
                failures.append(error)
                error_line(str(error))
        return changes

    failures: list[TagError] = []
    planned = each(tags.plan_genre, genres)
    wanted = [change for change in planned if change.action == "write"]
    for change in planned:
        if change.action != "same":
            fate = (
                f"-> {change.after}" if change.action == "write" else "kept (--overwrite replaces)"
            )
            stderr.print(
                printable(f"{change.path}: {change.before or 'no genre'} {fate}"), markup=False
            )
    if not wanted or dry_run:
        notice(f"{_files(len(wanted))} would be changed" if dry_run else "no tag needs a change")
        return failures
    try:
        agreed = yes or typer.confirm(f"Write the genre into {_files(len(wanted))}?", err=True)
    except typer.Abort:
        notice("interrupted: nothing was changed")
        raise typer.Exit(130) from None
    if not agreed:
        notice("nothing was changed")
        return failures
    written = each(tags.write_genre, [os.fsdecode(change.path) for change in wanted])
    notice(f"wrote the genre into {_files(len(written))}")
    return failures


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"
