"""FMA-small as stored mel spectrograms: one 8-bit grey PNG of 128 x 128 pixels a clip.

A picture holds librosa's mel spectrogram of the clip at its own sampling rate (44.1 kHz nearly
always): windows of 2048 samples, hop 512, 128 Slaney bands from 0 Hz to half the rate, power in dB
below the loudest value, 80 dB deep. Of its n frames column i holds frame floor((i + 0.5) / 128 n).
Row 0 is the highest band. This is another kind of picture than GTZAN's stored spectrograms; the
feature `sampled_mel` reads it.
"""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

from genrescope.datasets.dataset import NO_FILE, Dataset, LeftOut
from genrescope.datasets.layout import About, Layout
from genrescope.datasets.layouts.fma import BAD_CLIPS, METADATA, REPEATS, fma_rows
from genrescope.datasets.tracks import Track
from genrescope.errors import DatasetError

_TABLES = ("tracks_small.csv", "tracks.csv")


class FmaMel(Layout):
    """FMA-small's mel spectrograms next to FMA's table."""

    about = About(
        title="FMA-small as mel spectrograms",
        description="7994 clips of FMA-small as mel spectrograms of 128 bands and 128 frames of "
        "46 ms, in steps of 1.25 dB: the music of FMA without its audio.",
        files="fma-mel/NNN/NNNNNN.png next to fma_metadata/tracks.csv",
        citation="M. Defferrard, K. Benzi, P. Vandergheynst and X. Bresson, FMA: a dataset for "
        "music analysis, ISMIR 2017",
        licence="As FMA's audio",
        url="https://github.com/mdeff/fma",
    )
    repeats = REPEATS
    faults = BAD_CLIPS

    def detect(self, path: Path) -> bool:
        """Whether there are numbered folders of PNG files named by six digits."""
        if not path.is_dir():
            return False
        pictures = islice(path.glob("[0-9][0-9][0-9]/[0-9]*.png"), 1)
        return any(re.fullmatch(r"\d{6}", picture.stem) for picture in pictures)

    def read(self, path: Path) -> Dataset:
        """List the clips with genre and official split."""
        files = {
            str(int(file.stem)): file
            for file in sorted(path.glob("[0-9][0-9][0-9]/*.png"))
            if file.stem.isdecimal()
        }
        tracks: list[Track] = []
        left_out: list[LeftOut] = []
        for row in fma_rows(_table(path)):
            if row.id in files:
                tracks.append(Track(row.id, files[row.id], row.genre, row.artist, row.split))
            elif row.subset == "small":
                left_out.append(LeftOut(row.id, BAD_CLIPS.get(row.id, NO_FILE), row.genre))
        if not tracks:
            raise DatasetError(f"{path}: no pictures in it that FMA's table names")
        by_id = sorted(tracks, key=lambda track: track.id)
        return Dataset("FMA small, mel", "fma_mel", by_id, left_out, "mel spectrograms")


def _table(path: Path) -> Path:
    folders = [path / name for name in METADATA]
    folders += [path.resolve().parent / name for name in METADATA]
    tables = (folder / name for folder in folders for name in _TABLES)
    found = next((table for table in tables if table.is_file()), None)
    if found is None:
        raise DatasetError(f"{path}: pictures of FMA's clips, but no fma_metadata/tracks.csv near")
    return found


LAYOUT = FmaMel()
