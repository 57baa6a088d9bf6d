"""Fingerprints of tracks, by which a model recognises the music it was trained on.

Conventions
-----------
A fingerprint is 128 bits of the first 30 s. The power spectrogram in dB is averaged over 17 bands
between 100 Hz and 8 kHz and 9 stretches of 3.3 s, both with triangular weights that overlap; a bit
says whether the difference of two neighbouring bands rises or falls from one stretch to the next
(after J. Haitsma and T. Kalker, A highly robust audio fingerprinting system, ISMIR 2002). An offset
and a factor of the dB scale change no bit, so that a stored spectrogram and its audio have the same
fingerprint but for a few bits, and so have lossy copies.

Two tracks count as one recording where at most `SAME_BITS` bits differ. Measured on 51 tracks of
GTZAN that exist both as audio and as stored spectrograms: all agree (9 bits at most), and all do
after MP3 at the encoder's default (13); 50 after Ogg Vorbis at its lowest quality, 42 after MP3 at
its lowest, 49 where the first 0.5 s are cut off, 21 where 1 s is. Of 40 recordings from another
source none comes nearer than 40 bits to any of 850 tracks. So a copy of a track is found, nearly
always also a lossy one; another version of the song sometimes; another part of it never. The music
can't be recovered from a fingerprint.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from os import PathLike

import numpy as np
from numpy.typing import NDArray

from genrescope import audio
from genrescope.datasets.tracks import Track
from genrescope.errors import FileError
from genrescope.features.cache import FeatureCache
from genrescope.features.spectrogram import (
    STORED_BINS,
    STORED_HOP_LENGTH,
    STORED_N_FFT,
    STORED_SAMPLE_RATE,
    Spectrogram,
    is_stored_spectrogram,
    load_spectrogram,
    power_spectrogram,
)
from genrescope.parallel import available_cores
from genrescope.wording import counted, valid_text, was

BYTES = 16
SAME_BITS = 24

_BANDS, _STRETCHES = 17, 9
_LOWEST_HZ, _HIGHEST_HZ = 100.0, 8000.0
_SECONDS = 30.0
_STRETCH_SECONDS = 3.3
# Shorter tracks are divided into as many stretches of equal length.
_SHORT_SECONDS = 28.0
# Half the base of a triangle, in bands and in stretches.
_BAND_WIDTH, _STRETCH_WIDTH = 1.0, 1.5
_DYNAMIC_RANGE_DB = 80.0
# All that the bits depend on besides the file.
_SETTINGS = "fingerprint 1"
# Below this, in dB, the bits are those of rounding: silence, and steady tones.
_LEAST_CHANGE_DB = 0.05


def fingerprint(path: str | PathLike[str]) -> bytes | None:
    """Compute the fingerprint of an audio file or stored spectrogram; it is cached on disk.

    Returns
    -------
    bytes or None
        16 bytes; None for silence, steady sound, less than nine frames of 87 ms, or a file that
        can't be decoded.
    """
    try:
        found = _cache().get_or_compute(path, _SETTINGS, lambda: _compute(path))
    except FileError:
        return None
    return bytes(found) or None


def fingerprints(
    paths: Iterable[str | PathLike[str]],
    *,
    jobs: int | None = None,
    report: Callable[[int], None] | None = None,
) -> list[bytes | None]:
    """Compute the fingerprints of many files.

    Parameters
    ----------
    paths
        In any order; tables, which have no sound, give None.
    jobs
        Files decoded at once; as many as cores by default.
    report
        Called with the number of files that are done.
    """
    with ThreadPoolExecutor(jobs or available_cores(), thread_name_prefix="genrescope") as pool:
        found = []
        try:
            for done, one in enumerate(pool.map(fingerprint, paths), 1):
                found.append(one)
                if report is not None:
                    report(done)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return found


def spectrogram_fingerprint(spectrogram: Spectrogram) -> bytes | None:
    """Compute the fingerprint of a power spectrogram, from its start; None where it has none."""
    frames = int(_SECONDS / spectrogram.hop_seconds)
    power = spectrogram.power[:, :frames]
    if power.shape[1] < _STRETCHES or not power.any():
        return None
    level = 10 * np.log10(np.maximum(power, np.float32(1e-20)))
    level = np.maximum(level, level.max() - np.float32(_DYNAMIC_RANGE_DB))
    averages = (
        _band_weights(spectrogram.frequencies)
        @ level
        @ _stretch_weights(power.shape[1], spectrogram.hop_seconds)
    )
    changes = np.diff(np.diff(averages, axis=0), axis=1)
    if np.median(np.abs(changes)) < _LEAST_CHANGE_DB:
        return None
    return np.packbits(changes.ravel() > 0).tobytes()


@lru_cache(maxsize=1)
def _cache() -> FeatureCache:
    return FeatureCache()


def _compute(path: str | PathLike[str]) -> NDArray[np.uint8]:
    """The fingerprint as an array, which is empty where there is none."""
    return np.frombuffer(spectrogram_fingerprint(_spectrogram(path)) or b"", np.uint8)


def _spectrogram(path: str | PathLike[str]) -> Spectrogram:
    """As the stored spectrograms are made, of the first 30 s."""
    if is_stored_spectrogram(path):
        return load_spectrogram(path)
    waveform = audio.load(path, sample_rate=STORED_SAMPLE_RATE, duration=_SECONDS + 1)
    return power_spectrogram(
        waveform,
        n_fft=STORED_N_FFT,
        hop_length=STORED_HOP_LENGTH,
        center=False,
        n_bins=STORED_BINS,
    )


def _band_weights(frequencies: NDArray[np.float64]) -> NDArray[np.float32]:
    """`[bands, bins]`: triangles of equal width in octaves; each row sums to 1."""
    step = np.log(_HIGHEST_HZ / _LOWEST_HZ) / _BANDS
    centres = np.log(_LOWEST_HZ) + (np.arange(_BANDS) + 0.5) * step
    places = np.log(np.maximum(frequencies, 1.0))
    return _triangles(np.abs(places - centres[:, None]) / (_BAND_WIDTH * step))


def _stretch_weights(frames: int, hop: float) -> NDArray[np.float32]:
    """`[frames, stretches]`; each column sums to 1."""
    seconds = frames * hop
    length = _STRETCH_SECONDS if seconds >= _SHORT_SECONDS else seconds / _STRETCHES
    centres = (np.arange(_STRETCHES) + 0.5) * length
    places = (np.arange(frames) + 0.5) * hop
    weights = _triangles(np.abs(places - centres[:, None]) / (_STRETCH_WIDTH * length))
    return np.ascontiguousarray(weights.T)


def _triangles(distance: NDArray[np.float64]) -> NDArray[np.float32]:
    weights = np.maximum(1 - distance, 0)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
    return np.asarray(weights, np.float32)


@dataclass(frozen=True)
class TrainingTracks:
    """The tracks that a model was trained on, as its bundle lists them: no audio.

    Attributes
    ----------
    data
        Name of the data set.
    ids
        Ids of the tracks.
    fingerprints
        uint8 `[tracks, 16]`; zeros for a track without one.
    """

    data: str
    ids: tuple[str, ...]
    fingerprints: NDArray[np.uint8]

    @classmethod
    def of(cls, data: str, tracks: Sequence[Track], *, jobs: int | None = None) -> TrainingTracks:
        """Compute the fingerprints of tracks.

        Parameters
        ----------
        data
            Name of the data set.
        tracks
            Tracks of the data set that a model was trained or validated on.
        jobs
            Files decoded at once; as many as cores by default.
        """
        found = fingerprints([track.path for track in tracks], jobs=jobs)
        return cls(data, tuple(track.id for track in tracks), _as_array(found))

    @classmethod
    def from_fields(cls, fields: Mapping[str, str] | None) -> TrainingTracks | None:
        """Read what `to_fields` gave; None for None, or for what is not of that form."""
        if fields is None:
            return None
        try:
            ids = tuple(fields["ids"].splitlines())
            content = base64.b64decode(fields["fingerprints"], validate=True)
            array = np.frombuffer(content, np.uint8).reshape(len(ids), BYTES)
            return cls(fields["data"], ids, array)
        except (KeyError, ValueError, binascii.Error):
            return None

    def to_fields(self) -> dict[str, str]:
        """As a bundle stores them: ids on a line each, fingerprints in Base64."""
        encoded = base64.b64encode(self.fingerprints.tobytes()).decode()
        ids = "\n".join(map(_listed, self.ids))
        return {"data": valid_text(self.data), "ids": ids, "fingerprints": encoded}

    def joined(self, other: TrainingTracks) -> TrainingTracks:
        """The tracks of another list and these, whose ids begin with the name of their data."""
        ids = (*other.ids, *(f"{self.data}: {track}" for track in self.ids))
        array = np.concatenate([other.fingerprints, self.fingerprints])
        return TrainingTracks(other.data, ids, array)

    def contain_files(
        self,
        tracks: Sequence[Track],
        *,
        data: str,
        jobs: int | None = None,
        report: Callable[[int], None] | None = None,
    ) -> list[bool | None]:
        """As `contain`, by the files of the tracks, which are decoded for half a minute."""
        found = fingerprints([track.path for track in tracks], jobs=jobs, report=report)
        return self.contain(tracks, found, data=data)

    def contain(
        self, tracks: Sequence[Track], found: Sequence[bytes | None], *, data: str
    ) -> list[bool | None]:
        """Say which tracks the model was trained on: True, False, or None where it is not known.

        A track counts where its fingerprint is that of a training track, but for `SAME_BITS` bits.
        Where either has no fingerprint, as tracks of feature tables, it counts where the data sets
        have the same name and the tracks the same id. A track of another data set without a
        fingerprint, such as a steady tone, is compared with nothing: of it nothing is known.

        Parameters
        ----------
        tracks
            To look for.
        found
            The fingerprint of each.
        data
            Name of their data set.
        """
        known = np.asarray(self.fingerprints.any(axis=1))
        same_data = valid_text(data) == valid_text(self.data)
        listed = [_listed(name) for name in self.ids]
        without = {name for name, has in zip(listed, known.tolist(), strict=True) if not has}
        ids = set(listed)
        matches = same_recording(found, self.fingerprints[known])
        return [
            None
            if one is None and not same_data
            else match or (same_data and _listed(track.id) in (ids if one is None else without))
            for track, one, match in zip(tracks, found, matches, strict=True)
        ]


def used_in_training(
    fields: Mapping[str, str] | None,
    tracks: Sequence[Track],
    *,
    data: str = "",
    jobs: int | None = None,
    report: Callable[[int], None] | None = None,
) -> list[bool | None] | None:
    """Say which tracks a model was trained on, by what its bundle lists.

    Parameters
    ----------
    fields
        `training_tracks` of the bundle's manifest.
    tracks
        To look for; their files are decoded for half a minute.
    data
        Name of their data set.
    jobs, report
        As for `fingerprints`.

    Returns
    -------
    list or None
        True, False or None (not known) for each track, see `TrainingTracks.contain`; None for all
        where the bundle does not list its training tracks.
    """
    known = TrainingTracks.from_fields(fields)
    if known is None:
        return None
    return known.contain_files(tracks, data=data, jobs=jobs, report=report)


def training_note(used: Sequence[bool | None] | None) -> str | None:
    """A sentence on how many tracks a model was trained on; None where it was on none, or unknown.

    Examples
    --------
    >>> training_note([True, False, True])
    '2 of 3 tracks were used in training'
    >>> training_note([True, None])
    '1 of 2 tracks was used in training; of 1 it is not known (no fingerprint)'
    >>> training_note([None, False])
    'of 1 of 2 tracks it is not known whether it was used in training (no fingerprint)'
    >>> training_note([False])
    """
    used = list(used or [])
    return counted_note(used.count(True), used.count(None), len(used))


def counted_note(known: int, unknown: int, total: int) -> str | None:
    """As `training_note`, from numbers of tracks: used in training, not known, and all."""
    if not known and not unknown:
        return None
    if not known:
        return (
            f"of {unknown} of {counted(total, 'track')} it is not known whether it was used in "
            "training (no fingerprint)"
        )
    note = f"{known} of {counted(total, 'track')} {was(known)} used in training"
    return f"{note}; of {unknown} it is not known (no fingerprint)" if unknown else note


def same_recording(found: Sequence[bytes | None], known: NDArray[np.uint8]) -> list[bool]:
    """Say which fingerprints are near one of `known`, uint8 `[n, 16]`; None never is."""
    if not len(known):
        return [False] * len(found)
    table = known.view(np.uint64)
    return [
        one is not None
        and bool(_distances(np.frombuffer(one, np.uint64), table).min() <= SAME_BITS)
        for one in found
    ]


def _listed(name: str) -> str:
    """A track's id as a bundle lists it: one line of valid text."""
    return valid_text(" ".join(name.splitlines()))


def _distances(one: NDArray[np.uint64], table: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Number of bits in which a fingerprint differs from each row of a table."""
    return np.asarray(np.bitwise_count(table ^ one).sum(axis=1, dtype=np.intp))


def _as_array(found: Sequence[bytes | None]) -> NDArray[np.uint8]:
    content = b"".join(one or bytes(BYTES) for one in found)
    return np.frombuffer(content, np.uint8).reshape(len(found), BYTES)
