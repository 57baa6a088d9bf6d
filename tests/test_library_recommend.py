"""Recommendation: what it gives, what it never gives, and why it says so."""

from __future__ import annotations

import inspect
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from genrescope.cli.recommend import recommend as command
from genrescope.errors import FileError, GenrescopeError
from genrescope.examples import write_examples
from genrescope.library.recommend import (
    DIVERSITY,
    Recommendation,
    diversified,
    nearness,
    pushed,
    recommend,
)
from genrescope.library.rows import Entry
from genrescope.library.scan import scan
from genrescope.library.similar import Query, Space, TrackFilter
from libraries import entry, make_library

pytest.importorskip("lancedb")

READ_ONLY = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
tracks = st.lists(st.integers(0, 59), min_size=1, max_size=4, unique=True)


@pytest.fixture
def space(tmp_path: Path) -> Space:
    """60 tracks by 6 artists from 1960 on; one is gone, one silent, one a copy of another."""
    vectors = 5 + np.random.default_rng(0).standard_normal((60, 16))
    made = [
        entry(
            f"{i:02d}.mp3", each, title=f"Song {i}", artist=f"Artist {i % 6}", year=1960 + i,
            genre=("jazz", "rock")[i % 2],
        )
        for i, each in enumerate(vectors)
    ]  # fmt: skip
    made.append(entry("gone.mp3", vectors[1], deleted=True))
    made.append(entry("silent.mp3", np.zeros(16), genre=None))
    made.append(entry("copy of 05.mp3", vectors[5], content="05.mp3"))
    return Space(make_library(tmp_path / "library", made))


def asked(space: Space, *places: int) -> list[Query]:
    return [space.find(f"/music/{place:02d}.mp3") for place in places]


def paths(found: list[Recommendation]) -> list[str]:
    return [each.entry.path for each in found]


class TestList:
    """What is in it and in what order."""

    @READ_ONLY
    @given(st.integers(0, 59), st.integers(1, 60))
    def test_without_diversity_one_like_gives_the_nearest(
        self, space: Space, like: int, n: int
    ) -> None:
        (query,) = asked(space, like)
        nearest = space.nearest(query, n)
        found = recommend(space, [query], n=n, diversity=0)
        assert [each.entry.content for each in found] == [e.content for e, _ in nearest]
        assert [each.score for each in found] == pytest.approx([x for _, x in nearest], abs=1e-6)
        assert [r.similarity for r in found] == pytest.approx([r.score for r in found])

    @READ_ONLY
    @given(tracks, tracks, st.floats(0, 1))
    def test_nothing_named_and_no_copies(
        self, space: Space, likes: list[int], dislikes: list[int], diversity: float
    ) -> None:
        dislikes = [each for each in dislikes if each not in likes]
        named = (asked(space, *likes), asked(space, *dislikes))
        found = recommend(space, *named, n=100, diversity=diversity)
        contents = [each.entry.content for each in found]
        wanted = {f"{i:02d}.mp3" for i in range(60) if i not in {*likes, *dislikes}}
        assert len(contents) == len(set(contents))
        assert set(contents) == wanted

    @READ_ONLY
    @given(tracks, tracks, st.randoms())
    def test_the_same_whatever_the_order_they_are_named_in(
        self, space: Space, likes: list[int], dislikes: list[int], random: st.DataObject
    ) -> None:
        dislikes = [each for each in dislikes if each not in likes]
        first = recommend(space, asked(space, *likes), asked(space, *dislikes))
        random.shuffle(likes)
        random.shuffle(dislikes)
        again = recommend(space, asked(space, *likes, likes[0]), asked(space, *dislikes))
        assert [each.to_dict() for each in again] == [each.to_dict() for each in first]

    def test_so_many_as_are_wanted(self, space: Space) -> None:
        for n in (1, 7, 20):
            assert len(recommend(space, asked(space, 3), n=n)) == n

    @pytest.mark.parametrize(
        ("wanted", "allowed"),
        [
            (TrackFilter(genre="JAZZ"), lambda i: i % 2 == 0),
            (TrackFilter(years=(1970, 1979)), lambda i: 10 <= i < 20),
            (TrackFilter(not_artist="artist 3"), lambda i: i % 6 != 3),
        ],
    )
    def test_wishes(self, space: Space, wanted: TrackFilter, allowed: object) -> None:
        also = TrackFilter(not_artist="Artist 1")
        found = recommend(space, asked(space, 7), n=100, filters=[wanted, also])
        contents = {each.entry.content for each in found}
        left = {f"{i:02d}.mp3" for i in range(60) if allowed(i) and i % 6 != 1 and i != 7}
        # The copy of 05 has no artist and no year, and is jazz.
        assert contents - {"05.mp3"} == left - {"05.mp3"}

    def test_nothing_is_left(self, space: Space) -> None:
        assert recommend(space, asked(space, 1), filters=[TrackFilter(genre="polka")]) == []

    def test_what_cannot_be_asked(self, space: Space) -> None:
        with pytest.raises(GenrescopeError, match="at least one liked"):
            recommend(space, [], asked(space, 1))
        with pytest.raises(GenrescopeError, match="liked and disliked at once"):
            recommend(space, asked(space, 1, 5), [space.find("copy of 05.mp3")])
        with pytest.raises(GenrescopeError, match=r"from 0 to 1, not 1\.5"):
            recommend(space, asked(space, 1), diversity=1.5)


