"""A library on object storage: a real S3 server, spoken to as any other."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from socket import create_server
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from clips import write_wav
from genrescope.cli import app
from genrescope.examples import write_examples
from genrescope.library.maintenance import mark_deleted
from genrescope.library.places import LibraryError, locked
from genrescope.library.rows import Entry
from genrescope.library.scan import scan
from genrescope.library.store import Library, is_library
from libraries import MODEL, entry, make_library
from test_library_scan import EAGER, counts, wait_for

pytest.importorskip("lancedb")
server = pytest.importorskip("moto.server")

PLACE = "s3://shelf/of me/bücher"


@pytest.fixture(scope="module", autouse=True)
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    import boto3
    from moto.s3.responses import S3Response

    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(S3Response, "put_object", one_after_another(S3Response.put_object))
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        boto3.client("s3").create_bucket(Bucket="shelf")
        yield f"http://{host}:{port}"
    running.stop()


def one_after_another(put: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Let moto write only what is not there yet in one step, as S3 does.

    It looks first and writes then: two of its threads would both find that nothing is there.
    """
    lock = threading.Lock()

    def put_object(self: Any) -> Any:
        with lock:
            return put(self)

    return put_object


def run(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, (done.output, done.exception)
    return done.stdout


def test_every_command(tmp_path: Path) -> None:
    home, place = tmp_path / "music", f"{PLACE}/commands"
    clips = write_examples(home, seconds=6)
    library = ["--library", f"{place}/"]
    assert run("scan", home, *library).startswith(f"{len(clips)} classified, 0 unchanged")
    clips[0].rename(home / "moved.flac")
    said = json.loads(run("scan", home, *library, "-f", "json"))
    assert said["library"] == place
    assert (said["classified"], said["moved"], said["unchanged"]) == (0, 1, len(clips) - 1)
    (home / "copy.flac").write_bytes(clips[1].read_bytes())
    assert "0 classified" in run("scan", home, *library)
    found = json.loads(run("similar", "moved.flac", *library, "-f", "json"))
    assert len(found) == len(clips) - 1
    (group,) = json.loads(run("duplicates", *library, "-f", "json"))
    assert {Path(each["path"]).name for each in group["tracks"]} == {"copy.flac", clips[1].name}
    walk = json.loads(
        run("playlist", "--from", "moved.flac", "--to", "copy.flac", "--length", 4, *library,
            "-f", "json")
    )  # fmt: skip
    assert len(walk) == 4
    run("sort", "--to", tmp_path / "sorted", *library, "--yes")
    assert list((tmp_path / "sorted").rglob("*.flac"))
    run("sort", "--export", tmp_path / "t.csv", *library)
    assert len((tmp_path / "t.csv").read_text().splitlines()) == len(clips) + 2
    # The address was not taken for a path anywhere.
    assert not list(Path().glob("s3:*"))


def test_a_killed_scan_goes_on(tmp_path: Path) -> None:
    home, place = tmp_path / "music", f"{PLACE}/killed"
    home.mkdir()
    for number in range(4):
        write_wav(home / f"{number}.wav", 3, seed=number, pitch=200 + 40 * number)
    write_wav(home / "long.wav", 3)
    command = [sys.executable, "-c", EAGER, "scan", str(home), "-l", place, "--jobs", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    wait_for(2, place, process)
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=600) == -signal.SIGKILL
    (home / "long.wav").unlink()
    known = len(Library.open(place).entries())
    assert 2 <= known <= 4
    done = counts(scan([home], library=place))
    assert done == {
        what: count
        for what, count in {"classified": 4 - known, "unchanged": known}.items()
        if count
    }


def test_scans_on_one_machine_wait_for_each_other(tmp_path: Path) -> None:
    place = f"{PLACE}/locked"
    waited: list[str] = []
    with locked(place, waited.append):
        other = threading.Thread(target=lambda: _take(f"{place}/", waited))
        other.start()
        while not waited:
            time.sleep(0.01)
        assert other.is_alive()
    other.join(timeout=600)
    assert waited[1:] == ["mine"]


def _take(place: str, waited: list[str]) -> None:
    with locked(place, waited.append):
        waited.append("mine")


def test_two_machines_lose_nothing_and_a_row_stored_twice_becomes_one() -> None:
    place = f"{PLACE}/machines"
    make_library(place, [])
    machines = [Library.open(place) for _ in range(3)]

    def work(number: int) -> None:
        for step in range(4):
            own = entry(f"{number}-{step}.mp3", np.full(16, number))
            machines[number].put([own, entry("both.mp3", np.full(16, number))])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=600)
    after = Library.open(place)
    wanted = sorted([f"{n}-{step}.mp3" for n in range(3) for step in range(4)] + ["both.mp3"])
    assert sorted(each.path for each in after.entries()) == wanted
    after.compact()
    assert after.count() == len(wanted)


def test_rows_stored_twice_are_read_once() -> None:
    place = f"{PLACE}/twice"
    make_library(place, [])
    one, other = Library.open(place), Library.open(place)
    one.put([entry("a.mp3", np.ones(16))])
    other.put([entry("a.mp3", np.zeros(16))])
    after = Library.open(place)
    assert len(after.entries()) == 1
    after.compact()
    assert after.count() == 1


