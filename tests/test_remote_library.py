"""A library of music at addresses: object storage as moto serves it, and a web server."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from clips import write_wav
from genrescope.cli import app
from genrescope.errors import FileError
from genrescope.library.scan import scan
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


@pytest.fixture
def ray_here() -> Iterator[None]:
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    yield
    ray.shutdown()
