"""Genres as tags have them: which values name one, and how a model's genre is written."""

from __future__ import annotations

import re
from collections.abc import Iterable

from genrescope.genres import genre_key
from genrescope.taxonomy import taxonomy

# What programs write for lack of a genre. ID3v1's number 12 is "Other", 255 is none.
_NONE = {
    *("", "other", "unknown", "unknown genre", "genre unknown", "undefined", "unspecified"),
    *("unclassified", "unclassifiable", "uncategorized", "none", "no genre", "genre", "n a"),
    *("null", "nil", "not set", "not available", "unset", "empty", "default", "misc"),
}
_FIRST_UNUSED_NUMBER, _OTHER = 192, 12


def genre_name(genre: str) -> str:
    """A model's genre as people write it in tags: ``Hip-Hop`` for ``hiphop``, ``Jazz``."""
    return taxonomy().tag(genre)


def is_genre(text: str) -> bool:
    """Whether a text in a genre tag names a genre: "Other", "Unknown", "(255)" and "" don't."""
    words = re.sub(r"[\W_]+", " ", text.casefold()).strip()
    if words.isdecimal():
        return int(words) != _OTHER and int(words) < _FIRST_UNUSED_NUMBER
    return words not in _NONE


def genres_of(values: Iterable[str]) -> list[str]:
    """The values of a genre tag that name a genre, stripped, each once."""
    found: dict[str, str] = {}
    for value in values:
        text = value.strip()
        if text and is_genre(text):
            found.setdefault(genre_key(text), text)
    return list(found.values())
