"""Where each file of a library goes when it is sorted: into folders by genre, artist and album.

Conventions
-----------
Tracks are sorted by their own genre, or albums as a whole by the mean of their tracks'
probabilities. What the model is less sure of than a given confidence goes to `Unsorted`. In the
name of a folder an artist is that of the album, where the tags name one, so that a compilation or
an album with guests is in one folder; in a file's name it is the track's own. Nothing is planned
onto another file: where a name is taken, the new one is numbered, `song (2).mp3`. Planning changes
nothing; `genrescope.library.moves` carries a plan out.
"""

from __future__ import annotations

import os
import re
import string
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal

import numpy as np

from genrescope.datasets.artists import without_guests
from genrescope.errors import FileError, GenrescopeError
from genrescope.library.content import content_of
from genrescope.library.genre_names import genre_name
from genrescope.library.moves import (
    Action,
    SortError,
    Step,
    links_that_follow,
    unfinished_moves,
    with_links,
)
from genrescope.library.playlist import write_m3u8
from genrescope.library.queries import distinct_files
from genrescope.library.rows import Entry
from genrescope.library.transfer import is_copy
from genrescope.registry import did_you_mean

By = Literal["track", "album"]
MIN_CONFIDENCE = 0.5
TEMPLATES: dict[By, str] = {"track": "{genre}/{file}", "album": "{genre}/{artist}/{album}/{file}"}
UNSORTED = "Unsorted"
_RETURNED = "marked as deleted, though its file is there: scan it first"
_COMMENT = "#written by genrescope sort"
_FIELDS = ("genre", "artist", "album", "title", "year", "file")
_MOST_BYTES = 200
# Names of devices on Windows, with whatever ending.
_DEVICE = re.compile(
    r"^(con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[\d¹²³])(\..*)?$", re.IGNORECASE | re.DOTALL
)
_DISC = re.compile(r"(cd|dis[ck]|disque)[ _.-]*\d+", re.IGNORECASE)


@dataclass(frozen=True)
class Placed:
    """A track of a plan.

    Attributes
    ----------
    entry
        The track.
    genre, confidence
        The genre that it is sorted by, as it is written in tags, and how sure that is; for an
        album the album's. `UNSORTED` where the confidence is too low.
    file
        Where its file will be.
    """

    entry: Entry
    genre: str
    confidence: float
    file: Path


@dataclass(frozen=True)
class Plan:
    """The moves of a sorting.

    Attributes
    ----------
    action
        What happens to each file.
    folder
        The top folder.
    steps
        What is to be done, in order.
    placed
        All sorted tracks, also those that are in their place already.
    in_place
        How many of them are.
    left_out
        Tracks without a genre, or whose file is missing, each with the reason.
    """

    action: Action
    folder: Path
    steps: tuple[Step, ...]
    placed: tuple[Placed, ...]
    in_place: int
    left_out: tuple[tuple[Entry, str], ...]

    @property
    def roots(self) -> list[str]:
        """The scanned folders of the tracks that are not in their place."""
        return sorted({p.entry.root for p in self.placed if p.file != p.entry.file})


