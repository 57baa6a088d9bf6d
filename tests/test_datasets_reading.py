"""Every layout of a data set is recognised by what is there."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clips import write_spectrograms, write_wav
from genrescope.datasets import Dataset, LeftOut, Track, map_genres, read_dataset
from genrescope.datasets.dataset import NO_FILE, NO_GENRE
from genrescope.errors import DatasetError


def touch(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def gtzan_tree(root: Path, suffix: str = ".wav") -> Path:
    names = ("blues/blues.00000", "blues/blues.00099", "rock/rock.00016")
    return touch(root, *(name + suffix for name in names))


# --- GTZAN


@pytest.mark.parametrize("suffix", [".au", ".wav"])
@pytest.mark.parametrize("within", ["", "genres", "genres_original", "Data/genres_original"])
def test_gtzan_in_all_its_layouts(tmp_path: Path, suffix: str, within: str) -> None:
    folder = gtzan_tree(tmp_path / within, suffix)
    dataset = read_dataset(tmp_path)
    assert (dataset.kind, dataset.name, dataset.left_out) == ("gtzan", "GTZAN", [])
    assert [(t.id, t.genre) for t in dataset.tracks] == [
        ("blues.00000", "blues"),
        ("blues.00099", "blues"),
        ("rock.00016", "rock"),
    ]
    assert dataset.tracks[0].path == folder / f"blues/blues.00000{suffix}"


def test_the_pictures_of_the_kaggle_copy_are_no_spectrograms(tmp_path: Path) -> None:
    gtzan_tree(tmp_path / "genres_original")
    picture = tmp_path / "images_original/blues/blues00000.png"
    picture.parent.mkdir(parents=True)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(picture)
    touch(tmp_path, "features_30_sec.csv", "features_3_sec.csv")
    assert {t.path.suffix for t in read_dataset(tmp_path).tracks} == {".wav"}
    drawn = read_dataset(tmp_path / "images_original")
    assert (drawn.kind, [t.id for t in drawn.tracks]) == ("gtzan_pictures", ["blues.00000"])


def test_jazz_54_is_left_out_only_where_it_cannot_be_decoded(tmp_path: Path) -> None:
    gtzan_tree(tmp_path)
    (tmp_path / "jazz").mkdir()
    file = tmp_path / "jazz/jazz.00054.wav"
    file.write_bytes(b"no sound at all" * 100)
    dataset = read_dataset(tmp_path)
    assert [left.id for left in dataset.left_out] == ["jazz.00054"]
    assert dataset.notices() == ["left out, not audio, or of a kind that is not known: jazz.00054"]
    assert len(dataset.tracks) == 3
    write_wav(file, 0.1)
    assert read_dataset(tmp_path).left_out == []
    assert len(read_dataset(tmp_path).tracks) == 4


def test_stored_spectrograms_are_a_data_set(tmp_path: Path) -> None:
    dataset = read_dataset(write_spectrograms(tmp_path / "stored", tracks=2))
    assert (dataset.kind, dataset.name, len(dataset.tracks)) == ("folders", "stored", 4)


def test_any_folder_of_genre_folders(tmp_path: Path) -> None:
    touch(tmp_path, "polka/1.mp3", "polka/2.mp3", "mazurka/3.ogg")
    dataset = read_dataset(tmp_path, genres=["polka"])
    assert (dataset.kind, dataset.name) == ("folders", tmp_path.name)
    assert [t.id for t in dataset.tracks] == ["1", "2"]


@pytest.mark.parametrize(
    ("path", "subset", "words"),
    [
        ("nowhere", None, "nowhere: no such file or folder"),
        ("empty", None, "empty: no tracks in it"),
        ("music", "small", "music: Folder of genre folders has no subset 'small'; there are: none"),
        ("music/rock/a.wav", None, "a.wav: .*"),
    ],
)
def test_what_is_no_data_set_is_refused(
    tmp_path: Path, path: str, subset: str | None, words: str
) -> None:
    (tmp_path / "empty").mkdir()
    touch(tmp_path, "music/rock/a.wav")
    with pytest.raises(DatasetError, match=words) as caught:
        read_dataset(tmp_path / path, subset=subset)
    assert "\n" not in str(caught.value)


# --- FMA

# track, subset, split, genre, artist
FMA_TRACKS = (
    (2, "small", "training", "Hip-Hop", 1),
    (5, "small", "validation", "Hip-Hop", 1),
    (140, "small", "test", "Folk", 54),
    (98565, "small", "training", "Hip-Hop", 9),
    (133297, "small", "test", "Folk", 10),
    (200, "medium", "training", "Rock", 11),
    (300, "large", "training", "", 12),
    (400, "small", "training", "Folk", 13),
)
NO_CLIP = (400,)


def write_official_table(folder: Path) -> Path:
    """The layout that pandas gives columns with two names, as FMA has it."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = [
        *(("album", "information"), ("artist", "id"), ("artist", "name")),
        *(("set", "split"), ("set", "subset"), ("track", "genre_top"), ("track", "genres")),
    ]
    with (folder / "tracks.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", *(group for group, _ in columns)])
        writer.writerow(["", *(name for _, name in columns)])
        writer.writerow(["track_id", *[""] * len(columns)])
        for track, subset, split, genre, artist in FMA_TRACKS:
            page = "<p>two\nlines, and long</p>" + "x" * 200_000
            writer.writerow([track, page, artist, f"N{artist}", split, subset, genre, "[21]"])
    return folder / "tracks.csv"


