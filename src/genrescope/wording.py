"""Counts and sizes in messages, in correct English; and text that can be stored."""

from __future__ import annotations

import math


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number with its noun, in the singular for 1.

    Parameters
    ----------
    count
        How many.
    noun
        What one is called.
    plural
        What several are called; by default the noun with an s.

    Examples
    --------
    >>> counted(1, "file"), counted(0, "file"), counted(2, "copy", "copies")
    ('1 file', '0 files', '2 copies')
    """
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"


def was(count: int) -> str:
    """The verb "was" or "were" for a number of things."""
    return "was" if count == 1 else "were"


def confidence_percent(probability: float) -> str:
    """A probability in whole percent, rounded down.

    What is below a threshold is never shown as if it had reached it.

    Examples
    --------
    >>> confidence_percent(0.4996), confidence_percent(0.29), confidence_percent(1)
    ('49%', '29%', '100%')
    """
    # 0.29 * 100 is 28.999…
    return f"{math.floor(100 * probability + 1e-9)}%"


def size_in_words(size: int) -> str:
    """A size in bytes with a unit in which it is at least 1.

    Examples
    --------
    >>> size_in_words(512), size_in_words(23_456), size_in_words(3_400_000)
    ('512 bytes', '23.5 kB', '3.4 MB')
    """
    if size < 1000:
        return counted(size, "byte")
    # What would be rounded to 1000 kB is 1 MB.
    for unit, factor in (("kB", 1e3), ("MB", 1e6)):
        if size < 999.95 * factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size / 1e9:.1f} GB"


def valid_text(text: str) -> str:
    r"""A text that JSON, UTF-8 and tables can store.

    A file's name may hold bytes that are not UTF-8, which Python keeps as lone surrogates: they are
    written as backslash escapes.

    Examples
    --------
    >>> valid_text("caf\udce9"), valid_text("café")
    ('caf\\udce9', 'café')
    """
    return text.encode("utf-8", "backslashreplace").decode()


def is_text(name: str) -> bool:
    """Whether a name is valid text, which LanceDB can store."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
