"""Sorting by albums and templates, what is uncertain, and links that are moved and put back."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from genrescope.cli import app
from genrescope.errors import GenrescopeError
from genrescope.library import moves
from genrescope.library.moves import SortError, Step, carry_out, undo, unfinished_moves
from genrescope.library.rows import Entry
from genrescope.library.sort import plan, write_playlists
from libraries import MODEL, entry, make_library

pytest.importorskip("lancedb", reason="libraries need the extra 'library'")


def track(folder: Path, name: str, jazz: float = 0.75, **changes: object) -> Entry:
    """A file of its own content, jazz with one probability and rock with the rest."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(file):
        file.write_text(name)
    known: dict[str, object] = {
        "probabilities": np.array([jazz, 1 - jazz], np.float32),
        "genre": "jazz" if jazz >= 0.5 else "rock",
        "confidence": max(jazz, 1 - jazz),
    }
    return entry(name, np.ones(16), root=str(folder), **(known | changes))


def targets(entries: list[Entry], folder: Path, **settings: object) -> dict[str, str]:
    planned = plan(entries, folder, "copy", genres=MODEL.genres, **settings)
    return {each.entry.path: str(each.file.relative_to(folder)) for each in planned.placed}


class TestPlan:
    """genrescope.library.sort"""

    def test_an_album_stays_together(self, tmp_path: Path) -> None:
        music = tmp_path / "music"
        album = {"album": "A", "artist": "One"}
        tracks = [
            track(music, "a/1.mp3", 0.9, **album),
            track(music, "a/2.mp3", 0.4, **album),
            track(music, "a/3.mp3", 0.8, **(album | {"artist": "Two"})),
            track(music, "a/silent.mp3", 0.5, **album, genre=None, confidence=0.0),
            track(music, "b/1.mp3", 0.1, **album),  # another album of that name
            track(music, "a/single.mp3", 0.1),
        ]
        assert targets(tracks, tmp_path / "s", by="album") == {
            "a/1.mp3": "Jazz/One/A/1.mp3",
            "a/2.mp3": "Jazz/One/A/2.mp3",
            "a/3.mp3": "Jazz/One/A/3.mp3",
            "a/silent.mp3": "Jazz/One/A/silent.mp3",
            "b/1.mp3": "Rock/One/A/1.mp3",
            "a/single.mp3": "Rock/Unknown Artist/Unknown Album/single.mp3",
        }
        # By tracks it does not.
        assert targets(tracks, tmp_path / "s")["a/2.mp3"] == "Rock/2.mp3"

    def test_the_discs_of_an_album_and_a_sampler(self, tmp_path: Path) -> None:
        music = tmp_path / "music"
        tracks = [
            track(
                music, f"x/CD {i % 2 + 1}/{i}.mp3", 0.2 + 0.2 * i, album="A", artist=f"Artist {i}"
            )
            for i in range(4)
        ]
        assert set(targets(tracks, tmp_path / "s", by="album").values()) == {
            f"Jazz/Various Artists/A/{i}.mp3" for i in range(4)
        }

    def test_discs_whose_files_have_the_same_names_stay_apart(self, tmp_path: Path) -> None:
        names = [f"x/{disc}/{file}" for disc in ("CD1", "CD2") for file in ("01.mp3", "02.mp3")]
        tracks = [track(tmp_path / "m", name, album="A", artist="One") for name in names]
        sorted_ = targets(tracks, tmp_path / "s", by="album")
        assert sorted_ == {name: f"Jazz/One/A/{name[2:]}" for name in names}

    @pytest.mark.parametrize(
        ("artists", "expected"),
        [
            (["A", "A feat. B", "A (ft. C)", "D"], "A"),
            (["A feat. B", "A feat. B", "A"], "A feat. B"),
            (["Defeat. Me", "Lift. Off", "Featuring X"], "Various Artists"),
        ],
    )
    def test_guests_make_no_sampler(
        self, tmp_path: Path, artists: list[str], expected: str
    ) -> None:
        tracks = [
            track(tmp_path / "m", f"{n}.mp3", album="Z", artist=artist)
            for n, artist in enumerate(artists)
        ]
        folders = {Path(p).parent for p in targets(tracks, tmp_path / "s", by="album").values()}
        assert folders == {Path("Jazz", expected, "Z")}

    def test_what_is_uncertain_is_not_sorted_by_genre(self, tmp_path: Path) -> None:
        music = tmp_path / "music"
        tracks = [track(music, "sure.mp3", 0.9), track(music, "unsure.mp3", 0.9, confidence=0.49)]
        sorted_ = targets(tracks, tmp_path / "s")
        assert sorted_ == {"sure.mp3": "Jazz/sure.mp3", "unsure.mp3": "Unsorted/unsure.mp3"}
        assert (
            targets(tracks, tmp_path / "s", min_confidence=0.0)["unsure.mp3"] == "Jazz/unsure.mp3"
        )

    def test_templates(self, tmp_path: Path) -> None:
        odd = track(tmp_path / "m", "x.flac", title="../a/b: c?", artist="AC/DC", year=1980)
        template = "{genre}/{year}/{artist} - {title}"
        assert targets([odd], tmp_path / "s", template=template) == {
            "x.flac": "Jazz/1980/AC-DC - ..-a-b- c-.flac"
        }
        device = track(tmp_path / "m", "z.flac", title="Nul", artist="con.")
        (name,) = targets([device], tmp_path / "s", template="{artist}/{title}").values()
        assert name == "con_/Nul_.flac"
        long = track(tmp_path / "m", "y.flac", title="ö" * 300)
        (name,) = targets([long], tmp_path / "s", template="{title}").values()
        assert len(name.encode()) <= 255
        assert name.endswith(".flac")

    @pytest.mark.parametrize(
        "template",
        ["{mood}/{file}", "../{file}", "/{file}", "a//{file}", "", "{file", "{}",
         "{genre:d}/{file}", "{title:{mood}}"],
    )  # fmt: skip
    def test_what_is_no_template(self, tmp_path: Path, template: str) -> None:
        if not template:
            template = " "
        with pytest.raises(GenrescopeError, match="template"):
            plan([track(tmp_path, "a.mp3")], tmp_path / "s", "copy", template=template)

    def test_links_to_one_file_are_sorted_once(self, tmp_path: Path) -> None:
        music = tmp_path / "music"
        one = track(music, "one.mp3")
        os.link(music / "one.mp3", music / "hard.mp3")
        (music / "soft.mp3").symlink_to("one.mp3")
        links = [track(music, name, content="one.mp3") for name in ("hard.mp3", "soft.mp3")]
        for action in ("copy", "link"):
            planned = plan([one, *links], tmp_path / "s", action)
            assert [Path(step.target).name for step in planned.steps] == ["hard.mp3"]