def write_reduced_table(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        f'{subset},{split},{track},{genre},"[21, 3]"'
        for track, subset, split, genre, _ in FMA_TRACKS
        if subset == "small"
    ]
    text = "\n".join(["subset,split,track_id,genre_top,genres", *lines])
    (folder / "tracks_small.csv").write_text(text + "\n")
    return folder / "tracks_small.csv"


def lay_out_fma(root: Path, subset: str = "small") -> Path:
    for track, of, *_ in FMA_TRACKS:
        if track not in NO_CLIP and (of == "small" or subset != "small"):
            name = f"{track:06d}"
            touch(root, f"fma_{subset}/{name[:3]}/{name}.mp3")
    return root


@pytest.mark.parametrize("path", ["", "fma_small", "fma_metadata", "fma_metadata/tracks.csv"])
def test_fma_from_any_of_its_places(tmp_path: Path, path: str) -> None:
    write_official_table(lay_out_fma(tmp_path) / "fma_metadata")
    dataset = read_dataset(tmp_path / path)
    assert (dataset.kind, dataset.name) == ("fma", "FMA small")
    clips = tmp_path / "fma_small"
    assert dataset.tracks == [
        Track("140", clips / "000/000140.mp3", "Folk", "54", "test"),
        Track("2", clips / "000/000002.mp3", "Hip-Hop", "1", "train"),
        Track("5", clips / "000/000005.mp3", "Hip-Hop", "1", "validation"),
    ]
    reasons = {left.id: left.reason for left in dataset.left_out}
    assert reasons.keys() == {"98565", "133297", "400"}
    assert "one or two seconds" in reasons["98565"]
    assert "without sound" in reasons["133297"]
    assert reasons["400"] == NO_FILE


def test_fma_by_its_reduced_table(tmp_path: Path) -> None:
    write_reduced_table(lay_out_fma(tmp_path) / "fma-metadata")
    dataset = read_dataset(tmp_path / "fma_small", genres=["Folk"])
    assert [(t.id, t.genre, t.artist, t.split) for t in dataset.tracks] == [
        ("140", "Folk", None, "test")
    ]
    assert [left.id for left in dataset.left_out] == ["133297", "400"]


def test_fma_without_audio_is_known_from_its_table(tmp_path: Path) -> None:
    table = write_reduced_table(tmp_path / "fma_metadata")
    for path in (tmp_path, tmp_path / "fma_metadata", table):
        dataset = read_dataset(path)
        assert dataset.name == "FMA small"
        assert [t.id for t in dataset.tracks] == ["140", "2", "400", "5"]
        assert {t.path.resolve() for t in dataset.tracks} == {table.resolve()}


def test_a_larger_subset_holds_the_smaller(tmp_path: Path) -> None:
    write_official_table(lay_out_fma(tmp_path, "large") / "fma_metadata")
    assert [t.id for t in read_dataset(tmp_path, subset="small").tracks] == ["140", "2", "5"]
    assert {t.id for t in read_dataset(tmp_path, subset="medium").tracks} == {
        "140",
        "2",
        "200",
        "5",
    }
    large = read_dataset(tmp_path)
    assert large.name == "FMA large"
    assert LeftOut("300", NO_GENRE) in large.left_out
    with pytest.raises(DatasetError, match="no subset 'tiny'; there are: small, medium"):
        read_dataset(tmp_path, subset="tiny")


