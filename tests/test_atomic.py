"""Files that are replaced whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from genrescope.atomic import write_atomic


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "private.csv"
    file.write_text("old")
    file.chmod(mode)
    write_atomic(file, b"new")
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("new", mode)
