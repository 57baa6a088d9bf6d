"""What is wrong with a data set is found, named, and shown by the exit code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from typer.testing import CliRunner

from clips import RATE, music, write_spectrograms, write_wav
from genrescope.cli.datasets import app
from genrescope.datasets import read_dataset
from genrescope.datasets.check import Problem, Report, check_dataset
from genrescope.errors import DatasetError


def check(path: Path, **settings: int) -> Report:
    return check_dataset(read_dataset(path), **settings)


def of_kind(report: Report, kind: str) -> list[Problem]:
    return [problem for problem in report.problems if problem.kind == kind]


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """Two genres of three clips each, without faults."""
    for number, name in enumerate(["a/1", "a/2", "a/3", "b/4", "b/5", "b/6"]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_wav(tmp_path / f"{name}.wav", 1.0, seed=number)
    return tmp_path


def test_a_data_set_without_faults_has_no_problems(clean: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = check_dataset(
        read_dataset(clean), jobs=2, report=lambda done, total: seen.append((done, total))
    )
    assert report.problems == ()
    assert seen == [(n, 6) for n in range(1, 7)]
    (lengths,) = report.lengths
    assert (lengths.unit, lengths.files, lengths.median) == ("s", 6, 1.0)
    assert (report.sample_rates, report.channels) == ({RATE: 6}, {1: 6})


def test_corrupt_files_are_named_with_the_reason(clean: Path) -> None:
    (clean / "a/noise.mp3").write_bytes(bytes(range(256)) * 20)
    (clean / "b/empty.wav").touch()
    (clean / "a/1.wav").write_bytes((clean / "a/1.wav").read_bytes()[:20_000])
    report = check(clean)
    corrupt = {name: p.detail for p in of_kind(report, "corrupt") for name in p.tracks}
    assert corrupt.keys() == {"noise", "empty", "1"}
    assert "not audio" in corrupt["noise"]
    assert all(corrupt.values())


def test_one_recording_in_two_files_is_found_in_any_lossless_format(clean: Path) -> None:
    samples, _ = soundfile.read(clean / "a/1.wav", dtype="int16")
    soundfile.write(clean / "b/copy.flac", samples, RATE)
    shutil.copy(clean / "a/2.wav", clean / "a/copy2.wav")
    repeated = {p.tracks: p.detail for p in of_kind(check(clean), "repeated")}
    assert repeated == {
        ("1", "copy"): "identical content, labelled a and b",
        ("2", "copy2"): "identical content",
    }


def test_odd_lengths_rates_and_channels(clean: Path) -> None:
    soundfile.write(clean / "a/long.wav", music(1.2, seed=9), RATE)
    soundfile.write(clean / "a/fast.wav", music(1.0, seed=10, rate=44100), 44100)
    soundfile.write(clean / "a/wide.wav", np.tile(music(1.0, seed=11)[:, None], 2), RATE)
    report = check(clean)
    assert [(p.kind, p.tracks) for p in report.problems] == [
        ("length", ("long",)),
        ("rate", ("fast",)),
        ("channels", ("wide",)),
    ]
    details = [p.detail for p in report.problems]
    assert details == [
        "1.2 s; the median is 1 s",
        "44100 Hz; most have 22050",
        "2 channels; most have 1",
    ]
    assert report.sample_rates == {RATE: 8, 44100: 1}


def test_a_length_is_odd_by_five_percent_or_a_second(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for number, seconds in enumerate((30.0, 30.0, 30.9, 31.1, 29.1)):
        write_wav(tmp_path / f"a/{number}.wav", seconds, seed=number)
    assert [p.tracks for p in of_kind(check(tmp_path), "length")] == [("3",)]


def test_whole_songs_are_of_any_length(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for number in range(6):
        write_wav(tmp_path / f"a/{number}.wav", 1.0 + number / 2, seed=number)
    assert check(tmp_path).problems == ()


def test_stored_spectrograms_are_checked_too(tmp_path: Path) -> None:
    folder = write_spectrograms(tmp_path / "set", tracks=4)
    first = folder / "low/low.00000.png"
    shutil.copy(first, folder / "low/again.png")
    (folder / "low/broken.png").write_bytes(first.read_bytes()[:2000])
    Image.fromarray(np.zeros((544, 100), np.uint8)).save(folder / "high/short.png")
    Image.fromarray(np.zeros((544, 344, 3), np.uint8)).save(folder / "low/picture.png")
    report = check(folder)
    assert [(p.kind, p.tracks) for p in report.problems] == [
        ("corrupt", ("picture",)),
        ("corrupt", ("broken",)),
        ("repeated", ("again", "low.00000")),
        ("length", ("short",)),
        ("silent", ("short",)),
    ]
    assert "not a stored spectrogram" in report.problems[0].detail
    assert report.lengths[0].unit == "columns"


def test_gtzan_is_known_to_have_a_hundred_a_genre(tmp_path: Path) -> None:
    (tmp_path / "jazz").mkdir()
    numbers = [n for n in range(100) if n not in (7, 54)]
    one = write_wav(tmp_path / "jazz/jazz.00000.wav", 0.1)
    for number in numbers[1:]:
        samples = np.random.default_rng(number).normal(0, 0.1, RATE // 10)
        soundfile.write(tmp_path / f"jazz/jazz.{number:05d}.au", samples, RATE)
    (tmp_path / "jazz/jazz.00054.au").write_bytes(b"\x00" * 4096)
    assert one.is_file()
    report = check(tmp_path)
    assert len(report.dataset.tracks) == 98
    assert [(p.kind, p.tracks) for p in report.problems if p.kind != "short"] == [
        ("corrupt", ("jazz.00054",)),
        ("missing", ("jazz.00007",)),
    ]
    assert report.problems[1].detail == "99 of GTZAN's 100 jazz tracks are there"


def test_known_repeats_are_reported_even_if_their_content_differs(tmp_path: Path) -> None:
    lines = ["track_id,subset,split,genre_top,genres"]
    for number, track in enumerate((57371, 72149, 3)):
        clip = tmp_path / f"fma_small/{track // 1000:03d}/{track:06d}.mp3"
        clip.parent.mkdir(parents=True)
        soundfile.write(clip, music(1.0, seed=number), RATE, format="MP3")
        lines.append(f"{track},small,training,{'Folk' if number else 'Pop'},[]")
    lines.append("9,small,test,Pop,[]")
    (tmp_path / "fma_metadata").mkdir()
    (tmp_path / "fma_metadata/tracks_small.csv").write_text("\n".join(lines))
    report = check(tmp_path)
    assert report.problems == (
        Problem("missing", ("9",), "listed, but there is no such file"),
        Problem("repeated", ("57371", "72149"), "known to be one recording, labelled Folk and Pop"),
    )


# --- The command


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["check", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def test_the_table_shows_what_is_there(clean: Path) -> None:
    code, text = run(str(clean))
    assert code == 0
    assert f"{clean.name}: 6 tracks" in text
    assert "6 audio files: median 1 s" in text
    assert "No problems found" in text
    (clean / "a/[bold]bad.wav").write_bytes(b"x" * 100)
    code, text = run(str(clean))
    assert code == 1
    assert "[bold]bad" in text
    assert "corrupt" in text


def test_json_has_all_of_it(clean: Path) -> None:
    rows = ["path,genre,artist,split", "a/1.wav,a,Ann,train", "a/2.wav,b,,test", "no.wav,b,,"]
    (clean / "list.csv").write_text("\n".join(rows))
    code, text = run(str(clean / "list.csv"), "--format", "json", "--jobs", "1")
    found = json.loads(text)
    assert code == 1
    assert (found["kind"], found["tracks"], found["artists"]) == ("csv", 2, 1)
    assert found["genres"] == {"a": 1, "b": 1}
    assert found["splits"] == {"train": 1, "test": 1}
    assert found["sample_rates"] == {"22050": 2}
    assert found["left_out"] == [{"track": "no", "reason": "no such file"}]
    assert found["problems"] == [
        {"kind": "missing", "tracks": ["no"], "detail": "listed, but there is no such file"}
    ]


def test_misuse_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such file or folder"):  # main() turns it into 2
        run(str(tmp_path / "nowhere"))
    assert run(str(tmp_path), "--jobs", "0")[0] == 2


@pytest.mark.slow
@pytest.mark.shared
def test_the_real_spectrograms_repeat_as_is_known(shared: Path) -> None:
    report = check(shared / "data/gtzan-spectrograms")
    repeated = {p.tracks: p.detail for p in of_kind(report, "repeated")}
    assert len(repeated) == 15
    assert sum("identical content" in detail for detail in repeated.values()) == 14
    assert repeated["metal.00058", "rock.00016"] == "identical content, labelled metal and rock"
    assert sum(len(p.tracks) for p in of_kind(report, "missing")) == 150
    silent = {name for p in of_kind(report, "silent") for name in p.tracks}
    assert silent == {"hiphop.00036", "hiphop.00038"}
    assert {p.kind for p in report.problems} == {"repeated", "missing", "silent"}


@pytest.mark.slow
@pytest.mark.shared
def test_the_real_mp3s_have_no_faults(shared: Path) -> None:
    report = check(shared / "data/emotify-audio")
    assert report.problems == ()
    assert (report.sample_rates, report.channels) == ({44100: 40}, {2: 40})


def test_silence_and_very_short_files_are_named(clean: Path) -> None:
    half = music(1.0, seed=12)
    half[RATE // 2 :] = 0
    soundfile.write(clean / "a/half.wav", half, RATE)
    soundfile.write(clean / "b/scrap.wav", music(0.4, seed=13), RATE)
    report = check(clean)
    (silent,) = of_kind(report, "silent")
    assert silent.tracks == ("half",)
    seconds, words = silent.detail.split(" of ")
    assert 0.4 < float(seconds) <= 0.5
    assert words == "its 1 s are digital silence"
    (short,) = of_kind(report, "short")
    assert (short.tracks, short.detail) == (("scrap",), "0.4 s is too short to classify")
