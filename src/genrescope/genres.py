"""Names of genres: which spellings mean the same one.

Data sets, models, folders and tags spell one genre in many ways: "hiphop", "Hip-Hop", "hip_hop" and
"HIP HOP"; "R&B" and "R'n'B"; "Drum & Bass" and "drum and bass". Every comparison of two names goes
through `genre_key`.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping

# Written as one word, so that no rule finds the "and" in it.
_ONE_WORD = {
    "rnb": "randb",
    "dnb": "drumandbass",
    "dandb": "drumandbass",
    "drumnbass": "drumandbass",
}


def genre_key(name: str) -> str:
    """A key that all spellings of one genre share.

    Case, accents, spaces, hyphens, underscores and other punctuation don't count; "&", "+" and a
    single "n" between words are "and".

    Examples
    --------
    >>> genre_key("Hip-Hop") == genre_key("hip_hop") == genre_key("HIPHOP")
    True
    >>> genre_key("R&B") == genre_key("R'n'B") == genre_key("r and b") == genre_key("RnB")
    True
    """
    decomposed = unicodedata.normalize("NFKD", name.casefold())
    letters = "".join(c for c in decomposed if not unicodedata.combining(c))
    words = re.split(r"[\W_]+", re.sub(r"[&+]", " and ", letters))
    middle = slice(1, len(words) - 1)
    words[middle] = ["and" if word == "n" else word for word in words[middle]]
    key = "".join(words)
    # A name without any letter or digit is only equal to itself.
    return _ONE_WORD.get(key, key) or name


def same_genre(first: str, second: str) -> bool:
    """Whether two names are spellings of one genre.

    Examples
    --------
    >>> same_genre("Rock & Roll", "rock'n'roll"), same_genre("Rock", "Punk Rock")
    (True, False)
    """
    return genre_key(first) == genre_key(second)


def find_genre(name: str, genres: Iterable[str]) -> str | None:
    """The one of `genres` that `name` means, as it is spelled there; None where there is none.

    The same spelling comes first; of several other spellings, the first is taken.

    Examples
    --------
    >>> find_genre("Hip-Hop", ["hiphop", "rock"])
    'hiphop'
    """
    known = list(genres)
    if name in known:
        return name
    key = genre_key(name)
    return next((genre for genre in known if genre_key(genre) == key), None)


def one_spelling(names: Iterable[str]) -> Mapping[str, str]:
    """The spelling to use for each of `names`, which may repeat: the most frequent for its genre.

    Examples
    --------
    >>> one_spelling(["Hip-Hop", "hip hop", "Hip-Hop", "jazz"])["hip hop"]
    'Hip-Hop'
    """
    usual: dict[str, str] = {}
    counts = Counter(names)
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        usual.setdefault(genre_key(name), name)
    return {name: usual[genre_key(name)] for name in counts}