def test_in_fma_full_the_bad_clips_are_whole_tracks(tmp_path: Path) -> None:
    write_official_table(lay_out_fma(tmp_path, "full") / "fma_metadata")
    assert {"98565", "133297"} < {t.id for t in read_dataset(tmp_path / "fma_full").tracks}


def test_of_two_subsets_in_one_folder_one_must_be_named(tmp_path: Path) -> None:
    write_official_table(lay_out_fma(tmp_path) / "fma_metadata")
    lay_out_fma(tmp_path, "large")
    with pytest.raises(DatasetError, match="holds FMA small, large; name the folder"):
        read_dataset(tmp_path)
    assert read_dataset(tmp_path, subset="small").tracks[0].path.parts[-3] == "fma_small"
    assert read_dataset(tmp_path / "fma_large").name == "FMA large"


@pytest.mark.parametrize("path", ["", "fma_small"])
def test_fma_without_its_table_is_refused(tmp_path: Path, path: str) -> None:
    lay_out_fma(tmp_path)
    with pytest.raises(DatasetError, match=r"no fma_metadata/tracks.csv next to it"):
        read_dataset(tmp_path / path)


def test_a_renamed_fma_folder_is_the_files_in_it(tmp_path: Path) -> None:
    write_official_table(lay_out_fma(tmp_path) / "fma_metadata")
    (tmp_path / "fma_small").rename(tmp_path / "clips")
    dataset = read_dataset(tmp_path / "clips")
    assert [t.id for t in dataset.tracks] == ["140", "2", "5"]
    assert {left.id for left in dataset.left_out} == {"98565", "133297"}


def test_a_word_that_names_no_subset_is_refused(tmp_path: Path) -> None:
    table = write_reduced_table(tmp_path)
    table.write_text(table.read_text().replace("test,140", "holdout,140"))
    with pytest.raises(DatasetError, match=r"line 4, column split: .* not 'holdout'"):
        read_dataset(table)


# --- CSV


def write_list(folder: Path, text: str, *files: str) -> Path:
    touch(folder, *files)
    (folder / "list.csv").write_text(text, encoding="utf-8-sig")
    return folder / "list.csv"


def test_a_csv_of_paths_and_genres(tmp_path: Path) -> None:
    text = (
        "path,genre,artist,split\n"
        "a/one.mp3,rock,Ann,training\n"
        "b/two.wav,jazz,,test\n"
        f"{tmp_path}/b/three.v2.wav,jazz,Bob,\n"
        "\n"
        "b/gone.wav,jazz,Bob,valid\n"
        "b/nameless.wav,,Bob,valid\n"
    )
    files = ("a/one.mp3", "b/two.wav", "b/three.v2.wav", "b/nameless.wav")
    dataset = read_dataset(write_list(tmp_path, text, *files))
    assert (dataset.kind, dataset.name) == ("csv", tmp_path.name)
    assert dataset.tracks == [
        Track("one", tmp_path / "a/one.mp3", "rock", "Ann", "train"),
        Track("three.v2", tmp_path / "b/three.v2.wav", "jazz", "Bob", None),
        Track("two", tmp_path / "b/two.wav", "jazz", None, "test"),
    ]
    assert dataset.left_out == [LeftOut("gone", NO_FILE, "jazz"), LeftOut("nameless", NO_GENRE)]


def test_names_that_repeat_keep_their_folders(tmp_path: Path) -> None:
    table = write_list(tmp_path, "file,genre\na/1.mp3,rock\nb/1.mp3,pop\n", "a/1.mp3", "b/1.mp3")
    assert [t.id for t in read_dataset(table).tracks] == ["a/1", "b/1"]
    assert [t.id for t in read_dataset(table, genres=["pop"]).tracks] == ["b/1"]