def cloud(random: np.random.Generator, centre: NDArray, count: int) -> NDArray:
    return centre + 0.1 * random.standard_normal((count, 16))


@pytest.fixture
def corners(tmp_path: Path) -> Space:
    """20 tracks each of two kinds, of what lies between these, and of the opposite."""
    random, axes = np.random.default_rng(1), np.eye(16)
    centres = {"one": axes[0], "two": axes[1], "between": (axes[0] + axes[1]) / np.sqrt(2)}
    centres["opposite"] = -sum(centres.values())
    made = [
        entry(f"{name} {i:02d}", each)
        for name, centre in centres.items()
        for i, each in enumerate(cloud(random, centre, 20))
    ]
    return Space(make_library(tmp_path / "library", made))


def kinds(found: list[Recommendation]) -> list[str]:
    return [each.entry.path.split()[0] for each in found]


class TestTaste:
    """Several likes, and dislikes."""

    def test_two_kinds_are_both_served_and_not_what_lies_between(self, corners: Space) -> None:
        likes = [corners.find(name) for name in ("one 00", "one 01", "two 00", "two 01")]
        served = kinds(recommend(corners, likes, n=20, diversity=0))
        assert min(served.count("one"), served.count("two")) >= 6
        assert served.count("between") <= 4
        # The middle of the likes is where neither is.
        middle = np.mean([like.direction for like in likes], axis=0)
        nearest = np.argsort(-(corners.directions @ middle))[:20]
        by_mean = [corners.entries[place].path.split()[0] for place in nearest]
        assert by_mean.count("between") >= 12

    def test_what_is_like_a_disliked_track_sinks(self, corners: Space) -> None:
        like, dislike = [corners.find("between 00")], [corners.find("two 00")]
        before = kinds(recommend(corners, like, n=78, diversity=0))
        after = kinds(recommend(corners, like, dislike, n=78, diversity=0))

        def middle(listed: list[str], kind: str) -> float:
            return float(np.median([place for place, each in enumerate(listed) if each == kind]))

        assert middle(after, "two") > middle(before, "two") + 8
        assert middle(after, "one") < middle(before, "one")
        assert after.count("opposite") == 20
        assert set(after[-20:]) == {"opposite"}  # to be far from a disliked track earns nothing

    @READ_ONLY
    @given(st.integers(0, 59), tracks)
    def test_a_dislike_lowers_what_is_like_it_and_nothing_else(
        self, space: Space, like: int, dislikes: list[int]
    ) -> None:
        dislikes = [each for each in dislikes if each != like]
        (query,), others = asked(space, like), asked(space, *dislikes)
        before = {r.entry.content: r.score for r in recommend(space, [query], n=100)}
        for each in recommend(space, [query], others, n=100):
            place = space.entries.index(each.entry)
            to_dislikes = [float(space.directions[place] @ d.direction) for d in others]
            lost = before[each.entry.content] - each.score
            assert lost == pytest.approx(max([0.0, *to_dislikes]) / 3, abs=1e-5)

    def test_several_likes_of_one_kind_count_together(self) -> None:
        # Each of the first two likes has a nearest of its own; the last is near to all three.
        similarity = np.array([[0.9, 0.1, 0.8], [0.1, 0.9, 0.8], [0.1, 0.1, 0.8]])
        assert nearness(similarity).argmax() == 2

    def test_who_is_near_to_everybody_does_not_speak_for_all(self) -> None:
        near_to_all = np.array([0.9, 0.9, 0.9, 0.9, 0.3, 0.3])
        alone = np.array([0.0, 0.0, 0.0, 0.0, 0.6, 0.5])
        both = nearness(np.stack([near_to_all, alone]))
        assert both.argmax() == 4
        assert np.stack([near_to_all, alone]).max(axis=0).argmax() == 0

    def test_a_like_that_nothing_is_near_to_does_not_lead(self) -> None:
        lonely, met = np.array([-0.3, -0.9, -0.9]), np.array([-0.5, 0.4, -0.5])
        assert nearness(np.stack([lonely, met])).argmax() == 1

    @given(st.lists(st.floats(-1, 1), min_size=1, max_size=30))
    def test_one_like_is_its_similarity(self, similarity: list[float]) -> None:
        rows = np.array([similarity])
        assert nearness(rows) == pytest.approx(rows[0], abs=1e-9)
        assert nearness(np.repeat(rows, 3, axis=0)) == pytest.approx(rows[0], abs=1e-9)

    def test_no_dislike_takes_nothing(self) -> None:
        scores = np.array([0.5, -0.2])
        assert pushed(scores, np.zeros((0, 2))).tolist() == scores.tolist()


