"""Genres that the owner of a library corrected by hand, kept apart from what the model said.

They are in a table of their own, by the content of the file: a moved, copied or retagged file keeps
its correction, and so does one that is classified again, also by another model.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from genrescope.atomic import write_atomic
from genrescope.errors import FileError, GenrescopeError
from genrescope.genres import find_genre
from genrescope.library.places import locked
from genrescope.library.rows import Entry
from genrescope.library.store import CORRECTIONS, Library


def correct(
    library: Library,
    entries: Iterable[Entry],
    genre: str | None,
    *,
    seconds: float | None = None,
) -> dict[str, str]:
    """Correct the genre of tracks, or take corrections back; return all corrections.

    Parameters
    ----------
    library
        Where the tracks are from.
    entries
        The tracks.
    genre
        A genre of the library's model, in any spelling; None takes corrections back.
    seconds
        The longest to wait for another process that writes to the library; as long as it takes by
        default.

    Raises
    ------
    GenrescopeError
        The model has no such genre.
    LibraryBusyError
        Another process wrote for longer than that.
    LibraryError
        The library can't be written.
    """
    import pyarrow as pa

    named = None if genre is None else find_genre(genre, library.model.genres)
    if genre is not None and named is None:
        known = ", ".join(library.model.genres)
        raise GenrescopeError(f"{genre}: no genre of the library's model; it knows {known}")
    with locked(library.place, seconds=seconds):
        corrections = library.corrections()
        for entry in entries:
            if named is None:
                corrections.pop(entry.content, None)
            else:
                corrections[entry.content] = named
        columns = {"content": [*corrections], "genre": [*corrections.values()]}
        schema = pa.schema([("content", pa.string()), ("genre", pa.string())])
        library.write_table(CORRECTIONS, pa.table(columns, schema=schema))
    return corrections


def corrected(entries: Iterable[Entry], genres: Sequence[str]) -> list[Entry]:
    """Tracks as their owner corrected them, for sorting and tags.

    A corrected track is of its genre with certainty: its confidence is 1, and so is the probability
    of the genre.
    """
    changed = []
    for entry in entries:
        genre = entry.corrected_genre
        if genre is not None:
            probabilities = np.array([genre == each for each in genres], np.float32)
            entry = replace(entry, genre=genre, confidence=1.0, probabilities=probabilities)
        changed.append(entry)
    return changed


def marked(entries: Iterable[Entry], corrections: Mapping[str, str]) -> list[Entry]:
    """Tracks that were read before, with `corrected_genre` as it is now."""
    # A copy of each of ten thousand tracks would take a second.
    return [
        replace(each, corrected_genre=corrections.get(each.content))
        if corrections.get(each.content) != each.corrected_genre
        else each
        for each in entries
    ]


def write_training_table(entries: Iterable[Entry], file: Path) -> int:
    """Write corrected tracks as a table of paths and genres, on which a model can be trained.

    Tracks at addresses are left out: training reads files of this machine.

    Returns
    -------
    int
        How many tracks were written.

    Raises
    ------
    FileError
        When the file can't be written.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["path", "genre"])
    chosen = [e for e in entries if e.corrected_genre and not e.deleted and not e.is_remote]
    rows.writerows([entry.place, entry.corrected_genre] for entry in chosen)
    try:
        write_atomic(file, text.getvalue().encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise FileError(file, f"can't be written: {error.strerror or error}") from None
    return len(chosen)