class TestLinks:
    """genrescope.library.moves"""

    @pytest.fixture
    def music(self, tmp_path: Path) -> Path:
        """A file outside, two links to it, and one to a file that is moved, too."""
        (tmp_path / "outside").mkdir()
        (tmp_path / "outside" / "far.mp3").write_text("far")
        music = tmp_path / "music"
        (music / "deep").mkdir(parents=True)
        (music / "real.mp3").write_text("real")
        (music / "deep" / "relative.mp3").symlink_to("../../outside/far.mp3")
        (music / "absolute.mp3").symlink_to(tmp_path / "outside" / "far.mp3")
        (music / "deep" / "inside.mp3").symlink_to("../real.mp3")
        return music

    NAMES = ("real.mp3", "deep/relative.mp3", "absolute.mp3", "deep/inside.mp3")

    def entries(self, music: Path) -> list[Entry]:
        return [track(music, name) for name in self.NAMES]

    def test_moved_links_point_to_the_same_files(self, music: Path, tmp_path: Path) -> None:
        before = {name: (music / name).is_symlink() and (music / name).readlink()
                  for name in self.NAMES}  # fmt: skip
        planned = plan(self.entries(music), tmp_path / "sorted", "move")
        undo_file, failures = carry_out(planned.steps, "move", planned.folder)
        assert failures == []
        jazz = tmp_path / "sorted" / "Jazz"
        assert {file.name: file.read_text() for file in jazz.iterdir()} == {
            "real.mp3": "real", "relative.mp3": "far", "absolute.mp3": "far", "inside.mp3": "real",
        }  # fmt: skip
        assert jazz.joinpath("relative.mp3").readlink() == Path("../../outside/far.mp3")
        assert jazz.joinpath("inside.mp3").readlink() == Path("real.mp3")
        assert jazz.joinpath("absolute.mp3").readlink().is_absolute()
        assert [file for file in music.rglob("*") if not file.is_dir()] == []
        assert undo_file is not None
        assert undo(undo_file) == (4, [])
        after = {name: (music / name).is_symlink() and (music / name).readlink()
                 for name in self.NAMES}  # fmt: skip
        assert after == before
        assert (music / "deep" / "inside.mp3").read_text() == "real"
        assert list((tmp_path / "sorted").iterdir()) == []

    def test_links_that_stay_follow_their_files(self, music: Path, tmp_path: Path) -> None:
        texts = {
            "chain.mp3": "deep/inside.mp3",  # leads to a link that stays
            "by-folder.mp3": "folder/../real.mp3",
            "gone.mp3": "nowhere.mp3",
            "whole.mp3": str(music / "real.mp3"),
        }
        (music / "folder").symlink_to("deep")
        for name, text in texts.items():
            (music / name).symlink_to(text)
        planned = plan([track(music, "real.mp3")], tmp_path / "sorted", "move")
        undo_file, failures = carry_out(planned.steps, "move", planned.folder)
        assert failures == []
        for name in ("deep/inside.mp3", "chain.mp3", "by-folder.mp3", "whole.mp3"):
            assert (music / name).read_text() == "real"
        assert (music / "chain.mp3").readlink() == Path("deep/inside.mp3")
        assert (music / "by-folder.mp3").readlink() == Path("../sorted/Jazz/real.mp3")
        assert (music / "whole.mp3").readlink() == tmp_path / "sorted" / "Jazz" / "real.mp3"
        (music / "whole.mp3").unlink()
        (music / "whole.mp3").symlink_to("elsewhere.mp3")
        assert undo_file is not None
        undone, (failure,) = undo(undo_file)
        assert undone == 3
        assert "no longer the link that it was" in str(failure)
        assert {name: str((music / name).readlink()) for name in texts} == {
            **texts, "whole.mp3": "elsewhere.mp3",
        }  # fmt: skip

    def test_what_is_gone_from_both_places_is_said(self, music: Path, tmp_path: Path) -> None:
        planned = plan([track(music, "real.mp3")], tmp_path / "sorted", "move")
        undo_file, _ = carry_out(planned.steps, "move", planned.folder)
        (tmp_path / "sorted" / "Jazz" / "real.mp3").unlink()
        assert undo_file is not None
        undone, (failure,) = undo(undo_file)
        assert undone == 1  # the link
        assert "gone from there and from where it was" in str(failure)
        assert not undo_file.exists()

    def test_a_link_stays_with_a_file_that_stays(self, music: Path, tmp_path: Path) -> None:
        link, there = music / "to.mp3", tmp_path / "s" / "Jazz" / "1.mp3"
        one = track(music, "1.mp3")
        link.symlink_to("1.mp3")
        planned = plan([one], tmp_path / "s", "move", genres=MODEL.genres)
        there.parent.mkdir(parents=True)
        there.mkdir()  # its name was taken meanwhile
        _, failures = carry_out(planned.steps, "move", tmp_path / "s")
        assert len(failures) == 2
        assert link.readlink() == Path("1.mp3")
        there.rmdir()
        undo_file, failures = carry_out(planned.steps, "move", tmp_path / "s")
        assert failures == []
        assert undo_file is not None
        there.write_text("tagged by another program")
        undone, failures = undo(undo_file)
        assert (undone, len(failures)) == (0, 2)
        assert link.resolve() == there.resolve()

    def test_a_link_that_was_changed_since_stays(self, music: Path, tmp_path: Path) -> None:
        planned = plan(self.entries(music), tmp_path / "sorted", "move")
        undo_file, _ = carry_out(planned.steps, "move", planned.folder)
        link = tmp_path / "sorted" / "Jazz" / "relative.mp3"
        link.unlink()
        link.symlink_to("elsewhere.mp3")
        assert undo_file is not None
        undone, failures = undo(undo_file)
        assert (undone, [Path(f.path).name for f in failures]) == (3, ["relative.mp3"])
        assert link.readlink() == Path("elsewhere.mp3")

    def test_an_undo_file_of_version_1_moves_links_back(self, music: Path, tmp_path: Path) -> None:
        """It moved links as they were, and stored the size of what they point to."""
        source, target = music / "deep" / "relative.mp3", tmp_path / "sorted" / "relative.mp3"
        status = source.stat()
        target.parent.mkdir()
        text = os.fspath(source.readlink())
        source.unlink()
        target.symlink_to(text)
        step = {"source": str(source), "target": str(target), "size": status.st_size,
                "mtime_ns": status.st_mtime_ns}  # fmt: skip
        file = tmp_path / "sorted" / "undo.json"
        file.write_text(json.dumps({"format": 1, "action": "move", "steps": [step]}))
        assert undo(file) == (1, [])
        assert source.read_text() == "far"

    def test_stopped_between_the_two_renamings(self, music: Path, tmp_path: Path) -> None:
        planned = plan([track(music, "real.mp3")], tmp_path / "sorted", "move")
        undo_file, _ = carry_out(planned.steps, "move", planned.folder)
        os.link(tmp_path / "sorted" / "Jazz" / "real.mp3", music / "real.mp3")
        assert undo_file is not None
        assert undo(undo_file) == (2, [])  # with a link that followed
        assert (music / "real.mp3").read_text() == "real"
        assert not (tmp_path / "sorted" / "Jazz").exists()


