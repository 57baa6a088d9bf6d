"""Tables as programs and people write them: separators, encodings, names of columns, paths."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from genrescope.datasets import Track, read_dataset, read_table, with_artists
from genrescope.datasets.csv_files import CsvTable
from genrescope.errors import DatasetError

FILES = ("a/one.mp3", "b/two songs.wav")


def listing(folder: Path, content: str | bytes, name: str = "list.csv") -> Path:
    for file in FILES:
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).touch()
    data = content if isinstance(content, bytes) else content.encode()
    (folder / name).write_bytes(data)
    return folder / name


def expected(folder: Path) -> list[Track]:
    return [
        Track("one", folder / FILES[0], "Hip-Hop, old", "Ann", "train"),
        Track("two songs", folder / FILES[1], "jazz", None, "test"),
    ]


ROWS = (
    ("path", "genre", "artist", "split"),
    ("a/one.mp3", '"Hip-Hop, old"', "Ann", "training"),
    ("b/two songs.wav", "jazz", "", "test"),
)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("bom", [b"", codecs.BOM_UTF8])
def test_any_separator_and_line_end(tmp_path: Path, separator: str, end: str, bom: bytes) -> None:
    text = end.join(separator.join(row) for row in ROWS)
    assert read_dataset(listing(tmp_path, bom + text.encode())).tracks == expected(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_what_spreadsheets_save(tmp_path: Path, encoding: str) -> None:
    text = "\r\n".join("\t".join(row) for row in (*ROWS, ("", "", "", ""))) + "\r\n"
    table = listing(tmp_path, text.encode(encoding), "list.txt")
    assert read_dataset(table).tracks == expected(tmp_path)


def test_the_line_that_names_the_separator_of_a_spreadsheet(tmp_path: Path) -> None:
    lines = ("sep=;", *(";".join(row) for row in ROWS))
    assert read_dataset(listing(tmp_path, "\r\n".join(lines))).tracks == expected(tmp_path)
    (tmp_path / "a" / "one.mp3").unlink()
    table = listing(tmp_path, "sep=|\npath|genre\n.|rock\n")
    with pytest.raises(DatasetError, match="line 3, column path"):
        read_dataset(table)


def test_empty_lines_above_the_header(tmp_path: Path) -> None:
    lines = ("", "", *(";".join(row) for row in ROWS))
    assert read_dataset(listing(tmp_path, "\n".join(lines))).tracks == expected(tmp_path)
    with pytest.raises(DatasetError, match=r"line 3: expected a column .* are: a, b"):
        read_dataset(listing(tmp_path, "\n\na;b\n"))


@pytest.mark.parametrize("again", ["{}/a/one.mp3", "b/../a/one.mp3", "soft.mp3", "hard.mp3"])
def test_a_file_by_two_names_is_listed_twice(tmp_path: Path, again: str) -> None:
    table = listing(tmp_path, f"path,genre\na/one.mp3,rock\n{again.format(tmp_path)},rock\n")
    (tmp_path / "soft.mp3").symlink_to("a/one.mp3")
    (tmp_path / "hard.mp3").hardlink_to(tmp_path / "a" / "one.mp3")
    with pytest.raises(DatasetError, match=r"line 3: .*\.mp3") as caught:
        read_dataset(table)
    assert "is the file a/one.mp3 in line 2" in str(caught.value)


@pytest.mark.parametrize(
    ("path", "genre", "artist"),
    [
        ("filename", "label", "artist_name"),
        (" File ", "CLASS", "Artist"),
        ("Path", "Genre", "artist_id"),
        ("file_path", "category", "ARTIST_GROUP"),
    ],
)
def test_other_names_of_columns(tmp_path: Path, path: str, genre: str, artist: str) -> None:
    text = "\n".join(",".join(row) for row in ((path, genre, artist, "Split"), *ROWS[1:]))
    assert read_dataset(listing(tmp_path, text)).tracks == expected(tmp_path)


def test_spaces_backslashes_and_an_index_column(tmp_path: Path) -> None:
    text = (
        ",path,genre,artist,split\n"
        '0, a\\one.mp3 ,"Hip-Hop, old", Ann , Train\n'
        "1,./b/two songs.wav ,jazz,NaN,test,,\n"
    )
    assert read_dataset(listing(tmp_path, text)).tracks == expected(tmp_path)


def test_a_name_with_a_backslash_is_itself_where_it_exists(tmp_path: Path) -> None:
    (tmp_path / "a\\b.wav").touch()
    (tmp_path / "list.csv").write_text("path,genre\na\\b.wav,rock\n")
    (track,) = read_dataset(tmp_path / "list.csv").tracks
    assert track.path == tmp_path / "a\\b.wav"


def test_a_path_that_leads_nowhere_is_named_as_it_stands_there(tmp_path: Path) -> None:
    table = listing(tmp_path, "genre,File Name\njazz,C:\\Music\\one.mp3\n")
    with pytest.raises(DatasetError, match=r"line 2, column File Name: .*: C:\\Music\\one"):
        read_dataset(table)


@pytest.mark.parametrize("cell", ["", "NaN", "nan", "None", "  ", "N/A"])
def test_a_row_without_a_path_is_named(tmp_path: Path, cell: str) -> None:
    table = listing(tmp_path, f"genre,filename\njazz,a/one.mp3\nrock,{cell}\n")
    with pytest.raises(DatasetError, match=r"line 3, column filename: .* found nothing"):
        read_dataset(table)


@pytest.mark.parametrize("cell", [".", "..", "a", "./", "a/"])
def test_a_row_that_names_a_folder_is_named(tmp_path: Path, cell: str) -> None:
    table = listing(tmp_path, f"path;genre\n\n{cell};rock\n")
    with pytest.raises(DatasetError, match=r"line 3, column path: .* is a folder"):
        read_dataset(table)


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    text = 'path,genre,comment\na/one.mp3,rock,"two\nlines"\n\nb/two songs.wav\n'
    with pytest.raises(DatasetError, match="line 5, column genre: 1 cell, expected 3"):
        read_dataset(listing(tmp_path, text))


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"path,genre\n\xe9.wav,rock\n", b"\x00" * 9])
def test_what_is_no_text_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DatasetError, match=r"list\.csv: ") as caught:
        read_dataset(listing(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_spellings_of_a_genre_become_one(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.wav").touch()
    genres = ("Hip-Hop", "hip hop", "Hip-Hop", "jazz")
    rows = [f"{number}.wav,{genre}" for number, genre in enumerate(genres)]
    (tmp_path / "list.csv").write_text("\n".join(["path,genre", *rows]))
    dataset = read_dataset(tmp_path / "list.csv")
    assert [t.genre for t in dataset.tracks] == ["Hip-Hop", "Hip-Hop", "Hip-Hop", "jazz"]
    assert dataset.notes == ("spellings of one genre: hip hop -> Hip-Hop",)
    assert len(read_dataset(tmp_path / "list.csv", genres=["hiphop"]).tracks) == 3


def test_tables_of_artists_and_features_are_read_alike(tmp_path: Path) -> None:
    (tmp_path / "artists.csv").write_bytes(codecs.BOM_UTF8 + b"Artist; Track\r\nAnn; x\r\n")
    (named,) = with_artists([Track("x", Path("x.wav"), "rock")], tmp_path / "artists.csv")
    assert named.artist == "Ann"
    (tmp_path / "features.csv").write_text("filename\tmfcc 1\tlabel\nx.wav\t 1.5 \trock\n")
    table = read_table([tmp_path / "features.csv"])
    assert (table.columns, table.genres, table.vectors["x"].tolist()) == (
        ["mfcc 1"],
        {"x": "rock"},
        [[1.5]],
    )


def test_columns_are_found_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file,PATH\n1,2\n")
    table = CsvTable(tmp_path / "t.csv")
    assert (table.column(("path", "file")), table.column(("nothing",))) == (1, None)


def test_headers_of_numbers_in_any_spelling(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    for name in ("track_id", "Track ID", "track-id"):
        table.write_text(f"{name},genre,mfcc1\n000002,Rock,1\n000005,Jazz,2\n")
        assert sorted({t.id for t in read_table([table]).tracks()}) == ["2", "5"]


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ('a/one.mp3,"rock\nb/two.mp3,jazz\n', 2),
        ('a/one.mp3,rock\nb/two.mp3,"jazz\nc.mp3,"pop"\n', 3),
    ],
)
def test_a_quote_that_is_not_closed_is_named(tmp_path: Path, rows: str, line: int) -> None:
    (tmp_path / "t.csv").write_text(f"path,genre\n{rows}")
    with pytest.raises(DatasetError, match=rf"t\.csv: line {line}: "):
        read_dataset(tmp_path / "t.csv")


def test_a_genre_with_a_line_break_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('path,genre\na.mp3,"rock\nb.mp3,jazz"\n')
    with pytest.raises(DatasetError, match=r"line 3, column genre: a genre with a line break"):
        read_dataset(tmp_path / "t.csv")


@pytest.mark.parametrize("scheme", ["file://", "file://localhost", "FILE:"])
def test_urls_of_local_files(tmp_path: Path, scheme: str) -> None:
    (tmp_path / "ä 1.mp3").touch()
    url = scheme + (tmp_path / "ä 1.mp3").as_uri().removeprefix("file://")
    (tmp_path / "t.csv").write_text(f"path,genre\n{url},rock\n")
    (track,) = read_dataset(tmp_path / "t.csv").tracks
    assert (track.id, track.path) == ("ä 1", tmp_path / "ä 1.mp3")


def test_various_artists_are_no_artist(tmp_path: Path) -> None:
    names = ["Various  Artists", "VA", "Ann", "unknown"]
    rows = "".join(f"{n}.mp3,rock,{name}\n" for n, name in enumerate(names))
    for n in range(len(names)):
        (tmp_path / f"{n}.mp3").touch()
    (tmp_path / "t.csv").write_text(f"path,genre,artist\n{rows}")
    tracks = read_dataset(tmp_path / "t.csv").tracks
    assert [track.artist for track in tracks] == [None, None, "Ann", None]
    named = with_artists(tracks, tmp_path / "t.csv")
    assert [track.artist for track in named] == [None, None, "Ann", None]
