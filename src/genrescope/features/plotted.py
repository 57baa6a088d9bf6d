"""Mel spectrograms that were drawn in colour, read back as levels.

The Kaggle copy of GTZAN has one such picture for each track, drawn by matplotlib with librosa's
display. The margins are cut off, and the colour of each pixel is converted to a level by the colour
map that fits best. A picture has 336 columns for half a minute; its lowest level is 80 dB below
the loudest band, as in librosa's default.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import FileError, MissingPackageError
from genrescope.features.spectrogram import FloatArray

# A picture of 432 pixels, matplotlib's default figure at 72 dots an inch, has axes of 336 columns.
PLOTTED_COLUMNS = 336
PLOTTED_SECONDS = 30.0

# Left, right, bottom and top of the axes in matplotlib's default figure (figure.subplot.* of rc).
_AXES = (0.125, 0.9, 0.11, 0.88)
_WHITE = 250
_COLOUR_MAPS = ("magma", "viridis", "inferno", "plasma")
# Mean distance in RGB from a pixel to the nearest colour of the map; smoothing between pixels of a
# drawing gives about 3, another map over 20.
_MOST_DISTANCE = 12.0


def is_plotted(path: str | PathLike[str]) -> bool:
    """Whether a file is a picture in colour that is large enough for a drawn spectrogram."""
    from PIL import Image

    try:
        with Image.open(Path(path)) as image:
            return image.mode in ("RGB", "RGBA", "P") and min(image.size) >= 64
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False


def load_plotted(path: str | PathLike[str]) -> FloatArray:
    """Read the levels of a drawn spectrogram.

    Returns
    -------
    float32 `[rows, columns]`, lowest frequency first, from 0 (the colour map's first colour) to 1

    Raises
    ------
    FileError
        When it is not a picture, or no known colour map has its colours.
    MissingPackageError
        Without matplotlib, which has the colour maps.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(Path(path)) as image:
            # Transparent pixels become white.
            rgba = image.convert("RGBA")
            paper = Image.new("RGBA", rgba.size, "white")
            pixels = np.asarray(Image.alpha_composite(paper, rgba).convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise FileError(path, "not a readable PNG image") from None
    inside = _axes(pixels)
    if inside.size == 0:
        raise FileError(path, "an empty picture")
    return _levels(path, inside)[::-1]


def _axes(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The drawn spectrogram, without white margins or axes with labels."""
    drawn: NDArray[np.bool_] = np.any(pixels < _WHITE, axis=2)
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    if not len(rows):
        return pixels[:0]
    height, width = drawn.shape
    sizes = (width, width, height, height)
    left, right, bottom, top = (round(at * size) for at, size in zip(_AXES, sizes, strict=True))
    below = height - bottom
    outside = drawn.copy()
    outside[height - top : below, left:right] = False
    # Pixels are drawn outside of the axes (labels), but not in the corners: it has margins.
    if outside.any() and not drawn[[0, 0, -1, -1], [0, -1, 0, -1]].any():
        # One pixel of frame on each side.
        return pixels[height - top + 1 : below - 1, left + 1 : right - 1]
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _levels(path: str | PathLike[str], pixels: NDArray[np.uint8]) -> FloatArray:
    try:
        from matplotlib import colormaps
    except ImportError:
        raise MissingPackageError(
            "pictures in colour need matplotlib: pip install 'genrescope[lab]'"
        ) from None
    from scipy.spatial import cKDTree

    colours = pixels.reshape(-1, 3).astype(np.float32)
    best = min(
        (
            (float(distance.mean()), level)
            for distance, level in (
                cKDTree(colormaps[name](np.arange(256))[:, :3] * 255).query(colours)
                for name in _COLOUR_MAPS
            )
        ),
        key=lambda found: found[0],
    )
    if best[0] > _MOST_DISTANCE:
        maps = ", ".join(_COLOUR_MAPS)
        raise FileError(path, f"a picture, but not a spectrogram in the colours of {maps}")
    levels: FloatArray = (best[1] / 255).astype(np.float32).reshape(pixels.shape[:2])
    return levels