class TestDiversity:
    """Maximal marginal relevance."""

    def test_by_hand(self) -> None:
        # The first two are one and the same; the third is at right angles, the fourth opposite.
        directions = np.float32([[1, 0], [1, 0], [0, 1], [-1, 0]])
        scores = np.array([0.9, 0.8, 0.5, 0.1])
        assert diversified(scores, directions, 4, 0.0) == [0, 1, 2, 3]
        # 0.7 * 0.8 - 0.3 * 1 = 0.26 is less than 0.7 * 0.5 - 0.3 * 0 = 0.35.
        assert diversified(scores, directions, 2, 0.3) == [0, 2]
        # 0.9 * 0.8 - 0.1 * 1 = 0.62 is not less than 0.9 * 0.5 = 0.45.
        assert diversified(scores, directions, 2, 0.1) == [0, 1]
        # To be the opposite is no better than to be at right angles.
        assert diversified(scores, directions, 4, 1.0) == [0, 2, 3, 1]

    def test_only_among_the_best(self) -> None:
        directions = np.float32([[1, 0], [1, 0], [1, 0], [0, 1]])
        assert diversified(np.array([0.4, 0.3, 0.2, 0.1]), directions, 1, 0.9) == [0]
        assert 3 in diversified(np.array([0.4, 0.3, 0.2, 0.1]), directions, 2, 0.9)
        more = np.float32([*[[1, 0]] * 6, [0, 1]])
        assert 6 not in diversified(np.linspace(0.9, 0.3, 7), more, 2, 0.9)

    def test_more_of_it_makes_lists_less_alike_and_less_near(self, space: Space) -> None:
        def measured(like: int, diversity: float) -> tuple[float, float]:
            found = recommend(space, asked(space, like), n=10, diversity=diversity)
            places = [space.entries.index(each.entry) for each in found]
            chosen = space.directions[places].astype(float)
            return float(np.triu(chosen @ chosen.T, 1).sum()), sum(each.score for each in found)

        lists = range(0, 60, 4)
        nearest = np.array([measured(like, 0) for like in lists])
        diverse = np.array([measured(like, 1) for like in lists])
        # One choice after another is not the best of all: that holds on average.
        assert diverse[:, 0].mean() < nearest[:, 0].mean() - 1
        assert (diverse[:, 1] < nearest[:, 1]).all()

    def test_the_commands_default_is_the_packages(self) -> None:
        option = inspect.signature(command).parameters["diversity"].default
        assert option.default == DIVERSITY


def query_of(known: Entry) -> Query:
    return Query(known.name, np.ones(16), known)


def mixed(jazz: float, name: str, genre: str) -> Entry:
    return entry(name, np.ones(16), probabilities=np.float32([jazz, 1 - jazz]), genre=genre)


