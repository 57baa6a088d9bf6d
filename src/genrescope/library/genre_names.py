"""Genres as tags have them: which values name one, and how a model's genre is written."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mutagen.id3 import TCON

from genrescope.genres import genre_key
from genrescope.taxonomy import taxonomy

# What programs write for lack of a genre. ID3v1's number 12 is "Other", 255 is none.
_NONE = {
    *("", "other", "unknown", "unknown genre", "genre unknown", "undefined", "unspecified"),
    *("unclassified", "unclassifiable", "uncategorized", "none", "no genre", "genre", "n a"),
    *("null", "nil", "not set", "not available", "unset", "empty", "default", "misc"),
    *("miscellaneous", "not specified", "no genre specified", "genre not specified", "not defined"),
    # "Unknown" and "unknown genre" of programs in other languages.
    *("unbekannt", "unbekanntes genre", "inconnu", "genre inconnu", "desconocido", "sconosciuto"),
}
# ID3v1's numbers are one byte, of which those from 192 on name nothing. "1980" is a genre.
_NO_NAME = (12, *range(192, 256))
_CODED = re.compile(r"\((\d+|RX|CR)\)")


def genre_name(genre: str) -> str:
    """A model's genre as people write it in tags: ``Hip-Hop`` for ``hiphop``, ``Jazz``."""
    return taxonomy().tag(genre)


def is_genre(text: str) -> bool:
    """Whether a text in a genre tag names a genre: "Other", "Unknown", "(255)" and "" don't."""
    words = re.sub(r"[\W_]+", " ", text.casefold()).strip()
    if words.isdecimal():
        return int(words) not in _NO_NAME
    return words not in _NONE


def genres_of(values: Iterable[str]) -> list[str]:
    """The values of a genre tag that name a genre, stripped, each once.

    ID3's numbers in brackets are spelt out, also where another kind of tag has them.
    """
    texts = (text.strip() for value in values for text in _spelt_out(value.strip()))
    found: dict[str, str] = {}
    for text in texts:
        if text and is_genre(text):
            found.setdefault(genre_key(text), text)
    return list(found.values())


def _spelt_out(value: str) -> list[str]:
    return TCON(text=[value]).genres if _CODED.match(value) else [value]
