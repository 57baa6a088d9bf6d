"""HOMBURG (Homburg et al. 2005): ten-second excerpts of songs from Garageband, in nine genres.

Files are `<genre>/<Artist>-<Title>.mp3`, with an underscore for every character that is not a
letter or digit, so that the first hyphen ends the artist's name.
"""

from __future__ import annotations

from pathlib import Path

from genrescope.datasets.dataset import Dataset
from genrescope.datasets.layout import About, Layout
from genrescope.datasets.tracks import Track
from genrescope.datasets.walk import genre_tree

_GENRES = {
    "alternative": 145,
    "blues": 120,
    "electronic": 113,
    "folkcountry": 222,
    "funksoulrnb": 47,
    "jazz": 319,
    "pop": 116,
    "raphiphop": 300,
    "rock": 504,
}
# Names that no other data set has for its genres.
_ITS_OWN = ("folkcountry", "funksoulrnb", "raphiphop")


class Homburg(Layout):
    """HOMBURG with each genre's archive unpacked into a folder of its name."""

    about = About(
        title="HOMBURG",
        description="1886 excerpts of 10 s from songs of Garageband, by 1463 artists, in nine "
        "genres of 47 to 504; MP3 at 44 100 Hz.",
        files="<genre>/<Artist>-<Title>.mp3",
        citation="H. Homburg, I. Mierswa, B. Möller, K. Morik and M. Wurst, A benchmark dataset "
        "for audio classification and clustering, ISMIR 2005",
        licence="None stated; published by their artists on Garageband, for research",
        url="http://www-ai.cs.uni-dortmund.de/audio.html",
        download="One archive a genre at the makers' address; unpack each into a folder of its "
        "name.",
        genres=_GENRES,
    )

    def detect(self, path: Path) -> bool:
        """Whether all genre folders are HOMBURG's, one of them by a name that no other set has."""
        if not any((path / genre).is_dir() for genre in _ITS_OWN):
            return False
        tree = genre_tree(path)
        return tree.music.keys() <= _GENRES.keys() and all("-" in f.stem for f in tree.files())

    def read(self, path: Path) -> Dataset:
        """List the tracks, with their artists as the files name them."""
        tree = genre_tree(path)
        tracks = [
            Track(track.id, track.path, track.genre, track.path.stem.partition("-")[0])
            for track in tree.tracks()
        ]
        return Dataset("HOMBURG", "homburg", tracks, tree.left_out, tree.content, tree.notes)


LAYOUT = Homburg()
