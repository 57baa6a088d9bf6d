"""Tags as old programs left them: other encodings, second tags, placeholders, several genres."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path

import mutagen
import numpy as np
import pytest
import soundfile
from mutagen.apev2 import APEv2
from mutagen.id3 import ID3, TCON
from mutagen.ogg import OggPage

from genrescope.errors import TagError
from genrescope.library.content import content_of
from genrescope.library.files import tags_of
from genrescope.library.genre_names import genres_of, is_genre
from genrescope.library.tags import plan_genre, read_genre, read_state, restore_genre, write_genre
from genrescope.library.trailing_tags import split
from tagged import add_id3, copy_of, decoded, encode, id3v1, others

BAD = b"Bj\xf6rk\x81"  # neither UTF-8 nor Windows-1252


@pytest.fixture
def track(tmp_path: Path) -> Callable[[str], Path]:
    return lambda kind: copy_of(kind, tmp_path)


def v1(title: bytes, genre: int = 255) -> bytes:
    return b"TAG" + title.ljust(30, b"\0") + bytes(64) + b"remark".ljust(30, b"\0") + bytes([genre])


def synchsafe(number: int) -> bytes:
    return bytes(number >> shift & 127 for shift in (21, 14, 7, 0))


def id3v2(version: int, *frames: tuple[bytes, bytes]) -> bytes:
    def size(data: bytes) -> bytes:
        return synchsafe(len(data)) if version == 4 else struct.pack(">I", len(data))

    body = b"".join(name + size(data) + b"\0\0" + data for name, data in frames)
    return b"ID3" + bytes([version, 0, 0]) + synchsafe(len(body)) + body


def bare(path: Path) -> Path:
    """An mp3 without any tag."""
    encode(path)
    ID3().delete(path)
    return path


def append_chunk(path: Path, name: bytes, data: bytes, order: str) -> None:
    """A further chunk at the end of a wav or aiff file."""
    chunk = name + struct.pack(f"{order}I", len(data)) + data + b"\0" * (len(data) % 2)
    whole = path.read_bytes() + chunk
    path.write_bytes(whole[:4] + struct.pack(f"{order}I", len(whole) - 8) + whole[8:])


def info(**items: bytes) -> bytes:
    body = b"INFO"
    for name, value in items.items():
        body += name.encode() + struct.pack("<I", len(value)) + value + b"\0" * (len(value) % 2)
    return body


def with_bad_comment(path: Path) -> Path:
    """A Latin-1 comment in FLAC, Ogg Vorbis or Opus, put in with a correct checksum."""
    audio = mutagen.File(path)
    audio.tags[:] = [("TITLE", "BjQQQQ"), ("ARTIST", "Björk")]
    audio.save()
    data = path.read_bytes()
    assert data.count(b"BjQQQQ") == 1
    path.write_bytes(data.replace(b"BjQQQQ", BAD))
    if path.suffix != ".flac":
        with path.open("r+b") as file:
            first, page = OggPage(file), OggPage.__new__(OggPage)
            place = file.tell()
            page.__init__(file)  # mutagen checks no sums, and writes right ones
            file.seek(place)
            file.write(page.write())
            assert first.first
    return path


class TestEncodings:
    """Text that is not UTF-8, in each kind of tag."""

    @pytest.mark.parametrize(
        "title", ["Björk".encode("latin-1"), "Кино".encode("cp1251"), "日本".encode("shift_jis")]
    )
    def test_id3v1(self, tmp_path: Path, title: bytes) -> None:
        path = bare(tmp_path / "a.mp3")
        audio = path.read_bytes()
        path.write_bytes(audio + v1(title))
        content = content_of(path)
        assert write_genre(path, "Jazz").action == "write"
        assert read_genre(path) == "Jazz"
        assert path.read_bytes().endswith(audio + v1(title, 8))
        # The bytes of the title go into ID3v2 as they are.
        assert path.read_bytes()[:300].count(title) == 1
        assert content_of(path) == content

    @pytest.mark.parametrize("version", [3, 4])
    def test_frames_that_can_not_be_parsed(self, tmp_path: Path, version: int) -> None:
        path = bare(tmp_path / "a.mp3")
        odd = [(b"TIT2", b"\x03" + BAD), (b"TPE1", b"\x03good"), (b"TALB", b"\x07?")]
        audio = path.read_bytes()
        path.write_bytes(id3v2(version, *odd) + audio)
        content = content_of(path)
        write_genre(path, "Jazz")
        data = path.read_bytes()
        assert BAD in data
        assert b"\x07?" in data
        assert data.endswith(audio)
        tags = ID3(path)
        assert (tags.version[1], str(tags["TPE1"]), tags["TCON"].text) == (
            version, "good", ["Jazz"],
        )  # fmt: skip
        assert content_of(path) == content

    def test_a_genre_that_can_not_be_parsed_is_one(self, tmp_path: Path) -> None:
        path = bare(tmp_path / "a.mp3")
        audio = path.read_bytes()
        path.write_bytes(id3v2(4, (b"TCON", b"\x03M\xfasica")) + audio)
        assert read_genre(path) == "Música"
        assert write_genre(path, "Jazz").action == "keep"
        assert write_genre(path, "Jazz", overwrite=True).action == "write"
        assert ID3(path).getall("TCON")[0].text == ["Jazz"]
        assert b"sica" not in path.read_bytes()

    @pytest.mark.parametrize("kind", ["flac", "ogg", "opus"])
    def test_vorbis_comments(self, track: Callable[[str], Path], kind: str) -> None:
        path = with_bad_comment(track(kind))
        content, audio = content_of(path), decoded(path)
        assert tags_of(path).title == "Björk�"
        write_genre(path, "Jazz")
        assert BAD in path.read_bytes()
        assert read_genre(path) == "Jazz"
        assert mutagen.File(path)["artist"] == ["Björk"]
        assert content_of(path) == content
        assert np.array_equal(decoded(path), audio)

    def test_a_comment_without_a_name_and_a_genre_in_latin_1(
        self, track: Callable[[str], Path]
    ) -> None:
        path = track("flac")
        audio = mutagen.File(path)
        audio.tags[:] = [("X", "YYYY"), ("GENRE", "MXsica"), ("Z", "z")]
        audio.save()
        data = path.read_bytes().replace(b"X=YYYY", b"XXYYYY").replace(b"MXsica", b"M\xfasica")
        path.write_bytes(data)
        assert read_genre(path) == "Música"
        write_genre(path, "Jazz", overwrite=True)
        assert b"XXYYYY" in path.read_bytes()
        assert read_genre(path) == "Jazz"

    @pytest.mark.parametrize(("kind", "order"), [("wav", "<"), ("aiff", ">")])
    def test_chunks(self, track: Callable[[str], Path], kind: str, order: str) -> None:
        path = track(kind)
        name, data = (b"LIST", info(INAM=BAD)) if kind == "wav" else (b"NAME", BAD)
        append_chunk(path, name, data, order)
        content, tags = content_of(path), others(path)
        write_genre(path, "Jazz")
        assert BAD in path.read_bytes()
        assert (read_genre(path), others(path)) == ("Jazz", tags)
        assert content_of(path) == content

    def test_mp4(self, track: Callable[[str], Path]) -> None:
        path = track("m4a")
        audio = mutagen.File(path)
        audio["\xa9nam"], audio["\xa9gen"] = "BjQQQQ", "MQQica"
        audio.save()
        data = path.read_bytes().replace(b"BjQQQQ", BAD).replace(b"MQQica", b"M\xfasica")
        path.write_bytes(data)
        content = content_of(path)
        assert tags_of(path).title == "Björk�"
        assert write_genre(path, "Jazz").before == "Música"
        assert write_genre(path, "Jazz", overwrite=True).action == "write"
        assert BAD in path.read_bytes()
        assert read_genre(path) == "Jazz"
        assert content_of(path) == content

    def test_ape(self, track: Callable[[str], Path]) -> None:
        path = track("wv")
        audio = mutagen.File(path)
        audio["Title"] = "BjQQQQ"
        audio.save()
        path.write_bytes(path.read_bytes().replace(b"BjQQQQ", BAD))
        content = content_of(path)
        write_genre(path, "Jazz")
        assert BAD in path.read_bytes()
        assert read_genre(path) == "Jazz"
        assert content_of(path) == content

    def test_an_ape_tag_that_looks_like_id3v1(self, tmp_path: Path) -> None:
        """Its header's letters, APETAGEX, hold TAG, 128 bytes before the end."""
        path = tmp_path / "a.wv"
        encode(path)
        body, _ = split(path)
        with path.open("r+b") as file:
            file.truncate(body)
        tags = APEv2()
        tags["Title"] = "x" * (131 - 64 - 8 - 6)
        tags.save(path)
        assert path.read_bytes()[-128:-125] == b"TAG"
        write_genre(path, "Jazz")
        assert APEv2(path)["Genre"] == "Jazz"
        assert str(APEv2(path)["Title"]) == "x" * 53


