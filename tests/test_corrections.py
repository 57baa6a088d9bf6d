"""Genres corrected by hand are used where files are tagged and sorted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from genrescope.cli import app
from genrescope.examples import write_examples
from genrescope.library.corrections import correct
from genrescope.library.places import LibraryError
from genrescope.library.store import Library
from genrescope.library.tags import read_genre
from libraries import MODEL, entry, make_library

pytest.importorskip("lancedb")
BASS, ORGAN = "walking-bass.flac", "offbeat-organ.flac"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A library, not the default one, in which the walking bass was corrected to metal."""
    from genrescope.library.scan import scan

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    music, place = tmp_path / "music", str(tmp_path / "library")
    music.mkdir()
    for path in write_examples(tmp_path / "examples", seconds=3):
        if path.name in (BASS, ORGAN):
            path.rename(music / path.name)
    scan([music], library=place)
    library = Library.open(place)
    [bass] = [entry for entry in library.entries() if entry.path == BASS]
    assert bass.genre == "jazz"
    correct(library, [bass], "Metal")
    return place


def run(*words: str | Path) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.slow
def test_classify_writes_corrected_genres(place: str, tmp_path: Path) -> None:
    music = tmp_path / "music"
    # Moved since the scan: a correction belongs to the sound, not to the name.
    (music / BASS).rename(music / "moved.flac")
    tags = ("--write-tags", "--yes", "--min-confidence", "0")
    run("classify", music, "--write-tags", "--dry-run", "--library", place)
    assert read_genre(music / "moved.flac") is None
    output = run("classify", music, *tags, "--library", place, "--count", "2")
    assert "1 file has a genre corrected in the library" in output
    assert read_genre(music / "moved.flac") == "Metal"
    assert read_genre(music / ORGAN) != "Metal"
    run("tags", "undo")
    run("classify", music, *tags)  # the default library, which there is not
    assert read_genre(music / "moved.flac") == "Jazz"


@pytest.mark.slow
def test_sort_uses_corrected_genres(place: str, tmp_path: Path) -> None:
    run("sort", "--to", tmp_path / "sorted", "--library", place, "--yes")
    assert (tmp_path / "sorted" / "Metal" / BASS).is_file()


@pytest.mark.slow
def test_tags_of_corrections_are_written_when_the_answer_is_yes(place: str, tmp_path: Path) -> None:
    import pty

    def answer(text: bytes) -> int:
        """The exit code of the command at a terminal."""
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "genrescope", "library", "corrections", "--write-tags"]
        process = subprocess.Popen(
            [*command, "--library", place], stdin=theirs, stdout=theirs, stderr=subprocess.PIPE
        )
        os.write(ours, text)
        _, asked = process.communicate(timeout=600)
        assert b"Write these genres into the tags of 1 file?" in asked
        os.close(ours)
        os.close(theirs)
        return process.returncode

    file = tmp_path / "music" / BASS
    refused = CliRunner().invoke(
        app, ["library", "corrections", "--write-tags", "--library", place], input="y\n"
    )
    assert refused.exit_code == 2  # no terminal
    assert answer(b"n\n") == 1
    assert read_genre(file) is None
    assert answer(b"y\n") == 0
    assert read_genre(file) == "Metal"
    run("tags", "undo")
    assert read_genre(file) is None


def test_lists_show_the_corrected_genre(place: str) -> None:
    [row] = json.loads(run("library", "list", "-l", place, "--genre", "metal", "-f", "json"))
    assert (row["genre"], row["corrected_genre"]) == ("jazz", "metal")
    assert run("similar", ORGAN, "--library", place).splitlines()[1].split()[1] == "metal"
    assert run("recommend", ORGAN, "--library", place).splitlines()[1].split()[1] == "metal"


def test_damaged_corrections_cost_no_tracks(tmp_path: Path) -> None:
    library = make_library(tmp_path / "library", [entry("a.mp3", np.ones(16))])
    correct(library, library.entries(), "rock")
    for file in (tmp_path / "library" / "corrections.lance").rglob("*.manifest"):
        file.write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="corrected genres are left out"):
        [track] = Library.open(tmp_path / "library").entries()
    assert (track.genre, track.corrected_genre) == ("jazz", None)
    with pytest.raises(LibraryError):  # not replaced by a table with this one alone
        correct(library, [track], "rock")


def test_a_correction_to_a_genre_that_only_an_earlier_model_had(tmp_path: Path) -> None:
    from genrescope.library.map import Map, Method
    from genrescope.library.map_page import write_picture

    library = make_library(tmp_path / "library", [entry("a.mp3", np.ones(16))])
    correct(library, library.entries(), "rock")
    other = replace(MODEL, genres=("jazz", "Hip-Hop"))
    library = Library.create(tmp_path / "library", other, library.entries())
    [track] = library.entries()
    assert track.effective_genre == "rock"
    drawn = Map("", Method.pca, other.genres, [track], np.zeros((1, 2), np.float32))
    write_picture(drawn, tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 1000


def test_corrections_are_spelled_as_the_model_does(tmp_path: Path) -> None:
    library = Library.create(tmp_path, replace(MODEL, genres=("jazz", "Hip-Hop")))
    library.put([entry("a.mp3", np.ones(16))])
    correct(library, library.entries(), "hip hop")
    library = Library.create(tmp_path, replace(MODEL, genres=("jazz", "hiphop")), library.entries())
    assert [track.effective_genre for track in library.entries()] == ["hiphop"]
