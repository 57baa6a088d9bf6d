"""`genrescope map`: a library in two dimensions, as a page and as a picture."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path

import typer

from genrescope.cli.scan import LIBRARY
from genrescope.cli.terminal import Format, notice, printable, progress, stdout


class Method(StrEnum):
    """How a map is drawn; as in `genrescope.library.map`, which only this command should load."""

    tsne = "tsne"
    umap = "umap"
    pca = "pca"


def map_library(
    library: str | None = LIBRARY,
    out: Path = typer.Option(
        Path("map.html"), "--out", "-o", metavar="FILE", help="The page; replaced if it is there."
    ),
    png: Path | None = typer.Option(None, "--png", metavar="FILE", help="Draw it as PNG too."),
    method: Method = typer.Option(Method.tsne, "--method", help="How it is drawn."),
    redraw: bool = typer.Option(
        False, "--redraw", help="Draw all anew, instead of adding to the map that is kept."
    ),
    format: Format = typer.Option(Format.table, "--format", "-f", help="How counts are written."),
) -> None:
    """Draw your music as a map: what sounds alike lies together.

    The page works without internet: point at a track to see its name, click to hear it, search,
    choose genres. The library keeps the map: tracks that came since are placed into it, and no
    other moves.

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
        check_writable(path)  # it would be a pity to find out after minutes
    with progress("steps") as bar:
        task = bar.add_task("Drawing", total=None)
        drawn = maps.draw_map(
            Library.open(library),
            maps.Method(method.value),
            redraw=redraw,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    write_page(drawn, out)
    if png is not None:
        write_picture(drawn, png)
    counts = {"kept": drawn.kept, "placed": drawn.placed, "gone": drawn.gone}
    if format is Format.json:
        files = {"out": str(out), "png": str(png) if png else None}
        about = {"library": drawn.library, "method": drawn.method.value}
        fields = {**files, **about, "tracks": len(drawn.entries), "fresh": drawn.is_fresh, **counts}
        typer.echo(json.dumps(fields))
        return
    said = f"{len(drawn.entries)} drawn by {drawn.method.label}"
    if not drawn.is_fresh:
        said += ": " + ", ".join(f"{count} {what}" for what, count in counts.items())
    stdout.print(said, markup=False)
    for path in filter(None, (out, png)):
        notice(f"wrote {printable(str(path))}")
