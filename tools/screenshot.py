"""Draw what a command shows on a terminal, as an SVG for the documentation.

    python tools/screenshot.py docs/classify.svg genrescope classify examples --top 2

The command is really run, in a terminal of its own; what it prints is drawn with its colours.
"""

from __future__ import annotations

import os
import pty
import re
import shlex
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS = 76


def captured(command: list[str]) -> str:
    """Everything the command prints on a terminal."""
    os.environ |= {"COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    chunks: list[bytes] = []

    def read(descriptor: int) -> bytes:
        chunks.append(os.read(descriptor, 4096))
        return chunks[-1]

    pty.spawn(command, read)
    return b"".join(chunks).decode()


def last_state(text: str) -> str:
    """What stays on the screen once bars that erase themselves are gone."""
    text = re.sub(r"\x1b\[\?25[lh]", "", text.replace("\r\n", "\n"))
    lines = [line.rsplit("\x1b[2K", 1)[-1].lstrip("\r") for line in text.split("\n")]
    return "\n".join(line for line in lines if "Listening" not in line).strip("\n")


def main(target: Path, command: list[str]) -> None:
    """Run, and draw."""
    screen = last_state(captured(command))
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        console.print(Text(f"$ {shlex.join(command)}", style="bold"))
        console.print(Text.from_ansi(screen))
        svg = console.export_svg(title="genrescope")
    # Fonts from a network are of no use to a page that is read offline.
    target.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
