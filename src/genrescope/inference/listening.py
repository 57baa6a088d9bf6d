"""How much of a long track is read: all of it, or some windows spread over it.

A number of seconds is read in windows of half a minute that are spread evenly. "auto" reads the
windows of the whole track in another order, each far from those read before, until its genre is
clear, see `is_clear`; once all are read, the genre is that of the whole. A file is not read up to a
window: the decoder jumps there. Where it can't, in a recording of internet radio, say, "auto" reads
all of a track, and a number of seconds is taken from one reading of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from os import PathLike
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from genrescope import audio
from genrescope.errors import AudioError, TooLongError, UnreadableError
from genrescope.features import Frontend, StreamInfo, Window, is_stored_spectrogram
from genrescope.features.windows import SHORTEST_SECONDS, WINDOW_SECONDS

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
_TOLERATED_SECONDS: Final = 0.5
"""By how much a file may end before its header says without being called shorter."""


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
        what would be read of it, its length is not known or not believed, it is no file, or "auto"
        would decode it from its beginning for each window.
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
        header = audio.info(source)
    except AudioError:
        return None  # reading it will say why
    total, is_auto = header.duration, isinstance(listen, str)
    least = AUTO_FEWEST * WINDOW_SECONDS if isinstance(listen, str) else listen
    if not least + WINDOW_SECONDS < total <= _LONGEST or (is_auto and not header.seekable):
        return None
    info.duration, info.listen = total, setting_of(listen)
    if not isinstance(listen, str):
        parts = spread(listen, total)
        in_order = len(parts) > 1 and not header.seekable
        return _parts(frontend, source, info, parts, lambda _: False, in_order=in_order)
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
    *,
    in_order: bool = False,
) -> Iterator[Window]:
    """The windows of parts, up to the end of the file, which may come before its header says.

    Where none of them is there, the windows of the whole file.
    """
    rate, read, end, before = frontend.computed.sample_rate, 0, math.inf, len(info.warnings)
    warnings: list[str] = []
    in_turn = _loaded_in_order(source, rate, parts, warnings, info.on_block)
    for start, length in parts:
        if start >= end:
            continue
        info.on_block()
        part = next(in_turn) if in_order else _loaded(source, rate, start, length, warnings)
        # Of a file each part tells the same.
        info.warnings += [each for each in warnings if each not in info.warnings]
        seconds = 0.0 if part is None else part.duration
        if seconds < min(length, info.duration - start) - _TOLERATED_SECONDS:
            end = start + seconds
            info.duration = min(info.duration, end)
        if part is None or seconds < SHORTEST_SECONDS:
            continue
        for window in frontend.windows(part):
            yield replace(window, start=window.start + start)
        read += 1
        # Silence parts a window in two; they don't count for two places of the track.
        if read >= AUTO_FEWEST and enough(1 - read / sum(each < end for each, _ in parts)):
            return
    in_turn.close()  # what is said of the file as a whole comes when reading it ends
    info.warnings += [each for each in warnings if each not in info.warnings]
    if not read:
        del info.warnings[before:]
        info.duration, info.listen = 0.0, setting_of("full")
        yield from frontend.windows(source, info)


def _loaded(
    source: audio.Readable, rate: int, start: float, length: float, warnings: list[str]
) -> audio.Waveform | None:
    """A part of a file; None where there is no sound."""
    try:
        return audio.load(
            source, sample_rate=rate, offset=start, duration=length, warnings=warnings
        )
    except (UnreadableError, TooLongError):
        raise
    except AudioError:
        return None


def _loaded_in_order(
    source: audio.Readable,
    rate: int,
    parts: Sequence[tuple[float, float]],
    warnings: list[str],
    on_block: Callable[[], None],
) -> Generator[audio.Waveform | None, None, None]:
    """As `_loaded` for each of some parts in order of time, in one reading of the file."""
    blocks = audio.stream(source, sample_rate=rate, warnings=warnings)
    samples, position = np.zeros(0, np.float32), 0
    for start, length in parts:
        first, last = round(start * rate), round((start + length) * rate)
        while position + len(samples) < last:
            on_block()
            try:
                samples = np.concatenate([samples, next(blocks)])
            except (UnreadableError, TooLongError):
                raise
            except (AudioError, StopIteration):
                break
            passed = min(len(samples), max(0, first - position))
            samples, position = samples[passed:], position + passed
        found = samples[max(0, first - position) : last - position]
        yield audio.Waveform(found, rate) if len(found) else None
