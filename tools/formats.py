"""Write the list of audio formats into docs/cli.md, from the one list in the code.

python tools/formats.py
"""

from __future__ import annotations

import re
from pathlib import Path

from genrescope.audio.kinds import KINDS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "cli.md"
_MARKED = re.compile(r"(<!-- formats -->\n).*?(<!-- /formats -->)", re.DOTALL)


def table() -> str:
    """The kinds of file and their endings, as a Markdown table."""
    rows = [f"| {kind.name} | {' '.join(f'`{s}`' for s in kind.suffixes)} |" for kind in KINDS]
    return "\n".join(["| kind | endings |", "|---|---|", *rows, ""])


def filled(page: str) -> str:
    """A page with the list between its marks."""
    return _MARKED.sub(lambda match: match[1] + table() + match[2], page)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
