"""Sounds and small data sets that several tests make on the fly."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image

RATE = 22050


def hears_ctrl_c() -> None:
    """For a process that is interrupted: in the background it may have been told not to listen."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def music(seconds: float, *, seed: int = 0, rate: int = RATE, pitch: float = 220.0) -> NDArray:
    """A chord with a beat and some noise, float32 `[n]`."""
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    chord = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in (1, 1.5, 2, 3))
    beat = np.exp(-8 * (time % 0.5))
    noise = random.standard_normal(len(time)) * 0.1
    return (0.2 * (chord * (0.5 + 0.5 * beat) + noise)).astype(np.float32)


def write_wav(path: Path, seconds: float = 3.0, **settings: float) -> Path:
    soundfile.write(path, music(seconds, **settings), RATE, subtype="PCM_16")
    return path


def song(seconds: float, *, seed: int = 0, rate: int = RATE) -> NDArray:
    """Music that changes: notes of random pitch and length over some noise, float64 `[n]`."""
    random = np.random.default_rng(seed)
    samples = np.zeros(int(seconds * rate))
    for _ in range(int(seconds * 6)):
        start = random.integers(0, len(samples))
        time = np.arange(min(int(random.uniform(0.1, 3) * rate), len(samples) - start)) / rate
        pitch = 80 * 2 ** random.uniform(0, 5)
        note = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 6))
        samples[start : start + len(time)] += random.uniform(0.1, 1) * np.exp(-time) * note
    samples += random.standard_normal(len(samples)) * 0.02
    return 0.5 * samples / np.abs(samples).max()


def write_song(path: Path, seconds: float, *, seed: int = 0) -> Path:
    soundfile.write(path, song(seconds, seed=seed), RATE)
    return path


def write_spectrograms(folder: Path, *, tracks: int = 6, genres: tuple[str, ...] = ("low", "high")):
    """Stored spectrograms of genres that are told apart by where their energy lies."""
    random = np.random.default_rng(0)
    for number, genre in enumerate(genres):
        (folder / genre).mkdir(parents=True)
        centre = (number + 1) / (len(genres) + 1)
        shape = np.exp(-(((np.arange(544) / 544 - centre) / 0.12) ** 2))[:, None]
        for track in range(tracks):
            pixels = 40 + 150 * shape + 15 * random.standard_normal((544, 344))
            image = Image.fromarray(np.clip(pixels[::-1], 1, 255).astype(np.uint8))
            image.save(folder / genre / f"{genre}.{track:05d}.png")
    return folder
