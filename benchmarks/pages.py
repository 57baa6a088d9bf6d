"""Writing a table between two markers of a page."""

from __future__ import annotations

import re
from pathlib import Path


def write_between(page: Path, name: str, lines: list[str]) -> None:
    """Put lines between the markers of a page."""
    pattern = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    text = page.read_text("utf-8")
    if not pattern.search(text):
        raise SystemExit(f"{page} has no markers <!-- {name} --> … <!-- /{name} -->")
    content = "\n".join(["", *lines, "", ""])
    page.write_text(pattern.sub(lambda found: found[1] + content + found[2], text), "utf-8")
