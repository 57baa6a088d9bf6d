"""The errors that Genrescope raises on purpose; any other exception that escapes is a bug."""

from __future__ import annotations

import errno
import os
from os import PathLike, fspath

from genrescope.redaction import redacted, redacted_text


class GenrescopeError(Exception):
    """Base class of all errors that a caller of Genrescope should expect."""


class FileError(GenrescopeError):
    """An error about one file.

    Attributes
    ----------
    path
        The file as the caller named it; of an address, secrets are removed.
    reason
        What is wrong, in a few words without the path.
    """

    def __init__(self, path: str | PathLike[str], reason: str) -> None:
        name = fspath(path)
        self.path = redacted(name)
        self.reason = redacted_text(reason, name)
        super().__init__(f"{self.path}: {self.reason}")

    def __reduce__(self) -> tuple[type[FileError], tuple[str, str]]:
        return type(self), (self.path, self.reason)


class AudioError(FileError):
    """A file can't be decoded: not audio, truncated, empty, without sound, or too short."""


class UnreadableError(AudioError):
    """A file could not be read this time, whatever its content.

    The disk or the network gave an error, the file changed while it was read, or its decoder was
    stopped. The next attempt may succeed, so unlike other `AudioError`s this one is never stored as
    a property of the file.
    """


class TooLongError(AudioError):
    """An audio file is longer than `genrescope.audio.safely` allows."""


def check_disk(path: str | PathLike[str], fault: Exception) -> None:
    """Raise `UnreadableError` if the disk failed; other faults, and a missing file, are ignored.

    An `OSError` without a number is not the disk's: libraries raise it for content they refuse.
    """
    number = getattr(fault, "errno", None)
    passing = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EISDIR)
    if number is not None and number not in passing:
        raise UnreadableError(path, f"not readable: {os.strerror(number)}") from fault


class MissingPackageError(GenrescopeError, ImportError):
    """A module or function needs a package that is not installed; the message says which."""


class CancelledError(GenrescopeError):
    """A prediction was stopped by the `cancel` event of its caller."""


class DatasetError(GenrescopeError):
    """A data set or its split is not usable, or would mix training and test tracks."""


class RecipeError(GenrescopeError):
    """A recipe is malformed or asks for something that does not exist."""


class NotHereError(RecipeError):
    """A recipe asks for a feature, a model, an encoder or a package that is not installed."""


class UnknownNameError(NotHereError, ValueError):
    """No encoder, layer, feature, classifier … has that name; the message lists the names."""


class BundleError(FileError):
    """A model bundle is missing, damaged, or of an unknown schema."""


class TagError(FileError):
    """A file's tags can't be read or written."""


def printable(text: str) -> str:
    """A text as one printable line; it may be a file's name, which holds any bytes."""
    safe = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in safe)
