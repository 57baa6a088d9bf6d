"""Links, missing folders and deleted tracks: what is one file, and what answers to a name."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from clips import RATE, music, write_wav
from genrescope.cli import app
from genrescope.errors import FileError, GenrescopeError
from genrescope.library.duplicates import different_bits, duplicates, fingerprint
from genrescope.library.maintenance import relocate
from genrescope.library.map import Method, draw_map
from genrescope.library.playlist import playlist_between, write_m3u8
from genrescope.library.queries import find_track
from genrescope.library.recommend import recommend
from genrescope.library.scan import Report, scan
from genrescope.library.similar import Space
from genrescope.library.store import Library
from libraries import entry, make_library

pytest.importorskip("lancedb", reason="libraries need the extra 'library'")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Three different tracks."""
    (tmp_path / "music" / "deep").mkdir(parents=True)
    for number, name in enumerate(("a.wav", "b.wav", "deep/c.wav")):
        write_wav(tmp_path / "music" / name, 3, seed=number, pitch=200 + 50 * number)
    return tmp_path / "music"


def counts(report: Report) -> dict[str, int]:
    return {what: count for what, count in asdict(report.counts).items() if count}


def paths(library: Library) -> list[str]:
    return sorted(each.path for each in library.entries() if not each.deleted)


