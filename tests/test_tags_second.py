"""Genres in tags that are not the format's own: seen, made to agree, and restored."""

from __future__ import annotations

import json
import random
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mutagen
import pytest
from mutagen.apev2 import APEv2
from mutagen.id3 import ID3, TCON
from mutagen.mp4 import MP4

from genrescope.errors import TagError
from genrescope.library import quicktime
from genrescope.library.content import content_of
from genrescope.library.riff_info import read_genre as info_genre
from genrescope.library.tag_journal import TagJournal, undo
from genrescope.library.tags import (
    GenreState,
    plan_genre,
    read_genre,
    read_state,
    restore_genre,
    write_genre,
)
from tagged import copy_of, id3v1, others


@pytest.fixture
def track(tmp_path: Path) -> Callable[[str], Path]:
    return lambda kind: copy_of(kind, tmp_path)


@pytest.fixture(autouse=True)
def own_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def atom(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data) + 8) + name + data


def text_atom(genre: str) -> bytes:
    return atom(b"\xa9gen", struct.pack(">HH", len(genre), 0x55C4) + genre.encode())


def with_info(path: Path, genre: str) -> None:
    """Append a LIST INFO chunk to a wav file."""
    value = genre.encode() + b"\0"
    item = b"INFOIGNR" + struct.pack("<I", len(value)) + value + b"\0" * (len(value) % 2)
    data = path.read_bytes() + b"LIST" + struct.pack("<I", len(item)) + item
    path.write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])


def with_user_data(path: Path, *atoms: bytes, tags: bytes = b"") -> None:
    """Give an MP4 file whose index stands at its end other user data, and no other tags."""
    audio = MP4(path)
    audio.delete()
    data = path.read_bytes()
    start = data.index(b"moov") - 4
    assert start + struct.unpack(">I", data[start : start + 4])[0] == len(data)
    index, place = b"", start + 8
    while place < len(data):
        size = struct.unpack(">I", data[place : place + 4])[0]
        if data[place + 4 : place + 8] != b"udta":
            index += data[place : place + size]
        place += size
    path.write_bytes(data[:start] + atom(b"moov", index + atom(b"udta", b"".join(atoms)) + tags))


def keys(genre: str) -> bytes:
    """A metadata atom with a key for a title and one for a genre."""
    names = b"".join(atom(b"mdta", b"com.apple.quicktime." + n) for n in (b"title", b"genre"))
    handler = atom(b"hdlr", bytes(8) + b"mdta" + bytes(14))
    values = [
        atom(struct.pack(">I", number), atom(b"data", struct.pack(">II", 1, 0) + text))
        for number, text in enumerate((b"T", genre.encode()), 1)
    ]
    table = atom(b"keys", struct.pack(">II", 0, 2) + names)
    return atom(b"meta", handler + table + atom(b"ilst", b"".join(values)))


