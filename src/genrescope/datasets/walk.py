"""A folder of genre folders: which files are its music, and what their ids are.

Conventions
-----------
`FOLDER/<genre>/…/<file>`: the first folder's name is the genre. Music is audio or, in a data set of
stored spectrograms, 8-bit grey PNG; never both. A track's id is its file's name without the suffix;
where names repeat between genres (`001.mp3` in each) the genre comes before it, and where they
repeat within a genre the whole path below FOLDER.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from genrescope.audio import AUDIO_SUFFIXES
from genrescope.audio.files import find_audio
from genrescope.datasets.dataset import Content, LeftOut, first_names
from genrescope.datasets.tracks import Track
from genrescope.errors import DatasetError
from genrescope.wording import valid_text

PICTURE = ".png"
_SHOWN = 4
_COLOUR = "a picture, not a stored spectrogram (8-bit grey PNG)"


@dataclass(frozen=True)
class GenreTree:
    """The music in a folder of genre folders.

    Attributes
    ----------
    root
        The folder.
    music
        Files of each genre, sorted by path.
    content
        "audio" or "power spectrograms".
    left_out
        Pictures in a data set of stored spectrograms that are none.
    notes
        What was ignored, in words.
    """

    root: Path
    music: dict[str, list[Path]]
    content: Content = "audio"
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def files(self) -> Iterator[Path]:
        """All files, genre by genre."""
        for files in self.music.values():
            yield from files

    def tracks(self) -> list[Track]:
        """One track for each file, sorted by id.

        Raises
        ------
        DatasetError
            When there is none.
        """
        if not self.music:
            raise DatasetError(
                f"{self.root}: no tracks in it; expected FOLDER/<genre>/<file>, audio or stored "
                "spectrograms (8-bit grey PNG)"
            )
        found: dict[Path, Track] = {}
        for genre, files in self.music.items():
            # Of one track in two formats (a.flac, a.wav) the last by name is taken.
            for file in files:
                found[file.with_suffix("")] = Track(file.stem, file, genre)
        tracks = list(found.values())
        names = Counter(track.id for track in tracks)
        if max(names.values()) > 1:
            tracks = [replace(track, id=f"{track.genre}/{track.id}") for track in tracks]
        names = Counter(track.id for track in tracks)
        if max(names.values()) > 1:
            tracks = [
                replace(t, id=t.path.relative_to(self.root).with_suffix("").as_posix())
                for t in tracks
            ]
        return sorted(tracks, key=lambda track: track.id)


def genre_tree(root: Path) -> GenreTree:
    """Find the music in a folder of genre folders.

    Pictures are ignored in a genre folder that holds audio, at any depth: they are covers.

    Raises
    ------
    DatasetError
        When some genre folders hold audio and others stored spectrograms, or when all there is are
        pictures in colour.
    """
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder")
    audio: dict[str, list[Path]] = defaultdict(list)
    pictures: dict[str, list[Path]] = defaultdict(list)
    found = find_audio(root, AUDIO_SUFFIXES | {PICTURE})
    for file in found.files:
        below = file.relative_to(root).parts
        if len(below) > 1:
            kind = pictures if file.suffix.lower() == PICTURE else audio
            # It becomes the name of a model's genre, which has to be valid text.
            kind[valid_text(below[0])].append(file)
    tree = _tree(root, audio, pictures)
    unread = tuple(LeftOut(error.path, error.reason) for error in found.errors)
    notes: tuple[str, ...] = (str(found.passed_over),) if found.passed_over else ()
    if second := _in_two_formats(tree.files()):
        names = first_names([str(file.relative_to(root)) for file in second], _SHOWN)
        notes += (f"taken for another format of a track of that name, and left out: {names}",)
    return replace(tree, left_out=(*tree.left_out, *unread), notes=(*tree.notes, *notes))


def _in_two_formats(files: Iterable[Path]) -> list[Path]:
    """The files that `GenreTree.tracks` does not take."""
    left_out, last = list[Path](), dict[Path, Path]()
    for file in files:
        name = file.with_suffix("")
        if name in last:
            left_out.append(last[name])
        last[name] = file
    return left_out


def _tree(root: Path, audio: dict[str, list[Path]], pictures: dict[str, list[Path]]) -> GenreTree:
    if not pictures:
        return GenreTree(root, dict(audio))
    if audio:
        return _without_pictures(root, audio, pictures)
    grey = {genre: [f for f in files if is_grey(f)] for genre, files in pictures.items()}
    colour = [file for files in pictures.values() for file in files if not is_grey(file)]
    if not any(grey.values()):
        raise DatasetError(f"{colour[0]}: {_COLOUR}; expected the folder of the audio")
    left_out = tuple(
        LeftOut(file.stem, _COLOUR, file.relative_to(root).parts[0]) for file in colour
    )
    music = {genre: files for genre, files in grey.items() if files}
    return GenreTree(root, music, "power spectrograms", left_out)


def _without_pictures(
    root: Path, audio: dict[str, list[Path]], pictures: dict[str, list[Path]]
) -> GenreTree:
    """The audio alone, unless whole genres are stored spectrograms."""
    stored = [
        file
        for genre, files in pictures.items()
        if genre not in audio
        for file in files
        if is_grey(file)
    ]
    if stored:
        raise DatasetError(mixed(root, next(iter(audio.values())), stored))
    covers = [str(f.relative_to(root)) for files in pictures.values() for f in files]
    note = f"ignored, pictures next to audio: {first_names(covers, _SHOWN)}"
    return GenreTree(root, dict(audio), notes=(note,))


def mixed(root: Path, audio: Sequence[Path], stored: Sequence[Path]) -> str:
    """The words of an error about a data set that mixes audio and stored spectrograms."""
    names = first_names([str(file) for file in stored], _SHOWN)
    return (
        f"{root}: mixes audio ({audio[0]}) and stored spectrograms ({names}), which no model is "
        "trained on together; keep one of the two"
    )


def is_grey(picture: Path) -> bool:
    """Whether a PNG is grey, by its header; True for a file that is not a PNG."""
    try:
        with picture.open("rb") as file:
            head = file.read(26)
    except OSError:
        return True
    # The 26th byte of a PNG is its colour type: 0 is grey (PNG specification, 11.2.2).
    return head[:4] != b"\x89PNG" or len(head) < 26 or head[25] == 0
