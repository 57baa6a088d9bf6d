"""How much of a long track is read: all of it, or a few windows spread over it.

"auto" reads a minute, and where its genre is not clear then, all of the track.

The windows cover the track evenly. The file is not read up to a window: the decoder jumps there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from os import PathLike
from typing import Final, Literal

from genrescope import audio
from genrescope.errors import AudioError, UnreadableError
from genrescope.features import Frontend, StreamInfo, Window, is_stored_spectrogram
from genrescope.features.frontend import WINDOW_SECONDS

Listen = Literal["full", "auto"] | float
"""All of a track ("full"), a minute or where that is not enough all ("auto"), or some seconds."""

CLEAR: Final = 0.7
"""By how much the most probable genre of a minute has to lead over the next, for "auto"."""
_AUTO_SECONDS = 60.0


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
    is_clear: Callable[[], bool],
) -> Iterator[Window] | None:
    """The windows of parts of a track, as `Frontend.windows` gives them for those parts.

    Parameters
    ----------
    frontend
        Of the model.
    source
        The path or the content of an audio file.
    info
        Gets the duration of the whole track and the warnings.
    listen
        How much is read.
    is_clear
        Asked after the parts of "auto"; where not, all windows of the track follow.

    Returns
    -------
    windows
        None where the whole track is to be read: "full" was asked for, it is hardly longer than
        what would be read of it, its length is not known, or it is no file.
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
    wanted = _AUTO_SECONDS if isinstance(listen, str) else listen
    if total <= wanted + WINDOW_SECONDS:
        return None
    parts = _parts(frontend, source, info, spread(wanted, total))
    info.duration = total
    return _until_clear(parts, frontend, source, info, is_clear) if listen == "auto" else parts


def _parts(
    frontend: Frontend,
    source: audio.Readable,
    info: StreamInfo,
    parts: Iterable[tuple[float, float]],
) -> Iterator[Window]:
    rate = frontend.computed.sample_rate
    for start, length in parts:
        warnings: list[str] = []
        try:
            part = audio.load(
                source, sample_rate=rate, offset=start, duration=length, warnings=warnings
            )
            windows = [*frontend.windows(part)]
        except UnreadableError:
            raise
        except AudioError:
            continue  # its header promised more sound than there is
        finally:
            # Of a file each window tells the same.
            info.warnings += [each for each in warnings if each not in info.warnings]
        for window in windows:
            yield replace(window, start=window.start + start)


def _until_clear(
    parts: Iterator[Window],
    frontend: Frontend,
    source: audio.Readable,
    info: StreamInfo,
    is_clear: Callable[[], bool],
) -> Iterator[Window]:
    yield from parts
    if not is_clear():
        yield from frontend.windows(source, info)
