"""The commands as a user types them: output, exit codes, tags, interruption."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import mutagen
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clips import RATE, hears_ctrl_c, music, write_spectrograms, write_wav
from genrescope.audio.files import PassedOver
from genrescope.cli.files import find
from genrescope.cli.writers import Table
from genrescope.inference import Prediction, SegmentPrediction

COMMAND = [sys.executable, "-m", "genrescope"]


def genrescope(
    *words: str | Path, input: bytes | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*COMMAND, *words], input=input, capture_output=True, cwd=cwd, timeout=600
    )
    out, err = (stream.decode("utf-8", "surrogateescape") for stream in (done.stdout, done.stderr))
    assert "Traceback" not in err, err
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two good files (one deep down), one that is no music, one that is not looked at."""
    home = tmp_path / "music"
    (home / "deep" / "er").mkdir(parents=True)
    write_wav(home / "a.wav", 3)
    write_wav(home / "deep" / "er" / "b b.wav", 14)
    (home / "broken.mp3").write_bytes(b"not an mp3" * 100)
    (home / "notes.txt").write_text("no music")
    return home


class TestClassify:
    """genrescope classify"""

    def test_a_table_for_people(self, folder: Path) -> None:
        done = genrescope("classify", folder / "a.wav")
        assert done.returncode == 0
        assert done.stdout.splitlines()[0].split() == ["Genre", "Confidence", "File"]
        assert str(folder / "a.wav") in done.stdout.splitlines()[1]
        assert done.stderr == ""  # no bar where nobody looks

    def test_one_bad_file_never_stops_the_rest(self, folder: Path) -> None:
        done = genrescope("classify", folder, "--format", "json")
        assert done.returncode == 1
        assert [Path(row["path"]).name for row in json.loads(done.stdout)] == ["a.wav", "b b.wav"]
        assert f"genrescope: {folder / 'broken.mp3'}: " in done.stderr
        assert done.stderr.splitlines()[-1] == "2 classified, 1 failed"

    def test_json_has_what_is_promised(self, folder: Path) -> None:
        (row,) = json.loads(genrescope("classify", folder / "a.wav", "-f", "json").stdout)
        assert list(row) == [
            "schema_version", "path", "genre", "confidence", "probabilities", "timeline",
            "sections", "shares", "duration", "warnings", "answer",
            "kind", "music", "styles", "instruments", "moods", "uses",
        ]  # fmt: skip
        assert row["schema_version"] == 1
        assert row["confidence"] == row["probabilities"][row["genre"]]
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-4)
        assert row["timeline"][0]["start"] == 0
        assert row["duration"] == pytest.approx(3)
        assert row["kind"] == "music"
        assert 0.5 <= row["music"] <= 1

    def test_csv_and_jsonl_say_the_same(self, folder: Path) -> None:
        table = genrescope("classify", folder, "-f", "csv").stdout
        assert table.startswith("path,genre,confidence")
        lines = genrescope("classify", folder, "-f", "jsonl").stdout.splitlines()
        for row, line in zip(
            csv.DictReader(io.StringIO(table)), map(json.loads, lines), strict=True
        ):
            assert row["path"] == line["path"]
            assert row["genre"] == line["genre"]
            assert float(row["confidence"]) == line["confidence"]
            assert {g: float(row[g]) for g in line["probabilities"]} == line["probabilities"]

    def test_top_and_timeline(self, folder: Path) -> None:
        done = genrescope("classify", folder / "deep", "--top", "3", "-f", "jsonl")
        fields = json.loads(done.stdout)
        assert len(fields["top"]) == 3
        done = genrescope("classify", folder / "deep", "--top", "3", "--timeline")
        heading, *sections = done.stdout.splitlines()[4 + (len(fields["shares"]) > 1) :]
        assert heading == "  sections, each with the mean probability of its segments:"
        assert [line.split()[0] for line in sections] == [s["genre"] for s in fields["sections"]]
        clock = r"0:\d\d - 0:\d\d$"
        assert all(re.search(clock, line) for line in sections)
        assert "  0:00 - " in sections[0]

    @pytest.mark.slow
    def test_what_the_default_model_rejects_is_named_once(self, tmp_path: Path) -> None:
        for seed in range(2):
            noise = np.random.default_rng(seed).normal(0, 0.1, 4 * 22050)
            soundfile.write(tmp_path / f"{seed}.wav", noise, 22050)
        done = genrescope("classify", tmp_path, "--model", "default")
        assert done.stdout.count("no music: cannot tell a genre") == 2
        assert done.stderr.count("genrescope models fetch audioset") == 1
        assert "takes 2 tracks for no music. It rejects some music, too" in done.stderr
        assert "no music" not in genrescope("classify", tmp_path, "-f", "jsonl").stderr

    def test_the_timeline_in_a_table_shows_shares_and_sections(self) -> None:
        genres = ["jazz"] * 50 + ["rock"] * 150
        timeline = [
            SegmentPrediction(20 * i, 20 * i + 40, {"jazz": 0.2, "rock": 0.2, genre: 0.8})
            for i, genre in enumerate(genres)
        ]
        stream = io.StringIO()
        table = Table(stream, ["jazz", "rock"], top=1, timeline=True)
        table.write(Prediction("a.mp3", "rock", {"rock": 0.7}, timeline, np.zeros(1), 4020.0, []))
        shares, _, *lines = stream.getvalue().splitlines()[2:]
        assert shares == "  74% rock, 25% jazz"  # rounded down
        assert [line.split()[0] for line in lines] == ["jazz", "rock"]
        assert [" ".join(line.split()[3:]) for line in lines] == [
            "0:00 - 16:50",
            "16:50 - 1:07:00",
        ]
        assert lines[0].split()[2] == "80%"

    def test_names_from_stdin_and_globs(self, folder: Path) -> None:
        names = b"a.wav\n\ndeep/er/b b.wav\n"
        done = genrescope("classify", "-", "-f", "csv", input=names, cwd=folder)
        assert [line.split(",")[0] for line in done.stdout.splitlines()[1:]] == [
            "a.wav",
            "deep/er/b b.wav",
        ]
        done = genrescope("classify", "**/*.wav", "-f", "jsonl", cwd=folder)
        assert len(done.stdout.splitlines()) == 2

    @pytest.mark.parametrize(
        "words",
        [
            ["nowhere.mp3"],
            ["*.none"],
            ["empty"],
            [],
            ["a.wav", "--format", "xml"],
            ["a.wav", "--top", "0"],
            ["a.wav", "--jobs", "0"],
            ["a.wav", "--model", "nowhere"],
            ["a.wav", "--out", "no/such/folder/file"],
            ["a.wav", "--out", "genres.xlsx"],
            ["a.wav", "--overwrite"],
            ["a.wav", "--write-tags"],
            ["-"],
        ],
    )
    def test_misuse_is_two(self, folder: Path, words: list[str]) -> None:
        (folder / "empty").mkdir()
        done = genrescope("classify", *words, cwd=folder, input=b"")
        assert done.returncode == 2
        assert done.stderr.strip()

    def test_a_file_is_written_whole_or_not_at_all(self, folder: Path, tmp_path: Path) -> None:
        target = tmp_path / "out.json"
        target.write_text("old")
        done = genrescope("classify", folder / "a.wav", "-f", "json", "-o", target)
        assert done.stdout == ""
        assert len(json.loads(target.read_text())) == 1
        assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []

    def test_odd_names(self, tmp_path: Path) -> None:
        raw = os.fsencode(tmp_path) + b"/\xff\n-[red].wav"
        soundfile.write(tmp_path / "x.wav", music(2), RATE)
        (tmp_path / "x.wav").rename(os.fsdecode(raw))
        for form in ("table", "json", "jsonl", "csv"):
            done = genrescope("classify", tmp_path, "-f", form)
            assert done.returncode == 0
        (row,) = json.loads(genrescope("classify", tmp_path, "-f", "json").stdout)
        assert os.fsencode(row["path"]) == raw

    def test_silence_is_a_warning(self, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "s.wav", [0.0] * RATE * 3, RATE)
        done = genrescope("classify", tmp_path, "-f", "json")
        assert done.returncode == 0
        (row,) = json.loads(done.stdout)
        assert row["genre"] is None
        assert "cannot tell" in row["warnings"][0]
        assert "cannot tell" in genrescope("classify", tmp_path).stdout

    def test_ctrl_c_leaves_what_was_finished(self, tmp_path: Path) -> None:
        song = write_wav(tmp_path / "song.wav", 25)
        (tmp_path / "many").mkdir()
        for i in range(4000):
            os.link(song, tmp_path / "many" / f"{i}.wav")
        target = tmp_path / "out.json"
        # In a folder the links would be one file; names that are given are all taken.
        names = tmp_path / "names.txt"
        names.write_text("".join(f"{each}\n" for each in (tmp_path / "many").iterdir()))
        words = [*COMMAND, "classify", "-", "-f", "json", "-o", target, "-j", "1"]
        with names.open() as given:
            process = subprocess.Popen(
                words,
                stdin=given,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=hears_ctrl_c,
            )
        rows = tmp_path / "out.json.partial/rows.jsonl"
        while process.poll() is None and (
            not rows.exists() or len(rows.read_text().splitlines()) < 2
        ):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=600)
        assert process.returncode == 130
        assert "interrupted" in err
        assert not target.exists()
        assert 1 < len(rows.read_text().splitlines()) < 4001

    def test_a_reader_that_has_enough(self, folder: Path) -> None:
        words = " ".join(map(str, [*COMMAND, "classify", folder / "a.wav", "-f", "jsonl"]))
        done = subprocess.run(f"{words} | true", shell=True, capture_output=True, text=True)
        assert "Traceback" not in done.stderr

    def test_a_bar_where_somebody_looks(self, folder: Path) -> None:
        pty = pytest.importorskip("pty", reason="no terminals of this kind")
        main, terminal = pty.openpty()
        done = subprocess.run(
            [*COMMAND, "classify", folder / "a.wav"], stderr=terminal, stdout=subprocess.PIPE
        )
        os.close(terminal)
        assert done.returncode == 0
        assert b"Classifying" in os.read(main, 10000)
        os.close(main)


