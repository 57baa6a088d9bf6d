"""`genrescope sort`: files into one folder a genre, playlists by genre, the library as a table."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from genrescope.cli.scan import LIBRARY
from genrescope.cli.terminal import error_line, notice, printable, progress, stdout
from genrescope.errors import FileError

if TYPE_CHECKING:
    from genrescope.library.rows import Entry
    from genrescope.library.sort import Plan
    from genrescope.library.store import Library


def sort(
    folders: list[Path] = typer.Argument(
        None, metavar="[FOLDER]", help="Only tracks below these; by default the whole library."
    ),
    to: Path | None = typer.Option(None, "--to", metavar="DEST", help="Where genres' folders go."),
    library: str | None = LIBRARY,
    copy: bool = typer.Option(False, "--copy", help="Copy the files (the default)."),
    link: bool = typer.Option(False, "--link", help="Make symbolic links to them."),
    move: bool = typer.Option(False, "--move", help="Move them."),
    playlists: bool = typer.Option(
        False, "--playlists", help="Write a playlist a genre; by itself it leaves files alone."
    ),
    export: Path | None = typer.Option(
        None, "--export", metavar="FILE", help="Write the tracks as .csv, .json or .parquet."
    ),
    yes: bool = typer.Option(False, "--yes", "-y", help="Do it; without, it is only shown."),
    undo: Path | None = typer.Option(None, "--undo", metavar="FILE", help="Take a sorting back."),
) -> None:
    """Sort a library's files into one folder a genre.

    Without --yes it only shows what it would do. No file is ever replaced: where a name is taken,
    the new one is numbered. An undo file is written first.

    Exit code 1: some files could not be sorted.

    Examples:

      genrescope sort --to ~/Sorted --link

      genrescope sort ~/Music/New --to ~/Sorted --move --yes

      genrescope sort --undo ~/Sorted/undo-20261121-190000.json

      genrescope sort --to ~/Playlists --playlists --yes

      genrescope sort --export tracks.csv
    """
    if undo is not None:
        _undo(undo)
        return
    if copy + link + move > 1:
        raise typer.BadParameter("one of --copy, --link and --move")
    if to is None and export is None:
        raise typer.BadParameter("wanted is --to DEST, --export FILE or --undo FILE")
    if to is None and (copy or link or move or playlists):
        raise typer.BadParameter("--copy, --link, --move and --playlists need --to DEST")

    from genrescope.library.sort import plan
    from genrescope.library.store import Library

    opened = Library.open(library)
    entries = _below(opened, folders or [])
    if export is not None:
        from genrescope.library.export import export as write

        write(entries, opened.model.genres, export)
        notice(f"wrote {len(entries)} tracks to {export}")
    if to is None:
        return
    only_playlists = playlists and not (copy or link or move)
    planned = plan(entries, to, "link" if link else "move" if move else "copy")
    if not only_playlists:
        _sort(planned, yes)
    if playlists and yes:
        _write_playlists(planned, entries, only_playlists)
    if not yes:
        notice("nothing was changed: --yes does it")


def _below(library: Library, folders: list[Path]) -> list[Entry]:
    """The tracks that are there, below some folders."""
    entries = [entry for entry in library.entries() if not entry.deleted]
    places = [folder.resolve() for folder in folders]
    for place in places:
        if not any(entry.file.is_relative_to(place) for entry in entries):
            raise FileError(place, "no track of the library is there: scan it first")
    if not places:
        return entries
    return [e for e in entries if any(e.file.is_relative_to(place) for place in places)]


def _sort(planned: Plan, yes: bool) -> None:
    from genrescope.library.sort import carry_out

    folders = Counter(Path(step.target).parent.name for step in planned.steps)
    for folder, count in sorted(folders.items()):
        stdout.print(f"{count:6} {planned.action} to {folder}/", markup=False)
    notice(f"{planned.there} are there already, {planned.skipped} have no genre or are gone")
    if not yes:
        return
    with progress("files") as bar:
        task = bar.add_task("Sorting", total=len(planned.steps))
        undo_file, failures = carry_out(
            planned, lambda done, total: bar.update(task, completed=done, total=total)
        )
    for failure in failures:
        error_line(str(failure))
    if undo_file is not None:
        stdout.print(printable(f"to undo: genrescope sort --undo {undo_file}"), markup=False)
    if planned.action == "move" and planned.steps:
        notice(f"genrescope scan {planned.folder} tells the library; nothing is heard again")
    if failures:
        raise typer.Exit(1)


def _write_playlists(planned: Plan, entries: list[Entry], where_they_are: bool) -> None:
    from genrescope.library.sort import write_playlists

    placed = [(e, e.file) for e in entries if e.has_embedding] if where_they_are else planned.placed
    for file in write_playlists(placed, planned.folder):
        stdout.print(printable(str(file)), markup=False)


def _undo(file: Path) -> None:
    from genrescope.library.sort import undo

    undone, failures = undo(file)
    for failure in failures:
        error_line(str(failure))
    stdout.print(f"{undone} undone, {len(failures)} left as they are", markup=False)
    if failures:
        raise typer.Exit(1)