def plan(
    entries: Iterable[Entry],
    folder: Path,
    action: Action,
    *,
    genres: Sequence[str] = (),
    by: By = "track",
    min_confidence: float = MIN_CONFIDENCE,
    template: str | None = None,
    roots: Iterable[Path] = (),
) -> Plan:
    """Tell where each track goes; changes nothing.

    Parameters
    ----------
    entries
        Tracks of a library.
    folder
        The top folder.
    action
        What is to happen to each file.
    genres
        The model's, in the order of `Entry.probabilities`; needed for albums.
    by
        By each track's genre, or by each album's.
    min_confidence
        Tracks or albums of less go to `UNSORTED`.
    template
        Path below the folder, of the fields genre, artist, album, title, year and file in braces;
        by default `TEMPLATES`.
    roots
        Folders whose links follow the files that are moved; those of the tracks by default.

    Raises
    ------
    GenrescopeError
        The template has another field, or leads out of the folder.
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - links stay
    parts = _template(template or TEMPLATES[by])
    tracks = sorted(entries, key=lambda each: (each.file.is_symlink(), each.file))
    if action != "move":  # a move takes a file with all links to it
        tracks = distinct_files(tracks)
    decided = _by_album(tracks, genres) if by == "album" else _by_track(tracks)
    steps: list[Step] = []
    placed: list[Placed] = []
    in_place, left_out = 0, list[tuple[Entry, str]]()
    begun = unfinished_moves(folder) if action == "move" else set()
    names = _Names(action, begun)
    for entry in tracks:
        try:
            status = entry.file.stat()
        except OSError:
            left_out.append((entry, "at an address" if entry.is_remote else "its file is gone"))
            continue
        if (entry.root, entry.path) not in decided or entry.deleted:
            left_out.append((entry, _RETURNED if entry.deleted else entry.answer))
            continue
        genre, confidence, artist, disc = decided[entry.root, entry.path]
        name = genre_name(genre) if confidence >= min_confidence else UNSORTED
        *above, last = _filled(parts, entry, name, artist)
        # Other templates tell tracks apart by their titles.
        desired = folder.joinpath(*above, *(disc if "{file}" in parts[-1] else ()), last)
        target, is_there = names.choose(desired, entry)
        placed.append(Placed(entry, name, confidence, target))
        if is_there and (str(entry.file), str(target)) in begun and entry.file != target:
            is_there = False  # a run was stopped when it had both names
        in_place += is_there
        if not is_there:
            size, mtime_ns = status.st_size, status.st_mtime_ns
            paths = str(entry.file), str(target)
            steps.append(Step(*paths, size, mtime_ns, content=entry.content))
    ordered = with_links(steps, action)
    if action == "move":
        ordered += links_that_follow(ordered, {*roots} or {Path(entry.root) for entry in tracks})
    return Plan(action, folder, tuple(ordered), tuple(placed), in_place, tuple(left_out))


def write_playlists(placed: Sequence[Placed], folder: Path) -> tuple[list[Path], list[Path]]:
    """Write one playlist a genre, `Jazz.m3u8`, most confident first.

    Those of earlier calls are replaced; where a file of another origin has the name, the playlist
    is called `Jazz (2).m3u8`.

    Returns
    -------
    list of Path
        The playlists.
    list of Path
        Files whose names hold a line break, which no playlist can name.

    Raises
    ------
    FileError
        When they can't be written.
    """
    genres: defaultdict[str, list[Placed]] = defaultdict(list)
    for each in placed:
        if each.genre != UNSORTED:
            genres[_as_name(each.genre)].append(each)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SortError(folder, f"can't be made: {error.strerror}") from None
    written, left_out = list[Path](), list[Path]()
    for genre, tracks in sorted(genres.items()):
        tracks.sort(key=lambda each: (-each.entry.confidence, each.file))
        numbered = (_numbered(folder / f"{genre}.m3u8", number) for number in count(1))
        written.append(next(file for file in numbered if _is_ours(file)))
        entries, files = [each.entry for each in tracks], [each.file for each in tracks]
        left_out += write_m3u8(written[-1], entries, files, comment=_COMMENT)
    return written, left_out


def _is_ours(playlist: Path) -> bool:
    """Whether a name is free, or has a playlist that was written here."""
    try:
        return playlist.read_bytes().endswith(f"{_COMMENT}\n".encode())
    except FileNotFoundError:
        return not playlist.is_symlink()
    except OSError as error:
        if os.path.lexists(playlist):  # a folder, or a file of somebody else
            return False
        raise SortError(playlist, f"can't be written: {error.strerror}") from None


# Genre, confidence, artist, and folders of the disc of each track, by root and path.
_Decided = dict[tuple[str, str], tuple[str, float, str | None, tuple[str, ...]]]


def _by_track(entries: Iterable[Entry]) -> _Decided:
    return {
        (e.root, e.path): (e.genre, e.confidence, e.album_artist or e.artist, ())
        for e in entries
        if e.genre is not None
    }


def _by_album(entries: Sequence[Entry], genres: Sequence[str]) -> _Decided:
    """Albums by their mean; tracks without an album by themselves.

    Tracks of an album that could not be classified go with the others.
    """
    decided = _by_track(entry for entry in entries if not entry.album)
    for tracks in _albums(entry for entry in entries if entry.album and not entry.deleted):
        known = [each.probabilities for each in tracks if each.genre is not None]
        if not known:
            continue
        mean = np.stack(known).mean(axis=0, dtype=np.float64)
        best = int(mean.argmax())
        artist = _common_artist(tracks)
        # Discs share a folder, unless they have files of the same name (01.flac).
        keep_discs = len({each.file.name.casefold() for each in tracks}) < len(tracks)
        for each in tracks:
            folder = each.file.parent.name
            disc = (folder,) if keep_discs and _DISC.fullmatch(folder) else ()
            decided[each.root, each.path] = (genres[best], float(mean[best]), artist, disc)
    return decided


def _albums(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """The tracks of each album: of one title, in one folder, and by one album artist.

    Where only one album artist is named, tracks without one belong to the same album.
    """
    titles: defaultdict[tuple[str, Path], list[Entry]] = defaultdict(list)
    for entry in entries:
        titles[(entry.album or "").casefold(), _folder_of_album(entry.file)].append(entry)
    for tracks in titles.values():
        by_artist: defaultdict[str, list[Entry]] = defaultdict(list)
        for entry in tracks:
            by_artist[(entry.album_artist or "").casefold()].append(entry)
        yield from by_artist.values() if len(by_artist.keys() - {""}) > 1 else [tracks]


def _folder_of_album(file: Path) -> Path:
    """A file's folder; that above it for a folder such as `CD 1`."""
    return file.parent.parent if _DISC.fullmatch(file.parent.name) else file.parent