@pytest.mark.slow
class TestWhatIsMeant:
    """Odd names, folders that can't be read, odd places for the output"""

    @pytest.mark.parametrize("name", ["", "a" * 300, "a" * 5000])
    def test_names_that_no_file_can_have(self, folder: Path, name: str) -> None:
        done = genrescope("classify", name, folder / "a.wav", "-f", "csv", cwd=folder)
        assert done.returncode == 1
        assert len(done.stdout.splitlines()) == 2  # not the current folder
        done = genrescope("classify", folder / "a.wav", "--model", "m" * 300)
        assert done.returncode == 2

    @pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root reads any folder")
    def test_a_folder_that_cannot_be_read_is_named(self, folder: Path) -> None:
        (folder / "deep" / "er").chmod(0)
        done = genrescope("classify", folder / "a.wav", folder / "deep")
        (folder / "deep" / "er").chmod(0o755)
        assert done.returncode == 1
        assert f"{folder / 'deep' / 'er'}: not readable" in done.stderr

    def test_home_in_a_quoted_glob(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(folder))
        for name in ("~", "~/*.wav", "~/a.wav"):
            assert str(folder / "a.wav") in genrescope("classify", name).stdout

    def test_a_list_made_on_windows(self, folder: Path) -> None:
        done = genrescope("classify", "-", input=f"{folder / 'a.wav'}\r\n\r\n".encode())
        assert done.returncode == 0

    def test_output_into_what_is_no_file(self, folder: Path, tmp_path: Path) -> None:
        done = genrescope("classify", folder / "a.wav", "-f", "csv", "-o", "/dev/stdout")
        assert done.returncode == 0
        assert len(done.stdout.splitlines()) == 2
        link, target = tmp_path / "link.csv", tmp_path / "target.csv"
        link.symlink_to(target)
        assert genrescope("classify", folder / "a.wav", "-o", link).returncode == 0
        assert link.is_symlink()
        assert target.is_file()

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
    def test_a_full_disk_is_one_line(self, folder: Path) -> None:
        for words in (["-f", "csv"], ["-f", "table"]):
            with Path("/dev/full").open("w") as full:
                done = subprocess.run(
                    [*COMMAND, "classify", folder / "a.wav", *words],
                    stdout=full,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            assert done.returncode == 2
            assert done.stderr.startswith("genrescope: stdout: can't be written")
            assert len(done.stderr.splitlines()) == 1


def locale_of(folder: Path, name: str, charmap: str) -> dict[str, str]:
    """A locale compiled for this test, whatever the system has."""
    localedef = shutil.which("localedef")
    if localedef is None or not Path("/usr/share/i18n/locales", name.split(".")[0]).exists():
        pytest.skip("no sources of locales here")
    language = name.split(".")[0]
    made = subprocess.run(
        [localedef, "-c", "-i", language, "-f", charmap, folder / name], capture_output=True
    )
    if not (folder / name).is_dir():
        pytest.skip(f"{name} can't be compiled here: {made.stderr.decode(errors='replace')}")
    return {"LOCPATH": str(folder), "LC_ALL": name}


@pytest.mark.slow
class TestEncodings:
    """Terminals and pipes of other encodings than UTF-8"""

    PLACES: ClassVar = {
        "C": {"LC_ALL": "C"},
        "C, not coerced": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        "POSIX": {"LC_ALL": "POSIX"},
        "ascii": {"PYTHONIOENCODING": "ascii"},
        "latin 1": {"PYTHONIOENCODING": "iso-8859-1"},
        "cp437": {"PYTHONIOENCODING": "cp437"},
        "euc": {"PYTHONIOENCODING": "euc_jp"},
        "utf-16": {"PYTHONIOENCODING": "utf-16"},
        "German": ("de_DE.ISO-8859-1", "ISO-8859-1"),
        "Japanese": ("ja_JP.eucJP", "EUC-JP"),
    }
    COMMANDS: ClassVar = (
        ["classify", "a.wav", "--top", "3", "--timeline"],
        ["classify", "a.wav", "gone.mp3", "-f", "csv"],
        ["recipes"],
        ["recipes", "default"],
        ["classify", "--help"],
        ["encoders", "list"],
        ["compare", "--all"],
        ["nonsense"],
    )

    @pytest.mark.parametrize("place", PLACES)
    def test_no_command_fails(self, tmp_path: Path, place: str) -> None:
        settings = self.PLACES[place]
        if isinstance(settings, tuple):
            settings = locale_of(tmp_path, *settings)
        write_wav(tmp_path / "a.wav", 2)
        (tmp_path / "a.wav").rename(tmp_path / "für – 音.wav")
        (tmp_path / "a.wav").symlink_to("für – 音.wav")
        for words in (*self.COMMANDS, ["classify", "für – 音.wav"]):
            done = subprocess.run(
                [*COMMAND, *words], capture_output=True, cwd=tmp_path, env=os.environ | settings
            )
            err = done.stderr.replace(b"\0", b"").decode("ascii", "replace")
            assert "Traceback" not in err, (words, err)
            # A name in UTF-8 can't always be spelled in EUC-JP; that is one line, too.
            may_fail = words == ["nonsense"] or "compare" in words or "für – 音.wav" in words
            assert done.returncode in ((0, 1, 2) if may_fail else (0, 1)), err
            if place == "ascii":
                assert done.stdout.isascii(), words
                assert done.stderr.isascii(), words

    def test_bars_and_dashes_have_an_ascii_form(self, folder: Path) -> None:
        done = subprocess.run(
            [*COMMAND, "classify", folder / "a.wav"], capture_output=True,
            env=os.environ | {"PYTHONIOENCODING": "ascii"},
        )  # fmt: skip
        assert re.search(rb"[#.]{10}", done.stdout)

    @pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&-", "| true", "| head -c 1"])
    @pytest.mark.parametrize(
        "words",
        [
            "classify a.wav",
            "--help",
            "recipes",
            "encoders list",
        ],
    )
    def test_closed_streams_and_pipes(self, folder: Path, closed: str, words: str) -> None:
        command = f"{shlex.join(COMMAND)} {words} {closed}"
        done = subprocess.run(command, shell=True, capture_output=True, cwd=folder)
        assert b"Traceback" not in done.stderr
        assert b"Exception" not in done.stderr

    def test_a_slow_pipe_gets_everything(self, folder: Path) -> None:
        command = f"{shlex.join(COMMAND)} recipes | (sleep 1; cat) | wc -c"
        slow = subprocess.run(command, shell=True, capture_output=True, check=True)
        whole = subprocess.run([*COMMAND, "recipes"], capture_output=True, check=True)
        assert int(slow.stdout) == len(whole.stdout)


@pytest.mark.slow
class TestWhatIsAsked:
    """Endings of --out, names that end with NUL, addresses, folders without music"""

    @pytest.mark.parametrize(
        "ending",
        [
            "CSV",
            *(
                pytest.param(e, marks=pytest.mark.slow)
                for e in ["csv", "json", "jsonl", "ndjson", "txt"]
            ),
        ],
    )
    def test_the_ending_names_the_format(self, folder: Path, tmp_path: Path, ending: str) -> None:
        target = tmp_path / f"out.{ending}"
        assert genrescope("classify", folder / "a.wav", "-o", target).returncode == 0
        text = target.read_text()
        beginning = {"csv": "path,", "json": "[\n{", "jsonl": "{", "ndjson": "{", "txt": "Genre "}
        assert text.startswith(beginning[ending.lower()])
        genrescope("classify", folder / "a.wav", "-o", target, "-f", "csv")
        assert target.read_text().startswith("path,")

    def test_a_name_of_what_the_file_is_not_is_refused(self, folder: Path, tmp_path: Path) -> None:
        target = tmp_path / "out.csv.gz"
        done = genrescope("classify", folder / "a.wav", "-o", target, "-f", "csv")
        assert done.returncode == 2
        assert "drop .gz" in done.stderr
        assert not target.exists()

    def test_names_that_end_with_nul(self, folder: Path) -> None:
        odd = folder / "two\nlines.wav"
        (folder / "a.wav").rename(odd)
        names = os.fsencode(odd) + b"\0" + os.fsencode(folder / "deep" / "er" / "b b.wav") + b"\0"
        for flag in ("-0", "--null"):
            done = genrescope("classify", "-", flag, "-f", "jsonl", input=names)
            assert done.returncode == 0, done.stderr
            assert [json.loads(line)["path"] for line in done.stdout.splitlines()] == [
                str(odd), str(folder / "deep" / "er" / "b b.wav"),
            ]  # fmt: skip

    @pytest.mark.parametrize("address", ["https://a.org/b.mp3", "s3://x/y.flac", "ftp://a/b"])
    def test_an_address_is_refused_in_one_line(self, address: str) -> None:
        done = genrescope("classify", address)
        assert done.returncode == 2
        assert done.stdout == ""
        assert f"{address}: an address, not a file: download it, or use --engine ray" in done.stderr

    def test_nothing_classified_prints_no_heading(self, folder: Path) -> None:
        done = genrescope("classify", folder / "broken.mp3")
        assert (done.returncode, done.stdout) == (2, "")
        assert json.loads(genrescope("classify", folder / "broken.mp3", "-f", "json").stdout) == []

    def test_a_model_that_is_missing_is_no_such_file(self, folder: Path) -> None:
        done = genrescope("classify", folder / "a.wav", "--model", "gone.zip")
        assert done.returncode == 2
        assert "gone.zip: no such file" in done.stderr
        done = genrescope("classify", folder / "a.wav", "--model", "Defalt")
        assert "(did you mean 'default'?)" in done.stderr
        done = genrescope("classify", folder / "a.wav", "--model", folder)
        assert "no bundle.json and model.onnx in it" in done.stderr
        (folder / "jobs").mkdir()
        done = genrescope("classify", folder / "a.wav", "--model", folder)
        assert f"{folder}: a run that is not finished" in done.stderr

    def test_dots_links_and_what_was_passed_over(self, tmp_path: Path) -> None:
        music, disk = tmp_path / "music", tmp_path / "disk"
        (music / "...And Justice").mkdir(parents=True)
        (music / "@eaDir").mkdir()
        disk.mkdir()
        write_wav(music / "...And Justice" / "1.wav", 2)
        write_wav(music / "...Baby.wav", 2)
        write_wav(disk / "far.wav", 2)
        (music / "._1.wav").write_bytes(b"\0\5\x16\7")
        (music / "@eaDir" / "thumb.wav").write_bytes(b"no music")
        (music / "usb").symlink_to(disk)
        (music / "again").symlink_to(music)
        done = genrescope("classify", music, "-f", "csv")
        assert done.returncode == 0, done.stderr
        paths = [line.split(",")[0] for line in done.stdout.splitlines()[1:]]
        assert [Path(path).relative_to(music).as_posix() for path in paths] == [
            "...And Justice/1.wav", "...Baby.wav", "usb/far.wav",
        ]  # fmt: skip
        assert done.stderr.startswith(
            f"passed over: 1 system file ({music / '._1.wav'}), "
            f"1 system folder ({music / '@eaDir'})"
        )

    def test_folders_that_link_to_each_other_end_a_pattern(self, tmp_path: Path) -> None:
        for name in "abcdef":
            (tmp_path / name).mkdir()
            for other in "abcdef":
                (tmp_path / name / f"to-{other}").symlink_to(tmp_path / other)
        (tmp_path / "a" / "self").symlink_to("self")
        (tmp_path / "a" / "x.wav").write_bytes(b"1")
        (tmp_path / "b" / "x.wav").hardlink_to(tmp_path / "a" / "x.wav")
        (tmp_path / "c" / "deep").mkdir()
        (tmp_path / "c" / "deep" / "y.wav").write_bytes(b"2")
        (tmp_path / ".git").mkdir()
        (tmp_path / ".git" / "z.wav").write_bytes(b"3")
        over = PassedOver()
        expected = [tmp_path / "a" / "x.wav", tmp_path / "c" / "deep" / "y.wav"]
        assert list(find([f"{tmp_path}/**/*.wav"], passed_over=over)) == expected
        assert over.repeated == 1
        assert list(find([f"{tmp_path}/*/deep/**"])) == expected[1:]
        assert list(find([f"{tmp_path}/**/deep/**/*.wav"])) == expected[1:]

    def test_a_file_of_several_arguments_is_given_once(self, tmp_path: Path) -> None:
        (tmp_path / "m").mkdir()
        for name in ("1.wav", "2.wav"):
            (tmp_path / "m" / name).write_bytes(b"x")
        (tmp_path / "link").symlink_to(tmp_path / "m")
        first, second = tmp_path / "m" / "1.wav", tmp_path / "m" / "2.wav"
        assert list(find(map(str, [second, tmp_path / "link"]))) == [
            second, tmp_path / "link" / "1.wav",
        ]  # fmt: skip
        assert list(find(map(str, [tmp_path / "m", tmp_path / "link", first]))) == [
            first, second, first,
        ]  # fmt: skip

    def test_a_folder_without_audio_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "._a.mp3").write_bytes(b"x")
        done = genrescope("classify", tmp_path)
        assert done.returncode == 2
        assert "no audio files in this folder; passed over: 1 system file" in done.stderr


