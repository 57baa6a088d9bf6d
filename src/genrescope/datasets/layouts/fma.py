"""FMA (Defferrard et al. 2017) in its official layout: clips by number, and a table of them.

Conventions
-----------
`fma_small/000/000002.mp3` is track "2": ids have no leading zeros. `fma_metadata/tracks.csv` has
two header rows (a group and a name), then a row that names the index. A reduced table with the
columns subset, split, track_id, genre_top and genres does as well (`tracks_small.csv`). small is
part of medium, and medium of large; full is large with the whole tracks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from genrescope.audio import AUDIO_SUFFIXES
from genrescope.datasets.artists import known_artist
from genrescope.datasets.csv_files import Row, csv_rows, subset_of
from genrescope.datasets.dataset import NO_FILE, NO_GENRE, Dataset, LeftOut
from genrescope.datasets.layout import About, Layout
from genrescope.datasets.tracks import Track
from genrescope.errors import DatasetError

SUBSETS = ("small", "medium", "large", "full")

# The errata of FMA's own wiki, for the clips; in fma_full these tracks are whole.
BAD_CLIPS = {
    **dict.fromkeys(("98565", "98567", "98569"), "a clip of one or two seconds (FMA's errata)"),
    **dict.fromkeys(("99134", "108925", "133297"), "a clip without sound (FMA's errata)"),
}

# In FMA-small, found as identical features. 57371 and 72149 differ in their genres.
REPEATS = (
    ("45102", "51785"),
    ("57371", "72149"),
    ("74348", "86761"),
    ("114212", "115294"),
    ("114222", "115292"),
    ("114223", "115290"),
    ("114235", "125821"),
    ("114236", "125820"),
    ("120470", "133016"),
    ("130170", "130650"),
    ("144933", "145702"),
    ("144938", "145707"),
)

METADATA = ("fma_metadata", "fma-metadata")
_TABLES = ("tracks.csv", "tracks_small.csv")
_AUDIO = re.compile(rf"fma[_-]({'|'.join(SUBSETS)})")


@dataclass(frozen=True)
class _Files:
    """FMA's table, and its folder of clips, if there is one."""

    table: Path
    clips: Path | None


@dataclass(frozen=True)
class FmaRow:
    """One track's row of FMA's table."""

    id: str
    genre: str
    split: str | None
    subset: str
    artist: str | None


class Fma(Layout):
    """FMA with its clips, or known from its table alone."""

    about = About(
        title="FMA",
        description="Free Music Archive: 106 574 tracks under Creative Commons licences. small has "
        "8000 clips of 30 s in eight balanced genres, medium 25 000 in 16, large all as clips, "
        "full all whole. Six clips of small are too short or silent, so that 7994 are left.",
        files="fma_small/NNN/NNNNNN.mp3 next to fma_metadata/tracks.csv",
        citation="M. Defferrard, K. Benzi, P. Vandergheynst and X. Bresson, FMA: a dataset for "
        "music analysis, ISMIR 2017",
        licence="Metadata CC BY 4.0; audio under the licence that each artist chose, a Creative "
        "Commons one nearly always; for research",
        url="https://github.com/mdeff/fma",
        download="https://os.unil.cloud.switch.ch/fma/fma_small.zip and fma_metadata.zip at the "
        "same address, unpacked next to each other",
        size="fma_small 7.2 GiB, fma_medium 22 GiB, fma_large 93 GiB, fma_full 879 GiB, "
        "fma_metadata 342 MiB",
        hashes={
            "fma_metadata.zip": "sha1:f0df49ffe5f2a6008d7dc83c6915b31835dfe733",
            "fma_small.zip": "sha1:ade154f733639d52e35e32f5593efe5be76c6d70",
            "fma_medium.zip": "sha1:c67b69ea232021025fca9231fc1c7c1a063ab50b",
            "fma_large.zip": "sha1:497109f4dd721066b5ce5e5f250ec604dc78939e",
            "fma_full.zip": "sha1:0f0ace23fbe9ba30ecb7e95f763e435ea802b8ab",
        },
    )
    subsets = SUBSETS
    repeats = REPEATS
    faults = BAD_CLIPS

    def detect(self, path: Path) -> bool:
        """Whether it is FMA's table, its clips, or a folder that holds either."""
        return _find_table(path) is not None or _is_clips(path)

    def read(self, path: Path) -> Dataset:
        """List the tracks of the subset that the name of the clips' folder says.

        If it says none, those whose clips are there, and without clips all of the table.
        """
        return self.read_subset(path, None)

    def read_subset(self, path: Path, subset: str | None) -> Dataset:
        """List the tracks with artist and official split; of any subset as `read` does."""
        table = _find_table(path)
        if table is None:
            raise DatasetError(f"{path}: FMA's audio, but no fma_metadata/tracks.csv next to it")
        return _read(_Files(table, _clips_of(path, table, subset)), subset)


def _find_table(path: Path) -> Path | None:
    """FMA's table, from itself, its folder, the folder of clips, or the one that holds both."""
    if path.is_file():
        return path if _is_fma_table(path) else None
    folders = [path, *(path / name for name in METADATA)]
    if _has_clips(path):
        folders += [path.resolve().parent / name for name in METADATA]
    tables = (folder / name for folder in folders for name in _TABLES)
    return next((table for table in tables if table.is_file() and _is_fma_table(table)), None)