def probed(path: Path) -> str | None:
    """The genre that ffprobe shows; "" where it shows none, None where there is no ffprobe."""
    if not shutil.which("ffprobe"):
        return None
    show = "format_tags=genre:stream_tags=genre"
    command = ["ffprobe", "-v", "error", "-show_entries", show, "-of", "json", str(path)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    shown = json.loads(done.stdout)
    tags = [shown.get("format", {}), *shown.get("streams", [])]
    found = [value for each in tags for value in each.get("tags", {}).values()]
    return found[0] if found else ""


class TestId3v1:
    """An ID3v1 tag at the end of any file."""

    @pytest.mark.parametrize("kind", ["flac", "ogg", "wv", "wav", "aiff", "m4a", "wma"])
    def test_its_genre_is_kept(self, track: Callable[[str], Path], kind: str) -> None:
        path = track(kind)
        path.write_bytes(path.read_bytes() + id3v1(17))
        assert read_genre(path) == "Rock"
        assert write_genre(path, "Disco").action == "keep"
        assert write_genre(path, "Disco", overwrite=True).before == "Rock"
        assert path.read_bytes()[-128:] == id3v1(4)

    def test_in_an_mp3_whose_own_tag_says_other(self, track: Callable[[str], Path]) -> None:
        path = track("mp3")
        tags = ID3(path)
        tags.add(TCON(encoding=0, text=["(12)"]))
        tags.save(path)
        path.write_bytes(path.read_bytes() + id3v1(17))
        assert plan_genre(path, "Disco").action == "keep"
        assert write_genre(path, "Disco", append=True).after == "Rock; Disco"

    @pytest.mark.parametrize("kind", ["wav", "aiff", "mp3", "flac"])
    @pytest.mark.parametrize("number", [17, 12, 255])
    def test_undo_in_a_file_without_other_tags(
        self, track: Callable[[str], Path], kind: str, number: int
    ) -> None:
        path = track(kind)
        mutagen.File(path).delete()
        if kind == "wav":
            with_info(path, "Polka")
        path.write_bytes(path.read_bytes() + id3v1(number))
        before, content = read_state(path), content_of(path)
        journal = TagJournal()
        assert journal.write_genre(path, "Disco", overwrite=True).action == "write"
        assert journal.file is not None
        assert undo(journal.file) == (1, [])
        assert read_state(path) == before
        assert path.read_bytes()[-128:] == id3v1(number)
        assert content_of(path) == content

    def test_behind_a_chunk_without_its_filling_byte(self, track: Callable[[str], Path]) -> None:
        path = track("wav")
        mutagen.File(path).delete()
        data = path.read_bytes() + b"junk" + struct.pack("<I", 3) + b"abc"
        data = data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
        path.write_bytes(data + id3v1(255))
        write_genre(path, "Jazz")
        assert mutagen.File(path)["TCON"].text == ["Jazz"]
        assert path.read_bytes().count(b"Title in v1") == 1


class TestFooters:
    """An ID3v2.4 tag with a footer, which leaves nothing behind."""

    @pytest.mark.parametrize("kind", ["mp3", "flac"])
    def test_it_goes_with_its_tag(self, track: Callable[[str], Path], kind: str) -> None:
        path = track(kind)
        if kind == "mp3":
            ID3(path).delete(path)
        audio = path.read_bytes()
        body = b"TIT2\0\0\0\3\0\0\0" + b"Hi" + b"TCON\0\0\0\5\0\0\0Rock"
        size = bytes([0, 0, 0, len(body)])
        flags = b"\4\0\x10"
        path.write_bytes(b"ID3" + flags + size + body + b"3DI" + flags + size + audio)
        content, before = content_of(path), read_state(path)
        assert read_genre(path) == "Rock"
        write_genre(path, "A genre of a longer name", overwrite=True)
        assert b"3DI\4" not in path.read_bytes()
        tags = ID3(path)
        assert (tags.version, str(tags["TIT2"])) == ((2, 4, 0), "Hi")
        assert tags["TCON"].text == ["A genre of a longer name"]
        if kind == "mp3":
            assert path.read_bytes()[tags.size :] == audio
        restore_genre(path, before)
        assert read_state(path) == before
        assert content_of(path) == content


def test_a_second_id3_tag_behind_the_first(track: Callable[[str], Path]) -> None:
    path = track("mp3")
    own, second = (
        b"ID3\4\0\0" + bytes([0, 0, 0, len(frame)]) + frame
        for frame in (b"TIT2\0\0\0\3\0\0\3Hi", b"TCON\0\0\0\5\0\0\3Rock")
    )
    ID3(path).delete(path)
    path.write_bytes(own + second + path.read_bytes())
    path = path.rename(path.with_suffix(".flac"))
    before = read_state(path)
    assert read_genre(path) == "Rock"
    assert plan_genre(path, "Disco").action == "keep"
    write_genre(path, "Disco", overwrite=True)
    assert read_genre(path) == "Disco"
    assert probed(path) in ("Disco", None)
    restore_genre(path, before)
    assert read_state(path) == before


class TestQuickTime:
    """Genres of QuickTime files outside of MP4's tags."""

    @pytest.mark.parametrize(
        ("user_data", "tags"),
        [
            ([text_atom("Podcast")], b""),
            ([atom(b"gnre", bytes(4) + b"\x15\xc7Podcast\0")], b""),
            ([atom(b"\xa9nam", b"\0\1\x55\xc4T"), text_atom("Podcast")], b""),
            ([], keys("Podcast")),
        ],
    )
    def test_seen_kept_hidden_and_shown_again(
        self, track: Callable[[str], Path], user_data: list[bytes], tags: bytes
    ) -> None:
        path = track("m4a").rename(track("m4a").with_suffix(".mov"))
        with_user_data(path, *user_data, tags=tags)
        content, before, shown = content_of(path), read_state(path), probed(path)
        assert before == GenreState((), quicktime=("Podcast",))
        assert read_genre(path) == "Podcast"
        assert write_genre(path, "Disco").action == "keep"
        journal = TagJournal()
        assert journal.write_genre(path, "Disco", overwrite=True).action == "write"
        assert read_state(path) == GenreState(("Disco",))
        assert MP4(path)["\xa9gen"] == ["Disco"]
        assert probed(path) in ("Disco", None)
        assert content_of(path) == content
        assert journal.file is not None
        assert undo(journal.file) == (1, [])
        assert read_state(path) == before
        assert probed(path) == shown
        assert content_of(path) == content

    def test_keys_in_the_place_of_tags(self, track: Callable[[str], Path]) -> None:
        path = track("m4a")
        with_user_data(path, keys("Podcast"))
        whole = path.read_bytes()
        assert read_genre(path) == "Podcast"
        with pytest.raises(TagError, match="QuickTime's metadata keys, which we can't write"):
            write_genre(path, "Disco", overwrite=True)
        assert path.read_bytes() == whole

    def test_a_genre_that_is_gone_can_not_be_shown(self, track: Callable[[str], Path]) -> None:
        path = track("m4a")
        whole = path.read_bytes()
        state = replace(read_state(path), quicktime=("Podcast",))
        with pytest.raises(TagError, match="QuickTime genre is gone"):
            restore_genre(path, state)
        assert path.read_bytes() == whole

    def test_every_beginning_of_a_file_can_be_read(self, track: Callable[[str], Path]) -> None:
        path = track("m4a")
        with_user_data(path, text_atom("Podcast"), tags=keys("Rock"))
        data = path.read_bytes()
        start = data.index(b"moov")
        for end in range(start, len(data), 7):
            path.write_bytes(data[:end])
            assert quicktime.read_genres(path) == []


class TestNames:
    """A file whose name is that of another format."""

    @pytest.mark.parametrize("name", ["flac", "wav", "ogg", "m4a", "tta", "ape", "aiff", "mpc"])
    @pytest.mark.parametrize("kind", ["mp3", "flac", "ogg", "wav", "m4a", "wv"])
    def test_the_content_decides(self, track: Callable[[str], Path], kind: str, name: str) -> None:
        path = track(kind)
        path = path.rename(path.with_suffix(f".{name}"))
        write_genre(path, "Jazz")
        write_genre(path, "Folk", overwrite=True)
        path = path.rename(path.with_suffix(f".{kind}"))
        assert read_state(path) == GenreState(("Folk",))


VALUES = [None, "Rock", "Other", "Unknown", "Disco"]
NUMBERS = {"Rock": 17, "Other": 12, "Unknown": 255, "Disco": 4}


def with_random_tags(path: Path, choice: random.Random) -> dict[str, str | None]:
    """Give a file a random genre, or none, in each kind of tag that it may have."""
    kind = path.suffix[1:]
    picked: dict[str, str | None] = {"own": choice.choice(VALUES)}
    if kind == "m4a" and choice.random() < 0.5:
        picked["quicktime"] = choice.choice(VALUES[1:])
        with_user_data(path, text_atom(picked["quicktime"] or ""))
    if picked["own"]:
        add_own(path, picked["own"])
    if kind == "wav" and choice.random() < 0.5:
        picked["info"] = choice.choice(VALUES[1:])
        with_info(path, picked["info"] or "")
    if kind == "flac" and choice.random() < 0.5:
        picked["leading"] = choice.choice(VALUES[1:])
        body = (picked["leading"] or "").encode()
        size = len(body) + 1
        frame = b"TCON" + bytes([0, 0, 0, size, 0, 0, 3]) + body
        front = b"ID3\4\0\0" + bytes([0, 0, 0, len(frame)]) + frame
        path.write_bytes(front + path.read_bytes())
    if kind != "wv" and choice.random() < 0.5:
        tags = APEv2()
        picked["ape"] = tags["Genre"] = choice.choice(VALUES[1:])
        whole = path.with_name("ape")
        tags.save(whole)
        path.write_bytes(path.read_bytes() + whole.read_bytes())
    if choice.random() < 0.5:
        picked["id3v1"] = choice.choice(VALUES[1:])
        number = NUMBERS[picked["id3v1"] or ""]
        path.write_bytes(path.read_bytes() + id3v1(number))
    return picked


def add_own(path: Path, genre: str) -> None:
    audio = mutagen.File(path)
    if audio.tags is None:
        audio.add_tags()
    name = {"m4a": "\xa9gen", "wv": "Genre", "flac": "genre", "ogg": "genre"}.get(path.suffix[1:])
    if name is None:
        audio.tags.add(TCON(encoding=0, text=[genre]))
    else:
        audio.tags[name] = [genre]
    audio.save()


def genres_by_others(path: Path) -> set[str]:
    """The genres that mutagen, ffprobe and the bytes at the end of a file show."""
    audio: Any = mutagen.File(path)
    names = {"tcon", "genre", "\xa9gen"}
    held = [name for name in audio.tags.keys() if name.lower() in names]  # noqa: SIM118
    found = {str(each) for name in held for each in audio.tags[name]}
    data = path.read_bytes()
    if data[-128:-125] == b"TAG":
        found |= {name for name, number in NUMBERS.items() if number == data[-1]}
    if (info := info_genre(path)) is not None:
        found.add(info)
    return found | {shown for shown in [probed(path)] if shown}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mp3", "flac", "ogg", "wav", "aiff", "m4a", "wv"])
def test_any_combination_of_tags(track: Callable[[str], Path], kind: str) -> None:
    choice = random.Random(kind)
    for _ in range(5):
        path = track(kind)
        picked = with_random_tags(path, choice)
        real = {value for value in picked.values() if value in ("Rock", "Disco")}
        content, before, tags = content_of(path), read_state(path), others(path)
        action = plan_genre(path, "Podcast").action
        assert action == ("keep" if real else "write"), picked
        journal = TagJournal()
        assert journal.write_genre(path, "Blues", overwrite=True).action == "write", picked
        assert genres_by_others(path) - {"Other", "Unknown"} == {"Blues"}, picked
        assert content_of(path) == content, picked
        assert others(path) == tags, picked
        assert journal.file is not None
        assert undo(journal.file) == (1, []), picked
        assert read_state(path) == before, picked
        assert others(path) == tags, picked