def test_results_are_printed_above_the_bar(tmp_path: Path) -> None:
    for i in range(6):
        write_wav(tmp_path / f"{i}.wav", 2)
    pty = pytest.importorskip("pty", reason="no terminals of this kind")
    main, terminal = pty.openpty()
    words = [*COMMAND, "classify", tmp_path]
    process = subprocess.Popen(words, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):  # how a terminal says that it was closed
        while chunk := os.read(main, 4096):
            shown += chunk
    assert process.wait() == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    rows = [row for row in re.split(r"[\r\n]+", plain) if ".wav" in row]
    assert len(rows) == 6
    assert not any("Classifying" in row for row in rows)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    content=st.binary(max_size=3000),
    suffix=st.sampled_from([".mp3", ".wav", ".flac", ".m4a", ".png", ""]),
)
def test_no_content_breaks_the_classifier(content: bytes, suffix: str, tmp_path_factory) -> None:
    from genrescope import Classifier, GenrescopeError

    path = tmp_path_factory.mktemp("any") / f"file{suffix}"
    path.write_bytes(content)
    try:
        Classifier.load("default").predict(path)
    except GenrescopeError as error:
        assert "\n" not in str(error)


class TestTags:
    """genrescope classify --write-tags"""

    @pytest.fixture
    def songs(self, tmp_path: Path) -> list[Path]:
        paths = [tmp_path / "a.flac", tmp_path / "b.flac"]
        for number, path in enumerate(paths):
            soundfile.write(path, music(3, seed=number), RATE)
        tags = mutagen.File(paths[1])
        tags["genre"] = "Schlager"
        tags.save()
        return paths

    def genres(self, songs: list[Path]) -> list[str | None]:
        return [(mutagen.File(song).get("genre") or [None])[0] for song in songs]

    def test_a_dry_run_changes_nothing(self, songs: list[Path]) -> None:
        before = [song.read_bytes() for song in songs]
        done = genrescope("classify", *songs, "--write-tags", "--dry-run")
        assert done.returncode == 0
        assert "no genre ->" in done.stderr
        assert "1 file kept with another genre (--overwrite" in done.stderr
        assert [song.read_bytes() for song in songs] == before

    def test_a_genre_that_is_there_stays(self, songs: list[Path]) -> None:
        genrescope("classify", *songs, "--write-tags", "--yes")
        first, second = self.genres(songs)
        assert first is not None
        assert second == "Schlager"

    def test_unless_it_is_to_be_replaced(self, songs: list[Path]) -> None:
        genrescope("classify", *songs, "--write-tags", "--yes", "--overwrite")
        assert self.genres(songs)[1] == "Schlager", "the model does not know it"
        genrescope("classify", *songs, "--write-tags", "--yes", "--overwrite", "--force")
        assert None not in self.genres(songs)
        assert "Schlager" not in self.genres(songs)

    @pytest.mark.parametrize(("answer", "written"), [(b"n\n", False), (b"y\n", True)])
    def test_it_asks(self, songs: list[Path], answer: bytes, written: bool) -> None:
        pty = pytest.importorskip("pty", reason="no terminals of this kind")
        main, terminal = pty.openpty()
        words = [*COMMAND, "classify", songs[0], "--write-tags"]
        process = subprocess.Popen(
            words, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        os.write(main, answer)
        _, err = process.communicate(timeout=600)
        assert b"Write the genre into 1 file?" in err
        assert (self.genres(songs)[0] is not None) == written


class TestEvaluate:
    """genrescope evaluate"""

    def test_figures_of_a_folder(self, tmp_path: Path) -> None:
        for genre in ("jazz", "rock", "polka"):
            (tmp_path / genre).mkdir()
            for i in range(3):
                write_wav(tmp_path / genre / f"{i}.wav", 3, seed=i)
        (tmp_path / "jazz" / "broken.wav").write_bytes(b"RIFF")
        done = genrescope("evaluate", "default", "--data", tmp_path, "--format", "json")
        assert done.returncode == 1
        fields = json.loads(done.stdout)
        assert fields["n"] == 6
        assert set(fields["by_genre"]) == {"jazz", "rock"}
        assert fields["interval"]["accuracy"][0] <= fields["accuracy"]
        assert "macro_f1" in fields
        assert [Path(f["track"]).name for f in fields["left_out"]] == ["broken.wav"]
        assert "not genres of the model: polka" in done.stderr
        assert "accuracy" in genrescope("evaluate", "default", "--data", tmp_path).stdout

    @pytest.mark.parametrize("folder", ["nowhere", "."])
    def test_nothing_to_judge(self, tmp_path: Path, folder: str) -> None:
        assert genrescope("evaluate", "default", "--data", tmp_path / folder).returncode == 2

    @pytest.mark.slow
    @pytest.mark.shared
    def test_real_music_as_audio(self, shared: Path) -> None:
        done = genrescope(
            "evaluate", "default", "--data", shared / "data/gtzan-audio", "--format", "json"
        )
        # The model was trained on these tracks: this tests that audio is read, and no accuracy.
        assert json.loads(done.stdout)["accuracy"] > 0.9


@pytest.mark.needs("train")
class TestTrain:
    """genrescope train"""

    def test_from_folder_to_bundle(self, tmp_path: Path) -> None:
        data = write_spectrograms(tmp_path / "data")
        words = ["train", "default-random", "--data", data, "--out", tmp_path / "run"]
        changes = ["training.epochs=2", "model.channels=[4, 8]", "training.batch_size=4"]
        done = genrescope(*words, *(w for c in changes for w in ("--set", c)))
        assert done.returncode == 0, done.stderr
        assert "accuracy" in done.stdout
        song = data / "low" / "low.00000.png"
        done = genrescope("classify", song, "--model", tmp_path / "run", "-f", "json")
        assert json.loads(done.stdout)[0]["genre"] in ("low", "high")

    @pytest.mark.parametrize(
        "words",
        [
            ["nonsense", "--data", "."],
            ["default", "--data", "nowhere"],
            ["default", "--data", "data", "--set", "seed"],
            ["default", "--data", "data", "--set", "training.epoch=1"],
            ["default", "--data", "data", "--artists", "nowhere.csv"],
            ["default", "--data", "data", "--teacher", "nowhere.npz"],
        ],
    )
    def test_misuse_is_two(self, tmp_path: Path, words: list[str]) -> None:
        write_spectrograms(tmp_path / "data", tracks=1)
        done = genrescope("train", *words, cwd=tmp_path)
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1

    def test_a_teacher_without_weight_is_told(self, tmp_path: Path) -> None:
        data = write_spectrograms(tmp_path / "data", tracks=4)
        names = [f"{genre}.{n:05}.mp3" for genre in ("low", "high") for n in range(4)]
        np.savez(tmp_path / "t.npz", X=np.full((len(names), 3), 0.5), IDS=names)
        words = ["train", "default-random", "--data", data, "--teacher", tmp_path / "t.npz"]
        changes = ["ensemble=[]", "training.epochs=1", "model.channels=[4, 8]"]
        changes.append("training.batch_size=2")
        sets = [word for change in changes for word in ("--set", change)]
        done = genrescope(*words, "--out", tmp_path / "run", *sets)
        assert done.returncode == 0, done.stderr
        assert "the recipe gives the teacher's targets no weight" in done.stderr

    def test_without_artists_it_says_so(self, tmp_path: Path) -> None:
        data = write_spectrograms(tmp_path / "data", tracks=4)
        changes = ["training.epochs=1", "model.channels=[4, 8]", "split.folds=2"]
        words = ["train", "default", "--data", data, "--out", tmp_path / "run"]
        done = genrescope(*words, *(w for c in changes for w in ("--set", c)))
        assert done.returncode == 0, done.stderr
        assert "no artists are known: the split is by track alone" in done.stderr
        assert "no teacher's targets are" in done.stderr
        metrics = json.loads((tmp_path / "run/metrics.json").read_text())
        assert metrics["split"]["by_artist"] is False


def test_examples_are_classified(tmp_path: Path) -> None:
    done = genrescope("examples", tmp_path / "clips", "--seconds", "3")
    assert len(done.stdout.splitlines()) == 7
    assert genrescope("classify", tmp_path / "clips").returncode == 0


def test_version_and_help(tmp_path: Path) -> None:
    import genrescope as package

    assert genrescope("--version").stdout == f"genrescope {package.__version__}\n"
    done = genrescope("examples", tmp_path / "x", "--seconds", "2")
    assert "next: genrescope classify" in done.stderr
    for command in ("classify", "evaluate", "train", "examples"):
        done = genrescope(command, "--help")
        assert done.returncode == 0
        assert "Examples" in done.stdout
