"""`genrescope sort`: files into folders by genre, playlists by genre, the library as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from genrescope.cli.files import not_music
from genrescope.cli.scan import LIBRARY
from genrescope.cli.signals import INTERRUPTED
from genrescope.cli.terminal import argument, error_line, notice, printable, progress, stdout
from genrescope.errors import FileError
from genrescope.wording import confidence_percent, counted

if TYPE_CHECKING:
    from genrescope.library.rows import Entry
    from genrescope.library.sort import Plan
    from genrescope.library.store import Library


class By(StrEnum):
    """The unit that is sorted as a whole."""

    track = "track"
    album = "album"


def sort(
    folders: list[str] = typer.Argument(
        None, metavar="[FOLDER]", help="Only tracks below these; by default the whole library."
    ),
    to: Path | None = typer.Option(None, "--to", metavar="DEST", help="The top folder."),
    library: str | None = LIBRARY,
    copy: bool = typer.Option(False, "--copy", help="Copy the files (the default)."),
    link: bool = typer.Option(False, "--link", help="Make symbolic links to them."),
    move: bool = typer.Option(False, "--move", help="Move them."),
    by: By = typer.Option(
        By.track, "--by", help="By each track's genre, or by that of its album as a whole."
    ),
    template: str | None = typer.Option(
        None,
        "--template",
        metavar="PATH",
        help="Where files go below DEST: {genre}, {artist}, {album}, {title}, {year}, {file}.",
    ),
    min_confidence: float = typer.Option(
        0.5, "--min-confidence", min=0, max=1, help="Less certain tracks go to Unsorted."
    ),
    playlists: bool = typer.Option(
        False, "--playlists", help="Write a playlist a genre; alone it leaves files where they are."
    ),
    export: Path | None = typer.Option(
        None,
        "--export",
        metavar="FILE",
        callback=not_music,
        help="Write the tracks as .csv, .json or .parquet.",
    ),
    yes: bool = typer.Option(False, "--yes", "-y", help="Do it; without, it is only shown."),
    dry_run: bool = typer.Option(
        False, "--dry-run", help="Only show what would be done, as without --yes."
    ),
    undo: Path | None = typer.Option(None, "--undo", metavar="FILE", help="Undo a sorting."),
) -> None:
    """Sort a library's files into folders by genre.

    Without --yes it only shows what it would do. No file is ever replaced: where a name is taken,
    the new one is numbered. An undo file is written first. Files go to {genre}/{file}, with
    --by album to {genre}/{artist}/{album}/{file}.

    Exit code 1: some files could not be sorted.

    Examples:

      genrescope sort --to ~/Sorted --link

      genrescope sort ~/Music/New --to ~/Sorted --move --by album --yes

      genrescope sort --to ~/Sorted --template '{genre}/{year}/{artist} - {title}'

      genrescope sort --undo ~/Sorted/undo-20261121-190000.json

      genrescope sort --to ~/Playlists --playlists --yes

      genrescope sort --export tracks.csv
    """
    if dry_run and (yes or undo is not None):
        raise typer.BadParameter("--dry-run goes with neither --yes nor --undo")
    if undo is not None:
        _undo(undo)
        return
    if copy + link + move > 1:
        raise typer.BadParameter("choose one of --copy, --link and --move")
    if to is None and export is None:
        raise typer.BadParameter("expected --to DEST, --export FILE or --undo FILE")
    if to is None and (copy or link or move or playlists or template):
        raise typer.BadParameter(
            "--copy, --link, --move, --template and --playlists need --to DEST"
        )

    from genrescope.library.corrections import corrected
    from genrescope.library.sort import plan
    from genrescope.library.store import Library

    opened = Library.open(library)
    entries = _below(opened, folders or [])
    if export is not None:
        from genrescope.library.export import export as write

        if dry_run:
            notice(f"would write {counted(len(entries), 'track')} to {export}")
        else:
            write(entries, opened.model.genres, export)
            notice(f"wrote {counted(len(entries), 'track')} to {export}")
    if to is None:
        return
    if remote := sum(entry.is_remote for entry in entries):
        notice(f"files at addresses are not sorted: {counted(remote, 'track')} left out")
    planned = plan(
        corrected(entries, opened.model.genres),
        to,
        "link" if link else "move" if move else "copy",
        genres=opened.model.genres,
        by=by.value,
        min_confidence=min_confidence,
        template=template,
        roots={Path(entry.root) for entry in opened.entries() if not entry.is_remote},
    )
    only_playlists = playlists and not (copy or link or move)
    if not only_playlists:
        _sort(planned, yes)
    if playlists and yes:
        _write_playlists(planned, only_playlists)
    if not yes:
        notice("nothing was changed: --yes does it")


def _below(library: Library, folders: list[str]) -> list[Entry]:
    """The existing tracks below some folders and addresses."""
    from genrescope.library.maintenance import below, typed_place

    entries = [entry for entry in library.entries() if not entry.deleted]
    chosen: set[int] = set()
    for place in map(typed_place, folders):
        if not (found := below(entries, place)):
            raise FileError(place, "no track of the library is there: scan it first")
        chosen |= {id(entry) for entry in found}
    return [entry for entry in entries if id(entry) in chosen] if folders else entries


def _sort(planned: Plan, yes: bool) -> None:
    from genrescope.library.leftovers import remove_leftovers
    from genrescope.library.moves import carry_out

    if not yes:
        _show_steps(planned)
    moved = [step for step in planned.steps if step.source != step.target]
    folders = Counter(_folder(planned, Path(step.target)) for step in moved)
    for folder, count in sorted(folders.items()):
        stdout.print(printable(f"{count:6} {planned.action} to {folder}/"), markup=False)
    if links := len(planned.steps) - len(moved):
        notice(f"links changed to follow their files: {links}")
    notice(f"in place already: {planned.in_place}; no genre, or gone: {len(planned.left_out)}")
    if not yes:
        return
    for file in remove_leftovers(Path(step.target).parent for step in planned.steps):
        notice(f"removed what an interrupted run had left: {file}")
    before = set(planned.folder.glob("undo-*.json"))
    try:
        with progress("files") as bar:
            task = bar.add_task("Sorting", total=len(planned.steps))
            undo_file, failures = carry_out(
                planned.steps,
                planned.action,
                planned.folder,
                lambda done, total: bar.update(task, completed=done, total=total),
                planned.roots,
            )
    except KeyboardInterrupt:
        for file in set(planned.folder.glob("undo-*.json")) - before:
            notice(f"interrupted; to undo: genrescope sort --undo {argument(file)}")
        raise typer.Exit(INTERRUPTED) from None
    for failure in failures:
        error_line(str(failure))
    if undo_file is not None:
        stdout.print(f"to undo: genrescope sort --undo {argument(undo_file)}", markup=False)
    if planned.action == "move" and planned.steps:
        _note_scan([planned.folder])
    if failures:
        raise typer.Exit(1)


def _show_steps(planned: Plan) -> None:
    """Show each file that would change, with where it goes and how sure its genre is."""
    placed = {str(each.file): each for each in planned.placed}
    for step in planned.steps:
        if step.source == step.target:
            line = f"{step.source}: {step.link} -> {step.moved_link}"
            stdout.print(printable(line), markup=False)
            continue
        target = Path(step.target).relative_to(planned.folder)
        confidence = confidence_percent(placed[step.target].confidence)
        stdout.print(printable(f"{step.source} -> {target} ({confidence})"), markup=False)
    for entry, reason in planned.left_out:
        stdout.print(printable(f"{entry.place}: left where it is, {reason}"), markup=False)


def _folder(planned: Plan, target: Path) -> str:
    """The first folder of a target below the top folder."""
    parts = target.relative_to(planned.folder).parts
    return parts[0] if len(parts) > 1 else "."


def _write_playlists(planned: Plan, where_they_are: bool) -> None:
    from dataclasses import replace

    from genrescope.library.sort import write_playlists

    placed = planned.placed
    if where_they_are:
        placed = tuple(replace(each, file=each.entry.file) for each in placed)
    written, left_out = write_playlists(placed, planned.folder)
    for file in written:
        stdout.print(printable(str(file)), markup=False)
    for file in left_out:
        notice(f"not in the playlist, for its name holds a line break: {file}")


def _note_scan(folders: Sequence[Path | str]) -> None:
    scan = " ".join(["genrescope scan", *map(argument, folders)])
    notice(f"{scan} updates the library; no file is analysed again")


def _undo(file: Path) -> None:
    from genrescope.library.moves import moved_from, undo

    roots = moved_from(file)
    undone, failures = undo(file)
    for failure in failures:
        error_line(str(failure))
    stdout.print(f"{undone} undone, {len(failures)} left alone", markup=False)
    if roots and undone:
        _note_scan(roots)
    if failures:
        raise typer.Exit(1)
