"""Styles, instruments and moods of a library's tracks: columns, filters, tags, the map."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mutagen.flac import FLAC
from typer.testing import CliRunner

from genrescope import Prediction
from genrescope.cli import app
from genrescope.cli.tags import TagOptions, write_tags
from genrescope.errors import GenrescopeError
from genrescope.examples import write_examples
from genrescope.inference.labels import SoundLabels
from genrescope.library.export import export
from genrescope.library.files import Found, classified, described
from genrescope.library.map import Map, Method
from genrescope.library.map_page import write_page
from genrescope.library.rows import FORMAT, LABELS, NOT_CLASSIFIED, Entry
from genrescope.library.store import Library
from libraries import MODEL, entry, make_library

lancedb = pytest.importorskip("lancedb")
pa = pytest.importorskip("pyarrow")

STYLES = ({"techno": 0.5, "house": 0.25}, {"Drum and Bass": 0.5}, {}, {"techno": 0.125})


@pytest.fixture
def tracks() -> list[Entry]:
    """Twelve tracks of four styles; every third has a piano, every fourth is sad."""
    embeddings = np.random.default_rng(0).standard_normal((12, 16))
    return [
        entry(
            f"{i:02d}.mp3",
            each,
            kind="music",
            styles=STYLES[i % 4],
            instruments={"piano": 0.75} if i % 3 == 0 else {},
            moods={"sad": 0.25} if i % 4 == 0 else {},
            uses={"dance": 0.5} if i == 1 else {},
        )
        for i, each in enumerate(embeddings)
    ]


@pytest.fixture
def place(tmp_path: Path, tracks: list[Entry]) -> list[str]:
    make_library(tmp_path / "library", tracks)
    return ["--library", str(tmp_path / "library"), "--format", "json"]


def listed(*words: object) -> list[str]:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, (done.output, done.exception)
    return [Path(row["path"]).name for row in json.loads(done.stdout)]


def names(numbers: list[int]) -> list[str]:
    return [f"{i:02d}.mp3" for i in numbers]


def test_labels_are_stored_with_their_probabilities(tmp_path: Path, tracks: list[Entry]) -> None:
    rows = {each.path: each for each in make_library(tmp_path / "library", tracks).entries()}
    for track in tracks:
        assert rows[track.path].to_dict() == track.to_dict()
        assert list(rows[track.path].styles.items()) == list(track.styles.items())


@pytest.mark.parametrize("old", [1, 2])
def test_a_library_of_an_older_format_gets_the_columns_in_place(
    tmp_path: Path, tracks: list[Entry], old: int
) -> None:
    library = make_library(tmp_path / "library", tracks)
    table = lancedb.connect(tmp_path / "library").open_table("tracks").to_arrow()
    newer = ("kind", *LABELS) + (("inode",) if old == 1 else ())
    about = json.loads(table.schema.metadata[b"genrescope"]) | {"format": old}
    older = table.drop_columns(list(newer)).replace_schema_metadata(
        {"genrescope": json.dumps(about)}
    )
    connection = lancedb.connect(tmp_path / "library")
    connection.create_table("tracks", older, mode="overwrite")
    library = Library.open(tmp_path / "library")
    schema = connection.open_table("tracks").schema
    assert json.loads(schema.metadata[b"genrescope"])["format"] == FORMAT
    assert set(newer) <= set(schema.names)
    rows = {each.path: each for each in library.entries()}
    assert {each.kind for each in rows.values()} == {None}
    assert not any(getattr(each, group) for each in rows.values() for group in LABELS)
    assert np.array_equal(rows["03.mp3"].embedding, tracks[3].embedding)
    library.put(tracks)  # and takes labels from then on
    assert {each.path: dict(each.styles) for each in library.entries()} == {
        each.path: dict(each.styles) for each in tracks
    }


def test_commands_filter_by_style_instrument_and_mood(place: list[str]) -> None:
    command = ("library", "list", *place)
    assert listed(*command, "--style", "Techno") == names([0, 3, 4, 7, 8, 11])
    assert listed(*command, "--style", "drum & bass") == names([1, 5, 9])
    assert listed(*command, "--style", "techno", "--instrument", "piano") == names([0, 3])
    assert listed(*command, "--mood", "sad") == names([0, 4, 8])
    similar = listed("similar", "05.mp3", *place, "-n", "20", "--style", "techno")
    assert sorted(similar) == names([0, 3, 4, 7, 8, 11])
    more = listed("recommend", "05.mp3", *place, "--mood", "sad")
    assert sorted(more) == names([0, 4, 8])
    ends = ("playlist", "--from", "01.mp3", "--to", "02.mp3", *place)
    between = listed(*ends, "--length", "5", "--instrument", "piano")
    assert (between[0], between[-1]) == ("01.mp3", "02.mp3")
    assert set(between[1:-1]) < set(names([0, 3, 6, 9]))


def test_filters_that_nothing_can_meet_say_why(tmp_path: Path, place: list[str]) -> None:
    for words, reason in (
        (
            ["similar", "05.mp3", "--style", "polka"],
            "has this style; its styles are Drum and Bass, house",
        ),
        (["playlist", "--from", "01", "--to", "02", "--mood", "sad"], "that the filters allow"),
    ):
        done = CliRunner().invoke(app, [*words, *place])
        assert isinstance(done.exception, GenrescopeError)
        assert reason in str(done.exception)
    make_library(tmp_path / "plain", [entry("a.mp3", np.ones(16))])
    words = ["library", "list", "--library", str(tmp_path / "plain"), "--mood", "sad"]
    done = CliRunner().invoke(app, words)
    assert "the library has no moods" in str(done.exception)


def test_the_service_filters_alike(tracks: list[Entry]) -> None:
    pytest.importorskip("starlette")
    from genrescope.service.collection import Filter

    found = [each.path for each in tracks if Filter(style="TECHNO", mood="sad").allows(each)]
    assert found == names([0, 4, 8])
    found = [each.path for each in tracks if Filter(instrument="piano").allows(each)]
    assert found == names([0, 3, 6, 9])


def test_tables_for_other_programs_have_the_names(tmp_path: Path, tracks: list[Entry]) -> None:
    for ending in (".csv", ".json", ".parquet"):
        export(tracks[:2], MODEL.genres, tmp_path / f"out{ending}")
    with (tmp_path / "out.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["styles"], first["instruments"], second["styles"], second["moods"]) == (
        *("techno; house", "piano", "Drum and Bass", ""),
    )
    rows = json.loads((tmp_path / "out.json").read_text())
    assert rows[0]["styles"] == {"techno": 0.5, "house": 0.25}
    from pyarrow import parquet

    table = parquet.read_table(tmp_path / "out.parquet")
    assert table["styles"].to_pylist() == [["techno", "house"], ["Drum and Bass"]]
    assert table.schema.field("uses").type == pa.list_(pa.string())


def test_the_map_shows_them(tmp_path: Path, tracks: list[Entry]) -> None:
    drawn = Map("library", Method.pca, MODEL.genres, tracks[:2], np.array([[0.0, 0], [1, 1]]))
    write_page(drawn, tmp_path / "map.html")
    page = (tmp_path / "map.html").read_text()
    assert '"techno, house \\u00b7 piano \\u00b7 sad"' in page


def prediction() -> Prediction:
    tags = SoundLabels(
        "music",
        0.9,
        styles={"techno": 0.4, "swing": 0.3, "drum and bass": 0.2},
        style_genres={"techno": "electronic", "drum and bass": "electronic", "swing": "jazz"},
    )
    return Prediction(
        path=None,
        genre="electronic",
        probabilities={"electronic": 0.7, "jazz": 0.2, "rock": 0.1},
        timeline=[],
        embedding=np.zeros(2, np.float32),
        duration=30.0,
        warnings=[],
        labels=tags,
    )


def test_a_genre_its_styles_and_the_next_genre_in_tags() -> None:
    found = [("electronic", 0.7), ("techno", 0.7), ("drum and bass", 0.7), ("jazz", 0.2)]
    assert prediction().tag_values(4) == found
    assert prediction().tag_values(1) == found[:1]


def test_styles_are_written_with_their_genre(tmp_path: Path) -> None:
    [file, *_] = write_examples(tmp_path, seconds=4)
    tags = FLAC(file)
    tags.delete()
    tags.save()
    named = [(str(file), prediction().tag_values(4))]
    known = ["electronic", "jazz", "rock", "techno", "drum and bass"]
    assert write_tags(named, known, TagOptions(count=4, yes=True)) == []
    assert FLAC(file)["genre"] == ["Electronic", "Techno", "Drum and Bass"]


def test_a_scan_stores_what_the_model_says(tmp_path: Path) -> None:
    [file, *_] = write_examples(tmp_path, seconds=4)
    fields = described(Found.of(file), tmp_path, "content")
    row = classified(fields, prediction(), ["rock", "jazz", "electronic"])
    assert (row.kind, row.genre) == ("music", "electronic")
    assert row.styles == {"techno": 0.4, "swing": 0.3, "drum and bass": 0.2}
    noise = replace(prediction(), genre=None, labels=SoundLabels("speech", 0.1))
    row = classified(fields, noise, ["rock", "jazz", "electronic"])
    assert (row.kind, row.genre, row.styles) == ("speech", None, {})


def test_a_list_says_why_a_track_has_no_genre_and_where_copies_are(tmp_path: Path) -> None:
    nothing = {"genre": None, "confidence": 0.0}
    vector = np.ones(16)
    tracks = [
        entry("one/song.mp3", vector, title="Song", confidence=0.4996),
        entry("two/song.mp3", vector, title="Song"),
        entry("noise.mp3", vector, kind="noise", **nothing),
        entry("silence.mp3", vector, **nothing),
        entry("broken.mp3", vector, problem="no audio", **nothing),
        entry("left.mp3", vector, problem=NOT_CLASSIFIED, **nothing),
    ]
    make_library(tmp_path / "library", tracks)
    shown = CliRunner().invoke(app, ["library", "list", "-l", str(tmp_path / "library")])
    assert [" ".join(line.split()) for line in shown.stdout.splitlines()] == [
        "Genre Confidence Track",
        "not decoded broken.mp3",
        "not classified yet left.mp3",
        "noise noise.mp3",
        "jazz 49% Song [/music/one/song.mp3]",
        "silence silence.mp3",
        "jazz 75% Song [/music/two/song.mp3]",
    ]


def test_a_genre_without_tracks_is_told_from_a_wrong_one(tmp_path: Path) -> None:
    make_library(tmp_path / "library", [entry("song.mp3", np.ones(16))])

    def said(genre: str) -> str:
        command = ["library", "list", "-l", str(tmp_path / "library"), "--genre", genre]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 1
        return done.stderr or str(done.exception)

    assert "no track in the library has the genre rock; its genres are: jazz" in said("rock")
    assert "did you mean 'rock'" in said("rok")