def test_a_csv_is_read_from_any_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_list(tmp_path / "music", "path,genre\n1.mp3,rock\n", "1.mp3")
    monkeypatch.chdir(tmp_path)
    (track,) = read_dataset(Path("music/list.csv")).tracks
    assert track.path == Path("music/1.mp3")
    monkeypatch.chdir(tmp_path / "music")
    assert read_dataset("list.csv").name == "music"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: expected a column for the files .*; the columns are: none"),
        ("path,year\na.wav,1959\n", "expected a column for the genres .* are: path, year"),
        ("path,genre\n", "no tracks in it"),
        ("path,genre\nx.wav,rock\n", "line 2, column path: no such file: x.wav .* none of the 1"),
        ("path,genre\na.wav\n", "line 2, column genre: 1 cell, expected 2"),
        ("path,genre\na.wav,rock,x\n", "line 2: 3 cells, expected 2"),
        ("path,genre\na.wav,rock\na.wav,pop\n", "line 3: a.wav is listed twice, first in line 2"),
        ("path,genre,split\na.wav,rock,maybe\n", "line 2, column split: .* not 'maybe'"),
        ("path,genre\na.wav,rock\n,pop\n", "line 3, column path: expected .* found nothing"),
        ("path,genre\nNaN,rock\n", "line 2, column path: expected .* found nothing"),
        ("path,genre\n.,rock\n", r"line 2, column path: '\.' is a folder, expected a file"),
        (f"path,genre\n{'x' * 300},rock\n", "line 2, column path: no such file: xx"),
        ("path,genre\na\0.wav,rock\n", "line 2: NUL bytes, expected .* text"),
    ],
)
def test_unusable_lists_are_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DatasetError, match=words) as caught:
        read_dataset(write_list(tmp_path, text, "a.wav"))
    assert str(tmp_path / "list.csv") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_notices_name_the_first_few() -> None:
    left_out = [*(LeftOut(str(n), "broken") for n in range(10)), LeftOut("x", "gone")]
    assert Dataset("a", "csv", [], left_out).notices(at_most=3) == [
        "left out, broken: 0, 1, 2 and 7 more",
        "left out, gone: x",
    ]


# --- Genres by another name


def some_tracks(*genres: str) -> list[Track]:
    return [Track(str(i), Path("x"), genre) for i, genre in enumerate(genres)]


def test_genres_are_mapped_onto_a_models() -> None:
    tracks = some_tracks("Hip-Hop", "rock", "Folk", "Hip-Hop")
    kept, dropped = map_genres(tracks, {"Hip-Hop": "hiphop"}, ["hiphop", "rock", "pop"])
    assert [(t.id, t.genre) for t in kept] == [("0", "hiphop"), ("1", "rock"), ("3", "hiphop")]
    assert dropped == ["Folk"]
    assert tracks[0].genre == "Hip-Hop"


def test_spellings_of_genres_do_not_matter() -> None:
    tracks = some_tracks("Hip-Hop", "BLUES", "hip_hop", "Drum & Bass", "Polka")
    kept, dropped = map_genres(tracks, {}, ["blues", "hiphop", "drum and bass"])
    assert [t.genre for t in kept] == ["hiphop", "blues", "hiphop", "drum and bass"]
    assert dropped == ["Polka"]
    kept, _ = map_genres(tracks, {"Hip Hop": "Rap", "polka": "BLUES"}, ["blues", "rap"])
    assert [t.genre for t in kept] == ["rap", "blues", "rap", "blues"]


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        (
            {"Trip-Hop": "hiphop"},
            r"the genre 'Trip-Hop' \(did you mean 'Hip-Hop'\?\); there are: Folk, Hip-Hop",
        ),
        ({"Folk": "folk"}, "'Folk' can't become 'folk'; the model knows hiphop, rock"),
        ({"Hip-Hop": "grime"}, "'Hip-Hop' can't become 'grime'; the model knows hiphop, rock"),
    ],
)
def test_impossible_mappings_are_refused(mapping: dict[str, str], words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        map_genres(some_tracks("Hip-Hop", "Folk"), mapping, ["rock", "hiphop"])


# --- The real ones


@pytest.mark.shared
def test_the_real_folders(shared: Path) -> None:
    spectrograms = read_dataset(shared / "data/gtzan-spectrograms")
    assert (spectrograms.kind, len(spectrograms.tracks)) == ("gtzan", 850)
    audio = read_dataset(shared / "data/gtzan-audio")
    assert (audio.kind, len(audio.tracks), audio.left_out) == ("gtzan", 51, [])
    assert {t.id for t in audio.tracks} < {t.id for t in spectrograms.tracks}


@pytest.mark.shared
def test_the_real_tables(shared: Path) -> None:
    fma = read_dataset(shared / "data/fma-metadata")
    assert (fma.name, len(fma.tracks)) == ("FMA small", 7994)
    assert {left.id for left in fma.left_out} == {"98565", "98567", "98569"}
    emotify = read_dataset(shared / "data/emotify-audio/tracks.csv")
    assert (emotify.kind, len(emotify.tracks)) == ("csv", 40)
    assert len({t.artist for t in emotify.tracks}) == 25
    folders = read_dataset(shared / "data/emotify-audio")
    assert [t.id for t in folders.tracks] == [t.id for t in emotify.tracks]
