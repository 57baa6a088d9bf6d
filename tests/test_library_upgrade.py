"""Scans of libraries whose rows are to be completed, or wait to be classified again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from clips import write_wav
from genrescope import Classifier, Prediction
from genrescope.cli import app
from genrescope.errors import FileError, UnreadableError
from genrescope.library import scan as scanning
from genrescope.library.content import content_of
from genrescope.library.files import Found, album_artist_of
from genrescope.library.maintenance import describe
from genrescope.library.rows import NOT_CLASSIFIED, Entry
from genrescope.library.scan import scan
from genrescope.library.scan_start import model_of
from genrescope.library.store import Library
from libraries import entry

pytest.importorskip("lancedb")


@pytest.fixture
def music(tmp_path: Path) -> Path:
    folder = tmp_path / "music"
    folder.mkdir()
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "library"


def row_of(file: Path, **changes: object) -> Entry:
    """The row of a file that has not changed."""
    classifier = Classifier.load()
    found = Found.of(file)
    known = {
        "root": str(file.parent),
        "content": content_of(file),
        "size": found.size,
        "mtime_ns": found.mtime_ns,
        "inode": found.inode,
        "probabilities": np.zeros(len(classifier.genres), np.float32),
        "genre": classifier.genres[0],
    }
    return entry(file.name, np.ones(classifier.embedding_size), **(known | changes))


def make(place: Path, entries: Iterable[Entry]) -> Library:
    return Library.create(place, model_of(Classifier.load(), "default"), list(entries))


def rows(place: Path) -> dict[str, Entry]:
    return {each.path: each for each in Library.open(place).entries()}


def nothing(_: Classifier, files: Iterable[Path]) -> Iterator[Prediction]:
    assert not list(files)
    return iter(())


class TestRowsOfOlderVersions:
    """Their album artists were not read."""

    @pytest.fixture
    def old(self, music: Path, place: Path) -> Path:
        files = [write_wav(music / f"{number}.wav", 1, seed=number) for number in range(4)]
        make(place, map(row_of, files))
        return music

    def test_they_are_completed_with_progress(self, old: Path, place: Path) -> None:
        shown: list[tuple[int, int]] = []
        report = scan(
            [old], library=place, predict_many=nothing, progress=lambda *each: shown.append(each)
        )
        assert shown == [(done, 4) for done in range(5)]
        assert report.counts.unchanged == 4
        assert [each.album_artist for each in rows(place).values()] == [""] * 4
        shown.clear()
        scan([old], library=place, predict_many=nothing, progress=lambda *e: shown.append(e))
        assert shown == [(0, 0)]

    def test_a_kill_loses_little_and_files_are_merged(
        self, old: Path, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(scanning, "_SECONDS_BETWEEN_WRITES", -1.0)
        merged: list[Library] = []
        monkeypatch.setattr(Library, "compact", lambda library: merged.append(library))

        def stop(done: int, _: int) -> None:
            if done == 3:
                raise MemoryError

        with pytest.raises(MemoryError):
            scan([old], library=place, predict_many=nothing, progress=stop)
        assert sum(each.album_artist == "" for each in rows(place).values()) == 2
        assert not merged
        for _ in range(2):
            scan([old], library=place, predict_many=nothing)
        assert len(merged) == 1

    def test_what_cannot_be_read_now_stays_unknown(self, tmp_path: Path) -> None:
        assert album_artist_of(tmp_path / "gone.mp3") is None
        for name in ("empty.mp3", "odd.flac", "cut.ogg"):
            (tmp_path / name).write_bytes(b"OggS"[: len(name) % 7])
            assert album_artist_of(tmp_path / name) == ""


class TestUnclassifiedRows:
    """A scan with --rescan has not reached them, or could not read them."""

    def test_a_file_that_cannot_be_read_says_so(self, music: Path, place: Path) -> None:
        make(place, [row_of(write_wav(music / "a.wav", 1))])

        def refuse(_: Classifier, files: Iterable[Path]) -> Iterator[FileError]:
            for file in files:
                yield UnreadableError(file, "not readable: Permission denied")

        for rescan in (True, False):  # it is tried each time
            report = scan([music], library=place, rescan=rescan, predict_many=refuse)
            assert (report.counts.failed, report.unfinished) == (1, {})
            (row,) = rows(place).values()
            assert row.problem == "not classified yet: not readable: Permission denied"
            assert row.answer == "not classified yet"
            assert describe(Library.open(place)).not_classified == 1

    @pytest.mark.slow
    def test_moved_files_leave_no_row_behind(self, music: Path, place: Path) -> None:
        file = write_wav(music / "a.wav", 3)
        waiting = row_of(file, genre=None, problem=NOT_CLASSIFIED)
        rejected = row_of(file, genre=None, kind="speech", detector=None)
        for before in (waiting, rejected):
            make(place, [before])
            file = file.rename(music / f"{file.stem}b.wav")
            report = scan([music], library=place)
            assert (report.counts.classified, report.counts.deleted) == (1, 0)
            (row,) = rows(place).values()
            assert row.path == file.name
            assert row.genre is not None or row.kind is not None
            assert row.detector == (Classifier.load().manifest.detector if row.kind else None)
            file = file.rename(music / "a.wav")

    def test_a_moved_file_does_not_take_over_that_it_waits(self, music: Path, place: Path) -> None:
        """Where the same audio is known, it is taken from there."""
        one, other = (write_wav(music / name, 1) for name in ("a.wav", "b.wav"))
        known = row_of(one, album_artist="")
        make(place, [known, replace(row_of(other), genre=None, problem=NOT_CLASSIFIED)])
        other.rename(music / "c.wav")
        report = scan([music], library=place, predict_many=nothing)
        assert (report.counts.moved, report.counts.unchanged) == (1, 1)
        found = rows(place)
        assert found.keys() == {"a.wav", "c.wav"}
        assert (found["c.wav"].genre, found["c.wav"].problem) == (known.genre, None)

    def test_the_command_that_goes_on_is_whole(self, music: Path, place: Path) -> None:
        file = write_wav(music / "a.wav", 1)
        away = row_of(file, root="/else where", genre=None, problem=NOT_CLASSIFIED)
        make(place, [row_of(file, album_artist=""), away])
        words = ["scan", str(music), "--library", str(place), "--listen", "90"]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
        expected = f"go on with: genrescope scan '/else where' --library {place} --listen 90"
        assert expected in done.stderr
