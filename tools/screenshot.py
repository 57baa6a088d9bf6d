"""Draw what a command shows on a terminal, as an SVG for the documentation.

    python tools/screenshot.py docs/classify.svg genrescope classify examples

The command is run in a terminal of its own (tmux), and the final screen is drawn with its colours.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS = 76


def captured(command: list[str]) -> str:
    """The final screen of a terminal in which the command was run."""
    session = "genrescope-screenshot"
    # The programs installed with this Python come first.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    run = f"export PATH={shlex.quote(path)}; {shlex.join(command)}"
    shell = f"{run}; tmux wait-for -S {session}; sleep 60"
    tmux = ["tmux", "-L", session]
    subprocess.run(
        [
            *tmux,
            "new-session",
            "-d",
            "-x",
            str(COLUMNS),
            "-y",
            "60",
            shell.replace("tmux", " ".join(tmux)),
        ],
        check=True,
    )
    subprocess.run([*tmux, "wait-for", session], check=True)
    done = subprocess.run([*tmux, "capture-pane", "-p", "-e"], check=True, capture_output=True)
    subprocess.run([*tmux, "kill-server"], check=True)
    return done.stdout.decode().rstrip()


def main(target: Path, command: list[str]) -> None:
    """Run, and draw."""
    screen = captured(command)
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        console.print(Text(f"$ {shlex.join(command)}", style="bold"))
        console.print(Text.from_ansi(screen))
        svg = console.export_svg(title="genrescope")
    # A page that is read offline can't load fonts from a network.
    target.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
