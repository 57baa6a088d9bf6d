"""Feature tables of every form, put together by track."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from genrescope.datasets import Table, Track, official_split, read_dataset, read_table
from genrescope.errors import DatasetError


def write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def save(folder: Path, name: str, **arrays: object) -> Path:
    np.savez(folder / name, **{key: np.asarray(value) for key, value in arrays.items()})
    return folder / name


def test_an_npz_of_fma_numbers(tmp_path: Path) -> None:
    values = np.array([[1, 2], [3, 4.5]], np.float16)
    file = save(tmp_path, "a.npz", track_id=[2, 98565], X=values, columns=["mean", "std"])
    table = read_table([file])
    assert list(table.vectors) == ["2", "98565"]
    assert table.vectors["98565"].dtype == np.float32
    np.testing.assert_array_equal(table.vectors["98565"], [[3, 4.5]])
    assert (table.columns, table.genres, table.split) == (["mean", "std"], {}, {})
    assert table.files == {"2": file, "98565": file}
    with pytest.raises(DatasetError, match=r"a.npz: does not name the genre of track 2"):
        table.tracks()


def test_segments_are_rows_of_their_track_in_order(tmp_path: Path) -> None:
    ids = ["rock/rock.00001.au", "jazz/jazz.00002.au", "rock/rock.00001.au"]
    train = save(tmp_path, "training_x.npz", X=[[1.0], [2], [3]], IDS=ids, Y=[9, 5, 9])
    test = save(tmp_path, "evaluation_x.npz", X=[[4.0]], IDS=["pop/pop.00003.au"], Y=[7])
    table = read_table([train, test])
    np.testing.assert_array_equal(table.vectors["rock.00001"], [[1], [3]])
    assert table.genres == {"rock.00001": "rock", "jazz.00002": "jazz", "pop.00003": "pop"}
    assert table.tracks() == [
        Track("jazz.00002", train, "jazz", None, "train"),
        Track("pop.00003", test, "pop", None, "test"),
        Track("rock.00001", train, "rock", None, "train"),
    ]
    split = official_split(table.tracks())
    assert (split.train, split.test) == (("jazz.00002", "rock.00001"), ("pop.00003",))


def test_genres_may_be_named(tmp_path: Path) -> None:
    table = read_table([save(tmp_path, "a.npz", X=[[1.0]], IDS=["a.b.mp3"], Y=["Folk"])])
    assert (list(table.vectors), table.genres) == (["a.b"], {"a.b": "Folk"})


def test_a_csv_of_files_labels_and_numbers(tmp_path: Path) -> None:
    text = (
        "filename,length,a,b,label\n"
        "blues.00000.wav,661794,1,2.5,blues\nrock.00001.wav,1,3,-4e2,rock\n"
    )
    table = read_table([write(tmp_path, "features_30_sec.csv", text)])
    assert table.columns == ["a", "b"]
    np.testing.assert_array_equal(table.vectors["rock.00001"], [[3, -400]])
    assert table.genres == {"blues.00000": "blues", "rock.00001": "rock"}


def test_three_second_rows_belong_to_their_track(tmp_path: Path) -> None:
    text = (
        "filename,a,label\n"
        "blues.00000.0.wav,1,blues\nblues.00000.1.wav,2,blues\nblues.00010.0.wav,3,blues\n"
    )
    table = read_table([write(tmp_path, "features_3_sec.csv", text)])
    assert {name: len(rows) for name, rows in table.vectors.items()} == {
        "blues.00000": 2,
        "blues.00010": 1,
    }


@pytest.mark.parametrize(
    ("column", "names", "ids"),
    [
        ("filename", ["a/x.mp3", "b/y.mp3"], ["x", "y"]),
        ("filename", ["a/x.mp3", "b/x.mp3"], ["a/x", "b/x"]),
        ("filename", ["a\\x.wav", "y.PNG"], ["x", "y"]),
        ("filename", ["a/c/x.mp3", "b/c/x.mp3", "y.mp3"], ["a/c/x", "b/c/x", "y"]),
        ("track", ["blues.00000", "Vol. 2"], ["blues.00000", "Vol. 2"]),
        ("track", ["001", "002"], ["001", "002"]),
        ("track_id", ["000002", "155320"], ["2", "155320"]),
    ],
)
def test_ids_are_those_of_the_data_sets(
    tmp_path: Path, column: str, names: list[str], ids: list[str]
) -> None:
    text = f"{column},a\n" + "".join(f"{name},1\n" for name in names)
    assert list(read_table([write(tmp_path, "t.csv", text)]).vectors) == ids


@pytest.mark.parametrize("index_row", ["track_id,,,\n", ""])
def test_fma_descriptors_have_three_header_rows(tmp_path: Path, index_row: str) -> None:
    text = (
        "feature,chroma_cens,chroma_cens,zcr\nstatistics,kurtosis,kurtosis,std\nnumber,01,02,01\n"
        f"{index_row}2,7.18,-1e-3,0.5\n155320,1.0,2.0,3.0\n"
    )
    table = read_table([write(tmp_path, "features.csv", text)])
    assert table.columns == ["chroma_cens_kurtosis_01", "chroma_cens_kurtosis_02", "zcr_std_01"]
    assert list(table.vectors) == ["2", "155320"]
    np.testing.assert_allclose(table.vectors["2"], [[7.18, -1e-3, 0.5]], rtol=1e-6)


HEAD = "track,a,b\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: expected a column for the tracks .filename, track, track_id"),
        ("name,a\nx,1\n", "line 1: expected a column for the tracks .filename, track, track_id"),
        (HEAD, "no rows of numbers"),
        ("track,genre\nx,rock\n", "no rows of numbers"),
        (HEAD + "x,1\n", "line 2, column b: 2 cells, expected 3"),
        (HEAD + "x,1,2\ny,1,loud\n", "line 3, column b: expected a number, found 'loud'"),
        (HEAD + "x,1,nan\n", "track x: b is not a finite number"),
        ("track,a,genre\nx,1,rock\nx,2,pop\n", "track x is pop and rock"),
        ("feature,a\nstatistics,b\n2,1\n", "expected three header rows, found 2"),
        ("feature,a\nstatistics,b\nnumber,1\n2,\n", "could not convert"),
    ],
)
def test_unusable_csv_tables_are_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DatasetError, match=words) as caught:
        read_table([write(tmp_path, "t.csv", text)])
    assert str(tmp_path / "t.csv") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"X": [[1.0]]}, "expected the arrays X and track_id, or X and IDS"),
        ({"IDS": ["a"]}, "expected the arrays"),
        ({"X": [[1.0]], "IDS": ["a", "b"]}, r"2 track ids, but numbers of shape \(1, 1\)"),
        ({"X": [1.0], "IDS": ["a"]}, r"1 track id, but numbers of shape \(1,\)"),
        ({"X": [[1.0]], "IDS": ["a"], "Y": [10]}, "Y has numbers beyond GTZAN's 10 genres"),
        ({"X": [[1.0]], "IDS": ["a"], "Y": [1, 2]}, "2 genres for 1 row"),
        ({"X": [[1.0]], "IDS": ["a"], "columns": ["b", "c"]}, "2 names for 1 column"),
        ({"X": [[1.0, np.inf]], "IDS": ["a"]}, "track a: column 2 is not a finite number"),
        ({"X": np.array([[None]]), "IDS": ["a"]}, "not a readable .npz file"),
    ],
)
def test_unusable_arrays_are_refused(tmp_path: Path, arrays: dict[str, object], words: str) -> None:
    with pytest.raises(DatasetError, match=words) as caught:
        read_table([save(tmp_path, "t.npz", **arrays)])
    assert str(tmp_path / "t.npz") in str(caught.value)


def test_a_file_that_is_not_a_table_is_refused(tmp_path: Path) -> None:
    for name in ("t.npz", "t.csv"):
        (tmp_path / name).write_bytes(b"\xff\xfe no table")
        with pytest.raises(DatasetError, match=name):
            read_table([tmp_path / name])
    with pytest.raises(DatasetError, match=r"gone.npz: .*No such file"):
        read_table([tmp_path / "gone.npz"])
    with pytest.raises(DatasetError, match="no feature table"):
        read_table([])


def test_files_with_other_columns_or_the_same_tracks_are_refused(tmp_path: Path) -> None:
    one = write(tmp_path, "one.csv", "track,a\nx,1\n")
    two = write(tmp_path, "two.csv", "track,a\ny,1\nx,1\n")
    with pytest.raises(DatasetError, match=r"track x is in .*one.csv and in .*two.csv"):
        read_table([one, two])
    for text in ("track,b\ny,1\n", "track,a,b\ny,1,2\n"):
        with pytest.raises(DatasetError, match=r"two.csv: its columns are not those of the"):
            read_table([one, write(tmp_path, "two.csv", text)])


@pytest.fixture(scope="module")
def musicnn(shared: Path) -> Table:
    return read_table(sorted((shared / "data/gtzan-features").glob("*_taggram.npz")))


@pytest.mark.shared
def test_the_real_musicnn_pair(musicnn: Table) -> None:
    assert Counter(musicnn.split.values()) == {"train": 443, "test": 290}
    assert sum(map(len, musicnn.vectors.values())) == 12415 + 8127
    assert {rows.shape[1] for rows in musicnn.vectors.values()} == {50}
    assert all(t.genre == t.id.partition(".")[0] for t in musicnn.tracks())
    split = official_split(musicnn.tracks())
    assert (len(split.train), len(split.validation), len(split.test)) == (443, 0, 290)


@pytest.mark.shared
def test_the_real_librosa_table(shared: Path) -> None:
    table = read_table([shared / "data/gtzan-features/librosa_features_30_sec.csv"])
    assert (len(table.vectors), len(table.columns)) == (1000, 57)
    assert Counter(table.genres.values()).most_common()[-1][1] == 100
    ids = {t.id for t in read_dataset(shared / "data/gtzan-spectrograms").tracks}
    assert ids < table.vectors.keys()


@pytest.mark.shared
@pytest.mark.parametrize("name", ["vggish128_mean", "mfcc20_first3s_statistics"])
def test_the_real_fma_tables_have_the_tracks_of_their_data_set(shared: Path, name: str) -> None:
    table = read_table([shared / f"data/fma-features/fma_small_{name}.npz"])
    tracks = read_dataset(shared / "data/fma-metadata").tracks
    assert table.vectors.keys() == {t.id for t in tracks}
    split = official_split(tracks)
    assert (len(split.train), len(split.validation), len(split.test)) == (6394, 800, 800)
