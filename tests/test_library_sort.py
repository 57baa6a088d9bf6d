"""Sorting: planned, done, undone; nothing is ever overwritten."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from genrescope.cli import app
from genrescope.errors import FileError
from genrescope.library.export import export
from genrescope.library.moves import Action, SortError, undo
from genrescope.library.moves import carry_out as carry_out_steps
from genrescope.library.rows import Entry
from genrescope.library.sort import Placed, Plan, plan, write_playlists
from libraries import MODEL, entry, make_library

pytest.importorskip("lancedb")

ACTIONS: list[Action] = ["copy", "link", "move"]


@pytest.fixture
def tracks(tmp_path: Path) -> list[Entry]:
    """Four files, two of one name and genre; one is gone, one is silent."""
    made = []
    for name, genre in (
        ("one/song.mp3", "jazz"), ("two/song.mp3", "jazz"), ("it's.mp3", "rock"),
        ("SONG.mp3", "jazz"), ("silent.mp3", None),
    ):  # fmt: skip
        file = tmp_path / "music" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
        made.append(entry(name, np.ones(16), root=str(tmp_path / "music"), genre=genre))
    return [*made, entry("gone.mp3", np.ones(16), root=str(tmp_path / "music"))]


def tree(folder: Path) -> dict[str, str]:
    """Every file of a folder with its content; except undo files."""
    return {
        str(file.relative_to(folder)): file.read_text()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.name.startswith("undo-")
    }


def carry_out(planned: Plan, *progress: Callable[[int, int], None]):
    return carry_out_steps(planned.steps, planned.action, planned.folder, *progress)


class TestSort:
    """genrescope.library.sort and genrescope.library.moves"""

    @pytest.mark.parametrize("action", ACTIONS)
    def test_done_and_undone(self, tracks: list[Entry], tmp_path: Path, action: Action) -> None:
        music, sorted_ = tmp_path / "music", tmp_path / "sorted"
        before = tree(music)
        planned = plan(tracks, sorted_, action)
        assert (len(planned.steps), planned.in_place, len(planned.left_out)) == (4, 0, 2)
        assert tree(music) == before
        assert not sorted_.exists()

        undo_file, failures = carry_out(planned)
        assert failures == []
        # Names that differ by case alone are one on some file systems.
        assert tree(sorted_) == {
            "Jazz/SONG.mp3": "SONG.mp3",
            "Jazz/song (2).mp3": "one/song.mp3",
            "Jazz/song (3).mp3": "two/song.mp3",
            "Rock/it's.mp3": "it's.mp3",
        }
        assert tree(music) == (before if action != "move" else {"silent.mp3": "silent.mp3"})
        assert (sorted_ / "Jazz" / "SONG.mp3").is_symlink() == (action == "link")

        assert undo(undo_file) == (4, [])
        assert tree(music) == before
        assert list(sorted_.iterdir()) == []

    def test_what_is_marked_as_deleted_but_there_is_to_be_scanned(
        self, tracks: list[Entry], tmp_path: Path
    ) -> None:
        planned = plan([replace(tracks[0], deleted=True)], tmp_path / "sorted", "copy")
        ((_, reason),) = planned.left_out
        assert reason == "marked as deleted, though its file is there: scan it first"

    @pytest.mark.parametrize("action", ["copy", "link"])
    def test_a_second_time_there_is_nothing_to_do(
        self, tracks: list[Entry], tmp_path: Path, action: Action
    ) -> None:
        carry_out(plan(tracks, tmp_path / "sorted", action))
        again = plan(tracks, tmp_path / "sorted", action)
        assert (again.steps, again.in_place) == ((), 4)
        assert carry_out(again) == (None, [])

    def test_copies_within_the_library_are_not_copied_again(
        self, tracks: list[Entry], tmp_path: Path
    ) -> None:
        sorted_ = tmp_path / "music" / "sorted"
        planned = plan(tracks, sorted_, "copy")
        carry_out(planned)
        found_again = [
            entry(str(to.relative_to(each.root)), np.ones(16), root=each.root,
                  content=each.content, genre=each.genre)
            for each, to in ((p.entry, p.file) for p in planned.placed)
        ]  # fmt: skip
        again = plan([*tracks, *found_again], sorted_, "copy")
        assert (again.steps, again.in_place) == ((), 8)

    def test_what_stands_there_already_stays(self, tracks: list[Entry], tmp_path: Path) -> None:
        (tmp_path / "sorted" / "Rock").mkdir(parents=True)
        (tmp_path / "sorted" / "Rock" / "it's.mp3").write_text("somebody's own")
        planned = plan(tracks, tmp_path / "sorted", "move")
        # Another program is faster for one more name.
        (tmp_path / "sorted" / "Rock" / "it's (2).mp3").write_text("just came")
        _, failures = carry_out(planned)
        assert [Path(failure.path).name for failure in failures] == ["it's.mp3"]
        assert tree(tmp_path / "sorted" / "Rock") == {
            "it's.mp3": "somebody's own", "it's (2).mp3": "just came",
        }  # fmt: skip
        assert (tmp_path / "music" / "it's.mp3").read_text() == "it's.mp3"

    @pytest.mark.parametrize("action", ACTIONS)
    def test_undo_leaves_what_was_changed_since(
        self, tracks: list[Entry], tmp_path: Path, action: Action
    ) -> None:
        undo_file, _ = carry_out(plan(tracks, tmp_path / "sorted", action))
        mine = tmp_path / "sorted" / "Rock" / "it's.mp3"
        mine.unlink()
        mine.write_text("quite another")
        undone, failures = undo(undo_file)
        assert (undone, [Path(f.path) for f in failures]) == (3, [mine])
        assert mine.read_text() == "quite another"
        assert undo_file.exists()
        mine.unlink()
        undone, failures = undo(undo_file)
        assert (undone, len(failures)) == (0, action == "move")  # a moved file is lost by that
        assert not undo_file.exists()

    def test_undo_never_overwrites(self, tracks: list[Entry], tmp_path: Path) -> None:
        undo_file, _ = carry_out(plan(tracks, tmp_path / "sorted", "move"))
        (tmp_path / "music" / "it's.mp3").write_text("new")
        undone, failures = undo(undo_file)
        assert (undone, len(failures)) == (3, 1)
        assert (tmp_path / "music" / "it's.mp3").read_text() == "new"
        assert (tmp_path / "sorted" / "Rock" / "it's.mp3").read_text() == "it's.mp3"

    @pytest.mark.parametrize("action", ACTIONS)
    def test_an_interrupted_sorting_can_be_undone(
        self, tracks: list[Entry], tmp_path: Path, action: Action
    ) -> None:
        before = tree(tmp_path / "music")

        def stop(done: int, total: int) -> None:
            if done == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            carry_out(plan(tracks, tmp_path / "sorted", action), stop)
        (undo_file,) = (tmp_path / "sorted").glob("undo-*.json")
        assert undo(undo_file) == (2, [])
        assert tree(tmp_path / "music") == before

    def test_without_hard_links(
        self, tracks: list[Entry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As on a memory card."""

        def refuse(self: Path, target: Path) -> None:
            if os.path.lexists(self):
                raise FileExistsError(17, "File exists")
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(Path, "hardlink_to", refuse)
        undo_file, failures = carry_out(plan(tracks, tmp_path / "sorted", "move"))
        assert failures == []
        assert len(tree(tmp_path / "sorted")) == 4
        assert undo(undo_file) == (4, [])
        assert len(tree(tmp_path / "music")) == 5

    def test_another_disk(
        self, tracks: list[Entry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where files can't be renamed to, they are copied and then removed."""
        disk = Path("/dev/shm")
        if not os.access(disk, os.W_OK) or disk.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("no second file system at hand")
        sorted_ = Path(tempfile.mkdtemp(dir=disk))
        before = tree(tmp_path / "music")
        undo_file, failures = carry_out(plan(tracks, sorted_, "move"))
        assert failures == []
        assert len(tree(sorted_)) == 4
        assert list(tree(tmp_path / "music")) == ["silent.mp3"]
        assert undo(undo_file) == (4, [])
        assert tree(tmp_path / "music") == before
        sorted_.rmdir()

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 9, "action": "x", "steps": []}'])
    def test_what_is_no_undo_file(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "u.json").write_text(text)
        with pytest.raises(SortError, match="not an undo file"):
            undo(tmp_path / "u.json")
        with pytest.raises(SortError, match="can't be read"):
            undo(tmp_path / "none.json")

    @given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20))
    @settings(max_examples=50, deadline=None)
    def test_a_genre_never_leads_out_of_the_folder(self, genre: str) -> None:
        file = Path(__file__)
        odd = entry(file.name, np.ones(16), root=str(file.parent), genre=genre)
        (step,) = plan([odd], Path("/nowhere/sorted"), "copy").steps
        assert Path(os.path.normpath(step.target)).parents[1] == Path("/nowhere/sorted")

    def test_playlists_by_genre_surest_first(self, tmp_path: Path) -> None:
        made = [
            entry(f"{i}.mp3", np.ones(16), genre=("jazz", "hiphop")[i % 2], confidence=i / 10)
            for i in range(4)
        ]
        files, _ = write_playlists(
            [Placed(e, {"jazz": "Jazz"}.get(e.genre, "Hip-Hop"), 1.0, e.file) for e in made],
            tmp_path / "lists",
        )
        assert [file.name for file in files] == ["Hip-Hop.m3u8", "Jazz.m3u8"]
        assert files[1].read_text().splitlines()[2::2] == ["/music/2.mp3", "/music/0.mp3"]