class TestSecondTags:
    """A genre that a tag holds which is not the format's own."""

    def mp3_with_ape(self, path: Path, **items: str) -> Path:
        tags = APEv2()
        for name, value in items.items():
            tags[name] = value
        tags.save(bare(path))
        return path

    def test_an_ape_genre_in_an_mp3_is_seen_and_made_to_agree(self, tmp_path: Path) -> None:
        path = self.mp3_with_ape(tmp_path / "a.mp3", Genre="Rock", Artist="Somebody", Title="T")
        path.write_bytes(path.read_bytes() + id3v1(255))
        content = content_of(path)
        assert read_genre(path) == "Rock"
        assert plan_genre(path, "Jazz").action == "keep"
        assert (tags_of(path).artist, tags_of(path).genre_tag) == ("Artist in v1", "Rock")
        write_genre(path, "Jazz", overwrite=True)
        assert str(ID3(path)["TCON"]) == "Jazz"
        assert str(APEv2(path)["Genre"]) == "Jazz"
        assert str(APEv2(path)["Artist"]) == "Somebody"
        assert path.read_bytes()[-128:] == id3v1(8)
        assert content_of(path) == content

    def test_an_id3_tag_in_front(self, track: Callable[[str], Path]) -> None:
        path = track("flac")
        content, tags = content_of(path), others(path)
        front = id3v2(4, (b"TCON", b"\3Rock"), (b"TPE1", b"\3In front"), (b"TPE9", BAD))
        path.write_bytes(front + path.read_bytes() + v1(b"remark"))
        assert content_of(path) == content
        assert read_genre(path) == "Rock"
        assert plan_genre(path, "Jazz").action == "keep"
        before = read_state(path)
        write_genre(path, "Jazz", overwrite=True)
        assert read_state(path).values == ("Jazz",)
        assert ID3(path, load_v1=False)["TCON"].text == ["Jazz"]
        assert BAD in path.read_bytes()
        assert path.read_bytes()[-128:] == v1(b"remark"), "what only ID3v1 says"
        restore_genre(path, before)
        assert read_state(path) == before
        assert content_of(path) == content
        assert others(path) == tags

    def test_an_id3_tag_in_front_without_a_genre_gets_none(
        self, track: Callable[[str], Path]
    ) -> None:
        path = track("flac")
        front = id3v2(3, (b"TIT2", b"\0In front"), (b"TYER", b"\0001999"))
        path.write_bytes(front + path.read_bytes())
        write_genre(path, "Jazz")
        assert path.read_bytes().startswith(front)
        assert (tags_of(path).title, tags_of(path).year) == ("Zażółć", 1999)

    def test_ape_items_of_one_name_are_all_there(self, tmp_path: Path) -> None:
        path = self.mp3_with_ape(tmp_path / "a.mp3", Genre="Rock", Gente="Pop")
        path.write_bytes(path.read_bytes().replace(b"Gente", b"GENRE"))
        assert write_genre(path, "Jazz", append=True).after == "Pop; Rock; Jazz"

    @pytest.mark.parametrize("genre", [{"Genre": "Rock"}, {}])
    def test_what_stands_behind_an_ape_item_of_a_wrong_length_is_kept(
        self, tmp_path: Path, genre: dict[str, str]
    ) -> None:
        path = self.mp3_with_ape(
            tmp_path / "a.mp3", **genre, Mood="calm, low", Composer="A long name"
        )
        mood = struct.pack("<II", 9, 0) + b"Mood\0calm, low"
        data = path.read_bytes()
        assert data.count(mood) == 1
        path.write_bytes(data.replace(mood, struct.pack("<II", 2**20, 0) + mood[8:]))
        (before,) = split(path)[1]
        unread = before.data[before.data.index(b"Mood\0") - 8 : -32]
        assert b"Composer\0A long name" in unread
        state = read_state(path)
        write_genre(path, "Jazz", overwrite=True)
        assert read_genre(path) == "Jazz"
        assert state.trailing == (("Rock",) if genre else None)
        (after,) = split(path)[1]
        assert after.data[-32 - len(unread) : -32] == unread
        assert after.data[-16:-12] == before.data[-16:-12]  # the number of items
        restore_genre(path, state)
        assert split(path)[1] == [before]

    def test_artist_and_title_of_ape(self, tmp_path: Path) -> None:
        path = self.mp3_with_ape(
            tmp_path / "a.mp3", Artist="Somebody", Title="T", Album="A", Year="1999"
        )
        tags = tags_of(path)
        assert (tags.artist, tags.title, tags.album, tags.year) == ("Somebody", "T", "A", 1999)
        write_genre(path, "Jazz")
        assert "Genre" not in APEv2(path), "none is added"

    @pytest.mark.parametrize("kind", ["flac", "wv"])
    @pytest.mark.parametrize(("number", "after"), [(255, 255), (12, 12), (17, 8)])
    def test_id3v1_behind_flac_and_wavpack(
        self, track: Callable[[str], Path], kind: str, number: int, after: int
    ) -> None:
        path = track(kind)
        tags, audio, content = others(path), decoded(path), content_of(path)
        path.write_bytes(path.read_bytes() + id3v1(number))
        assert content_of(path) == content
        write_genre(path, "Jazz", overwrite=True)
        assert read_genre(path) == "Jazz"
        assert path.read_bytes()[-128:] == id3v1(after)
        assert content_of(path) == content
        if kind == "flac":
            assert others(path) == tags
            assert np.array_equal(decoded(path), audio)

    @pytest.mark.parametrize("kind", ["flac", "mp3", "wv"])
    def test_ape_lyrics_and_id3v1_in_a_row(self, track: Callable[[str], Path], kind: str) -> None:
        path = track(kind)
        content = content_of(path)
        if kind != "wv":
            tags = APEv2()
            tags["Genre"], tags["Comment"] = ["Rock", "Pop"], "kept"
            tags.save(path)
        lyrics = b"LYRICSBEGININD0000200LYR00004la la"
        lyrics += b"%06d" % len(lyrics) + b"LYRICS200"
        path.write_bytes(path.read_bytes() + lyrics + id3v1(17))
        assert content_of(path) == content
        write_genre(path, "Jazz", overwrite=True)
        data = path.read_bytes()
        assert data.endswith(lyrics + id3v1(8))
        kinds = [each.kind for each in split(path)[1]]
        assert kinds == ["ape", "lyrics3", "id3v1"]
        assert content_of(path) == content
        assert read_genre(path) == "Jazz"

    def test_list_info_of_a_wav(self, track: Callable[[str], Path]) -> None:
        path = track("wav")
        append_chunk(path, b"LIST", info(INAM=b"T\xf6\0", IGNR=b"Rock\0", ICMT=b"odd"), "<")
        content, audio = content_of(path), decoded(path)
        assert read_genre(path) == "Rock"
        assert plan_genre(path, "Jazz").action == "keep"
        write_genre(path, "Drum and Bass", overwrite=True)
        data = path.read_bytes()
        assert b"IGNR\x0e\0\0\0Drum and Bass\0ICMT" in data
        assert b"T\xf6" in data
        assert b"Rock" not in data
        assert int.from_bytes(data[4:8], "little") == len(data) - 8
        assert content_of(path) == content
        assert np.array_equal(decoded(path), audio)

    @pytest.mark.parametrize(
        ("whole", "sound"),
        [(0xFFFF_FFFF, 0xFFFF_FFFF), (0, 0), (36, 0), (0x7FFF_F024, 0x7FFF_F000)],
    )
    @pytest.mark.parametrize("subtype", ["PCM_16", "PCM_U8"])
    def test_a_wav_that_was_written_to_a_pipe(
        self, tmp_path: Path, whole: int, sound: int, subtype: str
    ) -> None:
        path = tmp_path / "a.wav"
        soundfile.write(path, np.sin(np.arange(9999) / 9), 8000, subtype=subtype)
        data = bytearray(path.read_bytes()[: 44 + 9999 * (1 + (subtype == "PCM_16"))])
        data[4:8], data[40:44] = struct.pack("<I", whole), struct.pack("<I", sound)
        path.write_bytes(data)
        content, audio = content_of(path), decoded(path)
        assert read_genre(path) is None
        before = read_state(path)
        assert write_genre(path, "Jazz").action == "write"
        assert read_genre(path) == "Jazz"
        written = path.read_bytes()
        assert int.from_bytes(written[4:8], "little") == len(written) - 8
        assert soundfile.info(path).frames == 9999
        assert content_of(path) == content
        assert np.array_equal(decoded(path), audio)
        restore_genre(path, before)
        assert read_genre(path) is None

    def test_long_silence_of_unknown_size_is_not_searched_for_chunks(self, tmp_path: Path) -> None:
        path = tmp_path / "a.wav"
        soundfile.write(path, np.zeros(4_000_000, np.int16), 44100)
        path.write_bytes(path.read_bytes()[:40] + bytes(4) + bytes(8_000_000))
        start = time.process_time()
        assert read_genre(path) is None
        assert time.process_time() - start < 1

    def test_a_compressed_tag_says_so(self, tmp_path: Path) -> None:
        path = bare(tmp_path / "a.mp3")
        path.write_bytes(b"ID3\2\0\x40" + synchsafe(20) + bytes(20) + path.read_bytes())
        with pytest.raises(TagError, match=r"its ID3v2\.2 tag is marked as compressed"):
            write_genre(path, "Jazz")


