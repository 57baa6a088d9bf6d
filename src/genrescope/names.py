"""Names of artists, titles, albums and files: which spellings mean the same one.

People type "acdc" for "AC/DC", "beyonce" for "Beyoncé", and "dont stop" for "Don't Stop". Every
comparison of two names goes through `folded`, which keeps what tells names apart in writing, or
`name_key`, which doesn't. Names of genres have `genrescope.genres`.
"""

from __future__ import annotations

import re
import unicodedata

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
        letters = "".join(c for c in apart if not unicodedata.combining(c)).translate(_LETTERS)
    if _AND.search(letters):
        letters = " ".join(_AND.sub(" and ", letters).split())
    return letters.strip()


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
    # A name without any letter or digit is only equal to itself.
    return re.sub(r"[\W_]+", "", plain) or plain


def has_words(text: str, words: str) -> bool:
    """Whether a text has all of some words, or parts of words, however they are spelled.

    Examples
    --------
    >>> has_words("AC/DC - Thunderstruck", "thunder acdc"), has_words("AC/DC - T.N.T.", "thunder")
    (True, False)
    """
    plain = folded(text)
    if all(word in plain for word in folded(words).split()):
        return True
    keys = " ".join(map(name_key, plain.split()))
    return all(name_key(word) in keys for word in words.split())
