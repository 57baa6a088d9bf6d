"""A library of music at addresses: object storage as moto serves it, and a web server."""

from __future__ import annotations

import csv
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import genrescope.library.duplicates
import genrescope.library.search
from clips import write_wav
from genrescope.cli import app
from genrescope.errors import FileError, GenrescopeError
from genrescope.inference.ray_engine import RayEngine
from genrescope.library.corrections import correct
from genrescope.library.maintenance import verify
from genrescope.library.scan import scan
from genrescope.library.search import Root
from genrescope.library.store import Library
from libraries import entry, make_library
from test_addresses import bucket, web  # noqa: F401 - fixtures

pytestmark = [pytest.mark.needs("library"), pytest.mark.needs("ray")]


def run(*words: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done.output


def scanned(place: str, library: Path, *words: str, code: int = 0) -> dict[str, int]:
    out = run("scan", place, "-l", library, "-f", "json", *words, code=code)
    counts = json.loads(next(line for line in out.splitlines() if line.startswith("{")))
    return {n: counts[n] for n in ("classified", "unchanged", "moved", "deleted", "failed")}


def rows(library: Path, out: Path) -> list[dict[str, Any]]:
    run("sort", "-l", library, "--export", out)
    return list(csv.DictReader(out.open(encoding="utf-8")))


@pytest.mark.slow
def test_a_bucket_is_a_library(bucket: str, tmp_path: Path) -> None:  # noqa: F811
    import boto3

    client = boto3.client("s3")
    songs = {f"{n}.wav": write_wav(tmp_path / f"{n}.wav", 7, seed=n) for n in range(3)}
    shutil.copy(songs["0.wav"], tmp_path / "copy.wav")
    songs["copy of 0.wav"] = tmp_path / "copy.wav"
    for name, song in songs.items():
        client.upload_file(str(song), "songs", f"a folder/{name}")
    client.put_object(Bucket="songs", Key="a folder/noise.mp3", Body=b"no music" * 200)
    place, library, local = f"{bucket}/a folder", tmp_path / "library", tmp_path / "local"
    assert scanned(f"{place}/", library, code=1) == {
        "classified": 4,
        "unchanged": 0,
        "moved": 0,
        "deleted": 0,
        "failed": 1,
    }
    # The rows are those of the same files on a disk.
    for name, song in songs.items():
        (tmp_path / "music").mkdir(exist_ok=True)
        shutil.copy(song, tmp_path / "music" / name)
    scanned(str(tmp_path / "music"), local)
    remote = {row.pop("path"): row for row in rows(library, tmp_path / "remote.csv")}
    expected = {row.pop("path"): row for row in rows(local, tmp_path / "local.csv")}
    assert remote.pop(f"{place}/noise.mp3")["problem"]
    assert {n.rpartition("/")[2]: row for n, row in remote.items()} == {
        n.rpartition("/")[2]: row for n, row in expected.items()
    }
    assert set(remote) == {f"{place}/{name}" for name in songs}
    # One is moved, one is gone, one has changed.
    client.delete_object(Bucket="songs", Key="a folder/1.wav")
    client.upload_file(str(songs["1.wav"]), "songs", "a folder/deep/1.wav")
    client.delete_object(Bucket="songs", Key="a folder/copy of 0.wav")
    client.upload_file(str(write_wav(tmp_path / "new.wav", 8, seed=9)), "songs", "a folder/2.wav")
    assert scanned(place, library) == {
        "classified": 1,
        "unchanged": 2,
        "moved": 1,
        "deleted": 1,
        "failed": 0,
    }
    _check_commands(place, library, tmp_path)
    # A bucket that can't be listed takes no track from the library.
    for each in client.list_objects(Bucket="songs")["Contents"]:
        client.delete_object(Bucket="songs", Key=each["Key"])
    client.delete_bucket(Bucket="songs")
    assert scanned(place, library, code=1)["deleted"] == 0
    with pytest.raises(FileError, match=f"{bucket}/nothing: "):
        scan([f"{bucket}/nothing"], library=tmp_path / "none")
    assert not (tmp_path / "none/tracks.lance").exists()


def _check_commands(place: str, library: Path, tmp_path: Path) -> None:
    """What is done with a track needs no file, or says that there is none on this machine."""
    song = f"{place}/0.wav"
    found = json.loads(run("similar", song, "-l", library, "-f", "json"))
    assert {each["path"] for each in found} == {f"{place}/2.wav", f"{place}/deep/1.wav"}
    playlist = tmp_path / "list.m3u8"
    run("similar", "0.wav", "-l", library, "--playlist", playlist)
    assert song in playlist.read_text().splitlines()
    assert json.loads(run("recommend", "--like", song, "-l", library, "-f", "json"))
    assert run("duplicates", "-l", library)
    info = json.loads(run("library", "info", "-l", library, "-f", "json"))
    assert [(root["path"], root["exists"]) for root in info["roots"]] == [(place, True)]
    run("library", "verify", "-l", library, "--contents")
    sorted_ = run("sort", "-l", library, "--to", tmp_path / "sorted", "--copy", "--yes")
    assert "files at addresses are not sorted" in sorted_
    assert not [*(tmp_path / "sorted").rglob("*.wav")]
    assert "1 forgotten" in run("library", "forget", f"{place}/deep", "-l", library, "--yes")
    assert scanned(place, library, code=0)["classified"] == 1


@pytest.mark.slow
def test_ray_reads_a_web_server_as_threads_do(
    web: str,  # noqa: F811
    tmp_path: Path,
    ray_here: None,
) -> None:
    for n in range(3):
        write_wav(tmp_path / f"web/{n} {n}.wav", 7, seed=n)
    (tmp_path / "web/noise.mp3").write_bytes(b"no music" * 200)
    found = {}
    for engine in ("local", "ray"):
        counts = scanned(f"{web}/", tmp_path / engine, "--engine", engine, code=1)
        assert (counts["classified"], counts["failed"]) == (3, 1)
        found[engine] = rows(tmp_path / engine, tmp_path / f"{engine}.csv")
    assert found["ray"] == found["local"]
    assert scanned(f"{web}/", tmp_path / "ray")["unchanged"] == 4


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("https://user:secret@host/music", "^https://host/music: .*stores no password"),
        ("s3://KEY:secret@bucket", "^s3://bucket: .*stores no password"),
        ("s3://bucket/music?endpoint_override=localhost", "without options"),
        ("https://host/music?folder=1", "without options"),
        ("https://host/song.mp3", "of one file"),
        ("s3://", "without a host"),
    ],
)
def test_addresses_that_are_not_scanned(address: str, reason: str) -> None:
    with pytest.raises(FileError, match=reason) as caught:
        Root.of(address)
    assert "secret" not in str(caught.value)


