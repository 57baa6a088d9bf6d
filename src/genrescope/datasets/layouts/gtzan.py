"""GTZAN (Tzanetakis and Cook 2002): 10 genres of 100 tracks of half a minute.

Files are `<genre>/<genre>.000NN.au`, or `.wav` in the Kaggle copy, which adds pictures and feature
tables next to the folder `genres_original`. One file, jazz.00054, can't be decoded in the common
copies, so that 999 tracks are left.
"""

from __future__ import annotations

import re
from pathlib import Path

from genrescope.audio import AUDIO_SUFFIXES, AudioError, info
from genrescope.datasets.dataset import Dataset, LeftOut
from genrescope.datasets.layout import About, Layout
from genrescope.datasets.walk import genre_tree

GTZAN_GENRES = (
    *("blues", "classical", "country", "disco", "hiphop"),
    *("jazz", "metal", "pop", "reggae", "rock"),
)
TRACKS_PER_GENRE = 100

_NAME = re.compile(rf"({'|'.join(GTZAN_GENRES)})\.\d{{5}}")
_WITHIN = ("genres_original", "genres", "Data/genres_original")
_SUSPECT = "jazz.00054"


class Gtzan(Layout):
    """GTZAN as audio in all its common copies, and as stored spectrograms."""

    about = About(
        title="GTZAN",
        description="1000 clips of 30 s in ten genres of 100, 22 050 Hz mono, 16 bit. The most "
        "used data set of the field, and faulty: repeats, wrong labels, many clips an artist.",
        files="genres/<genre>/<genre>.000NN.au, or genres_original/<genre>/<genre>.000NN.wav",
        citation="G. Tzanetakis and P. Cook, Musical genre classification of audio signals, IEEE "
        "Transactions on Speech and Audio Processing 10 (5), 2002. Its faults: B. Sturm, The GTZAN "
        "dataset: its contents, its faults, their effects on evaluation, and its future use, 2013.",
        licence="None stated; commercial recordings, for research",
        url="http://marsyas.info/downloads/datasets.html",
        download="The makers' server no longer answers reliably. The usual copy is "
        "andradaolteanu/gtzan-dataset-music-genre-classification on Kaggle; its folder "
        "genres_original is enough.",
        size="1.2 GB",
        hashes={"genres.tar.gz": "md5:5b3d6dddb579ab49814ab86dba69e7c7"},
        genres=dict.fromkeys(GTZAN_GENRES, TRACKS_PER_GENRE),
    )
    # By number in Sturm 2013, and found again as identical spectrograms.
    repeats = (
        ("pop.00067", "pop.00071"),
        ("pop.00054", "pop.00060"),
        ("hiphop.00039", "hiphop.00045"),
        ("hiphop.00076", "hiphop.00078"),
        ("disco.00098", "disco.00099"),
        ("reggae.00081", "reggae.00082"),
        ("reggae.00073", "reggae.00074"),
        ("metal.00034", "metal.00094"),
        *((f"metal.{40 + i:05d}", f"metal.{61 + i:05d}") for i in range(6)),
        ("metal.00058", "rock.00016"),
    )
    faults = {  # noqa: RUF012 - a constant, as in the class it comes from
        _SUSPECT: "can't be decoded in the common copies",
        "metal.00058": "the same recording as rock.00016, under another genre",
        "rock.00016": "the same recording as metal.00058, under another genre",
    }

    def detect(self, path: Path) -> bool:
        """Whether most music files of the genre folders are named as GTZAN's."""
        names = [
            file.stem
            for file in _genre_folders(path).glob("*/*")
            if file.suffix.lower() in {*AUDIO_SUFFIXES, ".png"}
        ]
        return 2 * sum(_NAME.fullmatch(name) is not None for name in names) > len(names)

    def read(self, path: Path) -> Dataset:
        """List the tracks, without the one that can't be decoded where this copy has it so."""
        tree = genre_tree(_genre_folders(path))
        tracks, left_out = tree.tracks(), list(tree.left_out)
        for track in tracks:
            if track.id == _SUSPECT and tree.content == "audio":
                try:
                    info(track.path)
                except AudioError as error:
                    left_out.append(LeftOut(track.id, error.reason, track.genre))
        bad = {left.id for left in left_out}
        kept = [track for track in tracks if track.id not in bad]
        return Dataset("GTZAN", "gtzan", kept, left_out, tree.content, tree.notes)

    def ids(self, genre: str) -> tuple[str, ...]:
        """All of a genre's ids: `<genre>.00000` to `<genre>.00099`."""
        if genre not in GTZAN_GENRES:
            return ()
        return tuple(f"{genre}.{number:05d}" for number in range(TRACKS_PER_GENRE))


def _genre_folders(root: Path) -> Path:
    """The folder of genre folders in a copy of GTZAN, or `root` itself."""
    return next((root / name for name in _WITHIN if (root / name).is_dir()), root)


LAYOUT = Gtzan()
