"""Ballroom (ISMIR 2004 tempo contest): half-minute clips of ballroom dance music.

`allBallroomFiles` lists the files, one `./<Dance>/<file>.wav` a line. The three kinds of rumba that
have folders of their own are one class, as in the rhythm classification literature.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from genrescope.datasets.dataset import NO_FILE, Dataset, LeftOut
from genrescope.datasets.layout import About, Layout
from genrescope.datasets.tracks import Track
from genrescope.errors import DatasetError

_LIST = "allBallroomFiles"
_RUMBA = ("Rumba-American", "Rumba-International", "Rumba-Misc")
_FOLDERS = ("ChaChaCha", "Jive", "Quickstep", *_RUMBA, "Samba", "Tango", "VienneseWaltz", "Waltz")
_NAME = re.compile(r"(Albums|Media)-.+")


class Ballroom(Layout):
    """Ballroom as its makers publish it, with or without the list of files."""

    about = About(
        title="Ballroom",
        description="698 clips of about 30 s from a teaching site for ballroom dancing, in eight "
        "dances; a benchmark of rhythm and tempo.",
        files="BallroomData/<Dance>/<file>.wav and BallroomData/allBallroomFiles",
        citation="F. Gouyon, A. Klapuri, S. Dixon, M. Alonso, G. Tzanetakis, C. Uhle and P. Cano, "
        "An experimental comparison of audio tempo induction algorithms, IEEE Transactions on "
        "Audio, Speech, and Language Processing 14 (5), 2006",
        licence="None stated; excerpts of commercial recordings, for research",
        url="http://mtg.upf.edu/ismir2004/contest/tempoContest/node5.html",
        download="http://mtg.upf.edu/ismir2004/contest/tempoContest/data1.tar.gz",
        size="1.5 GB",
        hashes={"data1.tar.gz": "md5:2872a3e52070bc342a4510a95e2fa0b8"},
        genres={
            "ChaChaCha": 111,
            "Jive": 60,
            "Quickstep": 82,
            "Rumba": 98,
            "Samba": 86,
            "Tango": 86,
            "VienneseWaltz": 65,
            "Waltz": 110,
        },
    )
    # Found by B. Sturm in 2014: four exact repeats, then nine of the same recording.
    repeats = (
        ("Albums-AnaBelen_Veneo-11", "Albums-Chrisanne2-12"),
        ("Albums-Fire-08", "Albums-Fire-09"),
        ("Albums-Latin_Jam2-05", "Albums-Latin_Jam2-13"),
        ("Albums-Secret_Garden-01", "Media-104705"),
        ("Albums-AnaBelen_Veneo-03", "Albums-AnaBelen_Veneo-15"),
        ("Albums-Ballroom_Magic-03", "Albums-Ballroom_Magic-18"),
        ("Albums-Latin_Jam-04", "Albums-Latin_Jam-13"),
        ("Albums-Latin_Jam-08", "Albums-Latin_Jam-14"),
        ("Albums-Latin_Jam-06", "Albums-Latin_Jam-15"),
        ("Albums-Latin_Jam2-02", "Albums-Latin_Jam2-14"),
        ("Albums-Latin_Jam2-07", "Albums-Latin_Jam2-15"),
        ("Albums-Latin_Jam3-02", "Media-103414"),
        ("Media-103402", "Media-103415"),
    )
    faults = {  # noqa: RUF012
        "Albums-Fire-08": "ChaChaCha, and the same recording as Albums-Fire-09, which is Samba",
        "Albums-Fire-09": "Samba, and the same recording as Albums-Fire-08, which is ChaChaCha",
    }

    def detect(self, path: Path) -> bool:
        """Whether the list of files is there, or folders of dances with files named as theirs."""
        root = _root(path)
        if (root / _LIST).is_file():
            return True
        files = [file for folder in _FOLDERS for file in (root / folder).glob("*.wav")]
        named = sum(_NAME.fullmatch(file.stem) is not None for file in files)
        return bool(files) and 2 * named > len(files)

    def read(self, path: Path) -> Dataset:
        """List the files that the list names, or those that are there."""
        root, tracks, left_out = _root(path), [], []
        for file in sorted(set(_listed(root)), key=lambda name: name.stem):
            genre = "Rumba" if file.parent.name in _RUMBA else file.parent.name
            if (root / file).is_file():
                tracks.append(Track(file.stem, root / file, genre))
            else:
                left_out.append(LeftOut(file.stem, NO_FILE, genre))
        if not tracks:
            raise DatasetError(f"{root}: none of Ballroom's files is there")
        return Dataset("Ballroom", "ballroom", tracks, left_out)


def _root(path: Path) -> Path:
    return path / "BallroomData" if (path / "BallroomData").is_dir() else path


def _listed(root: Path) -> Iterator[PurePosixPath]:
    """Paths `<Dance>/<file>.wav` below the root."""
    table = root / _LIST
    if not table.is_file():
        for folder in _FOLDERS:
            yield from (PurePosixPath(folder, f.name) for f in (root / folder).glob("*.wav"))
        return
    try:
        lines = table.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{table}: {error}") from None
    yield from (PurePosixPath(line.strip()) for line in lines if line.strip().endswith(".wav"))


LAYOUT = Ballroom()
