"""Temporary folders that killed processes left are removed by the next one; others stay."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest

from genrescope.locks import acquire, scratch_folder


def test_a_folder_that_was_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names = [
        f"genrescope-{name}" for name in ("x-left", "x-held", "x-young", "x-of-a-user", "y-left")
    ]
    for name in names:
        (tmp_path / name / "run").mkdir(parents=True)
        if "user" not in name:
            (tmp_path / name / "scratch.lock").touch()
    (tmp_path / "genrescope-x-link").symlink_to(tmp_path / "genrescope-y-left")
    names.append("genrescope-x-link")
    lock = acquire(tmp_path / "genrescope-x-held/scratch.lock")
    for name in names:
        age = 0 if "young" in name else 3600
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    with scratch_folder("x") as folder:
        assert folder.parent == tmp_path
        (folder / "file").write_text("something")
        assert {path.name for path in tmp_path.iterdir()} == {*names[1:], folder.name}
    assert {path.name for path in tmp_path.iterdir()} == {*names[1:]}
    lock.release()