class TestNoGenre:
    """What stands in genre tags for lack of a genre."""

    @pytest.mark.parametrize(
        "text",
        ["(12)", "12", "Other", "other ", "Unknown", "(255)", "255", "", "  ", "<Unknown>", "?",
         "Unknown Genre", "[none]", "N/A", "Undefined", "Miscellaneous", "<Unbekannt>", "192"],
    )  # fmt: skip
    def test_it_is_filled_without_being_told_to(
        self, track: Callable[[str], Path], text: str
    ) -> None:
        assert not is_genre(text)
        path = track("mp3")
        tags = ID3(path)
        tags.add(TCON(encoding=0, text=[text]))
        tags.save(v2_version=4)
        assert read_genre(path) is None
        assert write_genre(path, "Jazz").action == "write"
        assert read_genre(path) == "Jazz"

    @pytest.mark.parametrize("kind", ["flac", "ogg", "m4a", "wma", "wv", "wav"])
    def test_in_every_format(self, track: Callable[[str], Path], kind: str) -> None:
        path = track(kind)
        write_genre(path, "Folk")
        write_genre(path, "Other", overwrite=True)
        assert read_genre(path) is None
        write_genre(path, "Jazz")
        assert read_genre(path) == "Jazz"

    @pytest.mark.parametrize(
        "text", ["Another", "Rock", "(17)", "Other Worlds", "80s", "1980", "音楽", "!!!x"]
    )
    def test_genres_are(self, text: str) -> None:
        assert is_genre(text)

    def test_each_genre_once(self) -> None:
        assert genres_of(["Rock", " rock", "Other", "Pop"]) == ["Rock", "Pop"]


