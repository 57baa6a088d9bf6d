"""The content of a music file: its coded audio, without tags and pictures.

It is the same in a renamed file, in a copy, and in one whose tags were changed, whatever the
encoding of these tags and whichever end of the file they stand at.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from genrescope.audio import packets
from genrescope.errors import AudioError, FileError, UnreadableError
from genrescope.library import trailing_tags


def content_of(file: Path) -> str:
    """SHA-256 of a file's coded audio; of all its bytes where no audio is found in it.

    Raises
    ------
    FileError
        When it can't be read.
    """
    try:
        try:
            return audio_digest(file)
        except UnreadableError:
            raise
        except AudioError:
            with file.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise FileError(file, f"not readable: {error.strerror}") from error


def audio_digest(file: Path) -> str:
    """SHA-256 of the packets of a file's audio, as they are coded.

    Raises
    ------
    AudioError
        When no audio is found in it.
    OSError
        When it can't be read.
    """
    body, tags = trailing_tags.split(file)
    return packets.audio_digest(file, body if tags else None)
