"""Sorting again, and undoing it, after the sorted files got other tags."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import mutagen
import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from clips import RATE, music
from genrescope.cli import app
from genrescope.library.content import content_of
from genrescope.library.moves import carry_out, undo
from genrescope.library.rows import Entry
from genrescope.library.sort import plan
from libraries import entry, make_library

pytest.importorskip("lancedb", reason="libraries need the extra 'library'")


def track(root: Path, name: str, seed: int = 0) -> Entry:
    """A track of real audio, as a scan stores it."""
    file = root / name
    if not os.path.lexists(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, music(0.2, seed=seed), RATE)
    status = file.stat()
    known = {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "content": content_of(file)}
    return entry(name, np.ones(16), root=str(root), **known)


def retag(file: Path) -> None:
    """Write a genre; size and time are other ones then."""
    tags = mutagen.File(file)
    tags["genre"] = ["Disco"] * 2000
    tags.save()


def test_a_copy_of_a_linked_track_is_in_place(tmp_path: Path) -> None:
    outside = tmp_path / "out/a.flac"
    track(outside.parent, outside.name)
    (tmp_path / "m").mkdir()
    (tmp_path / "m/link.flac").symlink_to("../out/a.flac")
    linked, folder = track(tmp_path / "m", "link.flac"), tmp_path / "s"
    undo_file, _ = carry_out(plan([linked], folder, "copy").steps, "copy", folder)
    again = plan([linked], folder, "copy")
    assert (again.steps, again.in_place) == ((), 1)
    # What was only touched is still the copy's original.
    os.utime(outside, (1, 1))
    assert undo_file is not None
    assert undo(undo_file) == (1, [])
    assert outside.exists()


@pytest.mark.parametrize("which", ["s/Jazz/a.flac", "m/a.flac"])
def test_a_copy_with_other_tags_is_in_place(tmp_path: Path, which: str) -> None:
    tracks, folder = [track(tmp_path / "m", "a.flac")], tmp_path / "s"
    carry_out(plan(tracks, folder, "copy").steps, "copy", folder)
    retag(tmp_path / which)
    again = plan(tracks, folder, "copy")
    assert (again.steps, again.in_place) == ((), 1)


def test_another_track_of_that_name_is_not_in_place(tmp_path: Path) -> None:
    tracks, folder = [track(tmp_path / "m", "a.flac")], tmp_path / "s"
    track(folder / "Jazz", "a.flac", seed=1)
    (step,) = plan(tracks, folder, "copy").steps
    assert step.target == str(folder / "Jazz/a (2).flac")
    # Nor where the track itself is another one since the scan.
    (folder / "Jazz/a.flac").write_bytes((tmp_path / "m/a.flac").read_bytes())
    retag(folder / "Jazz/a.flac")
    (tmp_path / "m/a.flac").unlink()
    track(tmp_path / "m", "a.flac", seed=1)
    (step,) = plan(tracks, folder, "copy").steps
    assert step.target == str(folder / "Jazz/a (2).flac")


def test_a_moved_file_with_other_tags_is_moved_back(tmp_path: Path) -> None:
    tracks = [track(tmp_path / "m", f"{n}.flac", seed=n) for n in range(3)]
    folder, jazz = tmp_path / "s", tmp_path / "s/Jazz"
    undo_file, _ = carry_out(plan(tracks, folder, "move").steps, "move", folder)
    retag(jazz / "0.flac")
    (jazz / "1.flac").write_bytes((jazz / "2.flac").read_bytes())  # other audio stays
    assert undo_file is not None
    undone, (failure,) = undo(undo_file)
    assert (undone, failure.path) == (2, str(jazz / "1.flac"))
    assert failure.reason == "not undone: it was changed since"
    assert mutagen.File(tmp_path / "m/0.flac")["genre"][0] == "Disco"
    assert sorted(file.name for file in (tmp_path / "m").iterdir()) == ["0.flac", "2.flac"]


def test_an_undone_copy_with_other_tags_stays(tmp_path: Path) -> None:
    tracks, folder = [track(tmp_path / "m", "a.flac")], tmp_path / "s"
    undo_file, _ = carry_out(plan(tracks, folder, "copy").steps, "copy", folder)
    retag(folder / "Jazz/a.flac")
    assert undo_file is not None
    undone, (failure,) = undo(undo_file)
    assert (undone, failure.reason) == (0, "not undone: it was changed since")


def test_after_an_undo_the_folders_to_scan_are_named(tmp_path: Path) -> None:
    roots = [tmp_path / "my music", tmp_path / "n"]
    tracks = [track(root, "deep/a.flac", seed=n) for n, root in enumerate(roots)]
    make_library(tmp_path / "l", tracks)
    words = ["sort", "--to", str(tmp_path / "s"), "-l", str(tmp_path / "l"), "--move", "--yes"]
    done = CliRunner().invoke(app, words)
    (undo_line,) = [line for line in done.stdout.splitlines() if "to undo: " in line]
    undo_words = shlex.split(undo_line.removeprefix("to undo: "))[1:]
    undone = CliRunner().invoke(app, undo_words)
    assert undone.stdout == "2 undone, 0 left alone\n"
    (line,) = [line for line in undone.stderr.splitlines() if "genrescope scan" in line]
    assert shlex.split(line)[:4] == ["genrescope", "scan", *map(str, roots)]