def _common_artist(tracks: Sequence[Entry]) -> str | None:
    """The album artist, or else the artist, of most tracks of an album.

    "Various Artists" where there is no such one.
    """
    named = [each.album_artist for each in tracks if each.album_artist]
    named = named or [each.artist for each in tracks if each.artist]
    if not named:
        return None
    for artists in (Counter(named), Counter(map(without_guests, named))):
        artist, count = artists.most_common(1)[0]
        if 2 * count > artists.total():
            return artist
    return "Various Artists"


def _template(text: str) -> list[str]:
    """The parts of a path template.

    Raises
    ------
    GenrescopeError
        When it has an unknown field, or leads out of the folder.
    """
    known = ", ".join(f"{{{field}}}" for field in _FIELDS)
    try:
        fields = [field for _, field, *_ in string.Formatter().parse(text) if field is not None]
    except ValueError as error:
        raise GenrescopeError(f"template {text!r}: {error}; fields are {known}") from None
    for field in fields:
        if field not in _FIELDS:
            hint = did_you_mean(field, _FIELDS)
            raise GenrescopeError(
                f"template {text!r}: no field {{{field}}}{hint}; there are {known}"
            )
    try:
        text.format(**dict.fromkeys(_FIELDS, ""))
    except (ValueError, KeyError, IndexError, AttributeError) as error:
        raise GenrescopeError(f"template {text!r}: {error}; fields are {known}") from None
    parts = text.split("/")
    if not text.strip() or any(part.strip() in ("", ".", "..") for part in parts):
        raise GenrescopeError(f"template {text!r}: it has to be a path below the folder")
    return parts