class TestReason:
    """Recommendation.reason, and what JSON says."""

    @pytest.mark.parametrize(
        ("jazz_of_it", "jazz_of_like", "words"),
        [
            ((0.9, "jazz"), (0.6, "jazz"), "near a.mp3 (0.82), both jazz"),
            ((0.6, "jazz"), (0.2, "rock"), "near a.mp3 (0.82), shares rock and jazz with it"),
            ((0.95, "jazz"), (0.3, "rock"), "near a.mp3 (0.82), shares jazz with it"),
            ((0.95, "jazz"), (0.05, "rock"), "near a.mp3 (0.82)"),
        ],
    )
    def test_genres(
        self,
        tmp_path: Path,
        jazz_of_it: tuple[float, str],
        jazz_of_like: tuple[float, str],
        words: str,
    ) -> None:
        like = mixed(jazz_of_like[0], "a.mp3", jazz_of_like[1])
        its = mixed(jazz_of_it[0], "b.mp3", jazz_of_it[1])
        axes = np.eye(16)
        # Around their mean the similarity of the two is 0.82.
        turned = 0.82 * axes[0] + np.sqrt(1 - 0.82**2) * axes[1]
        made = [replace(like, embedding=np.float32(axes[0]))]
        made.append(replace(its, embedding=np.float32(turned)))
        for number, each in enumerate((axes[0], turned)):
            made.append(entry(f"opposite {number}", -each))
        space = Space(make_library(tmp_path / "library", made))
        (found,) = recommend(space, [space.find("a.mp3")], n=1)
        assert found.reason == words

    def test_far_and_disliked_and_outside(self) -> None:
        its = mixed(0.9, "b.mp3", "jazz")
        outside = Query("/home/x.mp3", np.ones(16), mixed(0.1, "x.mp3", "rock"))
        far = Recommendation(its, -0.2, outside, -0.004, ())
        assert far.reason == "least far from /home/x.mp3 (0.00)"
        disliked = query_of(mixed(0.9, "c.mp3", "jazz"))
        against = Recommendation(its, 0.4, outside, 0.5, (), disliked, 0.3)
        assert against.reason == "near /home/x.mp3 (0.50); but somewhat like c.mp3 (0.30)"

    def test_the_like_that_is_named_is_the_nearest(self, space: Space) -> None:
        likes, dislikes = asked(space, 3, 8, 20), asked(space, 9, 11)
        for each in recommend(space, likes, dislikes, n=40):
            direction = space.directions[space.entries.index(each.entry)]
            of = {query.name: float(direction @ query.direction) for query in (*likes, *dislikes)}
            best = max(likes, key=lambda query: of[query.name])
            assert each.near.name == best.name
            assert each.similarity == pytest.approx(of[best.name], abs=1e-5)
            worst = max(dislikes, key=lambda query: of[query.name])
            if of[worst.name] > 0.01:
                assert each.against is not None
                assert each.against.name == worst.name
            elif of[worst.name] < 0:
                assert each.against is None

    def test_json(self, space: Space) -> None:
        found = recommend(space, asked(space, 4), n=3)[0]
        said = json.loads(json.dumps(found.to_dict()))
        assert said.keys() - found.entry.to_dict().keys() == {
            "score", "near", "similarity", "shared", "reason",
        }  # fmt: skip
        assert said["near"] == "Artist 4 - Song 4"
        assert said["score"] == pytest.approx(said["similarity"])
        assert said["reason"] == found.reason


@pytest.fixture(scope="module")
def shelved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    home = tmp_path_factory.mktemp("recommend")
    write_examples(home / "music", seconds=6)
    shutil.copy(home / "music" / "walking-bass.flac", home / "music" / "twin.flac")
    scan([home / "music"], library=home / "library")
    return home / "music", ["--library", str(home / "library")]