def test_the_command_shows_the_changes_first(tmp_path: Path) -> None:
    tracks = [
        track(tmp_path / "music", "a.mp3", 0.9, album="A", artist="One"),
        track(tmp_path / "music", "b.mp3", 0.6, album="A", artist="One", confidence=0.4),
    ]
    make_library(tmp_path / "library", tracks)
    words = ["sort", "--library", str(tmp_path / "library"), "--to", str(tmp_path / "s")]
    shown = CliRunner().invoke(app, words).stdout.splitlines()
    assert shown[:2] == [
        f"{tmp_path}/music/a.mp3 -> Jazz/a.mp3 (90%)",
        f"{tmp_path}/music/b.mp3 -> Unsorted/b.mp3 (40%)",
    ]
    done = CliRunner().invoke(app, [*words, "--by", "album", "--copy", "--yes", "--playlists"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "s" / "Jazz" / "One" / "A" / "b.mp3").read_text() == "b.mp3"
    assert (tmp_path / "s" / "Jazz.m3u8").read_text().count("Jazz/One/A/") == 2
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("to undo: ")]
    assert CliRunner().invoke(app, line.split()[3:]).stdout == "2 undone, 0 left alone\n"
    assert not (tmp_path / "s" / "Jazz").exists()


def test_the_commands_that_it_shows_can_be_pasted(tmp_path: Path) -> None:
    file = tmp_path / "music" / "1.wav"
    file.parent.mkdir()
    file.write_bytes(b"x")
    row = entry("1.wav", np.ones(16), root=str(file.parent), mtime_ns=file.stat().st_mtime_ns)
    place = make_library(tmp_path / "library", [row]).place
    words = ["sort", "--to", str(tmp_path / "my dest"), "--library", place, "--yes", "--move"]
    done = CliRunner().invoke(app, words)
    (undo_line,) = [line for line in done.stdout.splitlines() if "to undo: " in line]
    (scan_line,) = [line for line in done.stderr.splitlines() if "genrescope scan" in line]
    assert shlex.split(scan_line)[:3] == ["genrescope", "scan", str(tmp_path / "my dest")]
    undo_words = shlex.split(undo_line.removeprefix("to undo: "))
    assert CliRunner().invoke(app, undo_words[1:]).stdout == "1 undone, 0 left alone\n"
    assert file.exists()


