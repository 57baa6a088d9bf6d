"""Audio at addresses: a web server, and object storage as moto serves it."""

from __future__ import annotations

import functools
import http.server
import os
import threading
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from clips import write_wav
from genrescope.audio.addresses import (
    audio_at,
    current_stamp_of,
    names_address,
    open_source,
    options_of,
    stamp_of,
    suffix_of,
)
from genrescope.cli import app
from genrescope.cli.resume import _stamp
from genrescope.encoders import embed_files
from genrescope.encoders.engine import EmbeddingModel
from genrescope.encoders.store import Embedding
from genrescope.errors import FileError

pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The address of a server of `tmp_path/web`."""
    (tmp_path / "web").mkdir()
    handler = functools.partial(_Quiet, directory=tmp_path / "web")
    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an empty bucket."""
    moto = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    boto3.client("s3").create_bucket(Bucket="songs")
    yield "s3://songs"
    server.stop()


def test_a_signed_address_is_a_file() -> None:
    for address in (
        "https://example.org/a/song.mp3?Expires=1&Signature=a%2Fb.c",
        "https://example.org/a/song%2Emp3#t=3",
    ):
        assert audio_at(address) == [address]


def test_a_web_server_tells_what_has_changed(web: str, tmp_path: Path) -> None:
    song, address = tmp_path / "web/a.wav", f"{web}/a.wav"
    write_wav(song, 1)
    os.utime(song, (10**9, 10**9))
    first = stamp_of(address)
    assert first[0] == song.stat().st_size
    assert stamp_of(address) == _stamp(address) == first
    os.utime(song, (10**9 + 5, 10**9 + 5))
    assert stamp_of(address) != first
    assert stamp_of(f"{address}?signature=x") == stamp_of(address)
    assert stamp_of(f"{web}/absent.wav") == []


def test_a_file_that_is_gone_is_told_from_a_server_that_does_not_answer(web: str) -> None:
    with pytest.raises(FileNotFoundError):
        current_stamp_of(f"{web}/absent.wav")
    with pytest.raises(FileError, match="not readable"):
        current_stamp_of("http://127.0.0.1:9/song.wav")


def test_names_are_told_from_options() -> None:
    key, options = "s3://songs/What? #1.mp3", "?endpoint_override=localhost:9000&scheme=http"
    assert (options_of(key), suffix_of(key)) == ("", ".mp3")
    assert (options_of(key + options), suffix_of(key + options)) == (options, ".mp3")
    assert suffix_of("https://x.org/a%2Emp3?b=c.wav") == ".mp3"
    assert suffix_of("https://x.mp3?b=/c.wav") == ""
    broken = "https://[host/a.mp3?b#c"
    assert (suffix_of(broken), options_of(broken)) == (".mp3", "?b")
    with pytest.raises(FileError, match="can't be listed"):
        audio_at("https://[host/music")


def test_listed_names_begin_with_the_typed_address(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("memory").pipe_file("/music/deep/a.wav", b"x")
    assert audio_at("memory://music") == ["memory://music/deep/a.wav"]
    assert stamp_of("memory://music/deep/a.wav")[0] == 1
    write_wav(tmp_path / "b.wav", 0.1)
    assert audio_at(f"file://{tmp_path}") == [f"file://{tmp_path}/b.wav"]


def test_a_listing_by_http_belongs_to_an_address_by_https() -> None:
    from genrescope.audio.addresses import _address_of

    typed = "https://host/music"
    assert _address_of("http://host/music/a.mp3", typed, typed) == f"{typed}/a.mp3"
    with pytest.raises(FileError, match="not below it"):
        _address_of("https://other/a.mp3", typed, typed)


def test_a_folder_that_is_named_as_an_address_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert names_address("s3://music")
    (tmp_path / "s3:/music").mkdir(parents=True)
    assert not names_address("s3://music")


def test_a_password_is_taken_from_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []

    class Asks(_Quiet):
        def do_GET(self) -> None:
            asked.append(self.headers["Authorization"])
            super().do_GET()

    write_wav(tmp_path / "a.wav", 0.1)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Asks, directory=tmp_path)
    )
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        assert len(audio_at(f"http://127.0.0.1:{server.server_port}/")) == 1
    finally:
        server.shutdown()
    assert asked == ["Basic c29tZWJvZHk6c2VjcmV0"]


@pytest.mark.slow
def test_object_storage_is_listed_read_and_embedded_once(bucket: str, tmp_path: Path) -> None:
    import boto3

    client = boto3.client("s3")
    songs = [write_wav(tmp_path / f"{number}.wav", 1, seed=number) for number in range(2)]
    for song in songs:
        client.upload_file(str(song), "songs", f"a folder/{song.name}")
    client.put_object(Bucket="songs", Key="a folder/notes.txt", Body=b"no music")
    client.put_object(Bucket="songs", Key="odd/What? #1 50%.mp3", Body=b"x")
    assert audio_at(f"{bucket}/odd") == [f"{bucket}/odd/What? #1 50%.mp3"]
    with open_source(f"{bucket}/odd/What? #1 50%.mp3") as opened:
        assert not isinstance(opened, Path)
        assert opened.read() == b"x"
    addresses = [f"{bucket}/a folder/{song.name}" for song in songs]
    assert audio_at(f"{bucket}/a folder") == addresses
    assert audio_at(addresses[0]) == addresses[:1]
    with open_source(addresses[1]) as opened:
        assert not isinstance(opened, Path)
        assert opened.read() == songs[1].read_bytes()
    read: list[str] = []

    def embed_many(
        sources: Iterable[str], batch_size: int
    ) -> Generator[Embedding | FileError, None, None]:
        del batch_size
        for source in sources:
            read.append(source)
            yield Embedding(np.ones((1, 2), np.float32), np.zeros(1), np.ones(1), padded=False)

    model: EmbeddingModel[str] = EmbeddingModel(lambda _: [], lambda: lambda values: values, "key")
    for changes, expected in ((False, addresses), (False, []), (True, addresses[1:])):
        if changes:
            write_wav(songs[1], 2)
            client.upload_file(str(songs[1]), "songs", "a folder/1.wav")
        read.clear()
        report = embed_files(addresses, tmp_path / "out.npz", model, embed_many=embed_many)
        assert read == expected
        assert report.tracks == 2


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["classify", "https://x.org/a.mp3", "--engine", "ray", "--write-tags"], "--write-tags"),
        (["classify", "https://x.org/a.mp3", "--engine", "ray", "--verbose"], "--verbose"),
        (["classify", "x.mp3", "--engine", "ray", "--address", "auto", "-j", "2"], "--jobs"),
        (["scan", "s3://bucket/music", "--watch"], "--watch needs files of this machine"),
    ],
)
def test_what_can_not_be_done_with_addresses_is_refused(command: list[str], reason: str) -> None:
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2
    assert reason in done.output


def test_addresses_on_stdin_are_read(web: str, tmp_path: Path) -> None:
    from genrescope.audio.files import PassedOver
    from genrescope.cli import engines

    write_wav(tmp_path / "web/a.wav", 1)
    local = write_wav(tmp_path / "b.wav", 1)
    with pytest.MonkeyPatch.context() as patch:
        names = [f"{web}/", str(local)]
        patch.setattr(engines, "names_on_stdin", lambda _null: names)
        found = engines.find_sources(["-"], null=False, passed_over=PassedOver())
    assert found == [f"{web}/a.wav", local]
