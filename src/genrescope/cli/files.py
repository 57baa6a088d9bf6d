"""From what was typed to the files that are meant."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from genrescope.audio import AUDIO_SUFFIXES
from genrescope.errors import FileError


def find(arguments: Iterable[str]) -> Iterator[Path | FileError]:
    """The files named by arguments: files, folders (recursive), globs, and `-` for stdin's lines.

    A folder gives the files in it that look like music by their name, sorted; a file that is named
    itself is taken whatever it is called. What names nothing gives an error in its place, and so
    does a folder that can't be read.
    """
    for argument in arguments:
        if not os.path.lexists(argument):
            # A shell leaves ~ alone in a quoted glob, and so does make in MUSIC=~/Music.
            argument = os.path.expanduser(argument)  # noqa: PTH111 - any bytes
        if argument == "-":
            # Names need not be UTF-8: they are read as the file system's own bytes.
            lines = sys.stdin.buffer.read().split(b"\n")
            # Lists made on Windows end their lines with a carriage return too.
            lines = [b if os.path.lexists(b) else b.removesuffix(b"\r") for b in lines]
            names = [os.fsdecode(line) for line in lines if line not in (b"", b"-")]
            yield from find(names)
            if not names:
                yield FileError("-", "no names on stdin")
        elif not argument:
            yield FileError(argument, "an empty name")  # Path("") would be the current folder
        elif os.path.isdir(argument):  # noqa: PTH112 - Path's raises for names that are too long
            found = _music_in(argument)
            yield from found or [FileError(argument, "no music files in this folder")]
        elif os.path.lexists(argument) or not glob.has_magic(argument):
            yield Path(argument)
        else:
            # Once each: two links to one folder could otherwise lead in circles.
            seen: dict[str, str] = {}
            for match in sorted(glob.iglob(argument, recursive=True), key=len):  # noqa: PTH207
                seen.setdefault(os.path.realpath(match), match)
            matches = sorted(seen.values())
            if not matches:
                yield FileError(argument, "no file matches")
            for match in matches:
                yield from _music_in(match) if Path(match).is_dir() else [Path(match)]


def _music_in(folder: str) -> list[Path | FileError]:
    """The music in a folder, sorted, and then the folders in it that can't be read."""
    found: list[Path] = []
    unread: list[OSError] = []
    for root, folders, names in os.walk(folder, onerror=unread.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        # Names that begin with a dot are a system's own ("._song.mp3" is no song).
        found += [
            Path(root) / name
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in AUDIO_SUFFIXES
        ]
    errors = [FileError(e.filename or folder, f"not readable: {e.strerror}") for e in unread]
    return [*sorted(found), *errors]
