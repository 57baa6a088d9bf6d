"""Folders to tracks, and splits that keep in one subset what belongs together."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrescope.datasets import (
    Split,
    Track,
    fold_splits,
    group_tracks,
    listed_split,
    mark_repeats,
    random_split,
    scan,
    with_artists,
)
from genrescope.datasets.layouts import builtin_repeats
from genrescope.datasets.layouts.gtzan import Gtzan
from genrescope.datasets.splits import SUBSETS, divide
from genrescope.errors import DatasetError


def lay_out(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def named(*ids: str, artist: str | None = None) -> list[Track]:
    tracks = [Track(name, Path(f"{name}.wav"), name.partition(".")[0], artist) for name in ids]
    return mark_repeats(tracks, builtin_repeats())


def by_track(tracks: list[Track]) -> dict[str, str]:
    return group_tracks(tracks, by_artist=False)


def table(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "artists.csv"
    path.write_text(text, encoding=encoding)
    return path


def test_scan_finds_tracks_with_their_genres(tmp_path: Path) -> None:
    lay_out(tmp_path, "rock/b.wav", "jazz/c.mp3", "jazz/a.flac")
    found = [(track.id, track.genre, track.path, track.artist) for track in scan(tmp_path)]
    assert found == [
        ("a", "jazz", tmp_path / "jazz/a.flac", None),
        ("b", "rock", tmp_path / "rock/b.wav", None),
        ("c", "jazz", tmp_path / "jazz/c.mp3", None),
    ]


@pytest.mark.parametrize(
    "name", ["a.b.c", "with space", "Höher – 山", "[1] *?", "'quoted'", os.fsdecode(b"\xff\xfe")]
)
@pytest.mark.parametrize("suffix", [".wav", ".FLAC", ".Png"])
def test_odd_names_are_ids_as_they_are(tmp_path: Path, name: str, suffix: str) -> None:
    (track,) = scan(lay_out(tmp_path, f"hip hop/{name}{suffix}"))
    assert (track.id, track.genre) == (name, "hip hop")
    assert track.path.is_file()


def test_a_genre_is_valid_text_whatever_bytes_its_folder_has(tmp_path: Path) -> None:
    (track,) = scan(lay_out(tmp_path, os.fsdecode(b"caf\xe9/a.wav")))
    assert track.genre == r"caf\udce9"
    assert track.path.is_file()


def test_files_that_are_no_music_are_ignored(tmp_path: Path) -> None:
    lay_out(tmp_path, "jazz/a.wav", "jazz/cover.jpg", "jazz/._a.wav", "a.wav", ".git/b.png")
    lay_out(tmp_path, "rock/d.wav/e.txt")
    assert [track.id for track in scan(tmp_path)] == ["a"]


def test_music_is_found_at_any_depth(tmp_path: Path) -> None:
    files = ["jazz/a.wav", "jazz/Miles/Kind/b.flac", "rock/x/y/z/c.mp3"]
    tracks = scan(lay_out(tmp_path, *files))
    assert [(t.id, t.genre, t.path) for t in tracks] == [
        ("a", "jazz", tmp_path / files[0]),
        ("b", "jazz", tmp_path / files[1]),
        ("c", "rock", tmp_path / files[2]),
    ]


def test_names_that_repeat_within_a_genre_take_the_whole_path_into_the_id(tmp_path: Path) -> None:
    lay_out(tmp_path, "jazz/one/01.wav", "jazz/two/01.wav", "rock/01.wav")
    assert [t.id for t in scan(tmp_path)] == ["jazz/one/01", "jazz/two/01", "rock/01"]


def test_a_name_in_two_genres_takes_the_genre_into_the_id(tmp_path: Path) -> None:
    lay_out(tmp_path, "rock/001.wav", "jazz/001.wav", "jazz/002.wav")
    assert [track.id for track in scan(tmp_path)] == ["jazz/001", "jazz/002", "rock/001"]


def test_only_the_genres_asked_for(tmp_path: Path) -> None:
    lay_out(tmp_path, "rock/a.wav", "jazz/b.wav", "blues/c.wav")
    assert [track.genre for track in scan(tmp_path, genres=["rock", "blues"])] == ["rock", "blues"]


@pytest.mark.parametrize(
    ("folder", "genres", "words"),
    [
        ("nowhere", None, "nowhere: no such folder"),
        ("jazz/a.wav", None, "a.wav: no such folder"),
        ("jazz", None, "jazz: no tracks in it; expected FOLDER/<genre>/<file>"),
        (".", ["rock", "pop"], "no tracks of pop, rock in it"),
    ],
)
def test_folders_without_tracks_are_refused(
    tmp_path: Path, folder: str, genres: list[str] | None, words: str
) -> None:
    lay_out(tmp_path, "jazz/a.wav")
    with pytest.raises(DatasetError) as caught:
        scan(tmp_path / folder, genres=genres)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("column", ["artist", "artist_group"])
def test_artists_come_from_a_table(tmp_path: Path, encoding: str, column: str) -> None:
    text = f"track,year,{column}\njazz.2,1959,Miles\njazz.1,,\njazz.9,1960,Coltrane\n"
    tracks = with_artists(named("jazz.1", "jazz.2", "jazz.3"), table(tmp_path, text, encoding))
    assert [track.artist for track in tracks] == [None, "Miles", None]


@pytest.mark.parametrize(
    ("text", "encoding", "words"),
    [
        ("track,singer\njazz.1,Miles\n", "utf-8", "line 1: expected a column for the artists"),
        ("song,artist\njazz.1,Miles\n", "utf-8", "line 1: expected a column for the tracks"),
        ("", "utf-8", "line 1: expected a column for the tracks .*; the columns are: none"),
        ("track,artist\njazz.7,Miles\n", "utf-8", "names none of these tracks"),
        ("track,artist\njazz.1\n", "utf-8", "line 2, column artist: 1 cell, expected 2"),
        ("track,artist\njazz.1,José\n", "latin-1", "line 2 or later: .*can't decode byte"),
    ],
)
def test_unusable_artist_tables_are_refused(
    tmp_path: Path, text: str, encoding: str, words: str
) -> None:
    with pytest.raises(DatasetError, match=words) as caught:
        with_artists(named("jazz.1"), table(tmp_path, text, encoding))
    assert str(tmp_path / "artists.csv") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_artist_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="No such file"):
        with_artists(named("jazz.1"), tmp_path / "artists.csv")


def test_groups_are_artists_and_the_unknown_of_a_genre() -> None:
    tracks = [
        *named("jazz.1", "rock.1", artist="Miles"),
        *named("jazz.2", "jazz.3", "rock.2"),
        *named("jazz.4", artist="Coltrane"),
    ]
    groups = group_tracks(tracks, by_artist=True)
    assert groups["jazz.1"] == groups["rock.1"]
    assert groups["jazz.2"] == groups["jazz.3"]
    assert len(set(groups.values())) == 4
    assert len(set(by_track(tracks).values())) == 6
    with pytest.raises(DatasetError, match="needs the artists of the tracks"):
        group_tracks(named("jazz.1"), by_artist=True)


@pytest.mark.parametrize("pair", builtin_repeats(), ids=lambda pair: "=".join(pair))
def test_known_repeats_are_one_group(pair: tuple[str, str]) -> None:
    assert len(set(by_track(named(*pair, "pop.00001")).values())) == 2
    for first, second in [(None, "A"), ("A", None), ("A", "B")]:
        tracks = [*named(pair[0], artist=first), *named(pair[1], artist=second)]
        tracks = mark_repeats([*tracks, *named("pop.00001", artist="C")], [pair])
        groups = group_tracks(tracks, by_artist=True)
        assert groups[pair[0]] == groups[pair[1]] != groups["pop.00001"]


def test_check_accepts_a_split_without_leaks() -> None:
    split = Split(("a", "b"), ("c",), ("d",))
    assert split.check({"a": "1", "b": "1", "c": "2", "d": "3"}) is split


@pytest.mark.parametrize(
    ("split", "words"),
    [
        (Split(("a",), ("c",), ("a",)), "track a would be in test .* in train"),
        (Split(("a",), ("c",), ("b",)), "track b would be in test .* another .* in train"),
        (Split((), ("a",), ("c", "b")), "track b would be in test .* in validation"),
        (Split(("c", "c"), (), ()), "track c is listed twice in train"),
    ],
)
def test_check_refuses_a_mixed_split_and_names_the_track(split: Split, words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        split.check({"a": "one artist", "b": "one artist", "c": "another"})


# Tracks of these genres, repeats among them, by artists who may play in several genres.
IDS = st.tuples(st.sampled_from(["pop", "metal", "rock"]), st.integers(0, 99))
ARTISTS = st.one_of(st.none(), st.integers(0, 9).map(str))
COLLECTIONS = st.dictionaries(IDS, ARTISTS, min_size=3, max_size=80).map(
    lambda found: mark_repeats(
        [
            Track(f"{genre}.{number:05d}", Path("x"), genre, artist)
            for (genre, number), artist in found.items()
        ],
        Gtzan.repeats,
    )
)
FRACTIONS = st.sampled_from([(0.6, 0.2, 0.2), (0.8, 0.1, 0.1), (0.34, 0.33, 0.33), (0.7, 0, 0.3)])


def groups_of(tracks: list[Track]) -> dict[str, str]:
    return group_tracks(tracks, by_artist=any(track.artist for track in tracks))


def assert_no_leaks(tracks: list[Track], groups: dict[str, str], split: Split) -> None:
    subsets = [set(getattr(split, subset)) for subset in SUBSETS]
    assert sum(map(len, subsets)) == len(tracks)
    assert set.union(*subsets) == {track.id for track in tracks}
    of_group = [{groups[track] for track in subset} for subset in subsets]
    assert sum(map(len, of_group)) == len(set(groups.values()))
    artists = {track.id: track.artist for track in tracks if track.artist}
    of_artist = [{artists[track] for track in subset & artists.keys()} for subset in subsets]
    assert sum(map(len, of_artist)) == len(set(artists.values()))
    for pair in Gtzan.repeats:
        assert sum(bool(subset & set(pair)) for subset in subsets) <= 1


@given(tracks=COLLECTIONS, fractions=FRACTIONS, seed=st.integers(0, 2**31 - 1))
def test_random_splits_keep_groups_whole_and_every_track(
    tracks: list[Track], fractions: tuple[float, ...], seed: int
) -> None:
    groups, settings = groups_of(tracks), dict(zip(SUBSETS, fractions, strict=True))
    try:
        split = random_split(tracks, groups, **settings, seed=seed)
    except DatasetError as error:
        assert "too few to split" in str(error)
        parts = divide(tracks, groups, fractions, seed=seed)
        assert [] in [part for part, fraction in zip(parts, fractions, strict=True) if fraction]
        return
    assert_no_leaks(tracks, groups, split)
    assert split == random_split(tracks[::-1], groups, **settings, seed=seed)


@given(tracks=COLLECTIONS, folds=st.integers(2, 6), seed=st.integers(0, 2**31 - 1))
def test_folds_test_each_track_once(tracks: list[Track], folds: int, seed: int) -> None:
    groups = groups_of(tracks)
    try:
        splits = fold_splits(tracks, groups, folds=folds, seed=seed)
    except DatasetError as error:
        assert f"{folds} folds are too many" in str(error)
        assert [] in divide(tracks, groups, [1 / folds] * folds, seed=seed)
        return
    assert len(splits) == folds
    for split in splits:
        assert_no_leaks(tracks, groups, split)
        assert split.train
        assert split.test
        assert not split.validation
    tested = Counter(track for split in splits for track in split.test)
    assert tested == Counter(track.id for track in tracks)


@given(
    sizes=st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=20), min_size=1, max_size=4),
    fractions=FRACTIONS,
    seed=st.integers(0, 99),
)
def test_each_genre_has_its_fractions_but_for_one_artist(
    sizes: list[list[int]], fractions: tuple[float, ...], seed: int
) -> None:
    tracks = [
        Track(f"{genre}.{artist}.{i}", Path("x"), f"g{genre}", f"{genre}.{artist}")
        for genre, artists in enumerate(sizes)
        for artist, size in enumerate(artists)
        for i in range(size)
    ]
    parts = divide(tracks, group_tracks(tracks, by_artist=True), fractions, seed=seed)
    for part, fraction in zip(parts, fractions, strict=True):
        found = Counter(int(track.partition(".")[0]) for track in part)
        for genre, artists in enumerate(sizes):
            expected = fraction * sum(artists)
            # A subset takes an artist only while it lacks tracks, so it exceeds its number by less
            # than one artist; and the others together leave it short by less than one each.
            assert expected - 2 * max(artists) <= found[genre] < expected + max(artists) + 1e-9


def test_single_tracks_are_split_to_the_fraction() -> None:
    tracks = named(*(f"{genre}.{i}" for genre in ("jazz", "rock") for i in range(50)))
    split = random_split(tracks, by_track(tracks), train=0.6, validation=0.2, test=0.2, seed=4)
    counts = [
        Counter(track.partition(".")[0] for track in getattr(split, subset)) for subset in SUBSETS
    ]
    assert counts == [{"jazz": n, "rock": n} for n in (30, 10, 10)]


def test_another_seed_is_another_split() -> None:
    tracks = named(*(f"jazz.{i}" for i in range(40)))
    splits = {
        random_split(tracks, by_track(tracks), train=0.5, validation=0, test=0.5, seed=seed)
        for seed in range(20)
    }
    assert len(splits) == 20


@pytest.mark.parametrize("fractions", [(0.6, 0.2, 0.3), (1.2, -0.1, -0.1), (0.5, 0.2, 0.2)])
def test_fractions_must_sum_to_one(fractions: tuple[float, ...]) -> None:
    tracks = named("jazz.1", "jazz.2", "jazz.3")
    with pytest.raises(DatasetError, match="must sum to 1"):
        random_split(tracks, by_track(tracks), **dict(zip(SUBSETS, fractions, strict=True)), seed=0)


@pytest.mark.parametrize("folds", [0, 1, 4])
def test_impossible_numbers_of_folds_are_refused(folds: int) -> None:
    tracks = named("jazz.1", "jazz.2", "jazz.3")
    with pytest.raises(DatasetError, match=f"^{folds} folds?(: too few| are too many)"):
        fold_splits(tracks, by_track(tracks), folds=folds, seed=0)


def write_lists(folder: Path, **lists: str) -> Path:
    for name, text in lists.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def test_lists_define_a_split(tmp_path: Path) -> None:
    folder = write_lists(
        tmp_path,
        train_mine="jazz/jazz.00001.wav\njazz/a long name.mp3\n\nrock/missing.wav\n",
        valid_mine="\ufeffrock/rock.00002.wav\r\n",
        test_mine="  jazz/Über (live).wav  \n",
    )
    tracks = named("jazz.00001", "a long name", "rock.00002", "Über (live)", "pop.00001")
    assert listed_split(tracks, folder) == Split(
        ("a long name", "jazz.00001"), ("rock.00002",), ("Über (live)",)
    )


def test_lists_tell_genres_apart_where_names_repeat(tmp_path: Path) -> None:
    folder = write_lists(tmp_path, train="jazz/1.wav", valid="rock/1.wav", test="rock/2.wav")
    tracks = named("jazz/1", "rock/1", "rock/2", "jazz/2")
    assert listed_split(tracks, folder) == Split(("jazz/1",), ("rock/1",), ("rock/2",))


@pytest.mark.parametrize(
    ("lists", "words"),
    [
        ({"train": "a", "valid": "b"}, r"expected one list test\*.txt, found 0"),
        ({"train": "a", "train2": "a", "valid": "b", "test": "c"}, r"train\*.txt, found 2"),
        ({"train": "a", "valid": "x", "test": "c"}, "valid.txt: names none of the tracks"),
        ({"train": "a", "valid": "b", "test": "c\na"}, "track a would be in test .* in train"),
        ({"train": "pop.00067.au", "valid": "b", "test": "pop.00071.au"}, "track pop.00071 would"),
    ],
)
def test_unusable_lists_are_refused(tmp_path: Path, lists: dict[str, str], words: str) -> None:
    tracks = named("a", "b", "c", "pop.00067", "pop.00071")
    with pytest.raises(DatasetError, match=words):
        listed_split(tracks, write_lists(tmp_path, **lists))


def test_lists_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (write_lists(tmp_path, valid="b", test="c") / "train.txt").write_bytes(b"\xff\xff")
    with pytest.raises(DatasetError, match=r"train.txt: .* can't decode"):
        listed_split(named("a", "b", "c"), tmp_path)


@pytest.fixture(scope="module")
def gtzan(shared: Path) -> list[Track]:
    tracks = scan(shared / "data/gtzan-spectrograms")
    return with_artists(tracks, shared / "data/gtzan-splits/artist_groups.csv")


@pytest.mark.shared
def test_the_lists_of_the_literature(shared: Path, gtzan: list[Track]) -> None:
    assert len(gtzan) == 850
    assert sum(track.artist is None for track in gtzan) == 52
    split = listed_split(gtzan, shared / "data/gtzan-splits")
    assert [len(getattr(split, subset)) for subset in SUBSETS] == [423, 174, 187]


@pytest.mark.shared
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gtzan_in_folds_by_artist(gtzan: list[Track], seed: int) -> None:
    groups = group_tracks(gtzan, by_artist=True)
    genre = {track.id: track.genre for track in gtzan}
    total = Counter(genre.values())
    for split in fold_splits(gtzan, groups, folds=5, seed=seed):
        assert_no_leaks(gtzan, groups, split)
        counts = Counter(genre[track] for track in split.test)
        # A fifth of each genre; one artist alone has 24 of the 86 reggae tracks.
        for name, number in counts.items():
            assert 0.7 < 5 * number / total[name] < 1.45, name
        assert counts.keys() == total.keys()


def test_names_with_leading_dots_and_links_are_music(tmp_path: Path) -> None:
    lay_out(tmp_path, "metal/...And Justice/1.flac", "pop/...Baby.wav", "pop/._x.wav")
    lay_out(tmp_path / "elsewhere", "live/2.mp3")
    (tmp_path / "music").mkdir()
    for name in ("metal", "pop"):
        (tmp_path / "music" / name).symlink_to(tmp_path / name)
    (tmp_path / "music/jazz").symlink_to(tmp_path / "elsewhere/live")
    (tmp_path / "elsewhere/live/round").symlink_to(tmp_path / "music")
    assert [(t.id, t.genre) for t in scan(tmp_path / "music")] == [
        ("...Baby", "pop"),
        ("1", "metal"),
        ("2", "jazz"),
    ]