def run(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, (done.output, done.exception)
    return done.output


class TestOneFile:
    """Symbolic and hard links to one file are one track."""

    def test_a_scan_takes_it_once(self, home: Path, tmp_path: Path) -> None:
        os.link(home / "a.wav", home / "hard.wav")
        (home / "soft.wav").symlink_to("b.wav")
        (home / "circle").symlink_to(home)
        report = scan([home], library=tmp_path / "l")
        assert paths(report.library) == ["a.wav", "b.wav", "deep/c.wav"]
        assert report.passed_over.repeated == 3
        assert duplicates(Space(report.library)) == ([], [])
        assert counts(scan([home], library=tmp_path / "l")) == {"unchanged": 3}

    def test_every_name_of_it_is_understood(self, home: Path, tmp_path: Path) -> None:
        scan([home], library=tmp_path / "l")
        (tmp_path / "else").mkdir()
        os.link(home / "a.wav", tmp_path / "else" / "hard.wav")
        (tmp_path / "else" / "soft.wav").symlink_to(home / "a.wav")
        (tmp_path / "else" / "chain.wav").symlink_to("soft.wav")
        library = Library.open(tmp_path / "l")
        for name in ("hard.wav", "soft.wav", "chain.wav"):
            found = find_track(library, tmp_path / "else" / name)
            assert found is not None
            assert found.path == "a.wav"

    def test_linked_folders_are_followed(self, home: Path, tmp_path: Path) -> None:
        (tmp_path / "disk").mkdir()
        write_wav(tmp_path / "disk" / "far.wav", 3, seed=9, pitch=500)
        (home / "link").symlink_to(tmp_path / "disk")
        assert counts(scan([home], library=tmp_path / "l")) == {"classified": 4}
        found = find_track(Library.open(tmp_path / "l"), tmp_path / "disk" / "far.wav")
        assert found is not None
        assert found.path == "link/far.wav"

    def test_a_folder_that_is_scanned_itself_gives_its_files_their_names(
        self, home: Path, tmp_path: Path
    ) -> None:
        (home / "own").mkdir()
        (home / "own" / "to-deep").symlink_to(home / "deep")
        report = scan([home / "own", home / "deep"], library=tmp_path / "l")
        assert [entry.file for entry in report.library.entries()] == [home / "deep" / "c.wav"]

    def test_links_that_an_older_scan_took(self, home: Path, tmp_path: Path) -> None:
        """As after `sort --link` into a scanned folder, with version 0.1."""
        library = scan([home], library=tmp_path / "l").library
        one = next(each for each in library.entries() if each.path == "a.wav")
        (home / "Jazz").mkdir()
        (home / "Jazz" / "a.wav").symlink_to(home / "a.wav")
        os.link(home / "b.wav", home / "Jazz" / "b.wav")
        two = next(each for each in library.entries() if each.path == "b.wav")
        library.put([replace(each, path=f"Jazz/{each.path}", inode=None) for each in (one, two)])
        space = Space(Library.open(tmp_path / "l"))
        assert duplicates(space) == ([], [])
        assert len(space.entries) == 3
        # The next scan forgets them: nothing was deleted.
        assert counts(scan([home], library=tmp_path / "l")) == {"unchanged": 3}
        assert len(Library.open(tmp_path / "l").entries()) == 3

    def test_copies_are_duplicates_and_links_to_them_are_not(
        self, home: Path, tmp_path: Path
    ) -> None:
        shutil.copy(home / "a.wav", home / "copy.wav")
        os.link(home / "copy.wav", home / "hard.wav")
        library = scan([home], library=tmp_path / "l").library
        (group,), _ = duplicates(Space(library))
        assert [each.path for each in group.entries] == ["a.wav", "copy.wav"]


class TestMissing:
    """Folders that are gone, or whose disk is not mounted."""

    @pytest.fixture
    def moved(self, home: Path, tmp_path: Path) -> Path:
        """A library of `music` and of its copy, after `rm -r music`."""
        shutil.copytree(home, tmp_path / "new")
        scan([home, tmp_path / "new"], library=tmp_path / "l")
        shutil.rmtree(home)
        return tmp_path / "l"

    def test_living_copies_are_preferred(self, moved: Path, home: Path, tmp_path: Path) -> None:
        library = Library.open(moved)
        space = Space(library)
        new = str(tmp_path / "new")
        assert {each.root for each in space.entries} == {new}
        assert space.find("a.wav").entry.root == new
        assert {each.root for each, _ in space.nearest(space.find("a.wav"))} == {new}
        assert {each.root for each in playlist_between(space, "a.wav", "c.wav", 3)[0]} == {new}
        (found, *_) = recommend(space, [space.find("a.wav")])
        assert found.entry.root == new
        assert duplicates(space) == ([], [])
        assert {each.root for each in draw_map(library, Method.pca).entries} == {new}

    def test_a_scan_of_it_marks_its_rows_after_asking(
        self, moved: Path, home: Path, tmp_path: Path
    ) -> None:
        asked: list[tuple[Path, int]] = []

        def answer(folder: Path, count: int) -> bool:
            asked.append((folder, count))
            return len(asked) > 1

        with pytest.raises(FileError, match="the library has 3 tracks from it"):
            scan([home], library=moved, is_gone=answer)
        assert counts(scan([home], library=moved, is_gone=answer)) == {"deleted": 3}
        assert asked == [(home, 3)] * 2
        rows = Library.open(moved).entries()
        assert {each.root for each in rows if each.deleted} == {str(home)}
        with pytest.raises(FileError, match="no such folder"):  # nothing is left to mark
            scan([home], library=moved, is_gone=answer)

    def test_the_command_asks(self, moved: Path, home: Path) -> None:
        done = CliRunner().invoke(app, ["scan", str(home), "-l", str(moved)])
        assert "3 tracks from it" in str(done.exception)
        assert "3 deleted" in run("scan", home, "-l", moved, "--yes")

    def test_an_empty_mount_point_is_not_taken_for_deleted_music(
        self, home: Path, tmp_path: Path
    ) -> None:
        scan([home], library=tmp_path / "l")
        shutil.rmtree(home)
        home.mkdir()
        report = scan([home], library=tmp_path / "l")
        assert counts(report) == {"failed": 1}
        assert "the library keeps 3 tracks from it" in str(report.failures[0])
        assert len(paths(report.library)) == 3
        report = scan([home], library=tmp_path / "l", is_gone=lambda *_: True)
        assert counts(report) == {"deleted": 3}

    def test_a_folder_without_music(self, tmp_path: Path) -> None:
        (tmp_path / "m" / ".git").mkdir(parents=True)
        (tmp_path / "m" / "._a.wav").touch()
        with pytest.raises(FileError, match=r"no music files .* 1 system file .* 1 system folder"):
            scan([tmp_path / "m"], library=tmp_path / "l")

    def test_names_with_dots_are_music(self, tmp_path: Path) -> None:
        (tmp_path / "m" / "...And Justice").mkdir(parents=True)
        for number, name in enumerate(("...And Justice/1.wav", "...Baby.wav", ".hidden.wav")):
            write_wav(tmp_path / "m" / name, 3, seed=number)
        (tmp_path / "m" / "._Baby.wav").write_bytes(b"x")
        report = scan([tmp_path / "m"], library=tmp_path / "l")
        assert counts(report) == {"classified": 3}
        assert report.passed_over.files == 1


class TestNames:
    """genrescope.library.queries"""

    @pytest.fixture
    def library(self, tmp_path: Path) -> Library:
        made = [
            entry("rock/01 Jóga.mp3", np.ones(16), title="Jóga", artist="Björk", album="Homogenic"),
            entry("rock/02 Bachelorette.mp3", np.ones(16), title="Bachelorette", artist="Björk"),
            entry("jazz/So What.flac", np.ones(16)),
            entry("pop/x.mp3", np.ones(16), title="Don’t “Stop” – Live", artist="Guns N' Roses"),
            entry("old/Gone.mp3", np.ones(16), title="Gone", artist="Nobody", deleted=True),
            entry("old/So What.flac", np.ones(16), content="x", deleted=True),
        ]
        return make_library(tmp_path / "l", made)

    @pytest.mark.parametrize(
        ("name", "path"),
        [
            ("rock/01 Jóga.mp3", "rock/01 Jóga.mp3"),
            ("Björk - Jóga", "rock/01 Jóga.mp3"),
            ("BJÖRK - JOGA", "rock/01 Jóga.mp3"),
            ("Jo\u0301ga", "rock/01 Jóga.mp3"),  # as macOS composes it
            ("joga", "rock/01 Jóga.mp3"),
            ("so what.flac", "jazz/So What.flac"),
            ("so what", "jazz/So What.flac"),
            ("bachelor", "rock/02 Bachelorette.mp3"),
            ("homogenic joga", "rock/01 Jóga.mp3"),
            ('don\'t "stop" - live', "pop/x.mp3"),
            ("guns n’ roses - DON‘T", "pop/x.mp3"),
            ("/music/jazz/So What.flac", "jazz/So What.flac"),
        ],
    )
    def test_the_track_that_is_meant(self, library: Library, name: str, path: str) -> None:
        found = find_track(library, name)
        assert found is not None
        assert found.path == path

    @pytest.mark.parametrize(
        ("name", "why"),
        [
            ("björk", r"2 tracks match, name one: /music/rock/01 .*; /music/rock/02"),
            ("old/Gone.mp3", "gone since the last scan"),
            ("/music/old/Gone.mp3", "gone since the last scan"),
            ("Nobody - Gone", "no such file, and no such track"),
            ("Bachelorete", "did you mean 'Bachelorette'"),
            ("so wat.flac", "did you mean 'So What.flac'"),
            ("  ", "no such file"),
            ("'; DROP TABLE tracks", "no such file"),
        ],
    )
    def test_what_is_not_meant(self, library: Library, name: str, why: str) -> None:
        with pytest.raises(GenrescopeError, match=why):
            find_track(library, name)

    def test_of_copies_of_one_recording_the_first_is_meant(self, tmp_path: Path) -> None:
        copies = [
            entry(path, np.ones(16), title="One", content="same") for path in ("b/1.mp3", "a/1.mp3")
        ]
        found = find_track(make_library(tmp_path / "l", copies), "one")
        assert found is not None
        assert found.path == "a/1.mp3"

    def test_a_name_that_is_no_valid_text(self, library: Library, tmp_path: Path) -> None:
        odd = tmp_path / "bad\udcff.wav"
        with pytest.raises(GenrescopeError, match="no such file"):
            find_track(library, odd)
        odd.write_bytes(b"x")
        assert find_track(library, odd) is None

    def test_deleted_rows_make_no_living_one_ambiguous(self, home: Path, tmp_path: Path) -> None:
        scan([home], library=tmp_path / "l")
        (home / "a.wav").rename(home / "deep" / "a.wav")
        write_wav(home / "b.wav", 3, seed=77)
        (home / "deep" / "c.wav").unlink()
        library = scan([home], library=tmp_path / "l").library
        library.put([replace(e, deleted=True, root="/gone") for e in library.entries()])
        options = ("-l", tmp_path / "l", "-f", "json")
        for command in (("similar", "a.wav"), ("recommend", "A")):
            found = run(*command, *options)
            assert "b.wav" in found
        found = run("playlist", "--from", "a.wav", "--to", "b", "--length", "2", *options)
        assert "deep/a.wav" in found
        done = CliRunner().invoke(app, ["similar", "c.wav", "-l", str(tmp_path / "l")])
        assert "no such track" in str(done.exception)


class TestSilence:
    """Silence does not make recordings alike."""

    def write(self, file: Path, seed: int, *, silence: float, noise: float = 0.0) -> Path:
        lead = noise * np.random.default_rng(seed).standard_normal(int(silence * RATE))
        sound = music(30 - silence, seed=seed, pitch=150 + 90 * seed)
        soundfile.write(file, np.concatenate([lead, sound]), RATE)
        return file

    @pytest.mark.parametrize("silence", [10.0, 20.0, 25.0])
    @pytest.mark.parametrize("noise", [0.0, 1 / 32768])
    def test_different_songs_behind_silence_differ(
        self, tmp_path: Path, silence: float, noise: float
    ) -> None:
        one, other = (
            fingerprint(self.write(tmp_path / f"{i}.wav", i, silence=silence, noise=noise))
            for i in (1, 2)
        )
        assert different_bits(one, other) > 0.4
        assert different_bits(one, one) == 0

    @pytest.mark.parametrize("lead", ["applause", "hum"])
    def test_different_songs_behind_the_same_lead_differ(self, tmp_path: Path, lead: str) -> None:
        if lead == "applause":
            start = 0.1 * np.random.default_rng(9).standard_normal(15 * RATE)
        else:
            start = 5e-4 * np.sin(2 * np.pi * 50 * np.arange(20 * RATE) / RATE)
        songs = [music(30 - len(start) / RATE, seed=seed, pitch=150 + 90 * seed) for seed in (1, 2)]
        found = []
        for number, song in enumerate(songs):
            soundfile.write(tmp_path / f"{number}.wav", np.concatenate([start, song]), RATE)
            found.append(fingerprint(tmp_path / f"{number}.wav"))
        assert different_bits(*found) > 0.4

    def test_too_little_sound_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "m").mkdir()
        for name, gain in (("a", 1.0), ("b", 0.5)):
            samples = np.concatenate([np.zeros(29 * RATE), music(20, seed=1)])
            soundfile.write(tmp_path / "m" / f"{name}.wav", gain * samples, RATE)
        for seed in range(3):
            write_wav(tmp_path / "m" / f"{seed}.wav", 10, seed=seed, pitch=200 + 90 * seed)
        library = scan([tmp_path / "m"], library=tmp_path / "l").library
        found, failures = duplicates(Space(library))
        assert found == []
        assert any("too little sound" in failure.reason for failure in failures)


