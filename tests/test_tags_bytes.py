"""Tags that hold no valid text, in ASF and in ID3v2.2: written to, and all else kept."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import mutagen
import pytest
from mutagen.asf import ASF, ASFUnicodeAttribute
from mutagen.id3 import ID3

from genrescope.library.content import content_of
from genrescope.library.files import tags_of
from genrescope.library.tags import read_genre, read_state, restore_genre, write_genre
from tagged import copy_of

LONE = b"\x00\xd8Q\0"  # a high surrogate that no low one follows


def utf16(text: str) -> bytes:
    return text.encode("utf-16-le")


@pytest.fixture
def track(tmp_path: Path) -> Callable[[str], Path]:
    return lambda kind: copy_of(kind, tmp_path)


class TestAsf:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("Title", "TitleQQ"),
            ("WM/AlbumTitle", "AlbumQQ"),
            ("WM/NamedQQ", "value"),
            ("WM/Mood", ASFUnicodeAttribute("MoodQQ", language=1, stream=1)),
            ("WM/Genre", "RockQQ"),
        ],
    )
    def test_invalid_utf_16(
        self, track: Callable[[str], Path], name: str, value: str | ASFUnicodeAttribute
    ) -> None:
        path = track("wma")
        audio = ASF(path)
        audio["Author"] = "Someone"
        audio[name] = value
        audio.save()
        data = path.read_bytes()
        assert data.count(utf16("QQ")) == 1
        path.write_bytes(data.replace(utf16("QQ"), LONE))
        content, state = content_of(path), read_state(path)
        genre = "Rock\ufffdQ" if name == "WM/Genre" else None
        assert read_genre(path) == genre
        assert tags_of(path).artist == "Someone"
        assert write_genre(path, ["Jazz", "Hip-Hop"], overwrite=True).action == "write"
        assert read_state(path).values == ("Jazz", "Hip-Hop")
        assert content_of(path) == content
        assert (LONE in path.read_bytes()) == (name != "WM/Genre")
        assert tags_of(path).artist == "Someone"
        restore_genre(path, state)
        assert read_state(path) == state

    def test_the_header_states_the_length_of_the_file(self, track: Callable[[str], Path]) -> None:
        path = track("wma")
        write_genre(path, "Jazz")  # mutagen, which wrote the other tags, does not correct it
        guid = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")

        def stated() -> int:
            data = path.read_bytes()
            place = data.index(guid) + 24 + 16
            return int(struct.unpack("<Q", data[place : place + 8])[0])

        before, size = stated(), path.stat().st_size
        write_genre(path, "x" * 20_000, overwrite=True)
        assert path.stat().st_size > size
        assert stated() - before == path.stat().st_size - size
        assert ASF(path)["WM/Genre"] == ["x" * 20_000]

    def test_a_damaged_header_is_refused(self, track: Callable[[str], Path]) -> None:
        path = track("wma")
        data = bytearray(path.read_bytes())
        data[30 + 16 : 30 + 24] = struct.pack("<Q", 1 << 40)
        path.write_bytes(data)
        with pytest.raises(Exception, match="damaged"):
            write_genre(path, "Jazz")
        assert path.read_bytes() == data


def old_id3(*frames: tuple[bytes, bytes]) -> bytes:
    body = b"".join(name + len(data).to_bytes(3, "big") + data for name, data in frames)
    size = len(body)
    return b"ID3\2\0\0" + bytes((size >> shift) & 127 for shift in (21, 14, 7, 0)) + body


class TestOldId3:
    """ID3v2.2, which becomes 2.3."""

    def test_frames_that_can_not_be_parsed(self, track: Callable[[str], Path]) -> None:
        path = track("mp3")
        ID3(path).delete(path)
        audio = path.read_bytes()
        frames = [(b"TT2", b"\1\xff\xfeab\0"), (b"TP1", b"\0Artist"), (b"TAL", b"\7?")]
        odd = [(b"XYZ", b"\0zz"), (b"ULT", b"\0en"), (b"PIC", b"\0JP")]
        path.write_bytes(old_id3(*frames, *odd) + audio)
        content = content_of(path)
        assert write_genre(path, "Jazz").action == "write"
        assert content_of(path) == content
        tags = ID3(path)
        assert tags.version == (2, 3, 0)
        assert (str(tags["TPE1"]), tags["TCON"].text) == ("Artist", ["Jazz"])
        data = path.read_bytes()
        for name, kept in ((b"TALB", b"\7?"), (b"USLT", b"\0en"), (b"APIC", b"\0JP")):
            assert name + len(kept).to_bytes(4, "big") + bytes(2) + kept in data
        assert tags["PRIV:ID3v2.2 XYZ:\0zz"].data == b"\0zz"
        assert write_genre(path, "Rock", overwrite=True).action == "write"
        assert b"\7?" in path.read_bytes()


class TestEnds:
    def test_a_chunk_of_odd_length_at_the_end(self, track: Callable[[str], Path]) -> None:
        path = track("wav")
        mutagen.File(path).delete()
        data = path.read_bytes() + b"junk" + struct.pack("<I", 3) + b"abc"
        path.write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])
        assert write_genre(path, "Jazz").action == "write"
        assert read_genre(path) == "Jazz"
        assert mutagen.File(path)["TCON"].text == ["Jazz"]

    def test_two_ape_tags(self, track: Callable[[str], Path]) -> None:
        path = track("wv")
        whole = path.read_bytes()
        tag = whole[whole.index(b"APETAGEX") :]
        path.write_bytes(whole + tag)
        assert write_genre(path, ["Jazz", "Funk"]).action == "write"
        assert read_state(path).values == ("Jazz", "Funk")

    def test_an_avi_has_no_genre_tag(self, tmp_path: Path) -> None:
        path = tmp_path / "film.avi"
        path.write_bytes(b"RIFF" + struct.pack("<I", 100) + b"AVI LIST" + bytes(92))
        assert read_genre(path) is None
        with pytest.raises(Exception, match="no genre tag"):
            write_genre(path, "Jazz")
