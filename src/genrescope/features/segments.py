"""Cutting a track into the segments that a model sees, at once or as a stream in constant memory.

Everything that cuts uses `segment_starts`: a model's front end, which cuts windows of half a
minute; encoders, which cut a whole track by the rule they were published with; and the graph of a
recipe whose feature is an embedding, which cuts a recipe's segments into the encoder's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from genrescope.audio import Waveform
from genrescope.features.base import Feature
from genrescope.features.spectrogram import FloatArray

WHOLE_SECONDS = 60.0
"""Audio up to this length is computed at once, longer audio in pieces of at least this length."""
SEGMENT_RULE = 2
"""Version of the rule. By rule 1 the last segment always ended with the window."""
REPEATED_PART = 10
"""A last segment is left out if it begins less than 1/10 of a step after the one before."""


def segment_starts(
    frames: int, length: int, step: int, *, first: int = 0, reach_end: bool = False
) -> list[int]:
    """First frames of the segments of a stretch of `frames` frames.

    Parameters
    ----------
    frames
        Length of the stretch.
    length, step
        Frames of a segment, and from one segment's first frame to the next one's.
    first
        First frame of the first segment.
    reach_end
        Whether the last segment ends with the stretch, wherever that is. Otherwise only whole steps
        are taken, and what comes after the last whole segment is left out. A last segment that
        would begin less than a tenth of a step (in whole frames, rounded down) after the one before
        it is left out, too: a clip of 30.01 s is not two segments of 30 s.
    """
    last = frames - length
    if not reach_end:
        return [*range(first, last + 1, step)]
    starts = [*range(first, last, step)]
    if starts and last - starts[-1] < step // REPEATED_PART:
        return starts
    return [*starts, last]


def feature_blocks(feature: Feature, blocks: Iterable[FloatArray]) -> Iterator[FloatArray]:
    """A local feature of a stream of samples, in constant memory, `[size, frames]` at a time.

    Concatenated, the results are those of `feature` for all samples at once, because each piece is
    computed with the audio around it that its frames need. They may differ in the last digit of a
    float32, where a sum is taken in another order.

    Parameters
    ----------
    feature
        With `local` true.
    blocks
        Samples at the feature's sample rate, float32 `[n]` each.
    """
    hop, edge = feature.hop_length, feature.edge_frames
    size = int(WHOLE_SECONDS * feature.sample_rate)
    waiting = np.zeros(0, np.float32)  # begins at a multiple of the hop
    done = 0  # frames of it that were given before
    for block in blocks:
        # Wait for the next block: if none follows, the rest is computed as the end of the track.
        if len(waiting) > size:
            values = feature(Waveform(waiting, feature.sample_rate))
            end = values.shape[1] - edge
            yield values[:, done:end]
            kept = max(0, end - edge)
            waiting, done = waiting[kept * hop :], end - kept
        waiting = np.concatenate([waiting, block])
    yield feature(Waveform(waiting, feature.sample_rate))[:, done:]


def stream_feature(
    feature: Feature, open_blocks: Callable[[], Iterable[FloatArray]]
) -> Iterator[FloatArray]:
    """A feature of a stream of samples, local or not, `[size, frames]` at a time.

    Memory is constant for local features and for those that can be localized, for which a stream
    of more than `WHOLE_SECONDS` is read twice. Others need all samples at once.

    Parameters
    ----------
    feature
        The feature to compute.
    open_blocks
        Returns the stream from its beginning; it may be called twice.
    """
    if feature.local:
        yield from feature_blocks(feature, open_blocks())
        return
    size = int(WHOLE_SECONDS * feature.sample_rate)
    held, total = list[FloatArray](), 0
    rest = iter(open_blocks())
    for block in rest:
        held.append(block)
        total += len(block)
        if total > size:
            break
    else:
        yield feature(Waveform(_joined(held), feature.sample_rate))
        return
    local = feature.localized(_chained(held, rest))
    if local is None:
        held += rest
        yield feature(Waveform(_joined(held), feature.sample_rate))
    else:
        yield from feature_blocks(local, open_blocks())


def stream_segments(values: Iterable[FloatArray], length: int, step: int) -> Iterator[FloatArray]:
    """Whole segments of a stream of frames, float32 `[n, size, length]` at a time.

    Parameters
    ----------
    values
        Frames, `[size, frames]` at a time.
    length, step
        Frames of a segment, and from one to the next.
    """
    waiting: FloatArray | None = None
    for block in values:
        waiting = block if waiting is None else np.concatenate([waiting, block], axis=1)
        starts = segment_starts(waiting.shape[1], length, step)
        if starts:
            cut = np.stack([waiting[:, start : start + length] for start in starts])
            waiting = waiting[:, starts[-1] + step :]
            yield np.ascontiguousarray(cut, np.float32)


def _chained(held: list[FloatArray], rest: Iterator[FloatArray]) -> Iterator[FloatArray]:
    """The blocks that are held, which are freed as they are used, and those that follow."""
    while held:
        yield held.pop(0)
    yield from rest


def _joined(blocks: list[FloatArray]) -> FloatArray:
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
