"""Finding audio files in folders, and opening what can be read: paths, bytes, file objects.

`find_audio` is the one search of folders, for `classify`, libraries and data sets.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import BinaryIO, Literal

from genrescope.audio.kinds import AUDIO_SUFFIXES, SHARED_SUFFIXES, is_text
from genrescope.errors import AudioError, FileError, UnreadableError
from genrescope.wording import counted

Readable = str | PathLike[str] | bytes | BinaryIO
"""A path, or the content of a file as bytes or as a binary file object."""


# Folders of operating systems, network storage and version control: they hold no music of the user,
# or only copies and thumbnails. Other names with a leading dot are names like any other.
_SYSTEM_FOLDER = re.compile(
    r"\.(git|hg|svn|cache|venv|Trash.*|Spotlight-V100|fseventsd|TemporaryItems"
    r"|DocumentRevisions-V100|AppleDouble|AppleDB|AppleDesktop|thumbnails|snapshots?|zfs)"
    r"|@eaDir|@tmp|@Recycle|@Recently-Snapshot|#recycle|#snapshot|lost\+found|__MACOSX"
    r"|\$RECYCLE\.BIN|RECYCLER|System Volume Information|Network Trash Folder|Temporary Items"
    r"|node_modules|__pycache__",
    re.IGNORECASE,
)
# Metadata that macOS keeps in files of their own, and copies of ours that an interruption left.
_SYSTEM_FILE = re.compile(r"\._.*|\.genrescope-.*", re.DOTALL)
_BLOCK = 2**20
_MOST_CHECKED = 2**28


_MOST_NAMES = 3


@dataclass
class PassedOver:
    """How many things a search of a folder left out.

    Attributes
    ----------
    files
        Audio files by their name that belong to the system (`._song.mp3`).
    folders
        Folders that belong to the system (`.git`, `@eaDir`), with all that is in them.
    repeated
        Further names of what was found already: symbolic and hard links.
    names
        The first names of each of these.
    """

    files: int = 0
    folders: int = 0
    repeated: int = 0
    names: dict[str, list[str]] = field(default_factory=dict, compare=False)

    def note(self, kind: Literal["files", "folders", "repeated"], path: Path | str) -> None:
        """Count one, and keep its name if it is among the first."""
        setattr(self, kind, getattr(self, kind) + 1)
        kept = self.names.setdefault(kind, [])
        if len(kept) < _MOST_NAMES:
            kept.append(os.fsdecode(path))

    def add(self, other: PassedOver) -> None:
        """Add the counts and names of another search."""
        self.files += other.files
        self.folders += other.folders
        self.repeated += other.repeated
        for kind, names in other.names.items():
            self.names[kind] = [*self.names.get(kind, []), *names][:_MOST_NAMES]

    def __bool__(self) -> bool:
        return any((self.files, self.folders, self.repeated))

    def __str__(self) -> str:
        counts = (
            ("files", self.files, "system file", ""),
            ("folders", self.folders, "system folder", ""),
            ("repeated", self.repeated, "link", " to what was found already"),
        )
        texts = [
            f"{counted(n, what)}{rest}{self._named(kind, n)}" for kind, n, what, rest in counts if n
        ]
        return f"passed over: {', '.join(texts)}" if texts else ""

    def _named(self, kind: str, count: int) -> str:
        names = [name if name.isprintable() else ascii(name) for name in self.names.get(kind, [])]
        if not names:
            return ""
        return f" ({', '.join(names)}{', ...' if count > len(names) else ''})"


@dataclass
class FoundAudio:
    """The audio files of a folder, sorted; what could not be read; what was passed over."""

    files: list[Path] = field(default_factory=list)
    errors: list[FileError] = field(default_factory=list)
    passed_over: PassedOver = field(default_factory=PassedOver)


def is_system_folder(name: str) -> bool:
    """Whether a folder of this name belongs to the system, and holds no music of a user's."""
    return _SYSTEM_FOLDER.fullmatch(name) is not None


def find_audio(
    folder: str | PathLike[str],
    suffixes: frozenset[str] = AUDIO_SUFFIXES,
    *,
    hard_links: bool = False,
) -> FoundAudio:
    """Find the audio files in a folder and in all folders below it.

    Files are recognised by their suffix (`AUDIO_SUFFIXES`), and where text files have the same one
    (`.ts`), by their content. Symbolic links are followed; what they lead to is given once, by its
    own name where that is in the folder, too. Of hard links the first is given. Files and folders
    of the system are passed over, too, see `PassedOver`.

    Parameters
    ----------
    folder
        Where to search.
    suffixes
        Lower-case suffixes of what counts as audio.
    hard_links
        Give each of them, for a caller that knows which of the names it prefers.

    Examples
    --------
    >>> from genrescope.audio.files import find_audio
    >>> [path.name for path in find_audio(".").files][:2]
    ['four-on-the-floor.flac', 'guitar-shuffle.flac']
    """
    return _Search(suffixes, hard_links).run(Path(folder))


