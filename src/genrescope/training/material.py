"""What a run hears: the windows of each track, read once, kept in memory and cached on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from genrescope import audio
from genrescope.audio.augment import gain, noise, semitones
from genrescope.datasets import Track
from genrescope.errors import FileError
from genrescope.features import Frontend, Source, Window, is_stored_spectrogram
from genrescope.features.cache import FeatureCache
from genrescope.training.recipe import WaveformAugmentation

FloatArray = NDArray[np.float32]
Windows = list[Window]


def read_windows(
    frontend: Frontend,
    tracks: Sequence[Track],
    vectors: Mapping[str, FloatArray],
    report: Callable[[int], None],
) -> Iterator[tuple[Track, Windows | FileError]]:
    """The windows of each track, in order; an error stands in the place of one that can't be heard.

    Parameters
    ----------
    frontend
        By which they are computed.
    tracks
        With their files.
    vectors
        Stored vectors `[frames, size]` by track id, for features of that kind.
    report
        Told how many tracks are read.
    """
    cache, settings = FeatureCache(), frontend.model_dump_json()

    def read(track: Track) -> Windows | FileError:
        try:
            if frontend.computed.kind == "stored":
                if track.id not in vectors:
                    raise FileError(track.id, "no vectors of it are stored (--features)")
                return list(frontend.windows(vectors[track.id]))
            packed = cache.get_or_compute(
                track.path, settings, lambda: _packed(list(frontend.windows(track.path)))
            )
            return _unpacked(packed)
        except FileError as error:
            return error

    with ThreadPoolExecutor() as pool:
        results = pool.map(read, tracks)
        for done, (track, windows) in enumerate(zip(tracks, results, strict=True), 1):
            yield track, windows
            report(done)


def segment_matrix(frontend: Frontend, windows: Windows) -> FloatArray:
    """All segments as columns, `[size * frames, segments]`; none where all is digital silence."""
    segments = [s.values.ravel() for window in windows for s in frontend.segments_of(window)]
    return np.stack(segments, axis=1) if segments else np.zeros((0, 0), np.float32)


def frame_matrix(windows: Windows) -> FloatArray:
    """All frames once, `[size, frames]`."""
    parts = [window.values[:, window.fresh :] for window in windows]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def pieces(frontend: Frontend, track: Track, windows: Windows) -> Iterator[tuple[Track, Windows]]:
    """Each segment of a track as if it were a track of its own."""
    cuts = [cut for window in windows for cut in frontend.cuts(window)]
    for number, cut in enumerate(cuts):
        # A piece is no repeat of another: this split is to show what leakage does.
        yield replace(track, id=f"{track.id}#{number:02d}", recording=None), [cut]


def changed_copies(
    frontend: Frontend, track: Track, settings: WaveformAugmentation, seed: int
) -> list[Windows]:
    """The track louder or softer, higher or lower, and noisy: one copy each, by the seed.

    What is stored, a spectrogram or vectors, can't be changed as a waveform: it has no copies.

    Raises
    ------
    FileError
        When the track can't be heard.
    """
    if frontend.computed.kind == "stored" or is_stored_spectrogram(track.path):
        return []
    random = np.random.default_rng([seed, *track.id.encode()])
    clean = audio.load(track.path, sample_rate=frontend.computed.sample_rate)
    copies: list[Source] = [
        gain(clean, random.uniform(-settings.gain, settings.gain)),
        semitones(clean, random.uniform(-settings.semitones, settings.semitones)),
        noise(clean, settings.snr, random),
    ]
    return [list(frontend.windows(copy)) for copy in copies]


def _packed(windows: Windows) -> FloatArray:
    """Windows as one array: their values, over rows for the window, its start, silence and news."""
    parts = [
        np.vstack(
            [
                window.values,
                np.full(window.values.shape[1], number),
                np.full(window.values.shape[1], window.start),
                window.silent,
                np.arange(window.values.shape[1]) >= window.fresh,
            ]
        )
        for number, window in enumerate(windows)
    ]
    return np.concatenate(parts, axis=1).astype(np.float32)


def _unpacked(packed: FloatArray) -> Windows:
    windows = []
    for number in np.unique(packed[-4]):
        part = packed[:, packed[-4] == number]
        windows.append(
            Window(
                np.ascontiguousarray(part[:-4]),
                part[-2].astype(bool),
                float(part[-3, 0]),
                int((part[-1] == 0).sum()),
            )
        )
    return windows