class TestPlaylists:
    """M3U8 files that are read back."""

    def test_odd_names(self, tmp_path: Path) -> None:
        names = ["#1.wav", "#folder/x.wav", "-y.wav", "ü #2.wav", "a\nb.wav", "c\rd.wav", "z.wav"]
        names += ["  z.wav", "http:x.wav", "C:y.wav", "a b:c.wav"]
        tracks = []
        for name in names:
            file = tmp_path / "m" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(name)
            tracks.append(entry(name, np.ones(16), root=str(tmp_path / "m"), title="T\nT"))
        left_out = write_m3u8(tmp_path / "m" / "list.m3u8", tracks)
        assert [file.name for file in left_out] == ["a\nb.wav", "c\rd.wav"]
        text = (tmp_path / "m" / "list.m3u8").read_text("utf-8")
        read = [line for line in text.splitlines() if not line.startswith("#")]
        read = [line.lstrip() for line in read]  # as players do
        assert [(tmp_path / "m" / line).read_text() for line in read] == [*names[:4], *names[6:]]
        assert read[-3:] == ["./http:x.wav", "./C:y.wav", "a b:c.wav"]
        with pytest.raises(FileError, match="M3U8"):
            write_m3u8(tmp_path / "m" / "list.PLS", tracks)
        # From elsewhere they are named in full.
        write_m3u8(tmp_path / "list.m3u8", tracks[:1])
        assert (tmp_path / "list.m3u8").read_text().splitlines()[-1] == "m/#1.wav"

    def test_what_is_left_out_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "m").mkdir()
        for number, name in enumerate(("a.wav", "b\nb.wav")):
            write_wav(tmp_path / "m" / name, 3, seed=number)
        scan([tmp_path / "m"], library=tmp_path / "l")
        words = ["similar", str(tmp_path / "m" / "a.wav"), "-l", str(tmp_path / "l")]
        done = CliRunner().invoke(app, [*words, "--playlist", str(tmp_path / "p.m3u8")])
        assert done.exit_code == 0
        assert "line break" in done.stderr
        assert (tmp_path / "p.m3u8").read_text().splitlines()[1:] == ["#EXTINF:3,a.wav", "m/a.wav"]


