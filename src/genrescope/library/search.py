"""The folders and addresses that a scan goes through, and the music files that it finds there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from genrescope.audio.addresses import (
    is_audio,
    local_path,
    names_address,
    options_of,
    stamp_of,
    stamped_audio_at,
)
from genrescope.audio.files import PassedOver
from genrescope.errors import FileError
from genrescope.library.files import Found, music_in
from genrescope.redaction import without_password
from genrescope.wording import is_text

_REQUESTS = 16
"""To a server at the same time."""


@dataclass(frozen=True)
class Root:
    """A folder that is scanned.

    Attributes
    ----------
    path
        Its absolute path, its links resolved. Of an address one that no folder has: with the
        addresses below it, it compares as paths do.
    address
        Where it is, if not on a disk.
    """

    path: Path
    address: str = ""

    @classmethod
    def of(cls, folder: str | os.PathLike[str]) -> Root:
        """A folder or an address as it is typed.

        Raises
        ------
        FileError
            For an address that can't be a folder's, or whose parts must not be stored.
        """
        name = local_path(os.fspath(folder))
        if not names_address(name):
            if "\0" in name:
                raise FileError(name, "no such folder: no folder can have this name")
            # A folder that is reached by a link is still one folder.
            return cls(Path(name).resolve())
        address, shown = name.rstrip("/"), without_password(name)
        if shown != name:
            where = "the environment (AWS_ACCESS_KEY_ID), of a web server into ~/.netrc"
            raise FileError(shown, f"a library stores no password: put it into {where}")
        if is_audio(address):
            raise FileError(name, "an address of one file; expected that of a folder")
        if options_of(address):
            settings = "AWS_ENDPOINT_URL and AWS_REGION in the environment name the storage"
            raise FileError(name, f"expected an address without options behind a ?; {settings}")
        if address.endswith(":"):
            raise FileError(name, "an address without a host, a bucket or a folder")
        return cls(Path(address), address)

    def __str__(self) -> str:
        return self.address or str(self.path)


@dataclass
class Search:
    """The music files of some folders, by path, what can't be read, and what was passed over."""

    found: dict[Path, Found] = field(default_factory=dict)
    errors: list[FileError] = field(default_factory=list)
    passed_over: PassedOver = field(default_factory=PassedOver)

    @classmethod
    def of(cls, roots: Sequence[Root]) -> Search:
        """Go through folders and addresses."""
        search = cls()
        for root in roots:
            if root.address:
                search._list(root.address)
                continue
            files, searched = music_in(root.path)
            search.found |= {each.file: each for each in files}
            search.errors += searched.errors
            search.passed_over.add(searched.passed_over)
        return search

    def _list(self, address: str) -> None:
        try:
            stamps = stamped_audio_at(address, self.passed_over)
        except FileError as error:  # its rows are kept, as those of a folder that can't be read
            self.errors.append(error)
            return
        for name, stamp in _stamped(stamps.items()):
            if not is_text(name):
                self.errors.append(FileError(name, "its name is not valid UTF-8: rename it"))
            else:
                size, version = stamp or (0, 0)
                self.found[Path(name)] = Found(Path(name), size, version, None, name)


def _stamped(
    listed: Iterable[tuple[str, list[int] | None]],
) -> Iterator[tuple[str, list[int]]]:
    """Addresses with their stamps; servers are asked for those that are not known."""
    pool = ThreadPoolExecutor(_REQUESTS)
    try:
        asked = [(name, stamp or pool.submit(stamp_of, name)) for name, stamp in listed]
        for name, stamp in asked:
            yield name, stamp if isinstance(stamp, list) else stamp.result()
    finally:  # after a Ctrl-C nobody waits for the rest
        pool.shutdown(wait=False, cancel_futures=True)
