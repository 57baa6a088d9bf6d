"""From the arguments of a command to the files that they name."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import typer

from genrescope.audio.addresses import is_address
from genrescope.audio.files import PassedOver, find_audio
from genrescope.audio.kinds import AUDIO_SUFFIXES, SHARED_SUFFIXES, kind_of
from genrescope.errors import FileError, printable


def not_music(path: Path | None) -> Path | None:
    """Refuse an output file that is music, or is called so: `--out *.mp3` would replace a track.

    Raises
    ------
    typer.BadParameter
        When it is.
    """
    if path is None:
        return None
    if path.suffix.lower() in AUDIO_SUFFIXES - SHARED_SUFFIXES or _begins_as_audio(path):
        raise typer.BadParameter(f"{printable(str(path))} is music, which is never replaced")
    return path


def _begins_as_audio(path: Path) -> bool:
    try:
        if not path.is_file():  # nothing, or what can't be replaced, such as a pipe
            return False
        with path.open("rb") as file:
            return kind_of(file.read(64)) is not None
    except OSError:  # said when it can't be written
        return False


def find(
    arguments: Iterable[str], *, null: bool = False, passed_over: PassedOver | None = None
) -> Iterator[Path | FileError]:
    """The files named by arguments: files, folders (recursive), globs, and `-` for stdin.

    A folder gives the audio files in it, sorted (`genrescope.audio.files.find_audio`); a file that
    is named itself is taken whatever its name is. What names nothing gives an error in its place,
    and so does a folder that can't be read.

    Parameters
    ----------
    arguments
        As typed.
    null
        The names on stdin end with NUL bytes and not with newlines.
    passed_over
        Counts what was passed over in folders.
    """
    passed_over = passed_over if passed_over is not None else PassedOver()
    for argument in arguments:
        name = argument
        if not os.path.lexists(name):
            # A shell leaves ~ alone in a quoted glob, and so does make in MUSIC=~/Music.
            name = os.path.expanduser(name)  # noqa: PTH111 - any bytes
        if name == "-":
            names = names_on_stdin(null)
            yield from find(names, passed_over=passed_over)
            if not names:
                yield FileError("-", "no names on stdin")
        elif not name:
            yield FileError("''", "an empty name")  # Path("") would be the current folder
        elif os.path.isdir(name):  # noqa: PTH112 - Path's raises for names that are too long
            yield from _audio_in(name, passed_over)
        elif os.path.lexists(name):
            yield Path(name)
        elif is_address(name):
            yield FileError(name, "an address, not a file: download it, or use --engine ray")
        elif not glob.has_magic(name):
            yield Path(name)
        else:
            yield from _matches(name, passed_over)


def _matches(pattern: str, passed_over: PassedOver) -> Iterator[Path | FileError]:
    # Once each: two links to one folder could otherwise lead in circles.
    seen: dict[str, str] = {}
    for match in sorted(glob.iglob(pattern, recursive=True), key=len):  # noqa: PTH207
        seen.setdefault(os.path.realpath(match), match)
    if not seen:
        yield FileError(pattern, "no file matches")
    for match in sorted(seen.values()):
        yield from _audio_in(match, passed_over) if Path(match).is_dir() else [Path(match)]


def _audio_in(folder: str, passed_over: PassedOver) -> list[Path | FileError]:
    found = find_audio(folder)
    passed_over.add(found.passed_over)
    if not found.files and not found.errors:
        others = f"; {found.passed_over}" if found.passed_over else ""
        return [FileError(folder, f"no audio files in this folder{others}")]
    return [*found.files, *found.errors]


def names_on_stdin(null: bool) -> list[str]:
    """The names on stdin, one a line, or each with a NUL byte behind it."""
    # Names need not be UTF-8: they are read as the file system's own bytes.
    lines = sys.stdin.buffer.read().split(b"\0" if null else b"\n")
    if not null:  # lists made on Windows end their lines with a carriage return, too
        lines = [b if os.path.lexists(b) else b.removesuffix(b"\r") for b in lines]
    return [os.fsdecode(line) for line in lines if line not in (b"", b"-")]