class TestExport:
    """genrescope.library.export"""

    def test_all_three_say_the_same(self, tmp_path: Path) -> None:
        from pyarrow import parquet

        made = [entry("a,b.mp3", np.arange(16), year=1975), entry("ö.mp3", np.ones(16))]
        for ending in ("csv", "json", "parquet"):
            export(made, MODEL.genres, tmp_path / f"t.{ending}")
        rows = json.loads((tmp_path / "t.json").read_text())
        assert [row["path"] for row in rows] == ["/music/a,b.mp3", "/music/ö.mp3"]
        assert rows[0]["probabilities"] == {"jazz": 0.75, "rock": 0.25}
        with (tmp_path / "t.csv").open(newline="") as file:
            for row, same in zip(csv.DictReader(file), rows, strict=True):
                assert (row["path"], row["jazz"]) == (same["path"], "0.75")
                assert row["year"] == str(same["year"] or "")
        table = parquet.read_table(tmp_path / "t.parquet").to_pylist()
        assert [row["embedding"] for row in table] == [list(map(float, range(16))), [1.0] * 16]
        assert table[0]["rock"] == 0.25

    def test_endings(self, tmp_path: Path) -> None:
        with pytest.raises(FileError, match="ending"):
            export([], MODEL.genres, tmp_path / "t.xls")
        for ending in ("csv", "json", "parquet"):
            export([], MODEL.genres, tmp_path / f"t.{ending}")


