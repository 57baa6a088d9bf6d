"""Genre tags in files of every format, made on the fly, each with other tags and a picture."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import mutagen
import numpy as np
import pytest
from mutagen.id3 import ID3, TCON
from mutagen.mp4 import MP4FreeForm

from genrescope.library.tag_journal import TagJournal, undo
from genrescope.library.tags import TagChange, plan_genre, read_genre, read_state, write_genre
from tagged import (
    FORMATS,
    ID3_FORMATS,
    add_id3,
    copy_of,
    decoded,
    encode,
    id3v1,
    others,
)


@pytest.fixture
def track(tmp_path: Path) -> Callable[[str], Path]:
    return lambda kind: copy_of(kind, tmp_path)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_genre_is_written_and_nothing_else_changes(
    kind: str, track: Callable[[str], Path]
) -> None:
    path = track(kind)
    tags, audio = others(path), decoded(path)
    assert len(tags) >= 4
    assert read_genre(path) is None
    expected = TagChange(path, None, "hip-hop", "write")
    assert plan_genre(path, "hip-hop") == expected
    assert read_genre(path) is None, "planning must not write"
    assert write_genre(path, " hip-hop ") == expected
    assert read_genre(path) == "hip-hop"
    assert write_genre(path, "Musique concrète 音楽", overwrite=True).before == "hip-hop"
    assert read_genre(path) == "Musique concrète 音楽"
    assert others(path) == tags
    assert np.array_equal(decoded(path), audio)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_without_any_tags_gets_one(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"bare.{kind}"
    encode(path)
    audio = decoded(path)
    write_genre(path, "jazz")
    assert read_genre(path) == "jazz"
    assert np.array_equal(decoded(path), audio)
    if kind in ID3_FORMATS:
        assert mutagen.File(path).tags.version == (2, 3, 0)


@pytest.mark.parametrize("kind", FORMATS)
def test_keep_same_and_overwrite(kind: str, track: Callable[[str], Path]) -> None:
    path = track(kind)
    write_genre(path, "Hip-Hop")
    before, written = path.read_bytes(), path.stat().st_mtime_ns
    for plan in (plan_genre, write_genre):
        assert plan(path, "jazz") == TagChange(path, "Hip-Hop", "Hip-Hop", "keep")
        assert plan(path, "hip-hop") == TagChange(path, "Hip-Hop", "Hip-Hop", "same")
        assert plan(path, "hip-hop", overwrite=True).action == "same"
        assert plan(path, "Hip-Hop").action == "same"
    assert path.read_bytes() == before
    assert path.stat().st_mtime_ns == written
    assert plan_genre(path, "jazz", overwrite=True) == TagChange(path, "Hip-Hop", "jazz", "write")
    write_genre(path, "jazz", overwrite=True)
    assert read_genre(path) == "jazz"


@pytest.mark.parametrize("kind", ["flac", "ogg", "opus"])
def test_a_vorbis_genre_keeps_its_place_and_spelling(
    kind: str, track: Callable[[str], Path]
) -> None:
    path = track(kind)
    audio = mutagen.File(path)
    audio.tags[:] = [("Title", "x"), ("GenRe", "Folk"), ("genre", "Pop"), ("ARTIST", "y")]
    audio.save()
    assert read_genre(path) == "Folk"
    write_genre(path, "jazz", overwrite=True)
    assert list(mutagen.File(path).tags)[:3] == [("Title", "x"), ("GenRe", "jazz"), ("ARTIST", "y")]


@pytest.mark.parametrize(
    ("text", "genre"),
    [
        (["(17)"], "Rock"),
        (["17"], "Rock"),
        (["(17)Krautrock"], "Rock"),
        (["", " Folk "], "Folk"),
        (["(RX)"], "Remix"),
        ([""], None),
    ],
)
def test_id3_codes_are_spelt_out(
    text: list[str], genre: str | None, track: Callable[[str], Path]
) -> None:
    path = track("mp3")
    tags = ID3(path)
    tags.add(TCON(encoding=0, text=text))
    tags.save(v2_version=4)
    assert read_genre(path) == genre


def test_an_mp4_genre_number_is_spelt_out_and_replaced(track: Callable[[str], Path]) -> None:
    path = track("m4a")
    write_genre(path, "xx")
    # Turn ©gen with the text "xx" into gnre with the number 18: both hold two bytes.
    data = path.read_bytes()
    text_atom = b"\xa9gen\x00\x00\x00\x12data\x00\x00\x00\x01\x00\x00\x00\x00xx"
    number_atom = b"gnre\x00\x00\x00\x12data\x00\x00\x00\x00\x00\x00\x00\x00\x00\x12"
    assert data.count(text_atom) == 1
    path.write_bytes(data.replace(text_atom, number_atom))
    tags = others(path)
    assert read_genre(path) == "Rock"
    write_genre(path, "jazz", overwrite=True)
    assert read_genre(path) == "jazz"
    assert b"gnre" not in path.read_bytes()
    assert others(path) == tags


def test_an_mp4_genre_number_that_disagrees_is_seen_and_replaced(
    track: Callable[[str], Path],
) -> None:
    path = track("m4a")
    file = mutagen.File(path)
    file.tags["\xa9gen"] = ["Jazz"]
    file.tags["\xa9grp"] = ["xx"]
    file.save()
    text_atom = b"\xa9grp\x00\x00\x00\x12data\x00\x00\x00\x01\x00\x00\x00\x00xx"
    number_atom = b"gnre\x00\x00\x00\x12data\x00\x00\x00\x00\x00\x00\x00\x00\x00\x12"
    data = path.read_bytes()
    assert data.count(text_atom) == 1
    path.write_bytes(data.replace(text_atom, number_atom))
    tags = others(path)
    assert sorted(read_state(path).values) == ["Jazz", "Rock"]
    assert write_genre(path, "jazz").action == "same"
    assert write_genre(path, "jazz", overwrite=True).action == "write"
    assert read_state(path).values == ("jazz",)
    assert b"gnre" not in path.read_bytes()
    assert others(path) == tags


FREEFORM = ["----:com.apple.iTunes:GENRE", "----:com.apple.iTunes:Genre", "----:org.me:genre"]


@pytest.mark.parametrize("name", FREEFORM)
@pytest.mark.parametrize("own", [None, "Polka"])
def test_a_freeform_genre_of_mp4_is_seen_and_made_to_agree(
    name: str, own: str | None, track: Callable[[str], Path], tmp_path: Path
) -> None:
    path = track("m4a")
    file = mutagen.File(path)
    file.tags[name] = [MP4FreeForm(b"Deep House"), MP4FreeForm("Träume".encode())]
    if own:
        file.tags["\xa9gen"] = [own]
    file.save()
    before, tags = read_state(path), others(path)
    del tags[name]
    assert read_genre(path) == (own or "Deep House")
    assert before.leading == ("Deep House", "Träume")
    assert write_genre(path, "jazz").action == "keep"
    journal = TagJournal(tmp_path / "journal")
    assert journal.write_genre(path, ["jazz", "blues"], overwrite=True).action == "write"
    file = mutagen.File(path)
    assert file.tags["\xa9gen"] == ["jazz", "blues"]
    assert [bytes(each) for each in file.tags[name]] == [b"jazz", b"blues"]
    assert {key: each for key, each in others(path).items() if key != name} == tags
    assert journal.file is not None
    assert undo(journal.file) == (1, [])
    assert read_state(path) == before


def test_no_freeform_genre_is_added(track: Callable[[str], Path]) -> None:
    path = track("m4a")
    write_genre(path, "jazz")
    assert read_state(path).leading is None
    assert not any("genre" in key.lower() for key in mutagen.File(path).tags)


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("kind", ID3_FORMATS)
def test_the_id3_version_stays(kind: str, version: int, tmp_path: Path) -> None:
    path = tmp_path / f"track.{kind}"
    encode(path)
    add_id3(mutagen.File(path), version)
    tags = others(path)
    write_genre(path, "jazz")
    assert mutagen.File(path).tags.version == (2, version, 0)
    assert others(path) == tags
    assert "TYER" in tags, "a frame of the other version stays too"


def test_padding_after_the_tag_is_used_and_kept(track: Callable[[str], Path]) -> None:
    path = track("mp3")
    ID3(path, translate=False).save(path, v2_version=3, v23_sep=None, padding=lambda _: 100_000)
    size = path.stat().st_size
    audio_start = ID3(path).size
    write_genre(path, "jazz")
    assert path.stat().st_size == size
    assert ID3(path).size == audio_start


def test_in_id3v1_only_the_genre_changes(track: Callable[[str], Path]) -> None:
    path = track("mp3")
    path.write_bytes(path.read_bytes() + id3v1(17))
    tags = others(path)
    assert read_genre(path) == "Rock"
    write_genre(path, "Jazz", overwrite=True)
    assert path.read_bytes()[-128:] == id3v1(8)
    assert read_genre(path) == "Jazz"
    assert others(path) == tags, "what ID3v1 says must not leak into ID3v2"
    write_genre(path, "krautrock from Cologne", overwrite=True)
    assert path.read_bytes()[-128:] == id3v1(255)


def test_a_file_with_only_id3v1_keeps_all_that_it_says(tmp_path: Path) -> None:
    path = tmp_path / "old.mp3"
    encode(path)
    ID3().delete(path)
    audio = path.read_bytes()
    path.write_bytes(audio + id3v1(255))
    assert read_genre(path) is None
    write_genre(path, "Jazz")
    data, tags = path.read_bytes(), ID3(path, load_v1=False)
    assert data[-128:] == id3v1(8)
    assert data[tags.size : -128] == audio
    assert (tags["TIT2"].text, tags["TCON"].text) == (["Title in v1"], ["Jazz"])


def test_id3v22_is_raised_to_23(tmp_path: Path) -> None:
    path = tmp_path / "older.mp3"
    encode(path)
    frames = b"TT2\x00\x00\x06\x00Title" + b"TYE\x00\x00\x05\x001999" + b"TCO\x00\x00\x05\x00(17)"
    header = b"ID3\x02\x00\x00" + bytes([0, 0, 0, len(frames)])
    path.write_bytes(header + frames + path.read_bytes())
    assert read_genre(path) == "Rock"
    write_genre(path, "jazz", overwrite=True)
    tags = ID3(path, translate=False)
    assert tags.version == (2, 3, 0)
    assert {key: frame.text for key, frame in tags.items() if key != "TSSE"} == {
        "TIT2": ["Title"],
        "TYER": ["1999"],
        "TCON": ["jazz"],
    }


def test_an_id3v22_frame_that_23_does_not_know_becomes_a_private_one(tmp_path: Path) -> None:
    path = tmp_path / "older.mp3"
    encode(path)
    frames = b"TT2\x00\x00\x06\x00Title" + b"XYZ\x00\x00\x14" + b"private to a player!"
    header = b"ID3\x02\x00\x00" + bytes([0, 0, 0, len(frames)])
    path.write_bytes(header + frames + path.read_bytes())
    assert write_genre(path, "jazz").action == "write"
    (private,) = ID3(path).getall("PRIV")
    assert (private.owner, private.data) == ("ID3v2.2 XYZ", b"private to a player!")


@pytest.mark.shared
def test_emotify_genres_are_read_and_only_tcon_changes(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "emotify-audio"
    with (folder / "tracks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40
    assert [read_genre(folder / row["file"]) for row in rows] == [row["id3_genre"] for row in rows]
    for row in rows[::9]:
        path = tmp_path / row["file"].replace("/", "-")
        path.write_bytes((folder / row["file"]).read_bytes())
        before, old, tags = path.read_bytes(), ID3(path), others(path)
        change = write_genre(path, "Krautrock", overwrite=True)
        assert change == TagChange(path, row["id3_genre"], "Krautrock", "write")
        after, new = path.read_bytes(), ID3(path)
        assert after[new.size :] == before[old.size :]
        assert others(path) == tags
        assert new["TCON"].text == ["Krautrock"]
        assert new.version == old.version
