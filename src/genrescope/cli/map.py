"""`genrescope map`: a map of a library, as a page and as a picture."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from genrescope.cli.files import not_music
from genrescope.cli.scan import LIBRARY
from genrescope.cli.terminal import Format, notice, printable, progress, stdout
from genrescope.cli.training_tracks import note_training_tracks
from genrescope.errors import BundleError

if TYPE_CHECKING:
    from genrescope.library.map import Map
    from genrescope.library.store import Library

# A larger library is not compared with the training tracks, which takes 20 ms a file.
_COMPARED = 5000


class Method(StrEnum):
    """As in `genrescope.library.map`, which only this command should import."""

    tsne = "tsne"
    umap = "umap"
    pca = "pca"


def map_library(
    library: str | None = LIBRARY,
    out: Path = typer.Option(
        Path("map.html"),
        "--out",
        "--output",
        "-o",
        metavar="FILE",
        callback=not_music,
        help="The page; an existing file is replaced.",
    ),
    png: Path | None = typer.Option(
        None, "--png", metavar="FILE", callback=not_music, help="Write the map as PNG, too."
    ),
    method: Method = typer.Option(Method.tsne, "--method", help="How positions are computed."),
    redraw: bool = typer.Option(
        False, "--redraw", help="Draw the whole map again, instead of adding to the stored one."
    ),
    format: Format = typer.Option(
        Format.table, "--format", "-f", help="Output format of the counts."
    ),
) -> None:
    """Draw a map of your music with similar tracks close together.

    Tracks that the model was trained on are counted: they lie closer together than other music.

    The page works without internet: point at a track to see its name, click to play it, search,
    choose genres. The library stores the map: later tracks are placed into it, and no other moves.

    Examples:

      genrescope map --out ~/map.html

      genrescope map --png map.png --method umap --redraw
    """
    from genrescope.library import map as maps
    from genrescope.library.map_page import check_writable, write_page, write_picture
    from genrescope.library.store import Library

    if png is not None and png.resolve() == out.resolve():
        raise typer.BadParameter("--out and --png name the same file")
    for path in filter(None, (out, png)):
        check_writable(path)  # before minutes of work
    with progress("steps") as bar:
        task = bar.add_task("Drawing", total=None)
        opened = Library.open(library)
        drawn = maps.draw_map(
            opened,
            maps.Method(method.value),
            redraw=redraw,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    write_page(drawn, out)
    if png is not None:
        write_picture(drawn, png)
    if drawn.not_stored is not None:
        notice(f"the library can't store the map: {drawn.not_stored}")
    used = _used_in_training(opened, drawn)
    counts = {"kept": drawn.kept, "placed": drawn.placed, "gone": drawn.gone}
    if format is Format.json:
        files = {"out": str(out), "png": str(png) if png else None}
        about: dict[str, object] = {"library": drawn.library, "method": drawn.method.value}
        about |= {"tracks": len(drawn.entries), "fresh": drawn.is_fresh, **used}
        typer.echo(json.dumps({**files, **about, **counts}))
        return
    summary = f"{len(drawn.entries)} drawn by {drawn.method.label}"
    if not drawn.is_fresh:
        summary += ": " + ", ".join(f"{count} {what}" for what, count in counts.items())
    stdout.print(summary, markup=False)
    for path in filter(None, (out, png)):
        notice(f"wrote {printable(str(path))}")


def _used_in_training(library: Library, drawn: Map) -> dict[str, int | None]:
    """How many drawn tracks the library's model was trained on, and of how many is not known."""
    unknown: dict[str, int | None]
    unknown = dict.fromkeys(("used_in_training", "perhaps_used_in_training"))
    from genrescope.inference.bundle import Bundle

    try:
        manifest = Bundle.load(library.model.source).manifest
    except BundleError:  # moved since the library was made; the map needs no model
        return unknown
    files = [entry.file for entry in drawn.entries if not entry.is_remote]
    listed = manifest.training_tracks
    if manifest.sha256 != library.model.sha256 or listed is None or len(files) > _COMPARED:
        return unknown
    used = note_training_tracks(listed, files)
    return (
        unknown if used is None else dict(zip(unknown, map(used.count, (True, None)), strict=True))
    )
