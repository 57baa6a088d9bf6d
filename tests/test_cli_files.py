"""Which files the arguments of a command and the names on stdin mean."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest

from genrescope.audio.addresses import local_path
from genrescope.audio.files import PassedOver
from genrescope.cli.engines import find_sources
from genrescope.cli.files import find, names_on_stdin
from genrescope.errors import FileError
from genrescope.library.maintenance import below, typed_place
from genrescope.library.search import Root
from libraries import entry

BOM = b"\xef\xbb\xbf"


def give(patch: pytest.MonkeyPatch, names: bytes) -> None:
    patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(names)))


@pytest.mark.parametrize("null", [False, True])
def test_a_byte_order_mark_is_no_part_of_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, null: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    names = BOM + b"a.flac" + (b"\0b.flac\0" if null else b"\r\nb.flac\r\n")
    give(monkeypatch, names)
    assert names_on_stdin(null) == ["a.flac", "b.flac"]
    # Unless there is such a file.
    (tmp_path / "\ufeffa.flac").touch()
    give(monkeypatch, names)
    assert names_on_stdin(null)[0] == "\ufeffa.flac"
    give(monkeypatch, b"")
    assert names_on_stdin(null) == []


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///a/b%20c%25.flac", "/a/b c%.flac"),
        ("file://localhost/a#1.flac", "/a#1.flac"),
        ("FILE:/a/%C3%A9.flac", "/a/é.flac"),
        ("file:///a/%FF", "/a/\udcff"),
        ("file://host/share/a.flac", "file://host/share/a.flac"),
        ("file:a.flac", "file:a.flac"),
        ("s3://bucket/a%20b.flac", "s3://bucket/a%20b.flac"),
        ("/a/b%20c.flac", "/a/b%20c.flac"),
    ],
)
def test_urls_of_local_files(url: str, path: str) -> None:
    assert local_path(url) == path


def test_a_url_is_a_path_wherever_paths_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "my music/[a].flac"
    file.parent.mkdir()
    file.touch()
    assert list(find([file.as_uri()])) == [file]
    assert find_sources([file.as_uri()], null=False, passed_over=PassedOver()) == [file]
    assert Root.of(file.parent.as_uri()) == Root(file.parent)
    track = entry(file.name, np.ones(16), root=str(file.parent))
    assert below([track], typed_place(file.as_uri())) == [track]
    give(monkeypatch, b"file://" + str(tmp_path).encode() + b"/my%20music/%5Ba%5D.flac\n")
    assert list(find(["-"])) == [file]
    # A name that exists is itself.
    (tmp_path / "file:").mkdir()
    (tmp_path / "file:/tmp").touch()
    assert local_path("file:/tmp") == "file:/tmp"
    (error,) = find(["s3://bucket/a.flac"])
    assert isinstance(error, FileError)