class TestCommand:
    """genrescope sort"""

    def run(self, *words: object, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["sort", *(str(word) for word in words)])
        assert done.exit_code == code, (done.stdout, done.exception)
        return done.stdout

    def test_only_shown_then_done_then_undone(self, tracks: list[Entry], tmp_path: Path) -> None:
        library, to = tmp_path / "library", tmp_path / "sorted"
        make_library(library, tracks)
        before = tree(tmp_path / "music")
        shown = self.run("--library", library, "--to", to, "--move", "--playlists")
        music = tmp_path / "music"
        assert shown.splitlines() == [
            f"{music}/SONG.mp3 -> Jazz/SONG.mp3 (75%)",
            f"{music}/it's.mp3 -> Rock/it's.mp3 (75%)",
            f"{music}/one/song.mp3 -> Jazz/song (2).mp3 (75%)",
            f"{music}/two/song.mp3 -> Jazz/song (3).mp3 (75%)",
            f"{music}/gone.mp3: left where it is, its file is gone",
            f"{music}/silent.mp3: left where it is, silence",
            "     3 move to Jazz/",
            "     1 move to Rock/",
        ]
        assert not to.exists()
        assert tree(tmp_path / "music") == before
        done = self.run("--library", library, "--to", to, "--move", "--playlists", "--yes")
        assert (to / "Jazz.m3u8").read_text().count("\nJazz/") == 3
        (undo_line,) = [line for line in done.splitlines() if line.startswith("to undo: ")]
        assert self.run(*undo_line.split()[4:]) == "4 undone, 0 left alone\n"
        assert tree(tmp_path / "music") == before

    def test_a_part_playlists_alone_and_export(self, tracks: list[Entry], tmp_path: Path) -> None:
        library, to = tmp_path / "library", tmp_path / "sorted"
        make_library(library, tracks)
        shown = self.run(tmp_path / "music" / "two", "--library", library, "--to", to)
        assert shown.splitlines()[1:] == ["     1 copy to Jazz/"]
        self.run("--library", library, "--to", to, "--playlists", "--yes")
        assert sorted(tree(to)) == ["Jazz.m3u8", "Rock.m3u8"]
        self.run("--library", library, "--export", tmp_path / "t.csv")
        assert len((tmp_path / "t.csv").read_text().splitlines()) == 1 + 6

    @pytest.mark.parametrize(
        "words",
        [
            [],
            ["--move"],
            ["--to", "x", "--copy", "--link"],
            ["--playlists"],
            ["--to", "x", "--dry-run", "--yes"],
        ],
    )
    def test_what_makes_no_sense(self, words: list[str]) -> None:
        self.run(*words, code=2)
