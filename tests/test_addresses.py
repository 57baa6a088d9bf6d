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
from genrescope.audio.addresses import audio_at, open_source, stamp_of
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
    threading.Thread(target=found.serve_forever, daemon=True).start()
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
    server = moto.ThreadedMotoServer(port=0)
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


@pytest.mark.slow
def test_object_storage_is_listed_read_and_embedded_once(bucket: str, tmp_path: Path) -> None:
    import boto3

    client = boto3.client("s3")
    songs = [write_wav(tmp_path / f"{number}.wav", 1, seed=number) for number in range(2)]
    for song in songs:
        client.upload_file(str(song), "songs", f"a folder/{song.name}")
    client.put_object(Bucket="songs", Key="a folder/notes.txt", Body=b"no music")
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
