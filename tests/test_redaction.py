"""Addresses and messages without the secrets in them."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from genrescope.cli import app
from genrescope.cli.engines import find_sources
from genrescope.cli.resume import PartialRows
from genrescope.cli.writers import WRITERS
from genrescope.encoders import embed_files
from genrescope.encoders.engine import EmbeddingModel
from genrescope.encoders.store import Embedding
from genrescope.errors import AudioError, FileError
from genrescope.inference import Prediction
from genrescope.redaction import redacted, redacted_text, without_password

# With ports at which nobody listens.
SECRETIVE = [
    "http://user:5ecretword@127.0.0.1:9/a.mp3",
    "http://5ecretword@127.0.0.1:9/b.mp3",
    "http://127.0.0.1:9/c.mp3?X-Amz-Credential=me&X-Amz-Signature=5ecretword",
    "http://127.0.0.1:9/d.mp3?id=5ecretword#t=3",
    "ftp://user:5ecretword@127.0.0.1:9/e.mp3",
    "simplecache::http://user:5ecretword@127.0.0.1:9/f.mp3?sig=5ecretword",
]


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://user:pass@host/a", "https://host/a"),
        ("https://token@host:80/a@b.mp3?c=d#e", "https://host:80/a@b.mp3"),
        ("HTTPS://user:p@ss@host", "HTTPS://host"),
        ("https://user:pa/ss@host/a", "https://host/a"),
        ("https://user:p@ss:w/ord@host/a", "https://host/a"),
        ("https://[::1]:80/a@b?c", "https://[::1]:80/a@b"),
        ("http://[::1]/a@b?c", "http://[::1]/a@b"),
        ("https://host:8080/a@b", "https://host:8080/a@b"),
        ("s3://KEY:se/cret@bucket/a", "s3://bucket/a"),
        ("s3://bucket/a:b@c", "s3://bucket/a:b@c"),
        ("s3://bucket/What? #1.mp3", "s3://bucket/What? #1.mp3"),
        ("s3://b/a.mp3?X-Amz-Signature=x&y=z", "s3://b/a.mp3?X-Amz-Signature=&y=z"),
        (
            "s3://b/a?endpoint_override=h:9&scheme=http",
            "s3://b/a?endpoint_override=h:9&scheme=http",
        ),
        ("sftp://user@host/a", "sftp://user@host/a"),
        ("zip://a.mp3::https://u:p@host/z.zip?sig=x", "zip://a.mp3::https://host/z.zip"),
        ("/music/a?sig=b@c.mp3", "/music/a?sig=b@c.mp3"),
    ],
)
def test_what_is_left_of_an_address(address: str, shown: str) -> None:
    assert redacted(address) == shown
    assert redacted(shown) == shown
    if "?" not in address:
        assert without_password(address) == shown


WORDS = st.text(
    st.characters(codec="ascii", categories=("L", "N"), include_characters="%+-._~!$'()*,="),
    min_size=6,
)


@given(user=WORDS, password=WORDS, name=WORDS, value=WORDS, web=st.booleans())
def test_no_secret_is_left(user: str, password: str, name: str, value: str, web: bool) -> None:
    name = name.replace("=", "")
    scheme, name = ("https", name) if web else ("ftp", f"X-{name}-token")
    place = "host.example/song.mp3"
    address = f"{scheme}://0{user}:1{password}@{place}?{name}=2{value}"
    reason = f"url='{address}' refused: 1{password}, 2{value}"
    for text in (
        redacted(address),
        str(FileError(address, reason)),
        redacted_text(reason, address),
    ):
        assert f"1{password}" not in text
        assert f"2{value}" not in text
    assert redacted(address).startswith(f"{scheme}://{place}")


def test_a_name_need_not_be_valid_text() -> None:
    told = FileError(
        "https://u:p\udc9cssword@host/a\udc9c.mp3?sig=\udc9c\udc9c\udc9c\udc9c", "gone"
    )
    assert str(told) == "https://host/a\udc9c.mp3: gone"


def test_a_message_keeps_addresses_that_hold_no_secret() -> None:
    text = "see https://zenodo.org/a.tar?download=1 and http://127.0.0.1:8000/#song"
    assert redacted_text(text) == text
    told = redacted_text("404, url='https://u:p@h/a?x=1&X-Amz-Signature=ab/c'")
    assert told == "404, url='https://h/a?x=1&X-Amz-Signature='"


def test_rows_and_errors_name_no_secret(tmp_path: Path) -> None:
    """Of a file that is written, also while it is not complete."""
    scores = {"jazz": 0.75, "rock": 0.25}
    file, make = tmp_path / "out.jsonl", WRITERS["jsonl"]

    def rows() -> PartialRows:
        return PartialRows(file, {}, lambda stream: make(stream, [*scores], top=1, timeline=False))

    known = rows()
    for address in known.missing(SECRETIVE):
        embedding = np.zeros(2, np.float32)
        known.add(Prediction(redacted(str(address)), "jazz", scores, [], embedding, 1.0, []), [])
    known.close()
    journal = (tmp_path / "out.jsonl.partial/rows.jsonl").read_text()
    assert journal.count("127.0.0.1:9/") == 2 * len(SECRETIVE)
    assert "5ecretword" not in journal
    again = rows()
    assert [name for name, _ in again.kept(SECRETIVE)] == [redacted(each) for each in SECRETIVE]
    again.finish(SECRETIVE, interrupted=False)
    again.close()
    assert len(file.read_text().splitlines()) == len(SECRETIVE)
    assert "5ecretword" not in file.read_text()


def test_tables_of_embeddings_name_no_secret(tmp_path: Path) -> None:
    read: list[str] = []

    def embed_many(
        sources: Iterable[str], batch_size: int
    ) -> Generator[Embedding | FileError, None, None]:
        del batch_size
        for source in sources:
            read.append(source)
            if len(read) == len(SECRETIVE):
                yield AudioError(source, f"can't open {source}")
            else:
                yield Embedding(np.ones((1, 2), np.float32), np.zeros(1), np.ones(1), padded=False)

    model: EmbeddingModel[str] = EmbeddingModel(lambda _: [], lambda values: values, "key")
    out = tmp_path / "out.npz"
    told: list[FileError] = []
    embed_files(SECRETIVE, out, model, embed_many=embed_many, failed=told.append)
    assert [*map(str, read[:-1])] == SECRETIVE[:-1]
    with np.load(out) as arrays:
        assert [*arrays["paths"]] == [redacted(each) for each in SECRETIVE[:-1]]
    assert b"5ecretword" not in out.read_bytes()
    assert "5ecretword" not in str(told)
    with pytest.raises(FileError, match=r"^http://127\.0\.0\.1:9/c\.mp3: named twice"):
        embed_files([*SECRETIVE, f"{SECRETIVE[2]}x"], out, model, embed_many=embed_many)


def test_addresses_that_only_their_secrets_tell_apart_are_refused() -> None:
    pytest.importorskip("aiohttp")
    from genrescope.audio.files import PassedOver

    names = [SECRETIVE[3], SECRETIVE[3], "http://127.0.0.1:9/d.mp3?id=7777777"]
    found = find_sources(names, null=False, passed_over=PassedOver())
    assert found[:2] == names[:2]
    assert isinstance(found[2], FileError)
    assert "another secret" in found[2].reason
    assert "id=" not in str(found[2])


@pytest.mark.parametrize(
    "words",
    [
        ["classify", "ADDRESS"],
        ["classify", SECRETIVE[0], "--engine", "ray", "--verbose"],
        ["embed", "ADDRESS", "-m", "default", "-o", "a.npz"],
        ["scan", "ADDRESS"],
        ["scan", "ADDRESS", "--watch"],
        ["scan", ".", "--library", "ADDRESS"],
        ["library", "info", "--library", "ADDRESS"],
        ["similar", "ADDRESS", "--library", "nowhere"],
    ],
)
@pytest.mark.parametrize("address", [SECRETIVE[0], "s3://user:5ecretword@bucket/music"])
def test_commands_print_no_secret(
    words: list[str], address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lancedb")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [address if word == "ADDRESS" else word for word in words])
    # An error that is raised is printed as one line, and by the same function.
    assert done.exit_code in (1, 2)
    assert "5ecretword" not in done.output
    assert "5ecretword" not in redacted_text(str(done.exception))
