"""Folders whose disk is not mounted: their rows are kept until somebody says that they are gone."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clips import write_wav
from genrescope.cli import app
from genrescope.errors import FileError
from genrescope.library.scan import Report, scan
from genrescope.library.store import Library

pytest.importorskip("lancedb")


@pytest.fixture
def usb(tmp_path: Path) -> Path:
    """A folder `usb` and a folder `music`, each with a track, both in the library `library`."""
    for number, name in enumerate(("usb", "music")):
        (tmp_path / name).mkdir()
        write_wav(tmp_path / name / f"{name}.wav", 1, seed=number)
    scan([tmp_path / "usb", tmp_path / "music"], library=tmp_path / "library")
    return tmp_path / "usb"


def living(library: Path) -> set[str]:
    return {entry.path for entry in Library.open(library).entries() if not entry.deleted}


def counts(report: Report) -> dict[str, int]:
    return {what: count for what, count in asdict(report.counts).items() if count}


@pytest.mark.parametrize("mount_point", [False, True])
def test_rescan_of_another_folder_does_not_forget_an_unmounted_one(
    usb: Path, mount_point: bool
) -> None:
    music, library = usb.parent / "music", usb.parent / "library"
    usb.rename(usb.parent / "unplugged")
    if mount_point:
        usb.mkdir()
    reason = "no music files in this folder" if mount_point else "no such folder"
    with pytest.raises(FileError, match=f"{reason}; --rescan would lose 1 track ") as refused:
        scan([music], library=library, rescan=True)
    assert refused.value.path == str(usb)
    assert living(library) == {"usb.wav", "music.wav"}
    asked: list[tuple[Path, int]] = []
    report = scan(
        [music], library=library, rescan=True, is_gone=lambda *what: not asked.append(what)
    )
    assert asked == [(usb, 1)]
    assert counts(report) == {"classified": 1}
    assert living(library) == {"music.wav"}


def test_the_command_refuses_or_is_told(usb: Path) -> None:
    music, library = usb.parent / "music", usb.parent / "library"
    usb.rename(usb.parent / "unplugged")
    command = ["scan", str(music), "--library", str(library), "--rescan"]
    assert "would lose 1 track" in str(CliRunner().invoke(app, command).exception)
    assert CliRunner().invoke(app, [*command, "--yes"]).exit_code == 0
    assert living(library) == {"music.wav"}


def test_rescan_does_not_forget_what_can_not_be_read(
    usb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (usb / "deep").mkdir()
    (usb / "usb.wav").rename(usb / "deep" / "usb.wav")
    write_wav(usb / "other.wav", 1, seed=2)
    library = usb.parent / "library"
    scan([usb], library=library)
    real = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(FileError, match="Permission denied; --rescan would lose 1 track "):
        scan([usb], library=library, rescan=True, is_gone=lambda *_: True)
    assert living(library) == {"deep/usb.wav", "other.wav", "music.wav"}


@pytest.mark.parametrize("mount_point", [False, True])
def test_a_copy_does_not_take_over_the_row_of_an_unmounted_disk(
    usb: Path, mount_point: bool
) -> None:
    music, library = usb.parent / "music", usb.parent / "library"
    shutil.copy2(usb / "usb.wav", music / "copy.wav")
    usb.rename(usb.parent / "unplugged")
    if mount_point:
        usb.mkdir()
    assert counts(scan([music], library=library)) == {"unchanged": 1, "recognised": 1}
    assert living(library) == {"usb.wav", "music.wav", "copy.wav"}
    # Nor where the folder is scanned as well, and nobody says that its files are gone.
    (usb.parent / "unplugged").rename(usb)
    (music / "copy.wav").rename(music / "again.wav")
    (usb / "usb.wav").rename(usb.parent / "usb.wav")
    report = scan([usb, music], library=library)
    assert counts(report) == {"unchanged": 1, "moved": 1, "failed": 1}
    assert living(library) == {"usb.wav", "music.wav", "again.wav"}


def test_a_file_that_was_moved_takes_its_row_along(usb: Path) -> None:
    """Out of a folder that it leaves empty: on one disk it keeps its inode."""
    music, library = usb.parent / "music", usb.parent / "library"
    (usb / "usb.wav").rename(music / "moved.wav")
    assert counts(scan([music], library=library)) == {"unchanged": 1, "moved": 1}
    assert living(library) == {"music.wav", "moved.wav"}


def test_a_sorted_file_takes_its_row_along_whatever_its_inode(usb: Path) -> None:
    """As after `--write-tags`, which puts a new file in the place of the old one."""
    library, target = usb.parent / "library", usb.parent / "sorted"
    shutil.copy2(usb / "usb.wav", usb / "new")
    (usb / "new").replace(usb / "usb.wav")
    words = ["sort", str(usb), "--to", str(target), "--library", str(library), "--move", "--yes"]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert list(usb.iterdir()) == []
    assert counts(scan([target], library=library)) == {"moved": 1}


def test_watch_names_the_folder_that_is_missing(tmp_path: Path) -> None:
    pytest.importorskip("watchfiles")
    error = CliRunner().invoke(app, ["scan", str(tmp_path / "usb"), "--watch"]).exception
    assert str(error) == f"{tmp_path / 'usb'}: no such folder"
