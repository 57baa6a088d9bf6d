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
    itself is taken whatever it is called. What names nothing gives an error in its place.
    """
    for argument in arguments:
        if argument == "-":
            # Names need not be UTF-8: they are read as the file system's own bytes.
            lines = sys.stdin.buffer.read().split(b"\n")
            names = [os.fsdecode(line) for line in lines if line not in (b"", b"-")]
            yield from find(names)
            if not names:
                yield FileError("-", "no names on stdin")
        elif Path(argument).is_dir():
            found = sorted(_music_in(Path(argument)))
            yield from found
            if not found:
                yield FileError(argument, "no music files in this folder")
        elif os.path.lexists(argument) or not glob.has_magic(argument):
            yield Path(argument)
        else:
            matches = sorted(glob.glob(argument, recursive=True))  # noqa: PTH207 - any root
            if not matches:
                yield FileError(argument, "no file matches")
            for match in matches:
                yield from sorted(_music_in(Path(match))) if Path(match).is_dir() else [Path(match)]


def _music_in(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            # Names that begin with a dot are a system's own ("._song.mp3" is no song).
            if not name.startswith(".") and Path(name).suffix.lower() in AUDIO_SUFFIXES:
                yield Path(root) / name
