"""One file copied or moved to a name that is free, in one step, also between disks."""

from __future__ import annotations

import filecmp
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Literal

from genrescope.library.leftovers import temporary_copy


def copy_or_move(source: Path, target: Path, action: Literal["copy", "move"]) -> None:
    """Copy or move a file, also to another disk, but never onto another file.

    Raises
    ------
    OSError
        When it can't be; the source is where it was.
    """
    if action == "move" and source.stat().st_dev == target.parent.stat().st_dev:
        _rename_to_new(source, target)
        return
    if action == "move" and is_copy(source, target):
        source.unlink()  # a run was stopped between the copy and this
        return
    with temporary_copy(target) as copy:
        shutil.copy2(source, copy)
        with copy.open("rb") as written:
            os.fsync(written.fileno())
        _rename_to_new(copy, target)
    if action == "move":
        try:
            source.unlink()
        except FileNotFoundError:  # another program was faster: the copy is all that is left
            pass
        except OSError:  # it stays where it is, and there alone
            with suppress(OSError):
                if is_copy(source, target):
                    target.unlink()
            raise


def is_copy(one: Path, other: Path) -> bool:
    """Whether two paths are two regular files of one content.

    Raises
    ------
    OSError
        When one of them can't be read.
    """
    if any(path.is_symlink() or not path.is_file() for path in (one, other)):
        return False
    return not one.samefile(other) and filecmp.cmp(one, other, shallow=False)


def _rename_to_new(source: Path, target: Path) -> None:
    """Rename a file, but never onto another.

    Raises
    ------
    FileExistsError
        When there is one.
    """
    try:
        target.hardlink_to(source)  # fails where the name is taken, unlike a rename
    except FileExistsError:
        if target.is_symlink() or not target.samefile(source):
            raise
        _drop_name(source, target)  # a run was stopped between the two names
    except OSError:  # a file system without links, such as a memory card's
        if os.path.lexists(target):
            raise FileExistsError(17, "the name was taken meanwhile") from None
        source.rename(target)
    else:
        source.unlink()


def _drop_name(source: Path, target: Path) -> None:
    """Remove one of two names of a file, unless both are one, as below a folder mounted twice."""
    with temporary_copy(source) as spare:
        source.rename(spare)
        if not os.path.lexists(target):
            spare.rename(source)
            raise FileExistsError(17, "it is there already by another path")
