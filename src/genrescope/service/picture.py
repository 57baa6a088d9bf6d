"""The waveform and the mel spectrogram of a track as the page draws them, by `features`."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.audio import Waveform, stream
from genrescope.errors import CancelledError
from genrescope.features.filterbank import mel_power, power_to_db
from genrescope.features.spectrogram import power_spectrogram
from genrescope.inference.threads import CancelEvent

COLUMNS = 1000
BANDS = 64
_RATE = 22050
_HOP = 2048
_RANGE_DB = 80.0


def draw(file: Path, stop: CancelEvent | None = None) -> dict[str, Any]:
    """Compute both pictures of a file, in blocks.

    Parameters
    ----------
    file
        The file.
    stop
        Checked for every half minute of the track.

    Returns
    -------
    dict
        `columns`, at most `COLUMNS`; `peaks`, base64 of uint8 `[columns]`, the largest magnitude in
        each with 255 for full scale; `bands`; `mel`, base64 of uint8 `[bands, columns]`, 0 to 255
        for the loudest 80 dB, lowest band first.

    Raises
    ------
    AudioError
        When the file can't be decoded.
    CancelledError
        When `stop` was set.
    """
    peaks, bands = [], []
    for block in stream(file, sample_rate=_RATE):
        if stop is not None and stop.is_set():
            raise CancelledError("cancelled")
        frames = -(-len(block) // _HOP)
        padded = np.pad(np.abs(block), (0, frames * _HOP - len(block)))
        peaks.append(padded.reshape(frames, _HOP).max(axis=1))
        spectrogram = power_spectrogram(Waveform(block, _RATE), hop_length=_HOP)
        mel = mel_power(spectrogram, n_mels=BANDS, fmin=30.0, fmax=_RATE / 2)
        bands.append(mel[:, :frames])
    peak = _reduced(np.concatenate(peaks)[None], np.maximum)[0]
    decibels = power_to_db(_reduced(np.concatenate(bands, axis=1), np.add), top_db=_RANGE_DB)
    level = np.clip((decibels - decibels.max()) / _RANGE_DB + 1, 0, 1)
    return {
        "columns": len(peak),
        "peaks": _bytes(np.clip(peak, 0, 1)),
        "bands": BANDS,
        "mel": _bytes(level),
    }


def _reduced(values: NDArray[np.float32], by: np.ufunc) -> NDArray[np.float32]:
    """Rows `[rows, n]` brought to at most `COLUMNS` columns; sums become means."""
    count = values.shape[1]
    if count <= COLUMNS:
        return values
    starts = np.linspace(0, count, COLUMNS, endpoint=False).astype(int)
    reduced = by.reduceat(values, starts, axis=1)
    if by is np.add:
        reduced = reduced / np.diff([*starts, count])
    return np.asarray(reduced, np.float32)


def _bytes(values: NDArray[np.floating]) -> str:
    return base64.b64encode(np.round(values * 255).astype(np.uint8).tobytes()).decode()
