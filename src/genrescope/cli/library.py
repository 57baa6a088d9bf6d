"""`genrescope library`: what a library holds, and looking after it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from genrescope.audio.addresses import local_path, names_address
from genrescope.cli.files import not_music
from genrescope.cli.filters import FilterOptions
from genrescope.cli.options import grouped
from genrescope.cli.scan import LIBRARY
from genrescope.cli.similar import write_playlist
from genrescope.cli.tags import write_genres
from genrescope.cli.terminal import Format, error_line, notice, printable, progress, stdout
from genrescope.wording import confidence_percent, counted, size_in_words

if TYPE_CHECKING:
    from genrescope.library.rows import Entry

app = typer.Typer(help="What a library holds, and looking after it.", no_args_is_help=True)


@app.command()
def info(
    library: str | None = LIBRARY,
    format: Format = typer.Option(Format.table, "--format", "-f", help="Output format."),
) -> None:
    """Show what a library holds: tracks, folders, the model.

    Examples:

      genrescope library info
    """
    from genrescope.library.maintenance import describe
    from genrescope.library.rows import FORMAT
    from genrescope.library.store import Library

    opened = Library.open(library)
    found = describe(opened)
    model = asdict(opened.model)
    if format is Format.json:
        fields = {"library": opened.place, "format": FORMAT, "model": model, **asdict(found)}
        typer.echo(json.dumps(fields, indent=1))
        return
    size = "" if found.bytes is None else f" ({size_in_words(found.bytes)})"
    rows = {
        "library": opened.place + size,
        "model": f"{opened.model.name} ({opened.model.sha256[:8]})",
        "tracks": f"{found.tracks}: {found.deleted} deleted, {found.failed} could not be decoded, "
        f"{found.silent} silent, {found.no_music} no music",
    }
    if found.not_classified:
        rows["tracks"] += f", {found.not_classified} not classified yet"
    for name, text in rows.items():
        stdout.print(printable(f"{name:8} {text}"), markup=False)
    for root in found.roots:
        text = f"{root.path}: {counted(root.tracks, 'track')}, {root.deleted} deleted"
        missing = "" if root.exists else ", the folder is missing"
        stdout.print(printable(f"{'folder':8} {text}{missing}"), markup=False)


@app.command("list")
@grouped
def list_tracks(
    library: str | None = LIBRARY,
    filters: FilterOptions = FilterOptions(),
    playlist: Path | None = typer.Option(
        None, "--playlist", metavar="FILE", callback=not_music, help="Write these tracks as M3U8."
    ),
    format: Format = typer.Option(Format.table, "--format", "-f", help="Output format."),
) -> None:
    """List the tracks of a library, with genre, styles, instruments and moods.

    A track without a genre has what it is instead (speech, silence, not decoded, …) in its place;
    of one whose genre was corrected by hand the model's confidence is left out.

    Examples:

      genrescope library list --genre jazz --instrument saxophone

      genrescope library list --style techno --playlist techno.m3u8
    """
    from genrescope.library.store import Library

    opened = Library.open(library)
    allowed = filters.of(opened)
    entries = [each for each in opened.entries() if not each.deleted and allowed.allows(each)]
    entries.sort(key=lambda entry: entry.file)
    if format is Format.json:
        typer.echo(json.dumps([entry.to_dict() for entry in entries], indent=1))
    elif entries:
        _show_list(entries)
    if playlist is not None and entries:
        write_playlist(playlist, entries)
    if not entries:
        notice(filters.no_match(opened))
        raise typer.Exit(1)


def _show_list(entries: Sequence[Entry]) -> None:
    """Print a line for each track; of those with one name, also where each is."""
    names = Counter(entry.name for entry in entries)
    width = max(len("Genre"), *(len(entry.answer) for entry in entries))
    stdout.print(Text(f"{'Genre':{width}} Confidence Track", style="bold"))
    for entry in entries:
        sure = confidence_percent(entry.confidence) if entry.genre else ""
        sure = "corrected" if entry.corrected_genre else sure
        groups = {"styles": entry.styles, "instruments": entry.instruments, "moods": entry.moods}
        labels = "; ".join(f"{name}: {', '.join(found)}" for name, found in groups.items() if found)
        line = f"{entry.answer:{width}} {sure:>10} {entry.name}"
        line += f"  [{entry.place}]" if names[entry.name] > 1 else ""
        stdout.print(printable(line + (f"  ({labels})" if labels else "")), markup=False)


@app.command()
def forget(
    folders: list[str] = typer.Argument(
        None, metavar="[PATH]", help="Forget the tracks below these folders, or of these files."
    ),
    deleted: bool = typer.Option(
        False, "--deleted", help="Forget only tracks whose files were missing at the last scan."
    ),
    library: str | None = LIBRARY,
    yes: bool = typer.Option(False, "--yes", "-y", help="Do not ask."),
) -> None:
    """Remove tracks from a library. Files are not touched.

    A scan of a folder that contains them adds them again.

    Examples:

      genrescope library forget --deleted

      genrescope library forget ~/Music/Podcasts
    """
    from genrescope.library.maintenance import to_forget, typed_place
    from genrescope.library.places import locked
    from genrescope.library.store import Library

    if not folders and not deleted:
        raise typer.BadParameter("expected a PATH or --deleted")
    opened, places = Library.open(library), [typed_place(each) for each in folders or []]
    rows = to_forget(opened, places, deleted=deleted)
    if not rows:
        notice("no track to forget")
        return
    _ask(f"Forget {counted(len(rows), 'track')}?", yes)
    with locked(opened.place, _say_waiting):
        rows = to_forget(opened, places, deleted=deleted)  # a scan may have written meanwhile
        opened.remove(rows)
    stdout.print(f"{len(rows)} forgotten", markup=False)


@app.command()
def relocate(
    old: str = typer.Argument(..., metavar="OLD", help="The folder as the library knows it."),
    new: str = typer.Argument(..., metavar="NEW", help="Where it is now."),
    library: str | None = LIBRARY,
) -> None:
    """Tell a library that a folder was moved, or mounted elsewhere. Nothing is analysed again.

    Examples:

      genrescope library relocate /media/usb/Music ~/Music
    """
    from genrescope.library.maintenance import relocate as move_rows
    from genrescope.library.places import locked
    from genrescope.library.store import Library

    old, new = local_path(old), local_path(new)
    if names_address(old) or names_address(new):
        raise typer.BadParameter("it needs folders; of addresses, scan the new one, forget the old")
    opened = Library.open(library)
    with locked(opened.place, _say_waiting):
        moved, missing = move_rows(opened, Path(old).absolute(), Path(new))
    stdout.print(f"{moved} relocated, {missing} of them missing", markup=False)


@app.command()
def verify(
    library: str | None = LIBRARY,
    contents: bool = typer.Option(False, "--contents", help="Read all files; takes long."),
    mark: bool = typer.Option(False, "--mark", help="Mark missing files as deleted."),
    yes: bool = typer.Option(False, "--yes", "-y", help="With --mark: do not ask."),
) -> None:
    """Compare a library with the files: which are missing, and which have changed.

    Exit code 1: some are.

    Examples:

      genrescope library verify --mark
    """
    from genrescope.library.maintenance import mark_deleted
    from genrescope.library.maintenance import verify as compare
    from genrescope.library.places import locked
    from genrescope.library.store import Library

    opened = Library.open(library)
    with progress("files") as bar:
        task = bar.add_task("Comparing", total=None)
        found = compare(
            opened,
            contents=contents,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    for text, entries in (("missing", found.missing), ("changed", found.changed)):
        for entry in entries:
            stdout.print(printable(f"{text}  {entry.place}"), markup=False)
    for failure in found.unreadable:
        error_line(str(failure))
    counts = {"unchanged": found.unchanged, "missing": len(found.missing)}
    counts |= {"changed": len(found.changed), "unreadable": len(found.unreadable)}
    notice(", ".join(f"{count} {what}" for what, count in counts.items()))
    if mark and found.missing:
        _ask(f"Mark {counted(len(found.missing), 'track')} as deleted?", yes)
        with locked(opened.place, _say_waiting):
            mark_deleted(opened, found.missing)
    if found.missing or found.changed or found.unreadable:
        raise typer.Exit(1)


@app.command()
def corrections(
    library: str | None = LIBRARY,
    out: Path | None = typer.Option(
        None,
        "--out",
        "--output",
        "-o",
        metavar="FILE",
        callback=not_music,
        help="Write them as a table to train on, path,genre.",
    ),
    write_tags: bool = typer.Option(
        False, "--write-tags", help="Write the corrected genres into the files' own tags."
    ),
    yes: bool = typer.Option(False, "--yes", "-y", help="With --write-tags: do not ask."),
    format: Format = typer.Option(Format.table, "--format", "-f", help="Output format."),
) -> None:
    """List the genres that were corrected by hand, on the page of genrescope serve.

    Exit code 1: some tags can't be written.

    Examples:

      genrescope library corrections

      genrescope library corrections --write-tags --yes

      genrescope library corrections --out own.csv && genrescope train default --data own.csv
    """
    from genrescope.library.corrections import write_training_table
    from genrescope.library.genre_names import genre_name
    from genrescope.library.store import Library

    opened = Library.open(library)
    found = [entry for entry in opened.entries() if entry.corrected_genre and not entry.deleted]
    if format is Format.json:
        typer.echo(json.dumps([entry.to_dict() for entry in found], indent=1))
    else:
        for entry in found:
            said = replace(entry, corrected_genre=None).answer
            line = f"{said} -> {entry.corrected_genre}  {entry.place}"
            stdout.print(printable(line), markup=False)
    if out is not None:
        count = write_training_table(found, out)
        notice(f"wrote {counted(count, 'track')} to {printable(str(out))}")
        if remote := len(found) - count:
            notice(f"files at addresses can't be trained on: {counted(remote, 'track')} left out")
    if not write_tags or not found:
        return
    _ask(f"Write these genres into the tags of {counted(len(found), 'file')}?", yes)
    files: list[tuple[str, list[str]]] = []
    for entry in found:
        if entry.is_remote:
            error_line(f"{entry.place}: tags are written into files of this machine alone")
        else:
            files.append((str(entry.file), [genre_name(entry.corrected_genre or "")]))
    if write_genres(files, overwrite=True) or len(files) < len(found):
        raise typer.Exit(1)


def _say_waiting(process: str) -> None:
    notice(f"waiting for process {process}, which writes to the library")


def _ask(question: str, yes: bool) -> None:
    """Ask before something is changed; stop the command where the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter("stdin is not a terminal to ask at: add --yes")
    if not typer.confirm(question, err=True):
        notice("nothing was changed")
        raise typer.Exit(1)
