"""From the arguments of a command to the files that they name."""

from __future__ import annotations

import codecs
import glob
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import typer

from genrescope.audio.addresses import is_address, local_path
from genrescope.audio.files import PassedOver, find_audio, identity, is_system_folder
from genrescope.audio.kinds import AUDIO_SUFFIXES, SHARED_SUFFIXES, kind_of
from genrescope.errors import FileError, printable


def not_music(path: Path | None) -> Path | None:
    """Refuse an output file that is music, or is called so: `--out *.mp3` would replace a track.

    And "-", which would become a file of that name where stdout is meant.

    Raises
    ------
    typer.BadParameter
        When it is.
    """
    if path is None:
        return None
    if path == Path("-"):
        raise typer.BadParameter("expected the name of a file, not - for stdout")
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
    arguments: Iterable[str],
    *,
    null: bool = False,
    passed_over: PassedOver | None = None,
    seen: set[tuple[int, int] | Path] | None = None,
) -> Iterator[Path | FileError]:
    """The files named by arguments: files, folders (recursive), globs, and `-` for stdin.

    A folder gives the audio files in it, sorted (`genrescope.audio.files.find_audio`), but none
    that was given before, by whatever link; a file that is named itself is taken, whatever its name
    is. What names nothing gives an error in its place, and so does a folder that can't be read.

    Parameters
    ----------
    arguments
        As typed.
    null
        The names on stdin end with NUL bytes and not with newlines.
    passed_over
        Counts what was passed over in folders.
    seen
        Files that were given before.
    """
    passed_over = passed_over if passed_over is not None else PassedOver()
    seen = seen if seen is not None else set()
    for argument in arguments:
        name = local_path(argument)
        if not os.path.lexists(name):
            # A shell leaves ~ alone in a quoted glob, and so does make in MUSIC=~/Music.
            name = os.path.expanduser(name)  # noqa: PTH111 - any bytes
        if name == "-":
            names = names_on_stdin(null)
            yield from find(names, passed_over=passed_over, seen=seen)
            if not names:
                yield FileError("-", "no names on stdin")
        elif not name:
            yield FileError("''", "an empty name")  # Path("") would be the current folder
        elif os.path.isdir(name):  # noqa: PTH112 - Path's raises for names that are too long
            yield from _audio_in(name, passed_over, seen)
        elif os.path.lexists(name):
            seen.add(identity(Path(name)))
            yield Path(name)
        elif is_address(name):
            yield FileError(name, "an address, not a file: download it, or use --engine ray")
        elif not glob.has_magic(name):
            yield Path(name)
        else:
            yield from _matches(name, passed_over, seen)


def _matches(
    pattern: str, passed_over: PassedOver, seen: set[tuple[int, int] | Path]
) -> Iterator[Path | FileError]:
    # Once each: two links to one folder could otherwise lead in circles.
    matches: dict[str, str] = {}
    for match in sorted(_glob(pattern), key=len):
        matches.setdefault(os.path.realpath(match), match)
    if not matches:
        yield FileError(pattern, "no file matches")
    for match in sorted(matches.values()):
        if Path(match).is_dir():
            yield from _audio_in(match, passed_over, seen)
        else:
            yield from _not_seen([Path(match)], passed_over, seen)


def _glob(pattern: str) -> Iterator[str]:
    """Names that match a pattern; `**` stands for any folders, each of them once.

    Python's own follows links from folders to those above them 40 times, and each combination of
    several such links.
    """
    parts = re.split(r"[/\\]" if os.sep == "\\" else "/", pattern)
    if "**" not in parts:
        yield from glob.iglob(pattern)  # noqa: PTH207 - any bytes
        return
    at = parts.index("**")
    head, rest = "/".join(parts[:at]), "/".join(parts[at + 1 :])
    for top in glob.iglob(head or "/") if at else [""]:  # noqa: PTH207
        if top and not os.path.isdir(top):  # noqa: PTH112 - any bytes
            continue
        if not rest:
            yield top or os.curdir
            continue
        for folder in _folders_below(top):
            yield from _glob(os.path.join(glob.escape(folder), rest))  # noqa: PTH118


def _folders_below(top: str) -> Iterator[str]:
    """A folder and those below it, but for the system's, each once, by its own name if it can."""
    seen: set[tuple[int, int] | Path] = set()
    folders, links = [top], list[str]()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        key = identity(Path(folder or os.curdir))
        if key in seen:
            continue
        seen.add(key)
        yield folder
        with suppress(OSError), os.scandir(folder or os.curdir) as entries:
            for entry in entries:
                name = os.path.join(folder, entry.name)  # noqa: PTH118
                # A link to itself is not a folder; that is not an error.
                if os.path.isdir(name) and not is_system_folder(entry.name):  # noqa: PTH112
                    (links if entry.is_symlink() else folders).append(name)


def _audio_in(
    folder: str, passed_over: PassedOver, seen: set[tuple[int, int] | Path]
) -> list[Path | FileError]:
    found = find_audio(folder)
    passed_over.add(found.passed_over)
    if not found.files and not found.errors:
        others = f"; {found.passed_over}" if found.passed_over else ""
        return [FileError(folder, f"no audio files in this folder{others}")]
    return [*_not_seen(found.files, passed_over, seen), *found.errors]


def _not_seen(
    files: Iterable[Path], passed_over: PassedOver, seen: set[tuple[int, int] | Path]
) -> Iterator[Path]:
    """The files that were not given before, which count as given then."""
    for file in files:
        key = identity(file)
        if key in seen:
            passed_over.note("repeated", file)
        else:
            seen.add(key)
            yield file


def names_on_stdin(null: bool) -> list[str]:
    """The names on stdin, one a line, or each with a NUL byte behind it.

    Lists made on Windows may begin with a byte order mark and end their lines with a carriage
    return, which belong to a name only where there is such a file.
    """
    # Names need not be UTF-8: they are read as the file system's own bytes.
    lines = sys.stdin.buffer.read().split(b"\0" if null else b"\n")
    if not any(os.path.lexists(lines[0].removesuffix(end)) for end in (b"", b"\r")):
        lines[0] = lines[0].removeprefix(codecs.BOM_UTF8)
    if not null:
        lines = [b if os.path.lexists(b) else b.removesuffix(b"\r") for b in lines]
    return [os.fsdecode(line) for line in lines if line not in (b"", b"-")]