class TestCommand:
    """genrescope recommend"""

    def run(self, *words: object) -> Result:
        app = typer.Typer()
        app.command()(command)
        return CliRunner().invoke(app, [str(word) for word in words])

    def rows(self, *words: object) -> list[dict[str, object]]:
        done = self.run(*words, "-f", "json")
        assert done.exit_code == 0, (done.stdout, done.exception)
        said: list[dict[str, object]] = json.loads(done.stdout)
        return said

    def test_from_the_library(self, shelved: tuple[Path, list[str]], tmp_path: Path) -> None:
        home, library = shelved
        out = tmp_path / "more.m3u8"
        words = ["twin.flac", home / "four-on-the-floor.flac", *library]
        rows = self.rows(*words, "--dislike", "palm-muted-guitars.flac", "--playlist", out)
        names = [Path(str(row["path"])).name for row in rows]
        named = {
            "twin.flac",
            "walking-bass.flac",
            "four-on-the-floor.flac",
            "palm-muted-guitars.flac",
        }
        assert len(names) == 4
        assert not named & set(names)
        assert {row["near"] for row in rows} <= {"twin.flac", "four-on-the-floor.flac"}
        files = [line for line in out.read_text().splitlines() if not line.startswith("#")]
        assert files == [row["path"] for row in rows]

    def test_as_a_table(self, shelved: tuple[Path, list[str]]) -> None:
        _, library = shelved
        shown = self.run("twin.flac", *library, "-n", 2, "--diversity", 0).stdout
        header, *lines = shown.splitlines()
        assert header.split() == ["Score", "Genre", "Track,", "and", "reason"]
        rows = self.rows("twin.flac", *library, "-n", 2, "--diversity", 0)
        for line, row in zip(lines, rows, strict=True):
            assert line.split()[0] == f"{row['score']:.2f}"
            assert line.endswith(f"{Path(str(row['path'])).name}  {row['reason']}")

    def test_a_file_from_outside_is_classified_and_its_copies_are_left_out(
        self, shelved: tuple[Path, list[str]], tmp_path: Path
    ) -> None:
        home, library = shelved
        outside = tmp_path / "outside.flac"
        shutil.copy(home / "walking-bass.flac", outside)
        rows = self.rows(outside, *library)
        inside = self.rows("--like", home / "walking-bass.flac", *library)  # the older spelling
        assert [row["path"] for row in rows] == [row["path"] for row in inside]
        assert len(rows) == 6
        assert {row["near"] for row in rows} == {str(outside)}
        assert all(f" {outside} (" in str(row["reason"]) for row in rows)

    def test_not_the_same_artist(self, tmp_path: Path) -> None:
        random = np.random.default_rng(0)
        made = [
            entry(f"{i}.mp3", random.standard_normal(16), title=f"{i}", artist=f"Band {i % 4}")
            for i in range(20)
        ]
        make_library(tmp_path / "library", made)
        words = ["0.mp3", "1.mp3", "--dislike", "2.mp3"]
        rows = self.rows(*words, "--library", tmp_path / "library", "--not-same-artist")
        assert {row["artist"] for row in rows} == {"Band 3"}
        assert len(rows) == 5
        said = self.run(*words, "--library", tmp_path / "library", "--not-same-artist").stderr
        assert said == ""

    def test_an_artist_that_is_not_known_is_said(self, shelved: tuple[Path, list[str]]) -> None:
        home, library = shelved
        words = ["twin.flac", "--dislike", home / "four-on-the-floor.flac"]
        done = self.run(*words, *library, "--not-same-artist")
        assert done.exit_code == 0
        assert [line.split(":")[0] for line in done.stderr.splitlines()] == [
            "twin.flac", "four-on-the-floor.flac",
        ]  # fmt: skip
        assert done.stderr.count("no artist in its tags") == 2

    def test_mistakes(self, shelved: tuple[Path, list[str]]) -> None:
        _, library = shelved
        assert self.run(*library).exit_code == 2
        assert self.run("twin.flac", *library, "--diversity", 2).exit_code == 2
        assert self.run("twin.flac", *library, "--year", "seventies").exit_code == 2
        unknown = self.run("nowhere.mp3", *library).exception
        assert isinstance(unknown, FileError)
        assert "nowhere.mp3: no such file" in str(unknown)
        both = ["twin.flac", "--dislike", "walking-bass.flac"]
        assert "liked and disliked" in str(self.run(*both, *library).exception)
        backwards = self.run("twin.flac", *library, "--year", "1979-1970")
        assert backwards.exit_code == 2
        unknown = self.run("twin.flac", *library, "--genre", "polka").exception
        assert isinstance(unknown, GenrescopeError)
        assert "polka: no genre of the library's model; it knows blues," in str(unknown)
        nothing = self.run("twin.flac", *library, "--year", "1970")
        assert nothing.exit_code == 1
        assert "no other track" in nothing.output
