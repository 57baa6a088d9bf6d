"""Libraries of version 0.1 open, and are migrated in one commit."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clips import write_wav
from genrescope import Classifier
from genrescope.library import places
from genrescope.library.migrations import migrated
from genrescope.library.places import LibraryError, locked
from genrescope.library.rows import FORMAT, Entry, Model, from_table, to_table
from genrescope.library.scan import scan
from genrescope.library.store import Library, read_table
from libraries import MODEL, entry

lancedb = pytest.importorskip("lancedb")
pa = pytest.importorskip("pyarrow")


def write_version_1(folder: Path, entries: list[Entry], model: Model = MODEL) -> None:
    """The table that version 0.1 wrote: its columns in its order, its metadata, two commits."""
    fields = [
        ("root", pa.string()),
        ("path", pa.string()),
        ("content", pa.string()),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("probabilities", pa.list_(pa.float32(), len(model.genres))),
        ("embedding", pa.list_(pa.float32(), model.embedding_size)),
        ("title", pa.string()),
        ("artist", pa.string()),
        ("album", pa.string()),
        ("year", pa.int32()),
        ("genre_tag", pa.string()),
        ("genre", pa.string()),
        ("confidence", pa.float64()),
        ("duration", pa.float64()),
        ("warnings", pa.list_(pa.string())),
        ("problem", pa.string()),
        ("deleted", pa.bool_()),
    ]
    metadata = {
        "format": 1,
        "name": model.name,
        "sha256": model.sha256,
        "source": model.source,
        "genres": list(model.genres),
        "embedding_size": model.embedding_size,
    }
    schema = pa.schema(fields, metadata={"genrescope": json.dumps(metadata)})
    rows = [{name: getattr(each, name) for name, _ in fields} for each in entries]
    folder.mkdir(parents=True)
    connection = lancedb.connect(folder)
    table = connection.create_table("tracks", schema=schema)
    merge = table.merge_insert(["root", "path"])
    merge = merge.when_matched_update_all().when_not_matched_insert_all()
    merge.execute(pa.Table.from_pylist(rows, schema=schema))
    (folder / "scan.lock").write_text("4711")


@pytest.fixture
def tracks(tmp_path: Path) -> list[Entry]:
    """A track whose file is as it was, one whose file has changed, and one that is deleted."""
    made = []
    for name in ("same.mp3", "changed.mp3"):
        file = tmp_path / name
        file.write_text(name)
        status = file.stat()
        made.append(
            entry(name, np.arange(16), root=str(tmp_path), title="It's", warnings=["w"], year=1975,
                  size=status.st_size, mtime_ns=status.st_mtime_ns)
        )  # fmt: skip
    (tmp_path / "changed.mp3").write_text("other music")
    return [*made, entry("gone.mp3", np.ones(16), root=str(tmp_path), deleted=True)]


@pytest.fixture
def old(tmp_path: Path, tracks: list[Entry]) -> Path:
    write_version_1(tmp_path / "library", tracks)
    return tmp_path / "library"


def stored_format(folder: Path) -> int:
    schema = lancedb.connect(folder).open_table("tracks").schema
    return int(json.loads(schema.metadata[b"genrescope"])["format"])


class TestMigration:
    """genrescope.library.migrations"""

    def test_all_rows_are_kept_and_inodes_added(
        self, old: Path, tracks: list[Entry], tmp_path: Path
    ) -> None:
        assert stored_format(old) == 1
        library = Library.open(old)
        assert stored_format(old) == FORMAT
        assert library.model == MODEL
        rows = {each.path: each for each in library.entries()}
        for before in tracks:
            after = rows[before.path]
            assert after.to_dict() == before.to_dict()
            assert (after.content, after.size, after.mtime_ns) == (
                before.content,
                before.size,
                before.mtime_ns,
            )
            assert after.listen == "full"
            assert np.array_equal(after.embedding, before.embedding)
            assert np.array_equal(after.probabilities, before.probabilities)
        inodes = {path: each.inode for path, each in rows.items()}
        same = (tmp_path / "same.mp3").stat().st_ino
        assert inodes == {"same.mp3": same, "changed.mp3": None, "gone.mp3": None}

    def test_it_is_one_commit(self, old: Path) -> None:
        before = lancedb.connect(old).open_table("tracks").version
        assert Library.open(old).version == before + 1
        assert Library.open(old).version == before + 1  # nothing is left to migrate

    def test_where_it_fails_the_old_rows_are_read(
        self, old: Path, tracks: list[Entry], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As on a disk that can't be written to."""
        make = type(lancedb.connect(old)).create_table

        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr(type(lancedb.connect(old)), "create_table", refuse)
        library = Library.open(old)
        assert sorted(each.path for each in library.entries()) == sorted(e.path for e in tracks)
        assert stored_format(old) == 1
        monkeypatch.setattr(type(lancedb.connect(old)), "create_table", make)
        Library.open(old).put([entry("new.mp3", np.zeros(16))])
        assert len(Library.open(old).entries()) == len(tracks) + 1

    def test_where_it_fails_it_is_not_tried_at_each_opening(
        self, old: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tried: list[str] = []

        def refuse(*_: object, **__: object) -> None:
            tried.append("")
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr(type(lancedb.connect(old)), "create_table", refuse)
        for _ in range(3):
            assert len(Library.open(old).entries()) == 3
        assert len(tried) == 1
        with pytest.raises(LibraryError, match="can't be written: Read-only file system"):
            Library.open(old).put([entry("new.mp3", np.zeros(16))])

    def test_inodes_of_files_that_are_away_are_kept(self, tracks: list[Entry]) -> None:
        """As of a disk that is not mounted."""
        known = [replace(each, inode=number) for number, each in enumerate(tracks, 7)]
        rows = from_table(migrated(to_table(known, MODEL), MODEL), MODEL)
        assert [each.inode for each in rows] == [7, 8, 9]

    def test_two_processes_migrate_once(self, old: Path) -> None:
        opened: list[Library] = []
        threads = [
            threading.Thread(target=lambda: opened.append(Library.open(old))) for _ in range(4)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join(timeout=600)
        assert {library.version for library in opened} == {Library.open(old).version}
        assert [len(library.entries()) for library in opened] == [3] * 4

    def test_maps_are_kept(self, old: Path) -> None:
        lancedb.connect(old).create_table("map-pca", pa.table({"x": [1.0]}))
        kept = read_table(Library.open(old), "map-pca")
        assert kept is not None
        assert kept.to_pydict() == {"x": [1.0]}

    def test_a_newer_format_is_refused(self, old: Path) -> None:
        connection = lancedb.connect(old)
        rows = connection.open_table("tracks").to_arrow()
        about = json.loads(rows.schema.metadata[b"genrescope"])
        about |= {"format": FORMAT + 1, "mood": "calm"}
        newer = rows.replace_schema_metadata({"genrescope": json.dumps(about)})
        connection.create_table("tracks", newer, mode="overwrite")
        with pytest.raises(LibraryError, match="newer version"):
            Library.open(old)

    def test_a_scan_of_an_old_library_classifies_nothing_again(self, tmp_path: Path) -> None:
        music = tmp_path / "music"
        music.mkdir()
        write_wav(music / "a.wav", 3, seed=1)
        known = scan([music], library=tmp_path / "new").library
        write_version_1(tmp_path / "library", known.entries(), known.model)
        report = scan([music], library=tmp_path / "library")
        assert (report.counts.unchanged, report.counts.classified) == (1, 0)
        assert stored_format(tmp_path / "library") == FORMAT
        said = Classifier.load().predict(music / "a.wav")
        (row,) = report.library.entries()
        assert (row.genre, row.confidence) == (said.genre, said.confidence)

    def test_what_a_library_of_format_4_rejected_is_classified_again(self, tmp_path: Path) -> None:
        """It did not store by which detector."""
        music, place = tmp_path / "music", tmp_path / "library"
        music.mkdir()
        for seed in (1, 2):
            write_wav(music / f"{seed}.wav", 3, seed=seed)
        first = scan([music], library=place).library
        said = {each.path: each.genre for each in first.entries()}
        (row,) = first.entries("path = '1.wav'")
        first.put([replace(row, genre=None, kind="no music")])
        connection = lancedb.connect(place)
        stored = connection.open_table("tracks").to_arrow().drop_columns(["detector"])
        about = json.loads(stored.schema.metadata[b"genrescope"]) | {"format": 4}
        older = stored.replace_schema_metadata({"genrescope": json.dumps(about)})
        connection.create_table("tracks", older, mode="overwrite")
        report = scan([music], library=place)
        assert stored_format(place) == FORMAT
        assert (report.counts.classified, report.counts.unchanged) == (1, 1)
        assert report.decided_again == 1
        assert {each.path: each.genre for each in report.library.entries()} == said


class TestLock:
    """genrescope.library.places.locked"""

    def test_the_lock_of_version_1_is_honoured(self, tmp_path: Path) -> None:
        fcntl = pytest.importorskip("fcntl")
        waited: list[str] = []
        with (tmp_path / "scan.lock").open("a+") as theirs:
            fcntl.flock(theirs, fcntl.LOCK_EX)
            other = threading.Thread(target=take, args=(tmp_path, waited))
            other.start()
            wait_for(waited)
            assert other.is_alive()
            assert waited == ["?"]
        other.join(timeout=600)
        assert waited == ["?", "mine"]

    @pytest.mark.parametrize(
        "answer", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EPERM]
    )
    def test_a_share_without_locks_gets_a_lock_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int
    ) -> None:
        fcntl = pytest.importorskip("fcntl")

        def refuse(*_: object) -> None:
            raise OSError(answer, os.strerror(answer))

        monkeypatch.setattr(fcntl, "flock", refuse)
        waited: list[str] = []
        with locked(tmp_path, waited.append):
            other = threading.Thread(target=take, args=(tmp_path, waited))
            other.start()
            wait_for(waited)
            assert other.is_alive()
            assert waited == [str(os.getpid())]
        other.join(timeout=600)
        assert waited[1:] == ["mine"]
        with locked(tmp_path, waited.append):  # and none is left behind
            assert len(waited) == 2

    @pytest.mark.parametrize("answer", [errno.ESTALE, errno.EIO])
    def test_a_share_that_is_gone_is_one_line(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int
    ) -> None:
        fcntl = pytest.importorskip("fcntl")

        def refuse(*_: object) -> None:
            raise OSError(answer, os.strerror(answer))

        monkeypatch.setattr(fcntl, "flock", refuse)
        reason = f"can't be written: {os.strerror(answer)}"
        with pytest.raises(LibraryError, match=reason), locked(tmp_path):
            pass

    def test_the_holder_is_named(self, tmp_path: Path) -> None:
        waited: list[str] = []
        with locked(tmp_path):
            other = threading.Thread(target=take, args=(tmp_path, waited))
            other.start()
            wait_for(waited)
        other.join(timeout=600)
        assert waited == [str(os.getpid()), "mine"]


def wait_for(waited: list[str]) -> None:
    """Until the other thread has said whom it waits for."""
    deadline = time.monotonic() + 600
    while not waited and time.monotonic() < deadline:
        time.sleep(0.01)


def take(place: Path, waited: list[str]) -> None:
    with locked(place, waited.append):
        waited.append("mine")


def test_a_table_that_exists_is_told_from_one_that_does_not(tmp_path: Path) -> None:
    connection = places.connect(str(tmp_path))
    assert places.open_table(str(tmp_path), connection, "tracks") is None
    connection.create_table("tracks", pa.table({"a": [1]}))
    assert places.has_table(str(tmp_path), connection, "tracks")
    for manifest in (tmp_path / "tracks.lance" / "_versions").glob("*.manifest"):
        manifest.write_bytes(b"rubbish")
    assert places.has_table(str(tmp_path), connection, "tracks")
    with pytest.raises(LibraryError, match="damaged"):
        places.open_table(str(tmp_path), connection, "tracks")
