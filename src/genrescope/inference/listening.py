"""How much of a long track is read: all of it, or some windows spread over it.

A number of seconds is read in windows of half a minute that are spread evenly. "auto" reads the
windows of the whole track in another order, each far from those read before, until its genre is
clear, see `is_clear`; once all are read, the genre is that of the whole. A file is not read up to a
window: the decoder jumps there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from os import PathLike
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from genrescope import audio
from genrescope.errors import AudioError, UnreadableError
from genrescope.features import Frontend, StreamInfo, Window, is_stored_spectrogram
from genrescope.features.frontend import WINDOW_SECONDS

Listen = Literal["full", "auto"] | float
"""All of a track ("full"), as much as its genre takes to be clear ("auto"), or some seconds."""

AUTO_FEWEST: Final = 2
"""Windows that "auto" reads at least."""
CLEAR: Final = 2.0
"""Standard errors by which the most probable genre has to lead over each other, for "auto"."""
SPREAD: Final = 1.0
"""Standard deviation of a lead from window to window that is assumed before any was read."""
SPREAD_WINDOWS: Final = 4
"""How many windows that assumption counts for."""
_LONGEST: Final = 86_400.0
"""Seconds of a track of which parts are read; a header that promises more is hardly true."""


def check_listen(listen: Listen | str) -> Listen:
    """Return the setting, from a string where it is one.

    Raises
    ------
    ValueError
        If it is none.
    """
    if listen in ("full", "auto"):
        return listen
    try:
        seconds = float(listen)
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ValueError(f"listen must be full, auto or a number of seconds, not {listen}")
    return seconds


def setting_of(listen: Listen) -> str:
    """The setting as text: "full", "auto" or a number."""
    return listen if isinstance(listen, str) else f"{listen:g}"


def is_clear(
    logits: Sequence[NDArray[np.floating]], unread: float, music: Sequence[float] | None = None
) -> bool:
    """Whether the windows of a track that were read are enough to tell its genre.

    The difference between the logits of the most probable genre and of another one varies from
    window to window. The genre is clear where its mean over the windows read is at least `CLEAR`
    standard errors above 0 for every other genre (a sequential test). Where the model can tell
    whether there is music at all, that has to be as clear; of what clearly is no music, no genre
    has to be told.

    Parameters
    ----------
    logits
        Of each window that was read and has music the mean over its segments, `[genres]`.
    unread
        The fraction of the track's windows that were not read.
    music
        Of each window by how much it is music (`margin` of `MusicDetector` and `LabelHead`); None
        where the model can't tell.
    """
    if music is not None:
        margins = np.asarray(music)
        sign = np.sign(margins.sum())
        if not _are_above_0(sign * margins[:, None], unread):
            return False
        if sign < 0:
            return True
    if not logits:
        return False
    values = np.stack(logits)
    top = values.mean(axis=0).argmax()
    return _are_above_0(np.delete(values[:, [top]] - values, top, axis=1), unread)


def _are_above_0(leads: NDArray[np.floating], unread: float) -> bool:
    """Whether the means of leads `[windows, n]` are `CLEAR` standard errors above 0.

    The finite number of windows makes a standard error smaller: when all are read there is none.
    After few windows the deviation is not known well; it is estimated together with an assumed one.
    """
    count = len(leads)
    if count < AUTO_FEWEST:
        return False
    squares = np.square(leads - leads.mean(axis=0)).sum(axis=0)
    variance = (SPREAD_WINDOWS * SPREAD**2 + squares) / (SPREAD_WINDOWS + count - 1)
    return bool((leads.mean(axis=0) >= CLEAR * np.sqrt(variance / count * unread)).all())


def reading_order(count: int) -> list[int]:
    """The numbers of windows in an order in which each is far from those before it.

    The windows at the points of van der Corput's sequence (halves, quarters, eighths … in the order
    of their reversed bits), an eighth of the track later: the first four are the middles of its
    quarters.
    """
    bits = max(1, (count - 1).bit_length())
    points = (int(f"{number:0{bits}b}"[::-1], 2) / 2**bits for number in range(2**bits))
    return [*dict.fromkeys(int((point + 1 / 8) % 1 * count) for point in points)]


def spread(seconds: float, total: float) -> list[tuple[float, float]]:
    """Start and length of windows that have so many seconds of a track together.

    None is longer than half a minute, and none overlaps another: each lies in the middle of its
    share of the track.
    """
    count = max(1, math.ceil(seconds / WINDOW_SECONDS))
    length, share = seconds / count, total / count
    return [((number + 0.5) * share - length / 2, length) for number in range(count)]


def windows_of_parts(
    frontend: Frontend,
    source: object,
    info: StreamInfo,
    listen: Listen,
    enough: Callable[[float], bool],
) -> Iterator[Window] | None:
    """The windows of parts of a track, as `Frontend.windows` gives them for those parts.

    Parameters
    ----------
    frontend
        Of the model.
    source
        The path or the content of an audio file.
    info
        Gets the duration of the whole track, the warnings and the setting.
    listen
        How much is read.
    enough
        Asked after each part of "auto", with the fraction of the track that was not read yet;
        where true, no more follow.

    Returns
    -------
    windows
        None where the whole track is to be read: "full" was asked for, it is hardly longer than
        what would be read of it, its length is not known or not believed, or it is no file.
    """
    if (
        listen == "full"
        or not isinstance(source, str | PathLike | bytes)
        or frontend.computed.kind == "stored"
    ):
        return None
    if isinstance(source, str | PathLike) and is_stored_spectrogram(source):
        return None
    try:
        total = audio.info(source).duration
    except AudioError:
        return None  # reading it will say why
    least = AUTO_FEWEST * WINDOW_SECONDS if isinstance(listen, str) else listen
    if not least + WINDOW_SECONDS < total <= _LONGEST:
        return None
    info.duration, info.listen = total, setting_of(listen)
    if not isinstance(listen, str):
        return _parts(frontend, source, info, spread(listen, total), lambda _: False)
    step, length = frontend.window_seconds
    segment = frontend.segment_frames * frontend.hop_seconds
    # What is left at the end may be too short for a segment of its own.
    count = max(1, 1 + int((total - segment) / step))
    parts = [(number * step, length) for number in reading_order(count)]
    return _parts(frontend, source, info, parts, enough)


def _parts(
    frontend: Frontend,
    source: audio.Readable,
    info: StreamInfo,
    parts: Sequence[tuple[float, float]],
    enough: Callable[[float], bool],
) -> Iterator[Window]:
    rate = frontend.computed.sample_rate
    for number, (start, length) in enumerate(parts, 1):
        warnings: list[str] = []
        windows: list[Window] = []
        try:
            part = audio.load(
                source, sample_rate=rate, offset=start, duration=length, warnings=warnings
            )
            windows += frontend.windows(part)
        except UnreadableError:
            raise
        except AudioError:
            pass  # its header promised more sound than there is
        finally:
            # Of a file each window tells the same.
            info.warnings += [each for each in warnings if each not in info.warnings]
        for window in windows:
            yield replace(window, start=window.start + start)
        # Silence parts a window in two; they don't count for two places of the track.
        if number >= AUTO_FEWEST and enough(1 - number / len(parts)):
            return