def _filled(parts: Sequence[str], entry: Entry, genre: str, artist: str | None) -> list[str]:
    """The path of a track by a template; what its tags don't say is called unknown.

    `artist` is the one whose folder it belongs in.
    """
    values = {
        "genre": genre,
        "artist": artist or "Unknown Artist",
        "album": entry.album or "Unknown Album",
        "title": entry.title or entry.file.stem,
        "year": str(entry.year) if entry.year else "Unknown Year",
    }
    names = []
    for number, part in enumerate(parts):
        if number == len(parts) - 1:
            values["artist"] = entry.artist or values["artist"]
        # A file's own name is a name already; others may hold anything.
        if part == "{file}":
            names.append(entry.file.name)
        else:
            names.append(_as_name(part.format(**values, file=entry.file.name)))
    suffix = entry.file.suffix
    if not names[-1].casefold().endswith(suffix.casefold()):
        names[-1] += suffix
    return names


def _as_name(text: str) -> str:
    """A text as a file or a folder can be called on any system."""
    name = re.sub(r'[<>:"|?*\\/\x00-\x1f\x7f]', "-", text).strip().lstrip(".").rstrip(". ")
    while len(name.encode("utf-8", "surrogateescape")) > _MOST_BYTES:
        name = name[:-1]
    return _DEVICE.sub(r"\1_\2", name) or "-"


class _Names:
    """Names that a plan gives, each once.

    Some file systems hold upper and lower case to be the same.
    """

    def __init__(self, action: Action, begun: Container[tuple[str, str]]) -> None:
        self._action, self._begun = action, begun
        self._given: set[str] = set()
        self._next: dict[str, int] = {}  # of a desired name, the first number that is not given
        self._of_content: defaultdict[str, list[Path]] = defaultdict(list)
        self._contents: dict[Path, str] = {}  # of files that stand where a track should go

    def choose(self, desired: Path, entry: Entry) -> tuple[Path, bool]:
        """The first name that is free, or that holds this very track already, and whether it does.

        A copy and its original are one track, unless both have to go somewhere.
        """
        if self._action != "move":
            for known in self._of_content[entry.content]:
                if _is_numbered(known, desired):
                    return known, True
        key = str(desired).casefold()
        number = self._next.get(key, 1)
        while str(_numbered(desired, number)).casefold() in self._given:
            number += 1
        self._next[key] = number
        is_there = False
        while True:
            target = _numbered(desired, number)
            if str(target).casefold() not in self._given:
                if not os.path.lexists(target):
                    break
                if self._holds(target, entry):
                    is_there = True
                    break
            number += 1
        self._given.add(str(target).casefold())
        self._of_content[entry.content].append(target)
        return target, is_there

    def _holds(self, target: Path, entry: Entry) -> bool:
        """Whether the file is there already: moved or linked there, or copied."""
        source = entry.file
        with suppress(OSError, FileError):
            if target.samefile(source):
                return True
            if self._action == "copy":  # which follows links
                source = source.resolve()
                return is_copy(source, target) or self._is_retagged_copy(target, entry)
            # A move to another disk may have been stopped when the copy was made.
            is_begun = self._action == "move" and (str(source), str(target)) in self._begun
            return is_begun and is_copy(source, target)
        return False

    def _is_retagged_copy(self, target: Path, entry: Entry) -> bool:
        """Whether a file has the same coded audio as a track, and other tags."""
        if target.is_symlink() or not target.is_file():
            return False
        if target not in self._contents:
            self._contents[target] = content_of(target)
        status = entry.file.stat()
        is_as_scanned = (status.st_size, status.st_mtime_ns) == (entry.size, entry.mtime_ns)
        content = entry.content if is_as_scanned else content_of(entry.file)
        return self._contents[target] == content


def _numbered(desired: Path, number: int) -> Path:
    return desired if number == 1 else desired.with_stem(f"{desired.stem} ({number})")


def _is_numbered(name: Path, desired: Path) -> bool:
    """Whether a name is the desired one, or that with a number."""
    stem, end = str(desired.with_suffix("")).casefold(), desired.suffix.casefold()
    pattern = rf"{re.escape(stem)}( \(\d+\))?{re.escape(end)}"
    return re.fullmatch(pattern, str(name).casefold()) is not None
