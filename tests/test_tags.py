"""Genre tags in files of every format, made on the fly, each with other tags and a picture."""

from __future__ import annotations

import csv
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import mutagen
import numpy as np
import pytest
import soundfile
from mutagen.apev2 import APEBinaryValue
from mutagen.asf import ASFByteArrayAttribute
from mutagen.flac import Picture
from mutagen.id3 import APIC, COMM, ID3, TALB, TCON, TIT2, TPE1, TXXX, TYER, UFID
from mutagen.mp4 import MP4Cover
from PIL import Image

from genrescope.errors import TagError
from genrescope.library.tags import TagChange, plan_genre, read_genre, write_genre

SOUNDFILE = ["mp3", "flac", "ogg", "opus", "wav", "aiff"]
CODECS = {"m4a": "aac", "wma": "wmav2", "wv": "wavpack", "aac": "aac", "mkv": "aac"}
FORMATS = [*SOUNDFILE, "m4a", "wma", "wv"]
ID3_FORMATS = ["mp3", "wav", "aiff"]
RATE = 48000  # Opus knows no 44.1 kHz


def sound() -> np.ndarray:
    """Return a second of a chord over noise: shape (48000,), float32, within ±1."""
    t = np.arange(RATE) / RATE
    noise = np.random.default_rng(0).normal(0, 0.05, RATE)
    return (np.sin(2 * np.pi * np.outer([220, 277, 330], t)).sum(0) / 6 + noise).astype("float32")


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (48, 48), "teal").save(buffer, "JPEG")
    return buffer.getvalue()


def encode(path: Path) -> None:
    kind = path.suffix[1:]
    if kind in SOUNDFILE:
        opus = {"format": "OGG", "subtype": "OPUS"} if kind == "opus" else {}
        soundfile.write(path, sound(), RATE, **opus)
        return
    with av.open(str(path), "w") as container:
        stream = container.add_stream(CODECS[kind], rate=RATE, layout="mono")
        stream.bit_rate = 64_000  # wmav2 refuses to guess one
        stream.codec_context.open()
        whole = av.AudioFrame.from_ndarray(sound()[None], format="fltp", layout="mono")
        whole.rate, whole.pts = RATE, 0
        resampler = av.AudioResampler(
            stream.format, "mono", RATE, frame_size=stream.frame_size or 1024
        )
        for frame in [*resampler.resample(whole), *resampler.resample(None), None]:
            for packet in stream.encode(frame):
                container.mux(packet)


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(stream)])


def add_id3(audio: Any, version: int) -> None:
    if audio.tags is None:
        audio.add_tags()
    for frame in [
        TIT2(encoding=1, text=["Zażółć gęślą"]),
        TPE1(encoding=1, text=["One", "Two"]),  # several values in one frame
        TALB(encoding=0, text=["Album"]),
        TYER(encoding=0, text=["1999"]),  # a frame that 2.4 has not
        COMM(encoding=0, lang="eng", desc="", text=["a remark"]),
        COMM(encoding=0, lang="deu", desc="zwei", text=["noch einer"]),
        TXXX(encoding=0, desc="REPLAYGAIN", text=["-6.5 dB"]),
        UFID(owner="http://musicbrainz.org", data=b"\x00\x01\xff"),
        APIC(encoding=0, mime="image/jpeg", type=3, desc="front", data=jpeg()),
    ]:
        audio.tags.add(frame)
    audio.save(v2_version=version, v23_sep=None)


def add_tags(path: Path) -> None:
    """Give a file everything but a genre."""
    audio = mutagen.File(path)
    kind = path.suffix[1:]
    if kind in ID3_FORMATS:
        add_id3(audio, 3)
        return
    if audio.tags is None:
        audio.add_tags()
    tags = audio.tags
    picture = Picture()
    picture.data, picture.mime, picture.type = jpeg(), "image/jpeg", 3
    if kind == "m4a":
        tags["\xa9nam"], tags["\xa9cmt"], tags["trkn"] = ["Title"], ["a remark"], [(3, 9)]
        tags["----:com.apple.iTunes:MOOD"] = [b"calm"]
        tags["covr"] = [MP4Cover(jpeg(), MP4Cover.FORMAT_JPEG)]
    elif kind == "wma":
        tags["Title"], tags["WM/Year"], tags["Author"] = ["Title"], ["1999"], ["One", "Two"]
        tags["WM/Picture"] = [ASFByteArrayAttribute(b"\x03" + jpeg())]
    elif kind == "wv":
        tags["Title"], tags["Artist"], tags["Comment"] = "Title", ["One", "Two"], "a remark"
        tags["Cover Art (Front)"] = APEBinaryValue(b"front.jpg\x00" + jpeg())
    else:
        tags["TITLE"], tags["Artist"], tags["COMMENT"] = ["Zażółć"], ["One", "Two"], ["a remark"]
        if kind == "flac":
            audio.add_picture(picture)
        else:
            tags["METADATA_BLOCK_PICTURE"] = ["cGljdHVyZQ=="]
    audio.save()


