"""Writing tags never harms a file: refusals, interruptions, links, rights."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from mutagen.id3 import ID3

from genrescope.errors import TagError
from genrescope.library.content import content_of
from genrescope.library.tags import plan_genre, read_genre, write_genre
from tagged import (
    FORMATS,
    copy_of,
    id3v1,
    ordinary_user,
    refused,
)


@pytest.fixture
def track(tmp_path: Path) -> Callable[[str], Path]:
    return lambda kind: copy_of(kind, tmp_path)


@pytest.mark.parametrize("kind", ["au", "mkv", "aac"])
def test_formats_without_a_genre_tag_are_refused(kind: str, track: Callable[[str], Path]) -> None:
    path = track(kind)
    assert read_genre(path) is None
    with pytest.raises(TagError, match="this format has no genre tag we can write"):
        plan_genre(path, "jazz")
    refused(path, "this format has no genre tag we can write")


def test_wav_beyond_4_gb_is_not_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(800), 8000, format="RF64")
    refused(path, "this format has no genre tag we can write")


def test_aac_with_an_id3_tag_has_one(track: Callable[[str], Path]) -> None:
    path = track("aac")
    ID3().save(path, padding=lambda _: 10)
    content = content_of(path)
    assert read_genre(path) is None
    write_genre(path, "jazz")
    assert read_genre(path) == "jazz"
    assert content_of(path) == content


def test_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("la la la\n")
    refused(path, "this format has no genre tag we can write")


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_files_give_only_tag_errors(kind: str, track: Callable[[str], Path]) -> None:
    path = track(kind)
    data = path.read_bytes()
    rng = np.random.default_rng(1)
    failures = 0
    for length in [0, 1, 7, 20, 60, 200, 1000]:
        damaged = bytearray(data[: max(length * 3, length)])
        for _ in range(len(damaged) // 8):
            damaged[int(rng.integers(4, max(5, len(damaged)))) % len(damaged)] = rng.integers(256)
        for content in (data[:length], bytes(damaged)):
            path.write_bytes(content)
            try:
                read_genre(path)
                write_genre(path, "jazz", overwrite=True)
            except TagError as error:
                failures += 1
                assert "\n" not in error.reason
                assert path.read_bytes() == content
            assert len(list(path.parent.iterdir())) == 1
    assert failures >= 4


def test_a_missing_file_a_folder_and_a_wrong_name(tmp_path: Path) -> None:
    with pytest.raises(TagError, match="no such file or directory"):
        read_genre(tmp_path / "none.mp3")
    os.mkfifo(tmp_path / "pipe.mp3")  # opening it would wait for ever
    for path in (tmp_path, tmp_path / "pipe.mp3"):
        with pytest.raises(TagError, match="not a file"):
            read_genre(path)
    refused(tmp_path / "none.mp3", "no such file or directory")
    noise = tmp_path / "noise.mp3"
    noise.write_bytes(np.random.default_rng(2).bytes(5000))
    refused(noise, "the file is damaged, or not what its name says")


@pytest.mark.parametrize("genre", ["", "  ", "two\nlines", "nul\0l"])
def test_what_is_no_genre_name_is_refused(genre: str, track: Callable[[str], Path]) -> None:
    refused(track("mp3"), "is not a genre name", genre)


def test_a_genre_that_id3_would_read_as_a_code_is_refused(track: Callable[[str], Path]) -> None:
    refused(track("mp3"), "does not survive in this format", "17")


@pytest.mark.parametrize("kind", ["mp3", "flac"])
def test_a_read_only_folder_or_file(kind: str, tmp_path: Path) -> None:
    # Not tmp_path: pytest shuts its folders to all other users.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_genre(copy_of(kind, tmp_path), "rock")  # what it imports need not be open to others
        folder.chmod(0o777)
        with ordinary_user():
            if not os.access(folder, os.W_OK, effective_ids=True):
                pytest.skip("temporary files are in a folder that is shut to other users")
        path = copy_of(kind, folder)
        for folder_mode, file_mode in [(0o555, 0o666), (0o777, 0o444)]:
            path.chmod(file_mode)
            folder.chmod(folder_mode)
            with ordinary_user():
                refused(path, "permission denied")
        folder.chmod(0o777)
        path.chmod(0o666)
        with ordinary_user():
            write_genre(path, "jazz")
        assert read_genre(path) == "jazz"


@pytest.mark.parametrize(
    "interruption", [OSError(28, "No space left on device"), KeyboardInterrupt()]
)
@pytest.mark.parametrize("step", ["os.replace", "os.fsync", "mutagen.id3.ID3.save"])
def test_an_interrupted_write_leaves_no_trace(
    step: str,
    interruption: BaseException,
    track: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = track("mp3")
    before = path.read_bytes()

    def interrupt(*args: object, **kwargs: object) -> None:
        raise interruption

    monkeypatch.setattr(step, interrupt)
    expected = TagError if isinstance(interruption, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        write_genre(path, "jazz")
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def harm_audio(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-100] ^= 0x55
    path.write_bytes(data)


def harm_tag(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"TALB", b"TSSE"))


@pytest.mark.parametrize(("harm", "what"), [(harm_audio, "audio"), (harm_tag, "other tags")])
def test_a_copy_that_lost_something_is_not_put_in_place(
    harm: Callable[[Path], None],
    what: str,
    track: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = track("mp3")
    save = ID3.save

    def save_badly(self: ID3, file: Any, **options: Any) -> None:
        save(self, file, **options)
        harm(Path(file.name))

    monkeypatch.setattr(ID3, "save", save_badly)
    refused(path, f"its {what} would not survive a new genre")


def test_a_change_by_another_program_is_not_lost(
    track: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = track("mp3")
    synchronise = os.fsync

    def meanwhile(handle: int) -> None:
        synchronise(handle)
        path.write_bytes(path.read_bytes() + id3v1(8))

    monkeypatch.setattr(os, "fsync", meanwhile)
    with pytest.raises(TagError, match="another program"):
        write_genre(path, "jazz")
    assert path.read_bytes().endswith(id3v1(8))
    assert list(path.parent.iterdir()) == [path]


def test_a_link_stays_and_its_target_is_written(
    track: Callable[[str], Path], tmp_path: Path
) -> None:
    target = track("flac")
    elsewhere = tmp_path / "links"
    elsewhere.mkdir()
    link = elsewhere / "link.flac"
    link.symlink_to(Path("..") / target.name)
    assert write_genre(link, "jazz").path == link
    assert link.is_symlink()
    assert link.readlink() == Path("..") / target.name
    assert not target.is_symlink()
    assert read_genre(target) == "jazz"
    assert list(elsewhere.iterdir()) == [link]
    link.unlink()
    link.symlink_to(link.name)
    with pytest.raises(TagError, match="too many levels of symbolic links"):
        write_genre(link, "jazz")


def test_the_mode_is_kept_and_the_time_is_not(track: Callable[[str], Path]) -> None:
    path = track("flac")
    path.chmod(0o640)
    if os.geteuid() == 0:
        with suppress(OSError):  # root of a container, which may have no such user
            os.chown(path, 12345, 23456)
    os.utime(path, (1e9, 1e9))
    before = path.stat()
    write_genre(path, "jazz")
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert after.st_mtime > 1.5e9
