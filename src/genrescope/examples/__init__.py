"""Synthetic pieces of music, so that there is something to classify on any machine.

Each clip is played by a few oscillators, drums and one reverb, in the tempo, metre, harmony and
instruments that a style is known for. The clips are used by the README, the demo and the tests.
They are caricatures, named for what is played in them and not for a genre: the predictions of a
classifier for them are **no measure of its accuracy**.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from numpy.random import Generator
from numpy.typing import NDArray

from genrescope.atomic import open_atomic
from genrescope.errors import FileError, GenrescopeError, UnknownNameError
from genrescope.examples import pieces
from genrescope.examples.instruments import SAMPLE_RATE, Sound
from genrescope.registry import no_such

__all__ = ["PIECES", "SAMPLE_RATE", "render", "write_examples"]


class _Piece(NamedTuple):
    style: str  # that it imitates; also seeds its random numbers
    play: Callable[[float, Generator], Sound]


_PIECES = {
    "guitar-shuffle": _Piece("blues", pieces.guitar_shuffle),
    "strings-and-harp": _Piece("classical", pieces.strings_and_harp),
    "four-on-the-floor": _Piece("disco", pieces.four_on_the_floor),
    "piano-loop": _Piece("hiphop", pieces.piano_loop),
    "walking-bass": _Piece("jazz", pieces.walking_bass),
    "palm-muted-guitars": _Piece("metal", pieces.palm_muted_guitars),
    "offbeat-organ": _Piece("reggae", pieces.offbeat_organ),
}

PIECES: tuple[str, ...] = tuple(_PIECES)
"""The names of the pieces that `render` knows, in the order in which `write_examples` writes."""


def render(name: str, *, seconds: float = 12.0, seed: int = 0) -> NDArray[np.int16]:
    """Synthesise one of the pieces.

    Parameters
    ----------
    name
        One of `PIECES`.
    seconds
        Length, from one second to ten minutes.
    seed
        Seed of the key, the tune and the unevenness of the playing. The same seed gives the same
        samples, bit for bit, with the same NumPy on the same kind of processor.

    Returns
    -------
    numpy.ndarray [shape=(round(seconds * 22050),), dtype=int16]
        Mono sound at 22050 Hz; its peak is 1 dB below full scale.

    Raises
    ------
    UnknownNameError
        The piece does not exist.
    GenrescopeError
        The length or the seed is out of range.

    Examples
    --------
    >>> from genrescope.examples import SAMPLE_RATE, render
    >>> len(render("walking-bass", seconds=2.0)) / SAMPLE_RATE
    2.0
    """
    if name not in _PIECES:
        raise UnknownNameError(no_such("no example", name, PIECES))
    if not 1.0 <= seconds <= 600.0:
        raise GenrescopeError(f"an example lasts from 1 to 600 seconds, not {seconds:g}")
    if seed < 0:
        raise GenrescopeError(f"a seed is not negative: {seed}")
    piece = _PIECES[name]
    # Each has random numbers of its own, so that one added later leaves the others as they are.
    rng = np.random.default_rng([seed, *piece.style.encode()])
    sound = piece.play(seconds, rng)
    fade = np.linspace(1.0, 0.0, SAMPLE_RATE // 20)
    sound[-len(fade) :] *= fade
    loudest = 32767 * 10 ** (-1 / 20)
    return np.asarray(np.round(sound * (loudest / np.abs(sound).max())), dtype=np.int16)


def write_examples(
    folder: str | PathLike[str], *, seconds: float = 12.0, seed: int = 0
) -> list[Path]:
    """Write each piece to ``NAME.flac``, mono and 16 bit at 22050 Hz.

    The folder is created where it is missing; clips of an earlier call are replaced atomically.

    Returns
    -------
    list of Path
        The files, in the order of `PIECES`.

    Raises
    ------
    GenrescopeError
        See `render`; a `FileError` where a clip can't be written.
    """
    paths = []
    for name in PIECES:
        path = Path(folder) / f"{name}.flac"
        _write(path, render(name, seconds=seconds, seed=seed))
        paths.append(path)
    return paths


def _write(path: Path, samples: NDArray[np.int16]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_atomic(path) as file:
            soundfile.write(file, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    except (OSError, soundfile.LibsndfileError) as error:
        reason = getattr(error, "strerror", None) or "can't be written"
        raise FileError(path, reason.lower()) from error
