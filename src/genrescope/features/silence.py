"""Silence: sound too quiet to be audible, in frames and in long stretches of a track.

Conventions
-----------
Sound counts as silence where its mean square is below `INAUDIBLE`, 77 dB below full scale. That
includes digital silence and the dither of 16-bit audio (±1 step of the samples is 90 dB below full
scale, ±2 steps or shaped noise 84), also after lossy coding, but not the noise of a quiet room. A
constant offset is ignored.

A model's input is standardised over half a minute. A long stretch of silence would move the windows
of the music next to it, so a track is read as its parts between silences of `LONG_SECONDS` or more,
and without silences of `EDGE_SECONDS` or more at its beginning and end. Shorter silences stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

INAUDIBLE = 2e-8
"""Mean square of silence, at full scale ±1."""

LONG_SECONDS = 2.0
EDGE_SECONDS = 0.1

_CHUNK_SECONDS = 0.02


@dataclass(frozen=True)
class Piece:
    """Samples of a part: number of the part, its first sample in the track, and the samples."""

    part: int
    start: int
    samples: NDArray[np.float32]


def parts_between_silences(
    blocks: Iterable[NDArray[np.float32]], sample_rate: int
) -> Iterator[Piece]:
    """Split a track at long silences, which are left out like those at both ends.

    Parameters
    ----------
    blocks
        float32 `[n]`, of any lengths.
    sample_rate
        In Hz.

    Yields
    ------
    Piece
        In order of time. A track without long silences is one part, from sample 0, in its blocks.
    """
    chunk = max(1, round(_CHUNK_SECONDS * sample_rate))
    long, edge = round(LONG_SECONDS * sample_rate), round(EDGE_SECONDS * sample_rate)
    part, start, position = 0, 0, 0
    waiting: list[NDArray[np.float32]] = []  # silence that is left out if it becomes long
    silence = 0  # its length in samples, even where it is too long to be kept
    for block in blocks:
        for samples, is_silent in _runs(block, chunk):
            if is_silent:
                silence += len(samples)
                if silence >= long:
                    waiting.clear()
                else:
                    waiting.append(samples)
                position += len(samples)
                continue
            if silence >= (edge if silence == position else long):
                waiting.clear()
                part, start = part + 1, position
            for quiet in waiting:
                yield Piece(part, start, quiet)
            waiting, silence = [], 0
            yield Piece(part, start, samples)
            position += len(samples)
    if silence < edge:
        for quiet in waiting:
            yield Piece(part, start, quiet)


def _runs(block: NDArray[np.float32], chunk: int) -> Iterator[tuple[NDArray[np.float32], bool]]:
    """A block as runs of chunks that are all silent or all not; one run where none is silent."""
    count = len(block) // chunk
    whole = block[: count * chunk].reshape(count, chunk)
    levels = np.square(whole).mean(axis=1) - np.square(whole.mean(axis=1))
    silent = levels < INAUDIBLE
    rest = block[count * chunk :]
    if len(rest):  # a chunk that is cut off is as silent as the one before it
        silent = np.append(silent, silent[-1] if count else float(rest.var()) < INAUDIBLE)
    if not silent.any():
        yield block, False
        return
    edges = np.flatnonzero(np.diff(silent)) + 1
    bounds = [0, *(edges * chunk), len(block)]
    for first, last, index in zip(bounds, bounds[1:], [0, *edges], strict=False):
        if last > first:
            yield block[first:last], bool(silent[index])