def test_what_is_damaged_is_said_and_made_anew(storage: str) -> None:
    import boto3

    place = f"{PLACE}/damaged"
    assert not is_library(place)
    with pytest.raises(LibraryError, match="no library there"):
        Library.open(place)
    make_library(place, [entry("a.mp3", np.ones(16))])
    client = boto3.client("s3")
    kept = client.list_objects_v2(Bucket="shelf", Prefix="of me/bücher/damaged/")["Contents"]
    for each in kept:
        if each["Key"].endswith(".manifest"):
            client.put_object(Bucket="shelf", Key=each["Key"], Body=b"rubbish")
    with pytest.raises(LibraryError, match="damaged") as raised:
        Library.open(place)
    assert str(raised.value).startswith(place)
    assert "\n" not in str(raised.value)
    made: list[Entry] = Library.create(place, MODEL).entries()
    assert made == []


class TestErrors:
    """One line each, and soon."""

    def failure(self, place: str) -> str:
        began = time.monotonic()
        with pytest.raises(LibraryError) as raised:
            Library.open(place)
        assert time.monotonic() - began < 150  # a second; LanceDB alone tries for minutes
        assert "\n" not in str(raised.value)
        assert str(raised.value).startswith(place)
        return str(raised.value)

    def test_no_bucket(self) -> None:
        assert "there is no such bucket" in self.failure("s3://nobodys/shelf")

    def test_nobody_answers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        assert "can't be reached" in self.failure("s3://shelf/x")

    @pytest.mark.parametrize("region", ["us-east-1", None])
    def test_no_network(self, monkeypatch: pytest.MonkeyPatch, region: str | None) -> None:
        """Amazon's own address, which is asked for the region too, by a proxy that is not there."""
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        monkeypatch.delenv("AWS_REGION")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name)
        if region is not None:
            monkeypatch.setenv("AWS_REGION", region)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
            monkeypatch.setenv(name.lower(), "http://127.0.0.1:9")
        said = self.failure("s3://shelf/x")
        assert said == "s3://shelf/x: the storage can't be reached"

    def test_no_account(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
        assert "no keys for it in the environment" in self.failure("az://shelf/x")

    @pytest.mark.parametrize(
        ("what", "content"),
        [
            ("_versions", b"rubbish"),
            ("_versions", b""),
            ("data", b"rubbish" * 9),
            ("data", b"LANC"),
            ("data", None),
        ],
    )
    def test_nobody_reads_where_in_lancedb_it_went_wrong(
        self, tmp_path: Path, what: str, content: bytes | None
    ) -> None:
        make_library(tmp_path / "library", [entry("a.mp3", np.ones(16))])
        for file in (tmp_path / "library" / "tracks.lance" / what).iterdir():
            file.write_bytes(file.read_bytes()[:-99] if content is None else content)
        with pytest.raises(LibraryError) as error:
            Library.open(tmp_path / "library").entries()
        said = str(error.value)
        assert "damaged (" in said
        assert not re.search(r"\.cargo|rustc|\.rs\b|lance error|LanceError|Location", said), said

    def test_no_rights(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(4096)
                    connection.sendall(
                        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    )

        listening = create_server(("127.0.0.1", 0))
        threading.Thread(target=refuse, daemon=True).start()
        port = listening.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        assert "no right" in self.failure("s3://shelf/x")
        listening.close()

    @pytest.mark.parametrize("place", ["ftp://shelf/x", "s3://", "file:///tmp/x"])
    def test_other_addresses(self, place: str) -> None:
        assert "s3://, gs:// or az://" in self.failure(place)

    def test_the_command_says_it_in_a_line(self, tmp_path: Path) -> None:
        write_wav(tmp_path / "a.wav", 3)
        done = subprocess.run(
            [sys.executable, "-m", "genrescope", "scan", str(tmp_path), "-l", "s3://nobodys/x"],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2
        (line,) = done.stderr.strip().splitlines()
        assert line.endswith("s3://nobodys/x: there is no such bucket")


def test_many_rows_are_removed_at_once(tmp_path: Path) -> None:
    library = Library.create(tmp_path / "l", MODEL)
    one = entry("a", np.ones(16))
    rows = [replace(one, path=f"it's {i}", root=f"/m{i % 3}") for i in range(40_000)]
    library.put(rows)
    library.remove(rows[1:])
    assert [each.path for each in library.entries()] == ["it's 0"]


@pytest.mark.slow
def test_a_long_scan_does_not_pile_up_files(tmp_path: Path) -> None:
    library = Library.create(tmp_path / "l", MODEL)
    for i in range(70):
        library.put([entry(f"{i}", np.ones(16))])
    assert library._table.stats()["fragment_stats"]["num_fragments"] < 20
    assert len(library.entries()) == 70


def test_forget_waits_for_a_scan(tmp_path: Path) -> None:
    library = make_library(tmp_path / "l", [entry("a", np.ones(16))])
    words = ["library", "forget", "/music", "-l", str(tmp_path / "l"), "--yes"]
    with ThreadPoolExecutor() as pool:
        with locked(library.place):
            done = pool.submit(CliRunner().invoke, app, words)
            with pytest.raises(TimeoutError):
                done.result(timeout=0.3)
            library.put([entry("b", np.ones(16))])
        assert done.result(timeout=600).exit_code == 0
    assert library.entries() == []


def test_a_file_that_came_back_is_not_marked_deleted(tmp_path: Path) -> None:
    (tmp_path / "back").touch()
    rows = [entry(name, np.ones(16), root=str(tmp_path)) for name in ("back", "gone")]
    library = make_library(tmp_path / "l", rows)
    library.put([replace(rows[1], content="of another scan")])
    assert mark_deleted(library, rows) == 1
    found = {each.path: (each.deleted, each.content) for each in library.entries()}
    assert found == {"back": (False, "back"), "gone": (True, "of another scan")}