def test_a_move_that_was_stopped_between_two_names_is_finished(tmp_path: Path) -> None:
    """A file is moved by giving it a second name, and taking the first."""
    source, target = tmp_path / "a.wav", tmp_path / "sorted/Jazz/a.wav"
    source.write_bytes(b"music")
    status = source.stat()
    step = Step(str(source), str(target), status.st_size, status.st_mtime_ns)
    target.parent.mkdir(parents=True)
    target.hardlink_to(source)
    _, failures = carry_out([step], "move", tmp_path / "sorted")
    assert not failures
    assert not source.exists()
    assert target.read_bytes() == b"music"
    assert unfinished_moves(tmp_path / "sorted") == {(str(source), str(target))}


def test_a_folder_reached_by_two_paths_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "music").mkdir()
    (tmp_path / "same").symlink_to(tmp_path / "music")
    source = tmp_path / "music/a.wav"
    source.write_bytes(b"music")
    status = source.stat()
    step = Step(str(source), str(tmp_path / "same/a.wav"), status.st_size, status.st_mtime_ns)
    _, failures = carry_out([step], "move", tmp_path)
    assert len(failures) == 1
    assert source.read_bytes() == b"music"


@pytest.mark.parametrize("relative", [True, False])
def test_undo_leaves_no_empty_folders_however_its_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    (tmp_path / "a.mp3").write_bytes(b"music")
    target = tmp_path / "sorted" / "Rock" / "Band" / "a.mp3"
    status = (tmp_path / "a.mp3").stat()
    step = Step(str(tmp_path / "a.mp3"), str(target), status.st_size, status.st_mtime_ns)
    undo_file, _ = carry_out([step], "copy", tmp_path / "sorted")
    assert undo_file is not None
    assert target.exists()
    monkeypatch.chdir(tmp_path)
    assert undo(undo_file.relative_to(tmp_path) if relative else undo_file) == (1, [])
    assert list((tmp_path / "sorted").iterdir()) == []


