"""Which files are audio: the list of kinds, the search of folders, and the door to FFmpeg."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import av
import numpy as np
import pytest
from av.codec import Codec
from av.format import ContainerFormat

from clips import music, write_wav
from genrescope import Classifier
from genrescope.audio import AUDIO_SUFFIXES, AudioError, info, load
from genrescope.audio.files import PassedOver, find_audio
from genrescope.audio.kinds import DEMUXERS, KINDS, is_text
from genrescope.audio.packets import coded_audio, open_container

SOURCE = Path(__file__).resolve().parents[1] / "src"


def names(folder: Path) -> list[str]:
    found = find_audio(folder)
    assert found.errors == []
    return [path.relative_to(folder).as_posix() for path in found.files]


def touched(folder: Path, *paths: str) -> Path:
    for path in paths:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"\0" + path.encode())
    return folder


class TestSearch:
    """find_audio"""

    def test_names_with_leading_dots_are_names(self, tmp_path: Path) -> None:
        album = ["...And Justice/1.flac", "...Baby.wav", ".hidden/x.mp3", ".mp3.mp3", "..2.ogg"]
        album.append(".mp3")
        touched(tmp_path, *album)
        assert names(tmp_path) == sorted(album)

    @pytest.mark.parametrize(
        "system",
        [
            ".git", ".svn", ".hg", "@eaDir", ".Trash", ".Trash-1000", ".Trashes", "$RECYCLE.BIN",
            "System Volume Information", ".Spotlight-V100", ".fseventsd", "lost+found", "#recycle",
            "@Recycle", "__MACOSX", ".AppleDouble", ".TemporaryItems", "#snapshot",
        ],
    )  # fmt: skip
    def test_system_folders_are_counted_and_passed_over(self, tmp_path: Path, system: str) -> None:
        touched(tmp_path, "a.mp3", f"{system}/b.mp3", f"deep/{system}/more/c.mp3")
        found = find_audio(tmp_path)
        assert [path.name for path in found.files] == ["a.mp3"]
        assert found.passed_over == PassedOver(folders=2)
        assert "2 system folders" in str(found.passed_over)

    def test_files_of_the_system_are_counted(self, tmp_path: Path) -> None:
        touched(tmp_path, "a.mp3", "._a.mp3", "._b.txt", ".genrescope-x1.mp3", ".DS_Store")
        found = find_audio(tmp_path)
        assert [path.name for path in found.files] == ["a.mp3"]
        assert found.passed_over == PassedOver(files=2)

    def test_linked_folders_are_followed(self, tmp_path: Path) -> None:
        home, disk = tmp_path / "home", touched(tmp_path / "disk", "x/1.mp3", "x/2.mp3")
        touched(home, "a.mp3")
        (home / "link").symlink_to(disk)
        (home / "relative").symlink_to("../disk/x", target_is_directory=True)
        found = find_audio(home)
        assert [p.relative_to(home).as_posix() for p in found.files] == [
            "a.mp3", "link/x/1.mp3", "link/x/2.mp3",
        ]  # fmt: skip
        assert found.passed_over.repeated == 1

    def test_loops_end(self, tmp_path: Path) -> None:
        touched(tmp_path, "a/1.mp3", "b/2.mp3")
        (tmp_path / "a" / "up").symlink_to(tmp_path)
        (tmp_path / "a" / "self").symlink_to(".")
        (tmp_path / "b" / "a").symlink_to(tmp_path / "a")
        (tmp_path / "round").symlink_to("round")
        found = find_audio(tmp_path)
        assert [p.relative_to(tmp_path).as_posix() for p in found.files] == ["a/1.mp3", "b/2.mp3"]

    def test_a_linked_file_is_given_by_its_own_name(self, tmp_path: Path) -> None:
        touched(tmp_path, "z/song.mp3")
        (tmp_path / "a.mp3").symlink_to("z/song.mp3")
        (tmp_path / "b.mp3").symlink_to("a.mp3")
        found = find_audio(tmp_path)
        assert [path.name for path in found.files] == ["song.mp3"]
        assert found.passed_over.repeated == 2

    def test_hard_links_are_one_file(self, tmp_path: Path) -> None:
        touched(tmp_path, "a.mp3", "copy.mp3")
        (tmp_path / "copy.mp3").write_bytes((tmp_path / "a.mp3").read_bytes())
        (tmp_path / "sub").mkdir()
        os.link(tmp_path / "a.mp3", tmp_path / "sub" / "b.mp3")
        (tmp_path / "c.mp3").symlink_to("sub/b.mp3")
        found = find_audio(tmp_path)
        assert [path.name for path in found.files] == ["a.mp3", "copy.mp3"]
        assert found.passed_over == PassedOver(repeated=2)
        assert str(found.passed_over) == (
            "passed over: 2 links to what was found already "
            f"({tmp_path / 'sub' / 'b.mp3'}, {tmp_path / 'c.mp3'})"
        )
        assert len(find_audio(tmp_path, hard_links=True).files) == 3

    def test_the_first_names_are_said(self, tmp_path: Path) -> None:
        touched(tmp_path, "a.mp3", ".git/x.mp3", *(f"._{n}.mp3" for n in range(5)))
        text = str(find_audio(tmp_path).passed_over)
        named = ", ".join(str(tmp_path / f"._{n}.mp3") for n in range(3))
        assert text == (
            f"passed over: 5 system files ({named}, ...), 1 system folder ({tmp_path / '.git'})"
        )

    def test_a_broken_link_is_an_error(self, tmp_path: Path) -> None:
        touched(tmp_path, "a.mp3")
        (tmp_path / "gone.mp3").symlink_to("nowhere.mp3")
        (tmp_path / "gone.txt").symlink_to("nowhere.txt")
        (error,) = find_audio(tmp_path).errors
        assert str(error) == f"{tmp_path / 'gone.mp3'}: a link to what does not exist"

    def test_shared_suffixes_go_by_content(self, tmp_path: Path) -> None:
        (tmp_path / "film.ts").write_bytes(b"G@\0\x10" + bytes(400))
        (tmp_path / "code.ts").write_text("import { Music } from './music'\n")
        (tmp_path / "umlaut.ts").write_text(
            "// für Elise, and so on and so on until byte 64 is äöü\n"
        )
        (tmp_path / "tree.dts").write_text("/dts-v1/;\n")
        assert names(tmp_path) == ["film.ts"]

    def test_pipes_and_devices_are_not_audio(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.mp3")
        (tmp_path / "folder.mp3").mkdir()
        touched(tmp_path, "folder.mp3/inside.mp3")
        assert names(tmp_path) == ["folder.mp3/inside.mp3"]


def test_text_is_told_from_audio() -> None:
    for text in (b"", b"hello\n", "für".encode(), "für".encode()[:2], b"\xef\xbb\xbfx"):
        assert is_text(text)
    for binary in (b"G@\0\x10", b"\xff\xfb\x90", b"ID3\x04\0", b".ra\xfd\0", b"\x7f\xfe\x80\x01"):
        assert not is_text(binary)


class TestKinds:
    """The list is what the decoders here can do."""

    def test_ffmpeg_has_every_demuxer(self) -> None:
        for name in DEMUXERS:
            assert ContainerFormat(name, "r").is_input, name

    def test_it_can_decode_them(self) -> None:
        codecs = [
            *("ac3", "eac3", "dca", "truehd", "mlp", "ape", "mpc7", "mpc8", "dsd_lsbf", "tak"),
            *("shorten", "cook", "ralf", "real_144", "real_288", "sipr", "atrac3", "atrac3plus"),
            *("speex", "amrnb", "amrwb", "wmapro", "wmalossless", "twinvq", "qoa", "nellymoser"),
            *("mp1", "mp2", "mp3", "aac", "alac", "flac", "opus", "vorbis", "wavpack", "tta"),
        ]
        for name in codecs:
            assert Codec(name, "r").type == "audio"

    def test_no_format_that_names_other_files(self) -> None:
        scripts = {"concat", "hls", "dash", "sdp", "rtsp", "imf", "image2", "tee", "ffmetadata"}
        assert not scripts & DEMUXERS
        playlists = {".m3u", ".m3u8", ".pls", ".cue", ".ram", ".apl", ".asx", ".xspf", ".sdp"}
        assert not playlists & AUDIO_SUFFIXES

    def test_no_suffix_is_listed_twice(self) -> None:
        suffixes = [suffix for kind in KINDS for suffix in kind.suffixes]
        assert len(suffixes) == len(set(suffixes))
        asked = ".dsf .ape .mpc .ac3 .eac3 .dts .thd .avi .ts .ra .spx .3gp .mov .asf .m4r"
        assert set(asked.split()) <= set(suffixes)


# What can be written here in order to be read: suffix, FFmpeg's muxer, codec.
WRITTEN = [
    (".ac3", "ac3", "ac3"),
    (".eac3", "eac3", "eac3"),
    (".avi", "avi", "libmp3lame"),
    (".ts", "mpegts", "mp2"),
    (".m2ts", "mpegts", "aac"),
    (".mpg", "mpeg", "mp2"),
    (".mov", "mov", "pcm_s16le"),
    (".3gp", "3gp", "aac"),
    (".m4r", "ipod", "aac"),
    (".loas", "latm", "aac"),
    (".asf", "asf", "wmav2"),
    (".ra", "rm", "ac3"),
    (".flv", "flv", "libmp3lame"),
    (".voc", "voc", "pcm_u8"),
    (".ogx", "ogg", "flac"),
    (".weba", "webm", "libopus"),
]


@pytest.mark.parametrize(("suffix", "muxer", "codec"), WRITTEN)
def test_a_kind_is_found_and_decoded(tmp_path: Path, suffix: str, muxer: str, codec: str) -> None:
    rate = 48000 if codec == "libopus" else 44100
    sound = 0.5 * music(7, rate=rate)
    path = tmp_path / f"a{suffix}"
    with av.open(str(path), "w", format=muxer) as container:
        stream = container.add_stream(codec, rate=rate, layout="stereo")
        if "pcm" not in codec and codec != "flac":
            stream.bit_rate = 192_000
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(np.stack([sound, sound])), format="fltp", layout="stereo"
        )
        frame.sample_rate = rate
        resampler = av.AudioResampler(
            format=stream.codec_context.format, layout="stereo", rate=rate,
            frame_size=stream.codec_context.frame_size or 4096,
        )  # fmt: skip
        for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux([packet for packet in stream.encode(piece) if packet.size])
    assert names(tmp_path) == [path.name]
    warnings: list[str] = []
    whole = load(path, warnings=warnings)
    assert warnings == []
    assert whole.duration == pytest.approx(7, abs=0.15)
    assert info(path).duration == pytest.approx(7, abs=0.3)
    part = load(path, offset=6.0, duration=0.5)
    np.testing.assert_allclose(part.samples, whole.samples[6 * 22050 :][: 22050 // 2], atol=2e-3)
    assert Classifier.load().predict(path).genre is not None


class TestDoor:
    """Playlists and scripts in disguise make nothing open what they name."""

    SCRIPTS = (
        "ffconcat version 1.0\nfile {song}\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:3,\n{song}\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
        "<?xml version='1.0'?><MPD><Period><BaseURL>{song}</BaseURL></Period></MPD>",
        ";FFMETADATA1\ntitle=x\n",
    )

    @pytest.mark.parametrize("script", SCRIPTS)
    @pytest.mark.parametrize("suffix", [".mp3", ".m3u8", ".ts", ".flac"])
    def test_no_door_opens_what_a_script_names(
        self, tmp_path: Path, script: str, suffix: str
    ) -> None:
        song = write_wav(tmp_path / "song.wav")
        path = tmp_path / f"list{suffix}"
        path.write_text(script.format(song=song.name))
        with pytest.raises(AudioError, match="not audio"):
            load(path)
        with pytest.raises(AudioError, match="no audio in it"):
            list(coded_audio(path))
        with path.open("rb", buffering=0) as file, pytest.raises(av.FFmpegError):
            open_container(file)

    @pytest.mark.needs("library")
    def test_libraries_and_tags_use_the_door(self, tmp_path: Path) -> None:
        from genrescope.errors import TagError
        from genrescope.library.content import content_of
        from genrescope.library.tags import write_genre

        song = write_wav(tmp_path / "song.wav")
        path = tmp_path / "list.mp3"
        path.write_text(self.SCRIPTS[0].format(song=song.name))
        assert content_of(path) != content_of(song)
        before = path.read_bytes()
        with pytest.raises(TagError):
            write_genre(path, "Jazz")
        assert path.read_bytes() == before

    def test_nothing_else_opens_containers(self) -> None:
        """A walk through the source, for `av.open` and other ways around the door."""
        found = []
        for file in SOURCE.rglob("*.py"):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and ast.unparse(node) in (
                    "av.open", "av.container.open", "av.container.InputContainer",
                ):  # fmt: skip
                    found.append(file.name)
                if isinstance(node, ast.ImportFrom) and re.match(r"av(\.|$)", node.module or ""):
                    found += [file.name for alias in node.names if alias.name in ("open", "*")]
        assert found == ["packets.py"]