class TestLibraryCommand:
    """genrescope library"""

    def test_info(self, home: Path, tmp_path: Path) -> None:
        soundfile.write(home / "silent.wav", np.zeros(3 * RATE), RATE)
        (home / "broken.wav").write_bytes(b"RIFF")
        noise = np.random.default_rng(0).standard_normal(3 * RATE) / 10
        soundfile.write(home / "noise.wav", noise, RATE)
        scan([home], library=tmp_path / "l")
        (home / "a.wav").unlink()
        scan([home], library=tmp_path / "l")
        fields = json.loads(run("library", "info", "-l", tmp_path / "l", "-f", "json"))
        counts = [fields[name] for name in ("tracks", "deleted", "failed", "silent", "no_music")]
        assert counts == [6, 1, 1, 1, 1]
        assert "1 silent, 1 no music" in run("library", "info", "-l", tmp_path / "l")
        assert fields["roots"] == [{"path": str(home), "tracks": 6, "deleted": 1, "exists": True}]
        shutil.rmtree(home)
        assert "the folder is missing" in run("library", "info", "-l", tmp_path / "l")

    def test_forget(self, home: Path, tmp_path: Path) -> None:
        library = ["-l", tmp_path / "l"]
        scan([home], library=tmp_path / "l")
        (home / "a.wav").unlink()
        scan([home], library=tmp_path / "l")
        run("library", "forget", *library, code=2)
        run("library", "forget", "--deleted", *library, code=2)  # nobody to ask
        assert "1 forgotten" in run("library", "forget", "--deleted", "--yes", *library)
        assert "1 forgotten" in run("library", "forget", home / "deep", "--yes", *library)
        assert [each.path for each in Library.open(tmp_path / "l").entries()] == ["b.wav"]
        done = CliRunner().invoke(app, ["library", "forget", "/nowhere", "-l", str(tmp_path / "l")])
        assert "no track of the library is there" in str(done.exception)
        assert (home / "deep" / "c.wav").exists()

    def test_relocate(self, home: Path, tmp_path: Path) -> None:
        library = ["-l", tmp_path / "l"]
        before = {e.path: e for e in scan([home], library=tmp_path / "l").library.entries()}
        home.rename(tmp_path / "there")
        (tmp_path / "there" / "b.wav").unlink()
        said = run("library", "relocate", home, tmp_path / "there", *library)
        assert said == "3 relocated, 1 of them missing\n"
        after = {e.path: e for e in Library.open(tmp_path / "l").entries()}
        assert {e.root for e in after.values()} == {str(tmp_path / "there")}
        assert [path for path, e in after.items() if e.deleted] == ["b.wav"]
        assert np.array_equal(after["a.wav"].embedding, before["a.wav"].embedding)
        assert counts(scan([tmp_path / "there"], library=tmp_path / "l")) == {"unchanged": 2}
        # A folder within a scanned one, which stays within it.
        (tmp_path / "there" / "deep").rename(tmp_path / "there" / "deeper")
        run("library", "relocate", tmp_path / "there" / "deep", tmp_path / "there" / "deeper",
            *library)  # fmt: skip
        assert "deeper/c.wav" in paths(Library.open(tmp_path / "l"))
        for old, new in ((tmp_path / "x", home.parent), (tmp_path / "there", tmp_path / "l")):
            done = CliRunner().invoke(
                app, ["library", "relocate", str(old), str(new), "-l", str(tmp_path / "l")]
            )
            assert isinstance(done.exception, FileError)

    def test_relocate_onto_or_into_itself_loses_nothing(self, home: Path, tmp_path: Path) -> None:
        library = scan([home], library=tmp_path / "l").library
        names = paths(library)
        (tmp_path / "link").symlink_to(home)
        for old in (home, tmp_path / "link"):
            with pytest.raises(FileError, match="by this path already"):
                relocate(library, old, home)
        assert paths(library) == names
        # The whole content moves a folder down, where one of its own folders was.
        (home / "deep").rename(tmp_path / "x")
        (home / "deep").mkdir()
        (tmp_path / "x").rename(home / "deep" / "deep")
        for name in ("a.wav", "b.wav"):
            (home / name).rename(home / "deep" / name)
        assert relocate(library, home, home / "deep") == (3, 0)
        assert counts(scan([home], library=tmp_path / "l")) == {"unchanged": 3}

    def test_verify(self, home: Path, tmp_path: Path) -> None:
        library = ["-l", tmp_path / "l"]
        scan([home], library=tmp_path / "l")
        assert run("library", "verify", *library).startswith("3 unchanged, 0 missing")
        (home / "a.wav").unlink()
        os.utime(home / "b.wav", (1, 1))
        said = run("library", "verify", *library, code=1)
        assert f"missing  {home}/a.wav" in said
        assert f"changed  {home}/b.wav" in said
        # Its content is what it was.
        assert "changed  " not in run("library", "verify", "--contents", *library, code=1)
        run("library", "verify", "--mark", "--yes", *library, code=1)
        assert paths(Library.open(tmp_path / "l")) == ["b.wav", "deep/c.wav"]
        run("library", "verify", "--contents", *library)


def test_a_map_needs_no_writable_library(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = scan([home], library=tmp_path / "l").library

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(type(library._connection), "create_table", refuse)
    words = ("map", "-l", tmp_path / "l", "--out", tmp_path / "map.html", "--method", "pca")
    said = run(*words)
    assert "3 drawn by PCA" in said
    assert "can't store the map: can't be written: " in said
    assert (tmp_path / "map.html").exists()
