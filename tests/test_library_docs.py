"""Every command of docs/library.md is run, and prints what stands there.

Run as a program (`python tests/test_library_docs.py`) it writes the page's blocks anew.
"""

from __future__ import annotations

import glob
import os
import re
import shlex
import subprocess
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from genrescope.cli import app
from genrescope.examples import write_examples

PAGE = Path(__file__).resolve().parents[1] / "docs" / "library.md"
_BLOCK = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)


def rendered(text: str, home: Path) -> str:
    """The page with each console block as its commands make it, one after another."""
    write_examples(home / "Music", seconds=6)

    def block(match: re.Match[str]) -> str:
        commands = [line for line in match[1].splitlines() if line.startswith("$ ")]
        shown = "".join(f"{each}\n{output(each[2:], home)}" for each in commands)
        return f"```console\n{shown}```"

    return _BLOCK.sub(block, text)


def output(command: str, home: Path) -> str:
    """What a command prints, with a home folder that is everybody's."""
    if command.startswith("genrescope "):
        words = [re.sub(r"^~", str(home), word) for word in shlex.split(command)[1:]]
        words = [name for word in words for name in (sorted(glob.glob(word)) or [word])]  # noqa: PTH207
        done = CliRunner().invoke(app, words)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        said = done.output
    else:
        said = subprocess.run(
            command, shell=True, capture_output=True, text=True, check=True
        ).stdout
    return said.replace(str(home), "/home/you")


def test_the_page_says_what_the_commands_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lancedb")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    written = PAGE.read_text(encoding="utf-8")

    def comparable(text: str) -> str:
        # Decimals and dates differ from one machine and day to another.
        return re.sub(r" *-?\d+\.\d+(e-\d+)?|undo-[\d-]+", "#", text)

    assert comparable(rendered(written, tmp_path)) == comparable(written)
    (python,) = re.findall(r"^```python\n(.*?)^```", written, re.DOTALL | re.MULTILINE)
    exec(compile(python.replace("~", str(tmp_path)), str(PAGE), "exec"), {})


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"HOME": folder}
        os.environ.pop("XDG_DATA_HOME", None)
        PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8"), Path(folder)), encoding="utf-8")
