"""The cache of features: found by content and settings, and never the reason for a failure."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from genrescope.errors import AudioError
from genrescope.features import cache as module
from genrescope.features.cache import FEATURE_VERSION, FeatureCache

VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)


class Work:
    """A computation that counts how often it was done."""

    def __init__(self, values: np.ndarray = VALUES) -> None:
        self.values, self.times = values, 0

    def __call__(self) -> np.ndarray:
        self.times += 1
        return self.values


@pytest.fixture
def track(tmp_path: Path) -> Path:
    path = tmp_path / "track.wav"
    path.write_bytes(b"sound" * 1000)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "made" / "when needed"


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8])
def test_what_was_computed_is_there_for_the_next_process(
    track: Path, folder: Path, dtype: type
) -> None:
    work = Work(VALUES.astype(dtype))
    for _ in range(3):
        values = FeatureCache(folder).get_or_compute(track, "mfcc", work)
        assert values.dtype == dtype
        np.testing.assert_array_equal(values, VALUES)
    assert work.times == 1
    assert np.array_equal(np.load(entries(folder)[0], allow_pickle=False), VALUES)


def test_other_settings_another_content_or_version_are_computed_anew(
    track: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, work = FeatureCache(folder), Work()
    cache.get_or_compute(track, "mfcc", work)
    cache.get_or_compute(track, "mel", work)
    assert work.times == 2
    track.write_bytes(b"other sound")
    cache.get_or_compute(track, "mfcc", work)
    assert work.times == 3
    monkeypatch.setattr(module, "FEATURE_VERSION", 1000)
    cache.get_or_compute(track, "mfcc", work)
    assert work.times == 4


def test_a_file_that_moved_is_the_same_file(track: Path, folder: Path) -> None:
    cache, work = FeatureCache(folder), Work()
    cache.get_or_compute(track, "mfcc", work)
    cache.get_or_compute(track.rename(track.with_name("moved.wav")), "mfcc", work)
    assert work.times == 1


def test_content_is_read_once_in_a_process(
    track: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, work = FeatureCache(folder), Work()
    cache.get_or_compute(track, "mfcc", work)
    status = track.stat()
    # Same size and time: taken for the same file, though its content would say otherwise.
    track.write_bytes(b"SOUND" * 1000)
    os.utime(track, ns=(status.st_atime_ns, status.st_mtime_ns))
    cache.get_or_compute(track, "mfcc", work)
    assert work.times == 1
    FeatureCache(folder).get_or_compute(track, "mfcc", work)
    assert work.times == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:20],
        lambda content: content[:-1],
        lambda content: content[:130] + bytes([content[130] ^ 1]) + content[131:],
        lambda content: b"x" + content[1:],
    ],
    ids=["empty", "header only", "last byte", "one bit", "magic"],
)
def test_a_damaged_entry_is_computed_anew_and_mended(
    track: Path, folder: Path, damage: Callable[[bytes], bytes]
) -> None:
    cache, work = FeatureCache(folder), Work()
    cache.get_or_compute(track, "mfcc", work)
    entry = entries(folder)[0]
    entry.write_bytes(damage(entry.read_bytes()))
    for _ in range(2):
        np.testing.assert_array_equal(cache.get_or_compute(track, "mfcc", work), VALUES)
    assert work.times == 2


def test_where_nothing_can_be_written_all_is_computed(track: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("no folder")
    cache, work = FeatureCache(blocked / "below it"), Work()
    for _ in range(2):
        np.testing.assert_array_equal(cache.get_or_compute(track, "mfcc", work), VALUES)
    assert work.times == 2


def test_a_file_that_changes_while_it_is_read_is_not_kept(track: Path, folder: Path) -> None:
    def changing() -> np.ndarray:
        track.write_bytes(b"something else")
        return VALUES

    FeatureCache(folder).get_or_compute(track, "mfcc", changing)
    assert entries(folder) == []


def test_get_gives_what_is_kept_and_computes_nothing(track: Path, folder: Path) -> None:
    cache = FeatureCache(folder)
    assert cache.get(track, "mfcc") is None
    cache.get_or_compute(track, "mfcc", Work())
    kept = cache.get(track, "mfcc")
    assert kept is not None
    np.testing.assert_array_equal(kept, VALUES)
    assert cache.get(track, "mel") is None


@pytest.mark.parametrize("version", [1, FEATURE_VERSION])
def test_entries_are_found_by_version_content_and_settings(
    track: Path, folder: Path, version: int
) -> None:
    """Entries are named as in version 0.1; its numbers are others, where there is silence."""
    content = hashlib.sha256(track.read_bytes()).hexdigest()
    key = hashlib.sha256(f"{version}\n{content}\nmfcc".encode()).hexdigest()
    buffer = io.BytesIO()
    np.save(buffer, VALUES)
    entry = folder / key[:2] / f"{key}.npy"
    entry.parent.mkdir(parents=True)
    entry.write_bytes(buffer.getvalue() + hashlib.sha256(buffer.getvalue()).digest())
    work = Work()
    np.testing.assert_array_equal(FeatureCache(folder).get_or_compute(track, "mfcc", work), VALUES)
    assert work.times == (version != FEATURE_VERSION)


def test_a_missing_file_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"gone\.wav: no such file"):
        FeatureCache(folder).get_or_compute(tmp_path / "gone.wav", "mfcc", Work())


def test_objects_are_not_stored(track: Path, folder: Path) -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        FeatureCache(folder).get_or_compute(track, "mfcc", Work(np.array([{}])))
    assert entries(folder) == []


def _in_a_process(arguments: tuple[Path, Path, int]) -> float:
    track, folder, number = arguments
    large = np.full((500, 500), 7.0)
    return float(FeatureCache(folder).get_or_compute(track, str(number % 3), lambda: large).sum())


def test_processes_share_a_folder(track: Path, folder: Path) -> None:
    work = [(track, folder, number) for number in range(24)]
    # Not forked: this process may have threads that hold locks.
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        assert set(pool.map(_in_a_process, work)) == {7.0 * 500 * 500}
    assert len(entries(folder)) == 3


def test_the_folder_is_where_the_desktop_keeps_caches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert FeatureCache().folder == tmp_path / "genrescope" / "features"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for ignored in ("relative", ""):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert FeatureCache().folder == tmp_path / "home/.cache/genrescope/features"