class _Search:
    """One search: what was found, and where it has been."""

    def __init__(self, suffixes: frozenset[str], hard_links: bool) -> None:
        self.suffixes, self.hard_links = suffixes, hard_links
        self.found = FoundAudio()
        self.folders: set[tuple[int, int]] = set()
        self.files: set[tuple[int, int]] = set()
        self.links: list[Path] = []
        self.following = False

    def run(self, folder: Path) -> FoundAudio:
        self._enter(folder)
        # Links come last, so that what they lead to is known by its own name where it has one.
        self.following = True
        while self.links:
            self._follow(self.links.pop(0))
        self.found.files.sort()
        return self.found

    def _enter(self, top: Path) -> None:
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            try:
                identity = _identity(folder.stat())
                if identity in self.folders:
                    self.found.passed_over.note("repeated", folder)
                    continue
                self.folders.add(identity)
                with os.scandir(folder) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                self._failed(folder, error)
                continue
            below = []
            for entry in listed:
                path = folder / entry.name
                if entry.is_symlink():
                    if is_system_folder(entry.name):
                        self.found.passed_over.note("folders", path)
                    else:
                        self.links.append(path)
                elif entry.is_dir():
                    if is_system_folder(entry.name):
                        self.found.passed_over.note("folders", path)
                    else:
                        below.append(path)
                else:
                    self._file(path)
            waiting += reversed(below)

    def _follow(self, link: Path) -> None:
        if link.is_dir():
            self._enter(link)
        else:
            self._file(link)

    def _file(self, path: Path) -> None:
        # Unlike Path.suffix it is the whole name of a track without a title, ".mp3".
        suffix = path.name[path.name.rfind(".") :].lower()
        if suffix not in self.suffixes:
            return
        if _SYSTEM_FILE.fullmatch(path.name):
            self.found.passed_over.note("files", path)
            return
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode) and not path.is_symlink():
                return  # a pipe, a socket or a device
            if suffix in SHARED_SUFFIXES and _begins_as_text(path):
                return
        except OSError as error:
            self._failed(path, error)
            return
        again = self.following or (status.st_nlink > 1 and not self.hard_links)
        if again and _identity(status) in self.files:
            self.found.passed_over.note("repeated", path)
            return
        self.files.add(_identity(status))
        self.found.files.append(path)

    def _failed(self, path: Path, error: OSError) -> None:
        reason = f"not readable: {error.strerror or error}"
        if isinstance(error, FileNotFoundError) and path.is_symlink():
            reason = "a link to what does not exist"
        self.found.errors.append(FileError(path, reason))


def identity(file: Path) -> tuple[int, int] | Path:
    """Device and inode of a file, the same for all links to it; its path where it is missing."""
    try:
        status = file.stat()
    except (OSError, ValueError):  # also a name that no file can have
        return file
    # Some file systems of Windows number nothing.
    return _identity(status) if status.st_ino else file.resolve()


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _begins_as_text(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return is_text(file.read(64))
    except OSError:
        return False  # decoding it will say why


def source_name(source: object) -> str:
    """The name of a source in errors: its path, or the kind of object that it is."""
    if isinstance(source, str | PathLike):
        return os.fsdecode(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return "bytes"
    return "file object" if hasattr(source, "read") else type(source).__name__.lower()


@contextmanager
def open_regular(source: Readable) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular, non-empty file for reading, unbuffered; yield it and its size in bytes.

    Bytes, and what a file object gives from where it stands, are copied to a file without a name,
    for the decoders read from descriptors. The file object is not closed.

    Raises
    ------
    AudioError
        If there is no such file, it is a folder, a pipe or a device, empty, or not readable
        (`UnreadableError`).
    """
    if isinstance(source, str | PathLike):
        with _open_path(source) as opened:
            yield opened
        return
    name = source_name(source)
    if not isinstance(source, bytes | bytearray | memoryview) and not hasattr(source, "read"):
        raise TypeError(f"expected a path, bytes, or a file object, not {type(source).__name__}")
    with tempfile.TemporaryFile(buffering=0) as file:
        try:
            # The system may take less than it is given at once; a buffered writer goes on.
            with open(file.fileno(), "wb", closefd=False) as writer:
                if isinstance(source, bytes | bytearray | memoryview):
                    writer.write(source)
                else:
                    shutil.copyfileobj(source, writer)
        except OSError as fault:
            raise UnreadableError(name, f"not readable: {fault}") from fault
        except (TypeError, ValueError) as fault:
            raise AudioError(name, f"not readable: {fault}") from fault
        size = file.tell()
        if size == 0:
            raise AudioError(name, "empty (0 bytes)")
        file.seek(0)
        yield file, size


@contextmanager
def _open_path(path: str | PathLike[str]) -> Iterator[tuple[BinaryIO, int]]:
    try:
        status = os.stat(path)  # noqa: PTH116 - Path("") would be the current folder
        if stat.S_ISDIR(status.st_mode):
            raise AudioError(path, "a folder, not a file")
        if not stat.S_ISREG(status.st_mode):
            raise AudioError(path, "not a regular file but a pipe, a socket or a device")
        if status.st_size == 0:
            raise AudioError(path, "empty (0 bytes)")
        # Non-blocking: a pipe that took the file's place since then must not block.
        # Windows has neither of the two, and needs to be told that it is no text.
        flags = [getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY")]
        descriptor = os.open(path, os.O_RDONLY | sum(flags))
    except (FileNotFoundError, NotADirectoryError) as fault:
        raise AudioError(path, "no such file") from fault
    except PermissionError as fault:
        raise AudioError(path, "not readable: permission denied") from fault
    except OSError as fault:
        raise UnreadableError(path, f"not readable: {fault.strerror}") from fault
    except ValueError as fault:  # a NUL or a lone surrogate in the name
        raise AudioError(path, "no such file: no file can have this name") from fault
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        yield file, status.st_size


def check_readable(file: BinaryIO, size: int) -> None:
    """Read a file that can't be decoded once more, to tell whether its content is the reason.

    Parameters
    ----------
    file
        Open for reading; where it stands in the file changes.
    size
        In bytes, when it was opened.

    Raises
    ------
    OSError
        When its first quarter of a gigabyte can't be read, or its size has changed.
    """
    file.seek(0)
    while file.tell() < _MOST_CHECKED and file.read(_BLOCK):
        pass
    if os.fstat(file.fileno()).st_size != size:
        raise OSError(errno.EIO, "it changed while it was read")