def test_a_name_with_a_question_mark_is_no_option() -> None:
    assert Root.of("s3://bucket/What?/").address == "s3://bucket/What?"


def test_servers_are_not_asked_after_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    slow = threading.Event()

    def stamp_of(name: str) -> list[int]:
        asked.append(name)
        if name != "0":
            slow.wait(600)
        return [1, 1]

    monkeypatch.setattr(genrescope.library.search, "stamp_of", stamp_of)
    stamps = genrescope.library.search._stamped((str(n), None) for n in range(100))
    try:
        assert next(stamps) == ("0", [1, 1])
        began = time.monotonic()
        stamps.close()  # as an interruption does; it does not wait for those that were asked
        assert time.monotonic() - began < 300
    finally:
        slow.set()
    assert len(asked) < 100


def test_a_file_that_can_not_be_fetched_has_no_fingerprint(web: str) -> None:  # noqa: F811
    track = entry("absent.wav", [0.0] * 16, root=web)
    with pytest.raises(FileError, match=f"{web}/absent.wav: "):
        genrescope.library.duplicates._fingerprint(track)


@pytest.fixture
def memory() -> Iterator[Any]:
    """The files of `memory://`, which live as long as this process."""
    import fsspec

    files = fsspec.filesystem("memory")
    yield files
    files.store.clear()


