"""Names of artists, titles, albums and files: which spellings mean the same one.

People type "acdc" for "AC/DC", "beyonce" for "Beyoncé", and "dont stop" for "Don't Stop". Every
comparison of two names goes through `folded`, which keeps what tells names apart in writing, or
`name_key`, which doesn't. Names of genres have `genrescope.genres`.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_PLAIN = str.maketrans(
    {
        **dict.fromkeys("’‘ʼ‛′´`", "'"),
        **dict.fromkeys("“”„‟″«»", '"'),
        **dict.fromkeys("‐‑‒–—−", "-"),
        "…": "...",
    }
)
# Letters that Unicode does not compose of a plain one and an accent.
_LETTERS = str.maketrans(
    {"ø": "o", "đ": "d", "ð": "d", "ł": "l", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"}
)
_LAST_WITH_ACCENTS = "\u0530"  # Latin, Greek and Cyrillic are before it
_NO_LETTERS = re.compile(r"[\W_]+")
_AND = re.compile(r"&|(?<=\s)\+(?=\s)")


def folded(text: str) -> str:
    """A text without case and accents, however Unicode composes it; quotes and dashes plain.

    "&", and "+" between spaces, are "and".

    Examples
    --------
    >>> folded("Sigur Rós – “Svefn-g-englar”")
    'sigur ros - "svefn-g-englar"'
    >>> folded("Simon & Garfunkel") == folded("SIMON AND GARFUNKEL")
    True
    """
    letters = text.casefold()
    if not letters.isascii():
        apart = text.translate(_PLAIN)
        for _ in range(2):  # what one step makes may be for the other: ㎅ is made of capitals
            apart = unicodedata.normalize("NFKD", apart).translate(_PLAIN).casefold()
        letters = _without_accents(apart).translate(_LETTERS)
    if _AND.search(letters):
        letters = " ".join(_AND.sub(" and ", letters).split())
    return letters.strip()


def _without_accents(apart: str) -> str:
    """A text without marks on Latin, Greek and Cyrillic letters; other scripts need them."""
    kept, letter = [], ""
    for char in apart:
        if not unicodedata.combining(char):
            letter = char
        elif letter < _LAST_WITH_ACCENTS:
            continue
        kept.append(char)
    return "".join(kept)


def name_key(name: str) -> str:
    """A key that all spellings of one name share: its letters and digits, see `folded`.

    Examples
    --------
    >>> name_key("AC/DC") == name_key("acdc") == name_key("AC⚡DC")
    True
    >>> name_key("Guns N' Roses") == name_key("guns n roses")
    True
    >>> name_key("!!!"), name_key("(???)")
    ('!!!', '(???)')
    """
    plain = folded(name)
    if plain.isascii():
        kept = _NO_LETTERS.sub("", plain)
    else:
        # Of marks those of letters, such as the vowels of Devanagari and Thai.
        kept, before = "", ""
        for char in plain:
            kind = unicodedata.category(char)[0]
            before = kind if kind in "LN" or (kind == "M" and before) else ""
            kept += char if before else ""
    # A name without any letter or digit is only equal to itself.
    return kept or plain


def has_words(text: str, words: str) -> bool:
    """Whether a text has all of some words, or parts of words, however they are spelled.

    Examples
    --------
    >>> has_words("AC/DC - Thunderstruck", "thunder acdc"), has_words("AC/DC - T.N.T.", "thunder")
    (True, False)
    """
    (plain, keys), (plain_words, key_words) = _searchable(text), _searchable(words)
    return all(word in plain for word in plain_words.split()) or all(
        key in keys for key in key_words.split()
    )


@lru_cache(maxsize=2**17)  # a service looks through all tracks at each letter that is typed
def _searchable(text: str) -> tuple[str, str]:
    """A text folded, and the keys of its words."""
    plain = folded(text)
    return plain, " ".join(map(name_key, plain.split()))
