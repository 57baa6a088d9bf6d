"""A library's last commit checked, and taken back where a full disk has cut what it wrote.

LanceDB does not notice every write that fails. Each version of a table is a manifest file in
`_versions`, which names all files of that version, and files are never changed: so a table whose
last version is damaged is whole again without that manifest. Object storage stores whole objects
or none, so only folders are checked.
"""

from __future__ import annotations

from pathlib import Path

from genrescope.library import places
from genrescope.library.places import LibraryError

_ASIDE = ".damaged"


def is_whole(place: str, name: str) -> bool:
    """Whether a table can be read as it is on disk: its newest manifest, and all that it names.

    One small column of each file of rows is read.
    """
    try:
        # By a connection of its own, for an older one remembers what it has read.
        table = places.open_table(place, places.connect(place), name)
        if table is not None:
            columns = [each for each in table.schema.names if each == "deleted"]
            table.search().select(columns or table.schema.names[:1]).to_arrow()
    except (LibraryError, *places.LANCE_ERRORS):
        return False
    return True


def take_back(place: str, name: str) -> bool:
    """Go back to the newest version of a table that can be read.

    Returns
    -------
    bool
        Whether there was one before the present one; otherwise nothing is changed.

    Raises
    ------
    OSError
        When the folder can't be written to.
    """
    manifests = sorted(Path(place, f"{name}.lance", "_versions").glob("*.manifest"))
    removed: list[tuple[Path, Path]] = []
    for manifest in manifests:  # the newest comes first: names count down
        if is_whole(place, name):
            break
        hidden = manifest.with_name(manifest.name + _ASIDE)
        manifest.rename(hidden)
        removed.append((manifest, hidden))
    else:
        for manifest, hidden in reversed(removed):
            hidden.rename(manifest)
        return False
    for _, hidden in removed:
        hidden.unlink()
    return bool(removed)


def check_commit(place: str, name: str) -> None:
    """Take back a commit that can't be read.

    Raises
    ------
    LibraryError
        When it can't; what was there before it has been restored, where there was something.
    """
    if places.is_address(place) or is_whole(place, name):
        return
    try:
        restored = take_back(place, name)
    except OSError:
        restored = False
    state = "is as it was before" if restored else "may be damaged"
    raise LibraryError(place, f"can't be written: the disk did not take all of it; it {state}")