class TestSeveral:
    """Several genres, in the way of each format."""

    @pytest.mark.parametrize(
        "kind", ["mp3", "flac", "ogg", "opus", "wav", "aiff", "m4a", "wma", "wv"]
    )
    def test_written_and_added_to(self, track: Callable[[str], Path], kind: str) -> None:
        path = track(kind)
        tags = others(path)
        assert write_genre(path, ["Jazz", "Blues"]).after == "Jazz; Blues"
        assert values(path) == ["Jazz", "Blues"]
        assert write_genre(path, "jazz").action == "same"
        assert write_genre(path, "BLUES", append=True).action == "same"
        change = write_genre(path, ["blues", "Rock"], append=True)
        assert (change.before, change.after) == ("Jazz; Blues", "Jazz; Blues; Rock")
        assert values(path) == ["Jazz", "Blues", "Rock"]
        assert read_genre(path) == "Jazz"
        assert others(path) == tags
        write_genre(path, "Pop", overwrite=True)
        assert values(path) == ["Pop"]

    @pytest.mark.parametrize(
        ("version", "texts"), [(3, ["(8)(0)"]), (4, ["Jazz", "Blues"])], ids=["2.3", "2.4"]
    )
    def test_id3(self, tmp_path: Path, version: int, texts: list[str]) -> None:
        path = bare(tmp_path / "a.mp3")
        add_id3(mutagen.File(path), version)
        write_genre(path, ["Jazz", "Blues"])
        assert ID3(path, translate=False)["TCON"].text == texts
        write_genre(path, "Krautrock", append=True)
        assert values(path) == ["Jazz", "Blues", "Krautrock"]

    @pytest.mark.parametrize(
        ("genres", "texts"),
        [
            (["Afrobeat", "Jazz"], ["Afrobeat", "Jazz"]),
            (["Jazz", "Afrobeat", "Bollywood"], ["Jazz", "Afrobeat", "Bollywood"]),
            (["Jazz", "Blues", "Afrobeat"], ["(8)(0)Afrobeat"]),
        ],
    )
    def test_names_that_id3v1_has_no_number_for(
        self, track: Callable[[str], Path], genres: list[str], texts: list[str]
    ) -> None:
        path = track("mp3")
        write_genre(path, genres)
        assert ID3(path, translate=False).version[:2] == (2, 3)
        assert ID3(path, translate=False)["TCON"].text == texts
        assert values(path) == genres
        assert write_genre(path, "Pop", append=True).after == "; ".join([*genres, "Pop"])
        assert values(path) == [*genres, "Pop"]

    @pytest.mark.parametrize("version", [3, 4])
    @pytest.mark.parametrize(
        "texts",
        [["Deep House", "Rock"], ["Deep House", "Minimal Techno"], ["rock", "JAZZ"], ["((17)"],
         ["Rock", "((RX)x"], ["(17)(8)Dub Techno"], ["Rock", "Rock"], [" Rock ", "Polka "]],
    )  # fmt: skip
    def test_id3_genres_are_restored_whatever_they_are(
        self, track: Callable[[str], Path], texts: list[str], version: int
    ) -> None:
        path = track("mp3")
        tags = ID3(path)
        tags.add(TCON(encoding=0, text=texts))
        tags.save(path, v2_version=version, v23_sep=None)
        state = read_state(path)
        assert write_genre(path, ["Ambient", "Polka", "Microhouse"], append=True).action == "write"
        assert write_genre(path, "Ambient", overwrite=True).action == "write"
        restore_genre(path, state)
        assert read_state(path) == state
        assert ID3(path).version[:2] == (2, version)

    def test_what_the_model_does_not_know_is_kept(self, track: Callable[[str], Path]) -> None:
        path = track("flac")
        write_genre(path, "Podcast")
        known = ["jazz", "hiphop"]
        change = write_genre(path, "Jazz", overwrite=True, known=known)
        assert (change.action, change.after, read_genre(path)) == ("unknown", "Podcast", "Podcast")
        write_genre(path, "Hip Hop", overwrite=True)
        assert write_genre(path, "Jazz", overwrite=True, known=known).action == "write"


def values(path: Path) -> list[str]:
    """All genres, as mutagen reads them."""
    tags = mutagen.File(path).tags
    if isinstance(tags, ID3):
        return list(tags["TCON"].genres)
    held = {name.lower(): tags[name] for name in tags.keys()}  # noqa: SIM118
    names = ("genre", "\xa9gen", "wm/genre")
    return [str(each) for name in names for each in held.get(name, [])]
