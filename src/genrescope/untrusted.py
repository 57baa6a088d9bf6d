"""Reading of files that a stranger may have made, in bounded time and memory.

A few bytes can stand for any number: a compressed archive, a header that promises a huge array, a
YAML file whose aliases repeat each other, a sparse file, a device in the place of a file. What is
found here is refused before it is read, with a ValueError that says why.
"""

from __future__ import annotations

import json
import math
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from os import PathLike
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

# Arrays of numbers hardly get ten times smaller; zeros, which bombs are made of, a thousand times.
_LARGEST_RATIO = 200
_SMALL_BYTES = 2**26
LARGEST_RECIPE = 2**18
_MOST_VALUES = 200_000


class RepeatedKeyError(ValueError):
    """A mapping has a key twice, so that one of the values would be lost."""


def read_limited(path: str | PathLike[str], largest: int) -> bytes:
    """Read a regular file of at most `largest` bytes.

    Raises
    ------
    ValueError
        When it is larger, or not a regular file.
    OSError
        When it can't be read.
    """
    # Reading a pipe may wait forever, and a device may have no end.
    with open(path, "rb", opener=_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{Path(path).name} is not a regular file")
        if status.st_size > largest:
            raise ValueError(f"{Path(path).name} is larger than {largest / 2**20:.0f} MB")
        return file.read(status.st_size)  # memory for the largest file takes 2 ms to get


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


@contextmanager
def open_npz(path: str | PathLike[str]) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Open an `.npz` file of arrays of numbers or text, in place of `numpy.load`.

    Raises
    ------
    ValueError
        When it is damaged, holds anything else, or arrays of another size than its headers say.
    KeyError
        For an array that is not in it.
    OSError
        When it can't be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                _check_size(archive, info)
        with np.load(path, allow_pickle=False) as arrays:
            yield arrays
    except (OSError, ValueError, KeyError):
        raise
    except Exception as error:  # what damaged archives and headers make zipfile and NumPy raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(reason) from error


def _check_size(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    """Refuse an array that is not as large as its header says, or far larger than its file."""
    name = info.filename
    if info.file_size > max(_SMALL_BYTES, _LARGEST_RATIO * info.compress_size):
        raise ValueError(f"{name} expands to {info.file_size / 2**20:.0f} MB")
    if not name.endswith(".npy"):
        return
    with archive.open(info) as file:
        shape, kind = _header(file)
        found = info.file_size - file.tell()
    promised = math.prod(shape) * kind.itemsize
    if not kind.hasobject and promised != found:
        raise ValueError(f"{name} holds {found} bytes and not {promised}")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"version {version} of arrays is not known")
    # Version 3 differs from 2 in the encoding of names alone, which arrays without fields lack.
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    shape, _, kind = read(file)
    return shape, kind


def parse_yaml(text: str, largest: int = LARGEST_RECIPE) -> Any:
    """Parse YAML of plain values that is at most `largest` characters long.

    Raises
    ------
    RepeatedKeyError
        When a mapping has a key twice.
    ValueError
        When it is not YAML, too long or too deep, or has aliases that expand to too many values.
    """
    import yaml

    if len(text) > largest:
        raise ValueError(f"longer than {largest} characters")
    try:
        found = yaml.load(text, _yaml_loader())  # noqa: S506 - derived from the safe one
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from None
    except (TypeError, AttributeError, OverflowError) as error:  # of odd dates and keys
        raise ValueError(f"a value can't be read: {error}") from None
    _check_values(found)
    return found


def parse_json(text: bytes) -> Any:
    """Parse JSON in which no key comes twice in one object.

    Raises
    ------
    RepeatedKeyError
        When one does.
    ValueError
        When it is not JSON.
    """

    def fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        for key in keys if len(set(keys)) < len(keys) else ():
            if keys.count(key) > 1:
                raise RepeatedKeyError(f"{key!r} is in it twice")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=fields)
    except RepeatedKeyError as error:
        raise _with_line(text) or error from None


def _with_line(text: bytes) -> RepeatedKeyError | None:
    """The error of a repeated key with its line, which Python's parser of JSON does not tell."""
    try:
        # But for tabs between values, JSON is YAML.
        parse_yaml(text.decode("utf-8", "replace").expandtabs(1))
    except RepeatedKeyError as error:
        return error
    except ValueError:  # too long for YAML, say
        pass
    return None


@cache
def _yaml_loader() -> Any:
    """PyYAML's safe loader, made to refuse a key that comes twice in one mapping."""
    import yaml

    class Loader(yaml.SafeLoader):
        # Keys are checked before those of other mappings are merged in by `<<`.
        def compose_mapping_node(self, anchor: Any) -> Any:
            node = super().compose_mapping_node(anchor)
            lines: dict[tuple[str, str], int] = {}
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode) or key.tag.endswith(":merge"):
                    continue
                line, name = key.start_mark.line + 1, (key.tag, key.value)
                if name in lines:
                    first = lines[name]
                    raise RepeatedKeyError(f"line {line}: {key.value!r} is in line {first} already")
                lines[name] = line
            return node

    return Loader


def _check_values(found: Any) -> None:
    count, waiting = 0, [found]
    while waiting:
        value = waiting.pop()
        count += 1
        if count > _MOST_VALUES:
            raise ValueError("its aliases expand to too many values")
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set):
            waiting += value