@pytest.mark.slow
def test_rows_of_what_can_not_be_reached_are_kept(memory: Any, tmp_path: Path) -> None:
    music, library = tmp_path / "music", tmp_path / "library"
    music.mkdir()
    song = write_wav(music / "a.wav", 7).read_bytes()
    scan([music], library=library)
    # A copy of a file on a disk that is not mounted: the disk's row stays.
    music.rename(tmp_path / "unplugged")
    memory.pipe_file("/copies/deep/a.wav", song)
    report = scan(["memory://copies"], library=library)
    assert (report.counts.classified, report.counts.moved) == (1, 0)
    stored = {each.place for each in Library.open(library).entries() if not each.deleted}
    assert stored == {str(music / "a.wav"), "memory://copies/deep/a.wav"}
    assert scan(["memory://copies"], library=library).counts.unchanged == 1
    # Below a folder that has other files it is gone.
    (tmp_path / "unplugged").rename(music)
    (music / "a.wav").rename(music / "notes.txt")
    memory.pipe_file("/others/a.wav", song)
    assert scan(["memory://others"], library=library).counts.moved == 1
    # All files at an address are gone, or it can't be listed.
    memory.store.clear()
    for address in ("memory://copies", "memory://others"):
        with pytest.raises(FileError, match="--rescan would lose 1 track "):
            scan([address], library=library, rescan=True)
    assert len(Library.open(library).entries()) == 2
    found = verify(Library.open(library))
    assert (len(found.missing), found.unreadable) == (2, [])


def test_a_file_of_which_nothing_is_known_is_unchanged(
    memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.pipe_file("/music/a.wav", b"x")
    row = entry("a.wav", [0.0] * 16, root="memory://music", size=0, mtime_ns=0)
    library = make_library(tmp_path / "library", [row])
    monkeypatch.setattr("genrescope.audio.addresses._stamp", lambda _: [])
    assert verify(library).unchanged == 1


def test_what_needs_files_leaves_addresses_out(memory: Any, tmp_path: Path) -> None:
    memory.pipe_file("/music/a.wav", b"x")
    music, place = tmp_path / "music", tmp_path / "library"
    local = entry("b.wav", [1.0] * 16, root=str(music))
    remote = entry("a.wav", [0.5] * 16, root="memory://music")
    library = make_library(place, [local, remote])
    correct(library, [local, remote], "rock")
    table = tmp_path / "own.csv"
    out = run("library", "corrections", "-l", place, "--out", table)
    assert "can't be trained on: 1 track left out" in out
    assert table.read_text() == f"path,genre\n{music / 'b.wav'},rock\n"
    out = run("library", "corrections", "-l", place, "--write-tags", "--yes", code=1)
    assert "memory://music/a.wav: tags are written into files of this machine alone" in out
    run("sort", "memory://music/", "-l", place, "--export", tmp_path / "one.json")
    [exported] = json.loads((tmp_path / "one.json").read_text())
    assert exported["path"] == "memory://music/a.wav"
    out = run("library", "relocate", "memory://music", "memory://new", "-l", place, code=2)
    assert "it needs folders" in out


@pytest.fixture
def ray_here() -> Iterator[None]:
    """A Ray of our own, though Ray finds by itself a cluster on this machine."""
    ray = pytest.importorskip("ray")
    # Another test may have left one to which it had connected.
    ray.shutdown()
    folder = Path(os.environ["RAY_TMPDIR"]) / "ray"
    folder.mkdir(exist_ok=True)
    (folder / "ray_current_cluster").write_text("127.0.0.1:1")
    for starts_left in (2, 1, 0):  # of three attempts each; a very busy machine needs more
        try:
            RayEngine(cores=2)
            break
        except GenrescopeError:
            if not starts_left:
                raise
    yield
    ray.shutdown()
    (folder / "ray_current_cluster").unlink(missing_ok=True)
