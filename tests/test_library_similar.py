"""What sounds alike, walks, playlists and duplicates."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import av
import mutagen
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from typer.testing import CliRunner

from clips import RATE, music, write_wav
from genrescope.cli import app
from genrescope.errors import GenrescopeError
from genrescope.examples import write_examples
from genrescope.library.duplicates import Fingerprint, different_bits, duplicates, fingerprint
from genrescope.library.places import LibraryError
from genrescope.library.playlist import playlist_between, write_m3u8
from genrescope.library.rows import Entry
from genrescope.library.scan import scan
from genrescope.library.similar import Space, TrackFilter, genre_of
from genrescope.library.store import Library
from libraries import entry, make_library

pytest.importorskip("lancedb")


def vectors(count: int, *, seed: int = 0) -> NDArray:
    """Embeddings as they come from a network: all far on one side of zero."""
    return 5 + np.random.default_rng(seed).standard_normal((count, 16))


@pytest.fixture
def space(tmp_path: Path) -> Space:
    """60 tracks by 6 artists from 1960 on; one is gone, one silent, one a copy of another."""
    made = [
        entry(
            f"{i:02d}.mp3", each, title=f"Song {i}", artist=f"Artist {i % 6}",
            album=f"Album {i % 12}", year=1960 + i, genre=("jazz", "rock")[i % 2],
        )
        for i, each in enumerate(vectors(60))
    ]  # fmt: skip
    made.append(entry("gone.mp3", vectors(60)[1], deleted=True))
    made.append(entry("silent.mp3", np.zeros(16), genre=None))
    made.append(entry("copy of 05.mp3", vectors(60)[5], content="05.mp3"))
    return Space(make_library(tmp_path / "library", made))


class TestSimilar:
    """genrescope.library.similar"""

    def test_it_is_the_cosine_around_the_mean(self, space: Space) -> None:
        # The copy is a track of the library like any other, so the mean counts it.
        every = np.concatenate([vectors(60), vectors(60)[5:6]]).astype(np.float32)
        centred = every - every.mean(axis=0)
        unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
        wanted = unit[:60] @ unit[7]
        wanted[7] = -2
        found = space.nearest(space.find("/music/07.mp3"), 60)
        similarity = {e.path: value for e, value in found}
        assert [e.path for e, _ in found] == [f"{i:02d}.mp3" for i in np.argsort(-wanted)[:59]]
        assert similarity["08.mp3"] == pytest.approx(wanted[8], abs=1e-5)
        # Raw cosines of the same tracks say next to nothing.
        raw = every / np.linalg.norm(every, axis=1, keepdims=True)
        assert (raw @ raw.T).min() > 0.85
        assert min(similarity.values()) < 0

    def test_neither_itself_nor_copies_nor_what_is_gone_or_silent(self, space: Space) -> None:
        found = {e.path for e, _ in space.nearest(space.find("05.mp3"), 100)}
        assert len(found) == 59
        assert not found & {"05.mp3", "copy of 05.mp3", "gone.mp3", "silent.mp3"}

    def test_each_recording_once(self, space: Space) -> None:
        contents = [e.content for e, _ in space.nearest(space.find("07.mp3"), 100)]
        assert sorted(contents) == [f"{i:02d}.mp3" for i in range(60) if i != 7]
        # What its copy may not be for its tags, the other one may be.
        wanted = TrackFilter(not_artist="Artist 5")
        found = {e.path for e, _ in space.nearest(space.find("07.mp3"), 100, wanted)}
        assert "copy of 05.mp3" in found

    def test_a_genre_as_the_model_calls_it(self, space: Space) -> None:
        assert genre_of(space.library, " JAZZ") == "jazz"
        with pytest.raises(GenrescopeError, match=r"^Foo: no genre .*; it knows jazz, rock$"):
            genre_of(space.library, "Foo")

    def test_deleted_tracks_are_never_meant(self, space: Space) -> None:
        for name in ("gone.mp3", "/music/gone.mp3"):
            with pytest.raises(GenrescopeError, match="gone since the last scan"):
                space.find(name)
        with pytest.raises(GenrescopeError, match="no such track"):
            space.find("GONE")

    @pytest.mark.parametrize(
        ("wanted", "allowed"),
        [
            (TrackFilter(genre="JAZZ"), lambda i: i % 2 == 0),
            (TrackFilter(years=(1970, 1979)), lambda i: 10 <= i < 20),
            (TrackFilter(not_artist="artist 3"), lambda i: i % 6 != 3),
            (TrackFilter(not_album="Album 3"), lambda i: i % 12 != 3),
        ],
    )
    def test_wishes(self, space: Space, wanted: TrackFilter, allowed: object) -> None:
        found = {e.path for e, _ in space.nearest(space.find("59.mp3"), 100, wanted)}
        found.discard("copy of 05.mp3")
        assert found == {f"{i:02d}.mp3" for i in range(59) if allowed(i)}

    def test_long_tracks_are_left_out(self, tmp_path: Path) -> None:
        directions = np.eye(16, dtype=np.float32)
        rows = [entry(f"{n}.mp3", directions[n] + 1, duration=60.0 * (n + 1)) for n in range(6)]
        space = Space(make_library(tmp_path / "library", rows))
        found = space.nearest(space.find("5.mp3"), 9, TrackFilter(max_duration=180.0))
        assert sorted(each.path for each, _ in found) == ["0.mp3", "1.mp3", "2.mp3"]
        tracks, _ = playlist_between(space, "5.mp3", "0.mp3", 4, TrackFilter(max_duration=180.0))
        assert {each.path for each in tracks} == {"5.mp3", "0.mp3", "1.mp3", "2.mp3"}
        with pytest.raises(GenrescopeError, match="only 4 different recordings"):
            playlist_between(space, "5.mp3", "0.mp3", 5, TrackFilter(max_duration=180.0))

    def test_by_name_and_what_is_not_there(self, space: Space) -> None:
        assert space.find("Artist 1 - Song 7").entry.path == "07.mp3"
        for track, why in (
            ("nowhere.mp3", "no such file"),
            ("silent.mp3", "only silence, or no music"),
        ):
            with pytest.raises(GenrescopeError, match=why):
                space.find(track)

    def test_two_of_one_name(self, tmp_path: Path) -> None:
        both = [entry("a.mp3", np.ones(16), root=root, content=root) for root in ("/1", "/2")]
        with pytest.raises(GenrescopeError, match="2 tracks match"):
            Space(make_library(tmp_path / "l", both)).find("a.mp3")

    def test_a_library_of_one_track_and_of_none(self, tmp_path: Path) -> None:
        alone = Space(make_library(tmp_path / "l", [entry("a.mp3", np.ones(16))]))
        assert alone.nearest(alone.find("a.mp3")) == []
        with pytest.raises(LibraryError, match="no track in it"):
            Space(make_library(tmp_path / "l", []))


class TestWalk:
    """genrescope.library.playlist"""

    @settings(
        max_examples=15,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],  # it is only read
    )
    @given(st.integers(2, 60), st.integers(0, 58))
    def test_ends_length_and_no_repeats(self, space: Space, length: int, start: int) -> None:
        walked, steps = playlist_between(space, f"{start:02d}.mp3", "59.mp3", length)
        assert [walked[0].path, walked[-1].path] == [f"{start:02d}.mp3", "59.mp3"]
        assert len({each.content for each in walked}) == length == len(steps) + 1

    def test_on_a_circle_it_goes_round_the_short_way_in_order(self, tmp_path: Path) -> None:
        angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
        points = np.zeros((72, 16))
        points[:, 0], points[:, 1] = np.cos(angles), np.sin(angles)
        circle = Space(
            make_library(tmp_path / "l", [entry(f"{i}", p) for i, p in enumerate(points)])
        )
        walked, steps = playlist_between(circle, "0", "24", 9)
        assert [int(each.path) for each in walked] == list(range(0, 25, 3))
        assert steps == pytest.approx([np.cos(angles[3])] * 8, abs=1e-5)

    def test_it_is_smoother_than_chance(self, space: Space) -> None:
        random = np.random.default_rng(0)
        _, steps = playlist_between(space, "00.mp3", "30.mp3", 10)
        by_chance = []
        for _ in range(50):
            order = [0, *random.permutation([i for i in range(1, 60) if i != 30])[:8], 30]
            pairs = pairwise(order)
            by_chance.append(min(space.directions[i] @ space.directions[j] for i, j in pairs))
        assert min(steps) > max(by_chance)

    def test_what_cannot_be_walked(self, space: Space, tmp_path: Path) -> None:
        outside = write_wav(tmp_path / "x.wav", 3)
        for ends, length, why in (
            (("00.mp3", "01.mp3"), 61, "only 60 different recordings"),
            (("00.mp3", "01.mp3"), 1, "too short"),
            (("05.mp3", "copy of 05.mp3"), 3, "the same recording"),
            (("00.mp3", "gone.mp3"), 3, "gone since the last scan"),
            (("00.mp3", str(outside)), 3, "no bundle|shipped"),
        ):
            with pytest.raises(GenrescopeError, match=why):
                playlist_between(space, *ends, length)

    def test_a_playlist_as_a_file(self, tmp_path: Path) -> None:
        near = entry("a/b.mp3", np.ones(16), root=str(tmp_path), title="Ö\nÖ", artist="Ä")
        far = entry("c.mp3", np.ones(16))
        write_m3u8(tmp_path / "x.m3u8", [near, far])
        assert (tmp_path / "x.m3u8").read_text("utf-8").splitlines() == [
            "#EXTM3U", "#EXTINF:180,Ä - Ö Ö", "a/b.mp3", "#EXTINF:180,c.mp3", "/music/c.mp3",
        ]  # fmt: skip
        with pytest.raises(GenrescopeError, match="can't be written"):
            write_m3u8(tmp_path / "no" / "x.m3u8", [near])


def encode(source: Path, target: Path, codec: str, bit_rate: int) -> None:
    with av.open(str(source)) as read, av.open(str(target), "w") as write:
        stream = write.add_stream(codec, rate=44100, layout="stereo")
        stream.bit_rate = bit_rate
        size = stream.codec_context.frame_size or 1152
        kind = stream.codec_context.format
        resampler = av.AudioResampler(format=kind, layout="stereo", rate=44100, frame_size=size)
        for decoded in read.decode(audio=0):
            for frame in resampler.resample(decoded):
                frame.pts = None
                write.mux(stream.encode(frame))
        write.mux(stream.encode(None))


class TestDuplicates:
    """genrescope.library.duplicates"""

    def test_a_fingerprint_survives_loss_and_a_late_start(self, tmp_path: Path) -> None:
        clip, *_, other = write_examples(tmp_path, seconds=10)
        encode(clip, tmp_path / "a.mp3", "libmp3lame", 64_000)
        samples, rate = soundfile.read(clip)
        soundfile.write(tmp_path / "late.wav", np.concatenate([np.zeros(rate), samples]) / 3, rate)
        one = fingerprint(clip)
        assert one.bits.shape[1] == 32
        assert different_bits(one, fingerprint(tmp_path / "a.mp3")) < 0.2
        assert different_bits(one, fingerprint(tmp_path / "late.wav")) < 0.2
        assert different_bits(one, fingerprint(other)) > 0.4

    @pytest.mark.shared
    def test_real_music_is_told_apart(self, shared: Path, tmp_path: Path) -> None:
        files = sorted((shared / "data" / "gtzan-audio").rglob("*.flac"))[::8]
        originals = [fingerprint(file) for file in files]
        for i, file in enumerate(files):
            codec, ending = (("libmp3lame", "mp3"), ("aac", "m4a"))[i % 2]
            encode(file, tmp_path / f"{i}.{ending}", codec, 96_000)
            assert different_bits(originals[i], fingerprint(tmp_path / f"{i}.{ending}")) < 0.25
            assert all(different_bits(originals[i], other) > 0.45 for other in originals[:i])

    @pytest.mark.slow
    def test_a_shared_first_half_minute_is_not_the_same_song(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        home = tmp_path / "music"
        home.mkdir()
        shared = 0.3 * np.random.default_rng(0).normal(size=28 * RATE)
        for seed in (1, 2):
            own = 0.3 * np.random.default_rng(seed).normal(size=44 * RATE)
            song = np.concatenate([shared, own])
            soundfile.write(home / f"{seed}.wav", song, RATE)
        encode(home / "1.wav", home / "copy.mp3", "libmp3lame", 96_000)
        # A remaster that begins a little later.
        later = np.concatenate([np.zeros(int(1.2 * RATE)), song[: int(-1.2 * RATE)]])
        soundfile.write(home / "later.wav", 0.7 * later, RATE)
        silence = np.zeros(44 * RATE)
        soundfile.write(home / "silent.wav", np.concatenate([shared, silence]), RATE)
        names = sorted(path.name for path in home.iterdir())
        alike, other = np.eye(2, 16) * 5
        entries = [entry(n, alike, root=str(home), duration=72.0, size=len(n)) for n in names]
        entries.append(entry("other.wav", other, root=str(home)))
        library = make_library(tmp_path / "library", entries)
        decoded = []

        def counted(track: Entry, *, offset: float = 0.0) -> Fingerprint:
            decoded.append((track.place, offset))
            return fingerprint(track.file, offset=offset)

        monkeypatch.setattr("genrescope.library.duplicates._fingerprint", counted)
        found, failures = duplicates(Space(library))
        assert failures == []
        assert [{e.path for e in group.entries} for group in found] == [
            {"1.wav", "copy.mp3"},
            {"2.wav", "later.wav"},
        ]
        assert len(decoded) == len(set(decoded)) == 2 * 5
        both = [fingerprint(home / name) for name in ("1.wav", "2.wav")]
        assert different_bits(*both) < 0.1

    def test_what_is_too_short_is_not_the_same(self, tmp_path: Path) -> None:
        one = fingerprint(write_wav(tmp_path / "a.wav", 1))
        assert different_bits(one, one) == 1

    def test_copies_transcodes_and_neither(self, tmp_path: Path) -> None:
        home = tmp_path / "music"
        clips = write_examples(home, seconds=8)
        encode(clips[0], home / "low.mp3", "libmp3lame", 96_000)
        encode(clips[1], home / "low.m4a", "aac", 128_000)
        shutil.copy(clips[2], home / "another name.flac")
        # The same piece, but longer: not the same recording.
        soundfile.write(home / "longer.wav", music(9, seed=3), RATE)
        soundfile.write(home / "shorter.wav", music(8, seed=3), RATE)
        scan([home], library=tmp_path / "library")
        found, failures = duplicates(Space(Library.open(tmp_path / "library")))
        assert failures == []
        assert {(frozenset(e.path for e in g.entries), g.is_exact) for g in found} == {
            (frozenset({clips[0].name, "low.mp3"}), False),
            (frozenset({clips[1].name, "low.m4a"}), False),
            (frozenset({clips[2].name, "another name.flac"}), True),
        }
        # The largest, which is likely the best, comes first.
        assert found[-1].entries[0].size == max(e.size for e in found[-1].entries)

    def test_a_file_that_went_meanwhile_is_named(self, tmp_path: Path) -> None:
        clip = write_examples(tmp_path / "music", seconds=6)[0]
        for rate in (64_000, 128_000):
            encode(clip, tmp_path / "music" / f"{rate}.mp3", "libmp3lame", rate)
        scan([tmp_path / "music"], library=tmp_path / "library")
        clip.unlink()
        found, failures = duplicates(Space(Library.open(tmp_path / "library")))
        assert [len(group.entries) for group in found] == [2]
        assert [Path(failure.path) for failure in failures] == [clip]


@pytest.fixture(scope="module")
def shelved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    home = tmp_path_factory.mktemp("commands")
    write_examples(home / "music", seconds=6)
    shutil.copy(home / "music" / "walking-bass.flac", home / "music" / "twin.flac")
    scan([home / "music"], library=home / "library")
    return home / "music", ["--library", str(home / "library")]


class TestCommands:
    """genrescope similar, playlist, duplicates"""

    def run(self, *words: object, code: int = 0) -> str:
        done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exit_code == code, (done.stdout, done.exception)
        return done.stdout

    def test_similar(self, shelved: tuple[Path, list[str]], tmp_path: Path) -> None:
        home, library = shelved
        inside = self.run("similar", home / "walking-bass.flac", *library, "-f", "json")
        rows = json.loads(inside)
        assert len(rows) == 6
        assert [row["similarity"] for row in rows] == sorted(
            (row["similarity"] for row in rows), reverse=True
        )
        # The very same sound from outside the library is classified, and its copies are left out.
        outside = tmp_path / "outside.flac"
        shutil.copy(home / "walking-bass.flac", outside)
        found = self.run(
            "similar", outside, *library, "-f", "json", "--playlist", tmp_path / "o.m3u8"
        )
        assert [row["path"] for row in json.loads(found)] == [row["path"] for row in rows]
        lines = (tmp_path / "o.m3u8").read_text().splitlines()
        assert lines[1:3] == ["#EXTINF:6,outside.flac", "outside.flac"]
        assert lines[4::2] == [row["path"] for row in rows]
        table = self.run(
            "similar", "twin.flac", *library, "-n", 3, "--playlist", tmp_path / "p.m3u8"
        )
        assert len(table.splitlines()) == 4
        assert len((tmp_path / "p.m3u8").read_text().splitlines()) == 1 + 2 * 4

    def test_wishes_that_cannot_be_met(self, shelved: tuple[Path, list[str]]) -> None:
        _, library = shelved
        self.run("similar", "twin.flac", *library, "--year", "1970-1979", code=1)
        self.run("similar", "twin.flac", *library, "--year", "seventies", code=2)
        self.run("similar", "twin.flac", *library, "--year", "1979-1970", code=2)
        done = CliRunner().invoke(app, ["similar", "twin.flac", *library, "--genre", "Foo"])
        assert isinstance(done.exception, GenrescopeError)
        assert "it knows blues, classical, " in str(done.exception)

    def test_a_wish_that_its_tags_do_not_tell_is_said(
        self, shelved: tuple[Path, list[str]], tmp_path: Path
    ) -> None:
        home, library = shelved
        outside = tmp_path / "outside.flac"
        shutil.copy(home / "walking-bass.flac", outside)
        wishes = ["--not-same-artist", "--not-same-album"]
        for track in ("twin.flac", str(outside)):
            done = CliRunner().invoke(app, ["similar", track, *library, *wishes])
            assert done.exit_code == 0
            assert done.stderr.splitlines() == [
                f"{track}: no {tag} in its tags, --not-same-{tag} leaves nothing out for it"
                for tag in ("artist", "album")
            ]
        tags = mutagen.File(outside)
        tags["artist"] = "Somebody"
        tags.save()
        done = CliRunner().invoke(app, ["similar", str(outside), *library, wishes[0]])
        assert done.stderr == ""

    def test_playlist(self, shelved: tuple[Path, list[str]], tmp_path: Path) -> None:
        _, library = shelved
        ends = ["--from", "twin.flac", "--to", "palm-muted-guitars.flac"]
        out = tmp_path / "walk.m3u8"
        shown = self.run("playlist", *ends, "--length", 4, *library, "-f", "json", "--out", out)
        rows = json.loads(shown)
        assert [row["similarity"] is None for row in rows] == [True, False, False, False]
        files = [line for line in out.read_text().splitlines() if not line.startswith("#")]
        assert files == [row["path"] for row in rows]

    def test_duplicates(self, shelved: tuple[Path, list[str]]) -> None:
        _, library = shelved
        (group,) = json.loads(self.run("duplicates", *library, "-f", "json"))
        assert group["exact"]
        assert [Path(row["path"]).name for row in group["tracks"]] == [
            "twin.flac", "walking-bass.flac",
        ]  # fmt: skip
        assert "2 files, the same audio" in self.run("duplicates", *library)
