"""GTZAN as drawn mel spectrograms, which its Kaggle copy has: 432 x 288 pixels, in colour.

The leiden paper may have used these. A picture is read by
`genrescope.features.plotted`; recipes with the feature `image` take it. Where the audio is at hand,
the same picture is computed from it, with finer steps in time.
"""

from __future__ import annotations

import re
from pathlib import Path

from genrescope.datasets.dataset import Dataset
from genrescope.datasets.layout import About, Layout
from genrescope.datasets.layouts.gtzan import GTZAN_GENRES
from genrescope.datasets.layouts.gtzan import LAYOUT as GTZAN
from genrescope.datasets.tracks import Track

_NAME = re.compile(rf"({'|'.join(GTZAN_GENRES)})(\d{{5}})")
_WITHIN = ("images_original", "Data/images_original")


class GtzanPictures(Layout):
    """The drawn spectrograms of GTZAN's Kaggle copy."""

    about = About(
        title="GTZAN as drawn spectrograms",
        description="999 of GTZAN's clips as coloured mel spectrograms of 432 x 288 pixels, drawn "
        "by librosa's display. For recipes with the feature image; name the folder itself.",
        files="images_original/<genre>/<genre>NNNNN.png",
        citation=GTZAN.about.citation,
        licence=GTZAN.about.licence,
        url="https://www.kaggle.com/datasets/andradaolteanu/gtzan-dataset-music-genre-classification",
        download="In the same archive as the Kaggle copy of GTZAN.",
    )
    repeats = GTZAN.repeats
    faults = GTZAN.faults

    def detect(self, path: Path) -> bool:
        """Whether a folder holds genre folders of pictures named as these are, and no audio."""
        return bool(_pictures(path)) and not GTZAN.detect(path)

    def read(self, path: Path) -> Dataset:
        """List the tracks under GTZAN's own ids, such as `blues.00000`."""
        tracks = [
            Track(f"{name[1]}.{name[2]}", file, name[1])
            for file in _pictures(path)
            if (name := _NAME.fullmatch(file.stem))
        ]
        by_id = sorted(tracks, key=lambda track: track.id)
        return Dataset("GTZAN, pictures", "gtzan_pictures", by_id, content="drawn spectrograms")


def _pictures(path: Path) -> list[Path]:
    folder = next((path / name for name in _WITHIN if (path / name).is_dir()), path)
    found = (file for genre in GTZAN_GENRES for file in (folder / genre).glob(f"{genre}*.png"))
    return [file for file in found if _NAME.fullmatch(file.stem)]


LAYOUT = GtzanPictures()
