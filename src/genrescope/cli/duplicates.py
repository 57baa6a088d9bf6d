"""`genrescope duplicates`: recordings that a library holds more than once."""

from __future__ import annotations

import json

import typer
from rich.text import Text

from genrescope.cli.scan import LIBRARY
from genrescope.cli.terminal import Format, error_line, notice, printable, progress, stdout
from genrescope.wording import size_in_words


def duplicates(
    library: str | None = LIBRARY,
    format: Format = typer.Option(Format.table, "--format", "-f", help="Output format."),
) -> None:
    """Find recordings that you have more than once, also with other tags or in other formats.

    Nothing is changed. Of each recording the largest file comes first.

    Exit code 1: some files could not be compared.

    Examples:

      genrescope duplicates
    """
    from genrescope.library.duplicates import duplicates as find
    from genrescope.library.similar import Space
    from genrescope.library.store import Library

    space = Space(Library.open(library))
    with progress("pairs") as bar:
        task = bar.add_task("Comparing", total=None)
        found, failures = find(
            space, lambda done, total: bar.update(task, completed=done, total=total)
        )
    if format is Format.json:
        rows = [
            {
                "exact": group.is_exact,
                "tracks": [entry.to_dict() | {"size": entry.size} for entry in group.entries],
            }
            for group in found
        ]
        typer.echo(json.dumps(rows, indent=1))
    else:
        for group in found:
            kind = "the same audio" if group.is_exact else "the same recording"
            stdout.print(Text(f"{len(group.entries)} files, {kind}", style="bold"))
            for entry in group.entries:
                size = size_in_words(entry.size)
                stdout.print(Text(f"  {size:>10}  {printable(entry.place)}"))
        extra = sum(len(group.entries) - 1 for group in found)
        notice(f"recordings held more than once: {len(found)}, superfluous files: {extra}")
    for failure in failures:
        error_line(str(failure))
    if failures:
        raise typer.Exit(1)
