"""The journal of tags, taking them back, leftovers of crashes, and signals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mutagen
import numpy as np
import pytest
import soundfile
import typer
from mutagen.apev2 import APEv2
from mutagen.id3 import ID3, TCON
from typer.testing import CliRunner

from clips import RATE, music, write_wav
from genrescope.cli import app
from genrescope.cli.tags import TagOptions, write_genres, write_tags
from genrescope.errors import FileError
from genrescope.library import leftovers
from genrescope.library.tag_journal import (
    TagJournal,
    journal_before,
    kept_journal,
    latest_journal,
    undo,
)
from genrescope.library.tags import read_genre, read_state, write_genre
from tagged import FORMATS, copy_of, decoded, id3v1, others

GENRES = ["jazz", "hiphop", "rock"]


@pytest.fixture
def track(tmp_path: Path) -> Callable[[str], Path]:
    return lambda kind: copy_of(kind, tmp_path)


@pytest.fixture(autouse=True)
def own_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "genrescope" / "journal"


class TestJournal:
    """genrescope.library.tag_journal"""

    @pytest.mark.parametrize("kind", FORMATS)
    @pytest.mark.parametrize("before", [[], ["Podcast"], ["Own", "Pop"], ["Other"]])
    def test_every_format_is_restored(
        self, track: Callable[[str], Path], kind: str, before: list[str]
    ) -> None:
        path = track(kind)
        if before:
            write_genre(path, before)
        state, tags, audio = read_state(path), others(path), decoded(path)
        journal = TagJournal()
        assert journal.write_genre(path, ["Jazz", "Blues"], overwrite=True).action == "write"
        assert read_genre(path) == "Jazz"
        assert journal.file == latest_journal()
        assert undo(journal.file) == (1, [])
        assert read_state(path) == state
        assert others(path) == tags
        assert np.array_equal(decoded(path), audio)
        assert not journal.file.exists()

    def test_second_tags_are_restored(self, track: Callable[[str], Path]) -> None:
        path = track("mp3")
        tags = ID3(path)
        tags.add(TCON(encoding=0, text=["Schlager"]))
        tags.save(path)
        ape = APEv2()
        ape["Genre"], ape["Comment"] = ["Polka", "Pop"], "kept"
        ape.save(path)
        path.write_bytes(path.read_bytes() + id3v1(17))
        before = read_state(path)
        journal = TagJournal()
        journal.write_genre(path, "Jazz", overwrite=True)
        assert read_state(path).id3v1 == 8
        assert journal.file is not None
        undo(journal.file)
        assert read_state(path) == before
        assert path.read_bytes()[-128:] == id3v1(17)
        assert list(APEv2(path)["Genre"]) == ["Polka", "Pop"]

    @pytest.mark.parametrize("genre", [" \t", "\xa0"])
    def test_blanks_are_restored(self, tmp_path: Path, genre: str) -> None:
        path = copy_of("mp3", tmp_path)
        tags = ID3(path)
        tags.add(TCON(encoding=1, text=[genre]))
        tags.save(path)
        journal = TagJournal()
        assert journal.write_genre(path, "Jazz").action == "write"
        assert journal.file is not None
        assert undo(journal.file) == (1, [])
        assert ID3(path)["TCON"].text == [genre]

    def test_what_was_changed_since_stays(self, track: Callable[[str], Path]) -> None:
        journal = TagJournal()
        paths = [track(kind) for kind in ("mp3", "flac", "ogg")]
        for path in paths:
            journal.write_genre(path, "Jazz")
        write_genre(paths[1], "Rock", overwrite=True)
        paths[2].unlink()
        assert journal.file is not None
        undone, failures = undo(journal.file)
        assert undone == 1
        assert sorted(Path(f.path).name for f in failures) == ["track.flac", "track.ogg"]
        assert read_genre(paths[1]) == "Rock"
        assert journal.file.exists()

    def test_of_what_stays_the_command_names_the_run_before(
        self, track: Callable[[str], Path]
    ) -> None:
        path, other = track("flac"), track("ogg")
        runs = [TagJournal(), TagJournal()]
        runs[0].write_genre(other, "Jazz")
        runs[1].write_genre(path, "Jazz")
        write_genre(path, "Rock", overwrite=True)
        first, second = (run.file for run in runs)
        assert first is not None
        done = CliRunner().invoke(app, ["tags", "undo"])
        assert done.exit_code == 1
        assert f"{second} is kept" in done.stderr
        assert f"the run before: genrescope tags undo {first}" in done.stderr
        done = CliRunner().invoke(app, ["tags", "undo", str(first)])
        assert done.exit_code == 0
        assert read_genre(other) is None

    def test_files_that_are_gone_do_not_keep_a_journal(self, track: Callable[[str], Path]) -> None:
        """But those of a folder that is missing do: its disk may only not be mounted."""
        path = track("flac")
        away = path.parent / "usb"
        away.mkdir()
        shutil.copy(path, away / "b.flac")
        journal = TagJournal()
        for each in (path, away / "b.flac"):
            journal.write_genre(each, "Jazz")
        path.unlink()
        away.rename(path.parent / "unplugged")
        assert journal.file is not None
        undone, failures = undo(journal.file)
        assert (undone, len(failures), journal.file.exists()) == (0, 2, True)
        (path.parent / "unplugged").rename(away)
        undone, (failure,) = undo(journal.file)
        assert (undone, str(failure)) == (1, f"{path}: not undone: it is gone")
        assert not journal.file.exists()
        with pytest.raises(FileError, match="no tags were written"):
            latest_journal()
        copy_of("flac", path.parent)
        write_genre(path, "Jazz")
        assert undo(kept_journal(journal.file)) == (1, [])
        assert read_genre(path) is None
        assert not kept_journal(journal.file).exists()

    def test_a_journal_of_before_leaves_a_tag_in_front(self, track: Callable[[str], Path]) -> None:
        """Versions that did not know of such tags have not changed them."""
        path = track("flac")
        tag = ID3()
        tag.add(TCON(encoding=3, text=["Swing"]))
        front = path.with_suffix(".id3")
        tag.save(front)
        path.write_bytes(front.read_bytes() + path.read_bytes())
        journal = TagJournal()
        journal.write_genre(path, "Jazz", overwrite=True)
        assert journal.file is not None
        line = json.loads(journal.file.read_text())
        assert line["before"].pop("leading") == ["Swing"]
        journal.file.write_text(json.dumps(line) + "\n")
        assert undo(journal.file) == (1, [])
        assert ID3(path)["TCON"].text == ["Jazz"]

    def test_the_last_journal_is_the_one_written_to_last(self, own_journal: Path) -> None:
        """The clock goes back at the end of summer time."""
        own_journal.mkdir(parents=True)
        first, last = (own_journal / f"tags-20261025-0{hour}3000-001.jsonl" for hour in (2, 1))
        for seconds, journal in enumerate((first, last)):
            journal.touch()
            os.utime(journal, (seconds, seconds))
        assert latest_journal() == last
        assert [journal_before(last), journal_before(first)] == [first, None]

    def test_an_interrupted_run(self, track: Callable[[str], Path]) -> None:
        """A line is there before its file is changed; the last may be cut short."""
        path = track("mp3")
        journal = TagJournal()
        journal.write_genre(path, "Jazz")
        assert journal.file is not None
        line = json.loads(journal.file.read_text())
        other = json.dumps(line | {"path": str(track("flac"))})
        journal.file.write_text(journal.file.read_text() + other + "\n" + other[:40])
        assert undo(journal.file) == (1, [])

    @pytest.mark.parametrize("text", ["[]\n", "{}\n", "no\n", '{"format": 9}\n'])
    def test_what_is_no_journal(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "x").write_text(text)
        with pytest.raises(FileError, match="not a journal"):
            undo(tmp_path / "x")
        with pytest.raises(FileError, match="can't be read"):
            undo(tmp_path / "none")
        with pytest.raises(FileError, match="no tags were written"):
            latest_journal()


class TestCommand:
    """genrescope classify --write-tags, genrescope tags undo"""

    def test_only_what_is_confident_is_written_and_undone(
        self, track: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        sure, unsure, podcast, rock, silent = (
            track(kind) for kind in ("mp3", "flac", "ogg", "m4a", "wav")
        )
        write_genre(podcast, "Podcast")
        write_genre(rock, "ROCK")
        before = {path: path.read_bytes() for path in (sure, unsure, podcast, rock, silent)}
        named = [
            (str(sure), [("hiphop", 0.61), ("jazz", 0.3)]),
            (str(unsure), [("jazz", 0.49)]),
            (str(podcast), [("jazz", 0.9)]),
            (str(rock), [("jazz", 0.8)]),
            (str(silent), []),
        ]
        options = TagOptions(overwrite=True, dry_run=True, count=2)
        assert write_tags(named, GENRES, options) == []
        assert {path: path.read_bytes() for path in before} == before
        shown = capsys.readouterr().err.splitlines()
        assert shown == [
            f"{sure}: no genre -> Hip-Hop (61%)",
            f"{rock}: ROCK -> Jazz (80%)",
            "1 file kept with a genre that the model does not know (--force replaces it)",
            "1 file less certain than 0.5 (--min-confidence)",
            "1 file without a predicted genre",
            "2 files would be changed",
        ]
        write_tags(named, GENRES, TagOptions(overwrite=True, yes=True))
        assert [read_genre(path) for path in before] == ["Hip-Hop", None, "Podcast", "Jazz", None]
        done = CliRunner().invoke(app, ["tags", "undo"])
        assert done.stdout == "2 undone, 0 left alone\n"
        assert [read_genre(path) for path in before] == [None, None, "Podcast", "ROCK", None]
        write_tags(named, GENRES, TagOptions(overwrite=True, force=True, yes=True))
        assert read_genre(podcast) == "Jazz"
        write_tags(named, GENRES, TagOptions(append=True, min_confidence=0.2, count=2, yes=True))
        assert mutagen.File(unsure)["genre"] == ["Jazz"]
        assert ID3(sure)["TCON"].genres == ["Hip-Hop", "Jazz"]

    @pytest.mark.parametrize("lines", [0, 1])
    def test_a_full_disk_at_the_journal_does_not_hide_what_was_written(
        self,
        track: Callable[[str], Path],
        own_journal: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        lines: int,
    ) -> None:
        paths = [track(kind) for kind in ("mp3", "flac", "ogg")]
        named = [(str(path), [("jazz", 0.9)]) for path in paths]
        real = os.fsync

        def full(descriptor: int) -> None:
            for journal in own_journal.iterdir():
                is_journal = os.path.samestat(os.fstat(descriptor), journal.stat())
                if is_journal and journal.read_text().count("\n") > lines:
                    raise OSError(28, "No space left on device")
            real(descriptor)

        monkeypatch.setattr(os, "fsync", full)
        if not lines:
            with pytest.raises(FileError, match="No space left"):
                write_tags(named, GENRES, TagOptions(yes=True))
            assert list(own_journal.iterdir()) == []
            return
        (failure,) = write_tags(named, GENRES, TagOptions(yes=True))
        assert failure.reason == "can't be written: No space left on device"
        told = capsys.readouterr().err.splitlines()
        assert told[-1] == "wrote the genre into 1 file; to undo: genrescope tags undo"
        assert [read_genre(path) for path in paths] == ["Jazz", None, None]
        assert latest_journal().read_text().count("\n") == 1
        assert undo(latest_journal()) == (1, [])

    def test_ctrl_c_and_a_file_given_twice(
        self,
        track: Callable[[str], Path],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """The function that `library corrections --write-tags` calls as well."""
        path, other = str(track("flac")), str(track("ogg"))
        write_genres([(path, ["Jazz"]), (path, ["Jazz"])])
        assert capsys.readouterr().err.startswith("wrote the genre into 1 file; to undo")
        real = TagJournal.write_genre

        def interrupted(journal: TagJournal, file: str, *genres: Any, **settings: Any) -> Any:
            if file == other:
                raise KeyboardInterrupt
            return real(journal, file, *genres, **settings)

        monkeypatch.setattr(TagJournal, "write_genre", interrupted)
        with pytest.raises(typer.Exit) as left:
            write_genres([(path, ["Rock"]), (other, ["Rock"])], overwrite=True)
        assert left.value.exit_code == 130
        assert "interrupted: wrote the genre into 1 file; to undo" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "words",
        [["--append"], ["--write-tags", "--yes", "--append", "--overwrite"],
         ["--write-tags", "--yes", "--force"], ["--min-confidence", "0.3"], ["--count", "2"]],
    )  # fmt: skip
    def test_what_makes_no_sense(self, tmp_path: Path, words: list[str]) -> None:
        file = write_wav(tmp_path / "a.wav", 3)
        assert CliRunner().invoke(app, ["classify", str(file), *words]).exit_code == 2

    def test_noise_is_not_tagged_at_a_high_floor(self, tmp_path: Path) -> None:
        file = tmp_path / "a.flac"
        soundfile.write(file, music(3), RATE)
        words = ["classify", str(file), "--write-tags", "--yes", "--min-confidence", "1"]
        assert "less certain than 1" in CliRunner().invoke(app, words).stderr
        assert read_genre(file) is None


class TestLeftovers:
    """genrescope.library.leftovers"""

    def test_those_of_dead_processes_go(self, tmp_path: Path) -> None:
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        host = leftovers._host()
        old = tmp_path / ".genrescope-abcd1234.mp3"  # of version 0.1
        young = tmp_path / ".genrescope-abcd5678.mp3"
        gone = tmp_path / f".genrescope-{host}-{dead.pid}-abcd1234.flac"
        alive = tmp_path / f".genrescope-{host}-{os.getpid()}-abcd1234.flac"
        elsewhere = tmp_path / f".genrescope-00000000-{dead.pid}-abcd1234.flac"
        mine = tmp_path / ".genrescope-notes.txt.bak"
        for file in (old, young, gone, alive, elsewhere, mine):
            file.touch()
        os.utime(old, (time.time() - 90_000,) * 2)
        assert leftovers.remove_leftovers([tmp_path, tmp_path / "nowhere"]) == sorted([gone, old])
        assert sorted(tmp_path.iterdir()) == sorted([young, alive, elsewhere, mine])

    @pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
    def test_a_signal_leaves_none(self, tmp_path: Path, number: int) -> None:
        """Stopped in the middle of a file: it is as it was, and no copy is left."""
        path = copy_of("mp3", tmp_path)
        before = path.read_bytes()
        code = (
            "import shutil, time; real = shutil.copyfile\n"
            "def slow(*a):\n real(*a); print('now', flush=True); time.sleep(600)\n"
            "shutil.copyfile = slow\n"
            "import sys; from genrescope import cli\n"
            "from genrescope.cli.tags import TagOptions, write_genres, write_tags\n"
            "import typer; work = typer.Typer()\n"
            "@work.command()\n"
            "def run():\n"
            f" write_tags([({str(path)!r}, [('jazz', 0.9)])], ['jazz'], TagOptions(yes=True))\n"
            "cli.command_line = lambda names: work; sys.argv[1:] = []; cli.main()"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=lambda: [signal.signal(n, signal.SIG_DFL) for n in (2, 1, 15)],
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"now\n"
        process.send_signal(number)
        if number != signal.SIGINT:  # as systems that shut down do
            process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=600)
        assert process.returncode == 128 + number, err
        assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["track.mp3"]
        assert path.read_bytes() == before
        assert b"interrupted" in err
        assert b"Traceback" not in err

    def test_what_a_crash_left_is_removed_by_the_next_run(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = copy_of("mp3", tmp_path)
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        left = tmp_path / f".genrescope-{leftovers._host()}-{dead.pid}-abcd1234.mp3"
        shutil.copy(path, left)
        write_tags([(str(path), [("jazz", 0.9)])], GENRES, TagOptions(yes=True))
        assert not left.exists()
        assert f"an interrupted run had left: {left}" in capsys.readouterr().err