def test_undo_keeps_a_copy_that_is_all_that_is_left(tmp_path: Path) -> None:
    tracks = [track(tmp_path / "m", name) for name in ("a.mp3", "b.mp3", "c.mp3")]
    steps = plan(tracks, tmp_path / "s", "copy").steps
    undo_file, _ = carry_out(steps, "copy", tmp_path / "s")
    (tmp_path / "m/a.mp3").unlink()
    (tmp_path / "m/b.mp3").write_text("another song")
    assert undo_file is not None
    undone, failures = undo(undo_file)
    assert undone == 1
    assert ["its original" in f.reason for f in failures] == [True, True]
    assert ["is gone: the copy stays" in f.reason for f in failures] == [False, True]
    assert sorted(file.name for file in (tmp_path / "s/Jazz").iterdir()) == ["a.mp3", "b.mp3"]


def test_undo_where_times_are_stored_in_steps_of_two_seconds(tmp_path: Path) -> None:
    tracks = [track(tmp_path / "m", "a.mp3")]
    os.utime(tmp_path / "m/a.mp3", ns=(3 * 10**9, 3 * 10**9 + 7))
    undo_file, _ = carry_out(plan(tracks, tmp_path / "s", "move").steps, "move", tmp_path / "s")
    os.utime(tmp_path / "s/Jazz/a.mp3", ns=(2 * 10**9, 2 * 10**9))
    assert undo_file is not None
    assert undo(undo_file) == (1, [])
    assert (tmp_path / "m/a.mp3").read_text() == "a.mp3"


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system")
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def test_a_move_to_another_disk_leaves_one_file(
    tmp_path: Path, other_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracks = [track(tmp_path / "m", "a.mp3")]
    source = tmp_path / "m/a.mp3"
    real = Path.unlink

    def refuse(self: Path, missing_ok: bool = False) -> None:
        if self == source:
            raise PermissionError(13, "Permission denied")
        real(self, missing_ok)

    steps = plan(tracks, other_disk, "move").steps
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        undo_file, [failure] = carry_out(steps, "move", other_disk)
    assert failure.reason == "not sorted: Permission denied"
    assert source.exists()
    assert not (other_disk / "Jazz/a.mp3").exists()
    # Stopped between the copy and the end of the move: both are there.
    shutil.copy2(source, other_disk / "Jazz/a.mp3")
    again = plan(tracks, other_disk, "move").steps
    assert [step.target for step in again] == [str(other_disk / "Jazz/a.mp3")]
    assert carry_out(again, "move", other_disk)[1] == []
    assert not source.exists()
    shutil.copy2(other_disk / "Jazz/a.mp3", source)
    assert undo_file is not None
    assert undo(undo_file) == (1, [])
    assert source.read_text() == "a.mp3"
    assert not (other_disk / "Jazz").exists()


def test_two_sortings_in_one_second_have_an_undo_file_each(tmp_path: Path) -> None:
    steps = [plan([track(tmp_path / "m", f"{i}.mp3")], tmp_path / "s", "copy").steps
             for i in range(4)]  # fmt: skip
    with ThreadPoolExecutor(4) as pool:
        made = pool.map(lambda each: carry_out(each, "copy", tmp_path / "s"), steps)
        files = {file for file, _ in made}
    assert len(files) == 4
    assert sum(undo(file)[0] for file in files if file) == 4


def test_many_tracks_of_one_name_get_numbers(tmp_path: Path) -> None:
    tracks = [track(tmp_path / "m", f"{i}/a.mp3") for i in range(300)]
    found = targets(tracks, tmp_path / "s")
    assert sorted(found.values(), key=len)[0] == "Jazz/a.mp3"
    assert len({*found.values()}) == 300
    assert "Jazz/a (300).mp3" in found.values()


def test_playlists_and_tables_of_others_stay(tmp_path: Path) -> None:
    make_library(tmp_path / "l", [track(tmp_path / "m", "a.mp3")])
    (tmp_path / "Jazz.m3u8").write_text("mine")
    (tmp_path / "t.csv").write_text("mine")
    words = ["sort", "--to", str(tmp_path), "-l", str(tmp_path / "l"), "--playlists", "--yes"]
    for _ in range(2):
        assert CliRunner().invoke(app, words).exit_code == 0
    assert sorted(file.name for file in tmp_path.glob("*.m3u8")) == [
        "Jazz (2).m3u8",
        "Jazz.m3u8",
    ]
    words = ["sort", "--export", str(tmp_path / "t.csv"), "-l", str(tmp_path / "l"), "--dry-run"]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert {(tmp_path / name).read_text() for name in ("Jazz.m3u8", "t.csv")} == {"mine"}


def test_a_move_keeps_the_copy_where_the_original_went_meanwhile(
    tmp_path: Path, other_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracks = [track(tmp_path / "m", "a.mp3")]
    source, real = tmp_path / "m/a.mp3", Path.unlink

    def too_late(self: Path, missing_ok: bool = False) -> None:
        real(self, missing_ok)
        if self == source:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "unlink", too_late)
    carry_out(plan(tracks, other_disk, "move").steps, "move", other_disk)
    assert (other_disk / "Jazz/a.mp3").read_text() == "a.mp3"


def test_a_full_disk_leaves_no_undo_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(moves, "write_atomic", full)
    steps = plan([track(tmp_path / "m", "a.mp3")], tmp_path / "s", "move").steps
    with pytest.raises(SortError, match="No space left"):
        carry_out(steps, "move", tmp_path / "s")
    assert list((tmp_path / "s").iterdir()) == []


def test_playlists_into_a_folder_that_can_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = plan([track(tmp_path / "m", "a.mp3")], tmp_path / "s", "copy").placed

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(SortError, match=r"Jazz.m3u8: can't be written: Permission denied"):
        write_playlists(placed, tmp_path / "s")


def test_titles_need_no_folders_for_discs(tmp_path: Path) -> None:
    album = {"album": "A", "artist": "One"}
    tracks = [track(tmp_path / "m", f"CD{i}/01.mp3", title=f"Song {i}", **album) for i in (1, 2)]
    template = "{genre}/{artist}/{title}"
    found = targets(tracks, tmp_path / "s", by="album", template=template)
    assert [*found.values()] == ["Jazz/One/Song 1.mp3", "Jazz/One/Song 2.mp3"]
