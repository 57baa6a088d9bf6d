"""Scanning: what is classified and what is not, counted; kills, and two scans at once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import mutagen
import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from clips import RATE, hears_ctrl_c, write_wav
from genrescope import Classifier, Prediction
from genrescope.cli import app
from genrescope.errors import FileError, GenrescopeError
from genrescope.inference import Bundle
from genrescope.library.content import content_of
from genrescope.library.files import tags_of
from genrescope.library.maintenance import describe
from genrescope.library.places import LibraryError, default_library
from genrescope.library.rows import NOT_CLASSIFIED, Entry
from genrescope.library.scan import Report, scan
from genrescope.library.similar import Space
from genrescope.library.store import Library
from libraries import entry, make_library

pytest.importorskip("lancedb")

# The command itself, but each file is written as soon as it is classified.
# Each row is written at once. A file called long is read for ever, however busy the machine is.
EAGER = (
    "import time, genrescope.library.scan as s; s._SECONDS_BETWEEN_WRITES = 0.0\n"
    "predict = s.Classifier._predict\n"
    "def slow(self, file, *args, **options):\n"
    " while file.stem == 'long': time.sleep(0.1)\n"
    " return predict(self, file, *args, **options)\n"
    "s.Classifier._predict = slow\n"
    "from genrescope.cli import main; main()"
)


@pytest.fixture
def music(tmp_path: Path) -> Path:
    home = tmp_path / "music"
    (home / "deep").mkdir(parents=True)
    write_wav(home / "a.wav", 3, seed=1)
    write_wav(home / "deep" / "b.wav", 3, seed=2, pitch=330)
    (home / "broken.mp3").write_bytes(b"not an mp3" * 100)
    (home / "notes.txt").write_text("no music")
    return home


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "library"


def counts(report: Report) -> dict[str, int]:
    """What is not zero."""
    return {what: count for what, count in asdict(report.counts).items() if count}


def rows(folder: Path) -> dict[str, Entry]:
    return {entry.path: entry for entry in Library.open(folder).entries()}


class TestScan:
    """genrescope.library.scan"""

    def test_rows_hold_what_the_classifier_says(self, music: Path, folder: Path) -> None:
        report = scan([music], library=folder)
        assert counts(report) == {"classified": 2, "failed": 1}
        assert [Path(failure.path).name for failure in report.failures] == ["broken.mp3"]
        stored = rows(folder)
        assert sorted(stored) == ["a.wav", "broken.mp3", "deep/b.wav"]
        said = Classifier.load().predict(music / "a.wav")
        a = stored["a.wav"]
        assert (a.genre, a.confidence, a.duration) == (said.genre, said.confidence, said.duration)
        assert np.array_equal(a.embedding, said.embedding)
        assert a.probabilities == pytest.approx(
            [said.probabilities[genre] for genre in report.library.model.genres]
        )
        assert stored["broken.mp3"].problem
        assert stored["broken.mp3"].genre is None

    def test_unchanged_files_are_not_classified_again(self, music: Path, folder: Path) -> None:
        scan([music], library=folder)
        report = scan([music], library=folder)
        assert counts(report) == {"unchanged": 3}
        assert report.failed_before == 1
        assert report.failures == []

    def test_moved_copied_touched_retagged_and_new(self, music: Path, folder: Path) -> None:
        write_wav(music / "c.wav", 3, seed=3)
        before = scan([music], library=folder) and rows(folder)
        (music / "a.wav").rename(music / "deep" / "it's a.wav")
        shutil.copyfile(music / "c.wav", music / "copy.wav")
        tagged = mutagen.File(music / "deep" / "b.wav")
        tagged.add_tags()
        tagged.tags.add(mutagen.id3.TPE1(encoding=3, text="Ärzte"))
        tagged.save()
        write_wav(music / "new.wav", 3, seed=4)
        report = scan([music], library=folder)
        assert counts(report) == {"classified": 1, "unchanged": 2, "moved": 1, "recognised": 2}
        after = rows(folder)
        assert sorted(after) == [
            "broken.mp3", "c.wav", "copy.wav", "deep/b.wav", "deep/it's a.wav", "new.wav",
        ]  # fmt: skip
        assert np.array_equal(after["deep/it's a.wav"].embedding, before["a.wav"].embedding)
        assert after["deep/b.wav"].artist == "Ärzte"
        assert counts(scan([music], library=folder)) == {"unchanged": 6}

    def test_rows_that_were_read_in_part_say_so(self, tmp_path: Path, folder: Path) -> None:
        music = tmp_path / "long"
        music.mkdir()
        write_wav(music / "long.wav", 70, seed=1)
        write_wav(music / "short.wav", 5, seed=2)
        report = scan([music], library=folder, listen=20)
        assert report.read_in_part == {}
        read = {path: row.listen for path, row in rows(folder).items()}
        assert read == {"long.wav": "20", "short.wav": "full"}
        assert rows(folder)["long.wav"].to_dict()["listen"] == "20"
        shutil.copy(music / "long.wav", music / "copy.wav")  # its prediction is taken over
        report = scan([music], library=folder)
        assert report.counts.recognised == 1
        assert report.read_in_part == {"20": 2}
        printed = CliRunner().invoke(app, ["scan", str(music), "--library", str(folder)])
        assert "2 tracks of the library were read with --listen 20, not full" in printed.stderr
        assert scan([music], library=folder, rescan=True).read_in_part == {}
        assert {row.listen for row in rows(folder).values()} == {"full"}

    def test_a_changed_file_is_classified_again(self, music: Path, folder: Path) -> None:
        scan([music], library=folder)
        write_wav(music / "a.wav", 4, seed=9)
        write_wav(music / "mended.wav", 3, seed=5).replace(music / "broken.mp3")
        assert counts(scan([music], library=folder)) == {"classified": 2, "unchanged": 1}
        assert rows(folder)["broken.mp3"].problem is None
        assert rows(folder)["a.wav"].duration == pytest.approx(4)

    def test_deleted_is_marked_and_what_comes_back_is_known(
        self, music: Path, folder: Path, tmp_path: Path
    ) -> None:
        scan([music], library=folder)
        shutil.move(music / "a.wav", tmp_path / "elsewhere.wav")
        assert counts(scan([music], library=folder)) == {"unchanged": 2, "deleted": 1}
        assert rows(folder)["a.wav"].deleted
        assert counts(scan([music], library=folder)) == {"unchanged": 2}
        shutil.move(tmp_path / "elsewhere.wav", music / "a.wav")
        assert counts(scan([music], library=folder)) == {"unchanged": 2, "recognised": 1}
        assert not rows(folder)["a.wav"].deleted

    def test_other_folders_are_left_alone(self, music: Path, folder: Path, tmp_path: Path) -> None:
        other = tmp_path / "other"
        other.mkdir()
        write_wav(other / "o.wav", 3, seed=7)
        scan([music, other], library=folder)
        (other / "o.wav").rename(other / "p.wav")
        assert counts(scan([music], library=folder)) == {"unchanged": 3}
        assert counts(scan([music / "deep"], library=folder)) == {"unchanged": 1}
        shutil.move(other / "p.wav", music / "p.wav")
        assert counts(scan([music], library=folder)) == {"unchanged": 3, "moved": 1}
        assert {entry.root for entry in rows(folder).values()} == {str(music)}

    def test_a_folder_reached_by_a_link_is_the_same(self, music: Path, folder: Path) -> None:
        scan([music], library=folder)
        link = music.parent / "link"
        link.symlink_to(music)
        assert counts(scan([link, music / "deep"], library=folder)) == {"unchanged": 3}
        assert Space(Library.open(folder)).find(link / "a.wav").entry is not None

    def test_a_folder_that_cannot_be_looked_into_is_not_taken_for_empty(
        self, music: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scan([music], library=folder)
        real = os.scandir

        def refuse(path: str) -> object:
            if str(path).endswith("deep"):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path)

        monkeypatch.setattr(os, "scandir", refuse)
        report = scan([music], library=folder)
        assert counts(report) == {"unchanged": 2, "failed": 1}
        assert not rows(folder)["deep/b.wav"].deleted

    def test_names_that_are_no_text(self, music: Path, folder: Path) -> None:
        (music / "a.wav").rename(music / os.fsdecode(b"\xff.wav"))
        report = scan([music], library=folder)
        assert counts(report) == {"classified": 1, "failed": 2}
        assert "rename it" in str(report.failures[0])

    def test_silence_has_no_genre(self, tmp_path: Path, folder: Path) -> None:
        (tmp_path / "m").mkdir()
        soundfile.write(tmp_path / "m" / "s.wav", np.zeros(3 * RATE), RATE)
        scan([tmp_path / "m"], library=folder)
        silent = rows(folder)["s.wav"]
        assert (silent.genre, silent.problem, silent.has_embedding) == (None, None, False)
        assert not silent.probabilities.any()

    def test_another_model_is_refused_and_rescan_takes_it(
        self, music: Path, folder: Path, tmp_path: Path
    ) -> None:
        write_wav(tmp_path / "music" / "deep" / "c.wav", 3, seed=11)
        scan([music / "deep"], library=folder)
        scan([music], library=folder)
        other = tmp_path / "other"
        bundle = Bundle.load("default")
        renamed = bundle.model + b"\x32\x03abc"  # a doc_string in protobuf: another hash
        fields = {"name": "other", "sha256": hashlib.sha256(renamed).hexdigest()}
        Bundle(bundle.manifest.model_copy(update=fields), renamed).save(other)
        with pytest.raises(LibraryError, match="made with the model default"):
            scan([music], library=folder, model=str(other))
        report = scan([music / "deep"], library=folder, model=str(other), rescan=True)
        # What was known of other folders is classified again too.
        assert counts(report) == {"classified": 3, "failed": 1}
        assert Library.open(folder).model.name == "other"

    @pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
    def test_a_stopped_rescan_forgets_no_track(
        self, music: Path, folder: Path, tmp_path: Path, stop: type[BaseException]
    ) -> None:
        """Neither by Ctrl-C nor by an error, which leaves what a kill leaves."""
        other = tmp_path / "other"
        other.mkdir()
        write_wav(other / "c.wav", 3, seed=3)
        scan([music, other], library=folder)
        before = rows(folder)

        def stopped(classifier: Classifier, files: Iterable[Path]) -> Iterator[Prediction]:
            yield classifier.predict(next(iter(files)))
            raise stop

        with contextlib.nullcontext() if stop is KeyboardInterrupt else pytest.raises(stop):
            report = scan([music], library=folder, rescan=True, predict_many=stopped)
            assert report.interrupted
            assert report.unfinished == {str(music): 2, str(other): 1}
        left = rows(folder)
        assert left.keys() == before.keys()
        waiting = [name for name, row in left.items() if row.problem == NOT_CLASSIFIED]
        assert len(waiting) == (3 if stop is KeyboardInterrupt else 4)
        assert describe(Library.open(folder)).not_classified == len(waiting)

        report = scan([music, other], library=folder)
        assert report.counts.classified == len(waiting) - 1  # the other is broken
        assert report.unfinished == {}
        for name, row in rows(folder).items():
            assert row.to_dict() == before[name].to_dict()
            assert np.array_equal(row.embedding, before[name].embedding)

    def test_what_an_older_detector_rejected_is_classified_again(
        self, music: Path, folder: Path
    ) -> None:
        scan([music], library=folder)
        library = Library.open(folder)
        detector = Bundle.load("default").manifest.detector
        before = rows(folder)
        assert {row.detector for row in before.values() if row.kind} == {detector}
        for name, other in (("a.wav", "an older one"), ("deep/b.wav", detector)):
            nothing = np.zeros_like(before[name].probabilities)
            library.put(
                [replace(before[name], genre=None, confidence=0.0, probabilities=nothing,
                         kind="no music", detector=other)]
            )  # fmt: skip
        report = scan([music], library=folder)
        assert counts(report) == {"classified": 1, "unchanged": 2}
        assert report.decided_again == 1
        after = rows(folder)
        assert after["a.wav"].to_dict() == before["a.wav"].to_dict()
        assert after["deep/b.wav"].genre is None
        assert counts(scan([music], library=folder)) == {"unchanged": 3}

    def test_what_is_no_folder(self, music: Path, folder: Path) -> None:
        with pytest.raises(FileError, match="no such folder"):
            scan([music / "nowhere"], library=folder)
        with pytest.raises(FileError, match="not a folder"):
            scan([next(file for file in music.rglob("*") if file.is_file())], library=folder)
        assert not folder.exists()

    def test_a_library_that_is_none_or_damaged(self, music: Path, folder: Path) -> None:
        with pytest.raises(LibraryError, match="no library there"):
            Library.open(folder)
        scan([music], library=folder)
        for manifest in (folder / "tracks.lance" / "_versions").glob("*.manifest"):
            manifest.write_bytes(b"rubbish")
        with pytest.raises(LibraryError, match="damaged"):
            scan([music], library=folder)
        assert counts(scan([music], library=folder, rescan=True)) == {"classified": 2, "failed": 1}

    def test_to_look_for_a_library_makes_none(self, music: Path) -> None:
        there = sorted(music.parent.rglob("*"))
        with pytest.raises(LibraryError, match="no library there"):
            Library.open(music.parent / "typo" / "library")
        assert sorted(music.parent.rglob("*")) == there

    def test_a_file_is_no_library(self, music: Path) -> None:
        for use in (Library.open, lambda place: scan([music], library=place)):
            with pytest.raises(LibraryError, match=r"a\.wav: a file, not a folder$"):
                use(music / "a.wav")

    def test_a_place_that_cannot_be_written_to(self, music: Path) -> None:
        (music.parent / "file").touch()
        with pytest.raises(LibraryError, match="can't be written"):
            scan([music], library=music.parent / "file" / "library")

    def test_without_lancedb(
        self, music: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "lancedb", None)
        with pytest.raises(GenrescopeError, match=r"pip install 'genrescope\[library\]'"):
            scan([music], library=folder)

    def test_the_default_place(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
        assert default_library() == tmp_path / "genrescope" / "library"
        monkeypatch.setenv("XDG_DATA_HOME", "relative")
        assert default_library().is_absolute()


class TestStore:
    """genrescope.library.store"""

    def test_rows_come_back_as_they_went(self, tmp_path: Path) -> None:
        one = entry("it's 'one'", np.arange(16), title="T", year=1975, warnings=["w"])
        library = make_library(tmp_path / "l", [one, entry("two", np.ones(16))])
        library.put([entry("two", np.zeros(16), genre=None)])  # replaces
        library.remove([entry("nowhere", np.zeros(16))])
        (back,) = [e for e in library.entries() if e.path == one.path]
        assert back.to_dict() == one.to_dict()
        assert np.array_equal(back.embedding, one.embedding)
        library.remove([one])
        assert [(e.path, e.genre) for e in library.entries()] == [("two", None)]

    def test_many_writes_are_one_state(self, tmp_path: Path) -> None:
        library = make_library(tmp_path / "l", [])
        for number in range(12):
            library.put([entry(str(number), np.ones(16))])
        library.compact()
        assert len(Library.open(tmp_path / "l").entries()) == 12


class TestFiles:
    """genrescope.library.files"""

    def test_tags_of_each_format(self, tmp_path: Path) -> None:
        from mutagen.id3 import TALB, TCON, TDRC, TIT2, TPE1

        samples = 0.1 * np.sin(np.arange(RATE))
        for ending in ("wav", "flac", "ogg", "mp3"):
            file = tmp_path / f"x.{ending}"
            soundfile.write(file, samples, RATE)
            tagged = mutagen.File(file)
            if tagged.tags is None:
                tagged.add_tags()
            if ending in ("wav", "mp3"):
                for frame, text in (
                    (TIT2, "T"), (TPE1, "A"), (TALB, "L"), (TDRC, "1975-03-01"), (TCON, "(17)"),
                ):  # fmt: skip
                    tagged.tags.add(frame(encoding=3, text=text))
            else:
                tagged.tags.update(
                    title="T", artist="A", album="L", date="1975-03-01", genre="Rock"
                )
            before = content_of(file)
            tagged.save()
            assert asdict(tags_of(file)) == {
                "title": "T", "artist": "A", "album": "L", "album_artist": "", "year": 1975,
                "genre_tag": "Rock",
            }  # fmt: skip
            assert content_of(file) == before

    def test_m4a(self, tmp_path: Path) -> None:
        import av

        file = tmp_path / "x.m4a"
        with av.open(str(file), "w") as out:
            stream = out.add_stream("aac", rate=44100, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate = 44100
            out.mux([*stream.encode(frame), *stream.encode(None)])
        tagged = mutagen.File(file)
        tagged.update({"\xa9nam": "T", "\xa9ART": "A", "\xa9day": "1999", "\xa9gen": "Pop"})
        tagged.save()
        tags = tags_of(file)
        assert (tags.title, tags.artist, tags.year, tags.genre_tag) == ("T", "A", 1999, "Pop")

    def test_contents_differ_where_sound_differs(self, tmp_path: Path) -> None:
        samples = np.zeros(RATE)
        for name, rate in (("a", RATE), ("b", RATE), ("c", 2 * RATE)):
            soundfile.write(tmp_path / f"{name}.wav", samples, rate)
        a, b, c = (content_of(tmp_path / f"{name}.wav") for name in "abc")
        assert a == b != c
        with pytest.raises(FileError, match="not readable"):
            content_of(tmp_path / "d.wav")


class TestCommand:
    """genrescope scan"""

    def test_counts_and_codes(self, music: Path, folder: Path) -> None:
        run = CliRunner().invoke
        done = run(app, ["scan", str(music), "--library", str(folder)])
        assert done.exit_code == 1
        counted = "2 classified, 0 unchanged, 0 moved, 0 recognised, 0 deleted, 1 failed\n"
        assert done.stdout == counted
        done = run(app, ["scan", str(music), "-l", str(folder), "--format", "json"])
        assert done.exit_code == 0
        assert json.loads(done.stdout) == {
            "library": str(folder), "classified": 0, "unchanged": 3, "moved": 0, "recognised": 0,
            "deleted": 0, "failed": 0, "failed_before": 1, "interrupted": False, "read_in_part": {},
            "decided_again": 0, "unfinished": {},
        }  # fmt: skip

    def test_ctrl_c_keeps_what_was_classified(self, music: Path, folder: Path) -> None:
        write_wav(music / "long.wav", 3)
        command = [sys.executable, "-c", EAGER, "scan", str(music), "-l", str(folder), "-f", "json"]
        process = subprocess.Popen(
            [*command, "--jobs", "1"], stdout=subprocess.PIPE, preexec_fn=hears_ctrl_c
        )
        wait_for(2, folder, process)
        process.send_signal(signal.SIGINT)
        said = json.loads(process.communicate(timeout=600)[0])
        assert process.returncode == 130
        assert said["interrupted"]
        assert len(Library.open(folder).entries()) == said["classified"] + said["failed"] < 4

    def test_two_scans_at_once_hear_everything_once(self, music: Path, folder: Path) -> None:
        for number in range(8):
            write_wav(music / f"{number}.wav", 3, seed=20 + number)
        command = [sys.executable, "-c", EAGER, "scan", str(music), "-l", str(folder), "-f", "json"]
        both = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
        said = [json.loads(each.communicate(timeout=900)[0]) for each in both]
        assert sorted(each["classified"] for each in said) == [0, 10]
        assert sorted(each["unchanged"] for each in said) == [0, 11]
        assert len(Library.open(folder).entries()) == 11


@pytest.mark.shared
def test_the_51_tracks(shared: Path, tmp_path: Path) -> None:
    """Scan with two kills, go on, rescan, rename and rescan: the counts prove it."""
    music, folder = tmp_path / "music", tmp_path / "library"
    shutil.copytree(shared / "data" / "gtzan-audio", music, ignore=shutil.ignore_patterns("*.csv"))
    files = sorted(music.rglob("*.flac"))
    assert len(files) == 51
    for least in (5, 15):
        _kill_once_there_are(least, music, folder)
        known = len(Library.open(folder).entries())
        assert least <= known < 51

    report = scan([music], library=folder)
    assert counts(report) == {"classified": 51 - known, "unchanged": known}
    assert counts(scan([music], library=folder)) == {"unchanged": 51}

    for file in files[::10]:
        file.rename(file.with_name(f"renamed-{file.name}"))
    assert counts(scan([music], library=folder)) == {"unchanged": 45, "moved": 6}
    assert counts(scan([music], library=folder)) == {"unchanged": 51}

    # What went through all of this is what one undisturbed scan stores.
    stored = rows(folder)
    assert len(stored) == len(Library.open(folder).entries()) == 51
    for name in (min(stored), max(stored)):
        said = Classifier.load().predict(music / name)
        assert stored[name].genre == said.genre
        assert np.array_equal(stored[name].embedding, said.embedding)


def _kill_once_there_are(least: int, music: Path, folder: Path) -> None:
    """Start a scan and kill it, as nothing can prevent, once so many tracks are stored."""
    words = ["scan", str(music), "--library", str(folder), "--jobs", "1"]
    process = subprocess.Popen([sys.executable, "-c", EAGER, *words], stdout=subprocess.DEVNULL)
    try:
        wait_for(least, folder, process)
    finally:
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=600) == -signal.SIGKILL


def wait_for(least: int, folder: Path | str, process: subprocess.Popen[bytes]) -> None:
    """Wait until so many tracks are stored."""
    end = time.monotonic() + 600
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(GenrescopeError):
            if len(Library.open(folder).entries()) >= least:
                return
        time.sleep(0.02)
    raise AssertionError(f"there were never {least} tracks")
