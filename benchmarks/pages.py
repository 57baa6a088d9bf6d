"""Tables between two markers of a page: reading and writing them."""

from __future__ import annotations

import re
from pathlib import Path


def rows_between(page: Path, name: str) -> dict[str, str]:
    """The rows of the table between the markers of a page, by their first cell."""
    _, _, rest = page.read_text("utf-8").partition(f"<!-- {name} -->")
    lines = rest.partition(f"<!-- /{name} -->")[0].splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    return {row.split("|")[1].strip(): row for row in rows[1:]}


def write_between(page: Path, name: str, lines: list[str]) -> None:
    """Put lines between the markers of a page."""
    pattern = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    text = page.read_text("utf-8")
    if not pattern.search(text):
        raise SystemExit(f"{page} has no markers <!-- {name} --> … <!-- /{name} -->")
    content = "\n".join(["", *lines, "", ""])
    page.write_text(pattern.sub(lambda found: found[1] + content + found[2], text), "utf-8")