def _is_fma_table(table: Path) -> bool:
    try:
        first = next(csv_rows(table), None)
    except DatasetError:
        return False
    header = first.cells if first else []
    return {"track_id", "genre_top"} <= set(header) or (
        header[:1] == [""] and {"set", "track"} <= set(header)
    )


def _has_clips(folder: Path) -> bool:
    """Whether it has audio in folders 000, 001 and so on."""
    files = folder.glob("[0-9][0-9][0-9]/*")
    return any(file.suffix.lower() in AUDIO_SUFFIXES for file in files)


def _is_clips(path: Path) -> bool:
    names = [entry.name for entry in path.glob("*/")] if path.is_dir() else []
    if _has_clips(path):
        names.append(path.resolve().name)
    return any(map(_AUDIO.fullmatch, names))


def _clips_of(path: Path, table: Path, subset: str | None) -> Path | None:
    """The folder of clips that goes with the table, if there is one.

    Raises
    ------
    DatasetError
        When there are several to choose from.
    """
    if path.is_dir() and _has_clips(path):
        return path
    parent = table.resolve().parent.parent if table.parent in (path, path.parent) else path
    found = {
        match[1]: entry
        for entry in sorted(parent.glob("*/"))
        if (match := _AUDIO.fullmatch(entry.name))
    }
    if subset is not None and found:
        return found.get(subset) or found[max(found, key=SUBSETS.index)]
    if len(found) > 1:
        names = ", ".join(sorted(found, key=SUBSETS.index))
        raise DatasetError(f"{parent}: holds FMA {names}; name the folder of one, or a subset")
    return next(iter(found.values()), None)


def _read(found: _Files, subset: str | None) -> Dataset:
    named = _AUDIO.fullmatch(found.clips.resolve().name) if found.clips else None
    folder = named[1] if named else None
    chosen = subset or folder
    files = _clips(found.clips) if found.clips else None
    tracks: list[Track] = []
    left_out: list[LeftOut] = []
    largest = 0
    for row in fma_rows(found.table):
        if chosen is not None and _rank(row.subset) > _rank(chosen):
            continue
        file = found.table if files is None else files.get(row.id)
        if file is None and chosen is None:
            continue
        reason = _why_not(row, file, clips="full" not in (folder, chosen))
        if file is None or reason:
            left_out.append(LeftOut(row.id, reason, row.genre))
            continue
        largest = max(largest, _rank(row.subset))
        tracks.append(Track(row.id, file, row.genre, row.artist, row.split))
    if not tracks:
        raise DatasetError(f"{found.clips or found.table}: no tracks in it that the table names")
    return Dataset(
        f"FMA {chosen or SUBSETS[largest]}",
        "fma",
        sorted(tracks, key=lambda track: track.id),
        left_out,
        "audio" if found.clips else "vectors",
    )


def _why_not(row: FmaRow, file: Path | None, *, clips: bool) -> str:
    """Why a track is left out; nothing if it is not."""
    if clips and row.id in BAD_CLIPS:
        return BAD_CLIPS[row.id]
    if file is None:
        return NO_FILE
    return "" if row.genre else NO_GENRE


def _rank(subset: str) -> int:
    return SUBSETS.index(subset) if subset in SUBSETS else len(SUBSETS) - 1


def _clips(folder: Path) -> dict[str, Path]:
    """The audio of numbered folders, by track id."""
    return {
        str(int(path.stem)): path
        for path in sorted(folder.glob("[0-9][0-9][0-9]/*"))
        if path.stem.isdecimal() and path.suffix.lower() in AUDIO_SUFFIXES
    }


def fma_rows(table: Path) -> Iterator[FmaRow]:
    """Yield the rows of the official or the reduced table.

    Raises
    ------
    DatasetError
        When columns are missing, or a row does not describe a track.
    """
    rows = csv_rows(table)
    header = _header(rows)

    def column(*names: tuple[str, ...]) -> int | None:
        return next((header.index(name) for name in names if name in header), None)

    at = [
        column(("track_id",)),
        column(("track", "genre_top"), ("genre_top",)),
        column(("set", "split"), ("split",)),
        column(("set", "subset"), ("subset",)),
    ]
    artist = column(("artist", "id"), ("artist", "name"))
    found = [index for index in at if index is not None]
    if len(found) < len(at):
        raise DatasetError(f"{table}: expected the columns genre_top, split and subset")
    number, genre, split, subset = found
    for row in rows:
        cells = row.cells
        if not cells or not cells[0] or cells[0] == "track_id":  # the row that names the index
            continue
        if len(cells) < len(header) or not cells[number].isdecimal():
            raise row.error(f"not a track: {','.join(cells)[:60]!r}")
        yield FmaRow(
            str(int(cells[number])),
            cells[genre],
            subset_of(row, split),
            cells[subset],
            None if artist is None else known_artist(cells[artist]),
        )


def _header(rows: Iterator[Row]) -> list[tuple[str, ...]]:
    """Names of the columns: one word each in the reduced table, group and name in the official."""
    first = next(rows, None)
    header: list[tuple[str, ...]] = [(name,) for name in first.cells] if first else []
    if ("track_id",) not in header:
        second = next(rows, None)
        names = second.cells if second else []
        header = [(*group, name) for group, name in zip(header, names, strict=False)]
        header[:1] = [("track_id",)]
    return header


LAYOUT = Fma()