def others(path: Path) -> dict[str, str]:
    """Return every tag but the genre, in full, read without mutagen's translations."""
    audio = mutagen.File(path)
    if isinstance(audio.tags, ID3):
        audio = type(audio)(path, translate=False, load_v1=False)
    found = {key: repr(value) for key, value in audio.tags.items()}
    genre = {"TCON", "genre", "\xa9gen", "WM/Genre", "Genre"}
    found = {key: value for key, value in found.items() if key not in genre}
    found["pictures"] = repr([picture.write() for picture in getattr(audio, "pictures", [])])
    return found


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file of each format with other tags and no genre."""
    folder = tmp_path_factory.mktemp("originals")
    for kind in FORMATS:
        encode(folder / f"track.{kind}")
        add_tags(folder / f"track.{kind}")
    for kind in ["aac", "mkv"]:
        encode(folder / f"track.{kind}")
    soundfile.write(folder / "track.au", sound(), RATE)
    return folder


@pytest.fixture
def track(originals: Path, tmp_path: Path) -> Callable[[str], Path]:
    return lambda kind: Path(shutil.copy(originals / f"track.{kind}", tmp_path))


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


def id3v1(genre: int) -> bytes:
    tag = b"TAG" + b"Title in v1".ljust(30, b"\0") + b"Artist in v1".ljust(30, b" ")
    return (
        tag
        + b"\0" * 30
        + b"1987"
        + b"only v1 says this".ljust(28, b"\0")
        + b"\0\5"
        + bytes([genre])
    )


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


def test_an_id3v22_frame_that_23_can_not_hold_stops_the_write(tmp_path: Path) -> None:
    path = tmp_path / "older.mp3"
    encode(path)
    frames = b"TT2\x00\x00\x06\x00Title" + b"XYZ\x00\x00\x14" + b"private to a player!"
    header = b"ID3\x02\x00\x00" + bytes([0, 0, 0, len(frames)])
    path.write_bytes(header + frames + path.read_bytes())
    refused(path, "its other tags would not survive")


def refused(path: Path, reason: str, genre: str = "jazz") -> None:
    """Check that a write fails in one plain line and leaves folder and file as they were."""
    before = path.read_bytes() if path.is_file() else None
    names = sorted(entry.name for entry in path.parent.iterdir())
    with pytest.raises(TagError) as caught:
        write_genre(path, genre, overwrite=True)
    assert reason in caught.value.reason
    assert "\n" not in caught.value.reason
    assert caught.value.path == str(path)
    assert sorted(entry.name for entry in path.parent.iterdir()) == names
    assert before is None or path.read_bytes() == before


@pytest.mark.parametrize("kind", ["au", "mkv", "aac"])
def test_formats_without_a_genre_tag_are_refused(kind: str, track: Callable[[str], Path]) -> None:
    path = track(kind)
    assert read_genre(path) is None
    with pytest.raises(TagError, match="this format has no genre tag we can write"):
        plan_genre(path, "jazz")
    refused(path, "this format has no genre tag we can write")


def test_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("la la la\n")
    refused(path, "this format has no genre tag we can write")


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_files_give_only_tag_errors(kind: str, track: Callable[[str], Path]) -> None:
    path = track(kind)
    data = path.read_bytes()
    rng = np.random.default_rng(1)
    failures = 0
    for length in [0, 1, 7, 20, 60, 200, 1000]:
        damaged = bytearray(data[: max(length * 3, length)])
        for _ in range(len(damaged) // 8):
            damaged[int(rng.integers(4, max(5, len(damaged)))) % len(damaged)] = rng.integers(256)
        for content in (data[:length], bytes(damaged)):
            path.write_bytes(content)
            try:
                read_genre(path)
                write_genre(path, "jazz", overwrite=True)
            except TagError as error:
                failures += 1
                assert "\n" not in error.reason
                assert path.read_bytes() == content
            assert len(list(path.parent.iterdir())) == 1
    assert failures >= 4


def test_a_missing_file_a_folder_and_a_wrong_name(tmp_path: Path) -> None:
    with pytest.raises(TagError, match="no such file or directory"):
        read_genre(tmp_path / "none.mp3")
    os.mkfifo(tmp_path / "pipe.mp3")  # opening it would wait for ever
    for path in (tmp_path, tmp_path / "pipe.mp3"):
        with pytest.raises(TagError, match="not a file"):
            read_genre(path)
    refused(tmp_path / "none.mp3", "no such file or directory")
    noise = tmp_path / "noise.mp3"
    noise.write_bytes(np.random.default_rng(2).bytes(5000))
    refused(noise, "the file is damaged, or not what its name says")


@pytest.mark.parametrize("genre", ["", "  ", "two\nlines", "nul\0l"])
def test_what_is_no_genre_name_is_refused(genre: str, track: Callable[[str], Path]) -> None:
    refused(track("mp3"), "is not a genre name", genre)


def test_a_genre_that_id3_would_read_as_a_code_is_refused(track: Callable[[str], Path]) -> None:
    refused(track("mp3"), "does not survive in this format", "17")


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Lay down root's rights, to which no folder is read-only."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("kind", ["mp3", "flac"])
def test_a_read_only_folder_or_file(kind: str, originals: Path) -> None:
    # Not tmp_path: pytest shuts its folders to all other users.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = Path(shutil.copy(originals / f"track.{kind}", folder))
        for folder_mode, file_mode in [(0o555, 0o666), (0o777, 0o444)]:
            path.chmod(file_mode)
            folder.chmod(folder_mode)
            with ordinary_user():
                refused(path, "permission denied")
        folder.chmod(0o777)
        path.chmod(0o666)
        with ordinary_user():
            write_genre(path, "jazz")
        assert read_genre(path) == "jazz"


@pytest.mark.parametrize(
    "interruption", [OSError(28, "No space left on device"), KeyboardInterrupt()]
)
@pytest.mark.parametrize("step", ["os.replace", "os.fsync", "mutagen.id3.ID3.save"])
def test_an_interrupted_write_leaves_no_trace(
    step: str,
    interruption: BaseException,
    track: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = track("mp3")
    before = path.read_bytes()

    def interrupt(*args: object, **kwargs: object) -> None:
        raise interruption

    monkeypatch.setattr(step, interrupt)
    expected = TagError if isinstance(interruption, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        write_genre(path, "jazz")
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def harm_audio(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-100] ^= 0x55
    path.write_bytes(data)


def harm_tag(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"TALB", b"TSSE"))


@pytest.mark.parametrize(("harm", "what"), [(harm_audio, "audio"), (harm_tag, "other tags")])
def test_a_copy_that_lost_something_is_not_put_in_place(
    harm: Callable[[Path], None],
    what: str,
    track: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = track("mp3")
    save = ID3.save

    def save_badly(self: ID3, file: Any, **options: Any) -> None:
        save(self, file, **options)
        harm(Path(file.name))

    monkeypatch.setattr(ID3, "save", save_badly)
    refused(path, f"its {what} would not survive a new genre")


def test_a_change_by_another_program_is_not_lost(
    track: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = track("mp3")
    synchronise = os.fsync

    def meanwhile(handle: int) -> None:
        synchronise(handle)
        path.write_bytes(path.read_bytes() + id3v1(8))

    monkeypatch.setattr(os, "fsync", meanwhile)
    with pytest.raises(TagError, match="another program"):
        write_genre(path, "jazz")
    assert path.read_bytes().endswith(id3v1(8))
    assert list(path.parent.iterdir()) == [path]


def test_a_link_stays_and_its_target_is_written(
    track: Callable[[str], Path], tmp_path: Path
) -> None:
    target = track("flac")
    elsewhere = tmp_path / "links"
    elsewhere.mkdir()
    link = elsewhere / "link.flac"
    link.symlink_to(Path("..") / target.name)
    assert write_genre(link, "jazz").path == link
    assert link.is_symlink()
    assert link.readlink() == Path("..") / target.name
    assert not target.is_symlink()
    assert read_genre(target) == "jazz"
    assert list(elsewhere.iterdir()) == [link]
    link.unlink()
    link.symlink_to(link.name)
    with pytest.raises(TagError, match="too many levels of symbolic links"):
        write_genre(link, "jazz")


def test_the_mode_is_kept_and_the_time_is_not(track: Callable[[str], Path]) -> None:
    path = track("flac")
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 12345, 23456)
    os.utime(path, (1e9, 1e9))
    before = path.stat()
    write_genre(path, "jazz")
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert after.st_mtime > 1.5e9


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
