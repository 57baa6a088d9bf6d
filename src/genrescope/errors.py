"""The errors that Genrescope raises on purpose; any other exception that escapes is a bug."""

from __future__ import annotations

import errno
import os
from os import PathLike, fspath

from genrescope.redaction import redacted, redacted_text


class GenrescopeError(Exception):
    """Base of all errors a caller of Genrescope should expect to handle."""


class FileError(GenrescopeError):
    """Something is wrong with one file.

    Attributes
    ----------
    path
        The file as the caller named it; an address without the secrets in it.
    reason
        What is wrong with it, in a few words without the path.
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
    stopped. The next attempt may succeed, so this is never remembered of a file, unlike other
    `AudioError`s.
    """


class TooLongError(AudioError):
    """An audio file is longer than `genrescope.audio.safely` allows."""


def check_disk(path: str | PathLike[str], fault: Exception) -> None:
    """Raise an error of the disk as an `UnreadableError`; others, and a missing file, pass.

    Libraries raise an `OSError` without a number for a file of a content that they don't like.
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
    """There is no encoder, layer, feature, classifier … of that name; the message lists them."""


class BundleError(FileError):
    """A model bundle is missing, damaged, or of an unknown schema."""


class TagError(FileError):
    """A file's tags can't be read or written."""


def printable(text: str) -> str:
    """A text, such as a file's name of any bytes, as one printable line."""
    safe = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in safe)
