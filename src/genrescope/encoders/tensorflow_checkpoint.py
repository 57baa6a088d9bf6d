"""Read a TensorFlow checkpoint without TensorFlow.

A checkpoint of version 2 is two files. The index is a sorted table in LevelDB's format (a footer of
48 bytes names a block of blocks; a block is a list of entries whose keys share prefixes) from names
to descriptions: type, shape, and place in the data file, as protocol buffers
(`BundleEntryProto` in TensorFlow's `tensor_bundle.proto`). The data file is the numbers one after
another, little-endian. A checkpoint of version 1 is one file, such a table from the parts of
tensors to `SavedTensorSlices` (`saved_tensor_slice.proto`), which hold the numbers.

Only what `tf.train.Saver` writes by default is read: one data file, blocks that are not compressed,
tensors of float32 in one part; tensors of other types are left out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.encoders.protobuf import ProtobufError, read_fields, varint
from genrescope.encoders.weights import WeightsError

_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48
_FLOAT32 = 1
_LONGEST_NAME = 4096


class _DamagedError(ValueError):
    """The files are not of this form."""


# A field may be of another type than it should, a number of any size.
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, struct.error)


def read_checkpoint(index: bytes, data: bytes, path: Path) -> dict[str, NDArray[np.float32]]:
    """The tensors of a checkpoint by name.

    Parameters
    ----------
    index, data
        The contents of `NAME.index` and `NAME.data-00000-of-00001`.
    path
        Named in errors.

    Raises
    ------
    WeightsError
        When they are damaged, or not of this form.
    """
    try:
        return {name: values for name, values in _tensors(index, data) if values is not None}
    except _UNREADABLE as error:
        reason = str(error) if isinstance(error, _DamagedError | ProtobufError) else "damaged"
        raise WeightsError(path, f"not a TensorFlow checkpoint: {reason}") from None


def read_slices(content: bytes, path: Path) -> dict[str, NDArray[np.float32]]:
    """The tensors of a checkpoint of version 1 by name.

    Parameters
    ----------
    content
        That of the file.
    path
        Named in errors.

    Raises
    ------
    WeightsError
        When it is damaged, or not of this form.
    """
    try:
        return dict(_slices(content))
    except _UNREADABLE as error:
        reason = str(error) if isinstance(error, _DamagedError | ProtobufError) else "damaged"
        raise WeightsError(path, f"not a TensorFlow checkpoint: {reason}") from None


def _slices(content: bytes) -> Iterator[tuple[str, NDArray[np.float32]]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for key, entry in _table(content):
        message = _contents(entry)
        if not key:  # what there is: name, shape and type of each
            for number, _, described in read_fields(message[1]):
                if number == 1 and isinstance(described, bytes):
                    about = _contents(described)
                    if about.get(3) == _FLOAT32:
                        shapes[about[1].decode()] = tuple(_dimensions(about.get(2, b"")))
            continue
        part = _contents(message[2])
        name = part[1].decode()
        if name not in shapes:
            continue
        tensor = _contents(part[3])
        numbers = np.frombuffer(tensor.get(4) or tensor.get(5, b""), "<f4")
        if len(numbers) != prod(shapes[name]):
            raise _DamagedError(f"{name} is not in one part")
        yield name, numbers.reshape(shapes[name])


def _tensors(index: bytes, data: bytes) -> Iterator[tuple[str, NDArray[np.float32] | None]]:
    for key, entry in _table(index):
        if not key:  # the header
            continue
        fields = _contents(entry)
        name = key.decode()
        if fields.get(1) != _FLOAT32:
            yield name, None
            continue
        if fields.get(3, 0) != 0:
            raise _DamagedError(f"{name} is in another file")
        shape = tuple(_dimensions(fields.get(2, b"")))
        offset, size = fields.get(4, 0), fields.get(5, 0)
        if size != 4 * prod(shape) or offset + size > len(data):
            raise _DamagedError(f"{name} does not fit into its file")
        yield name, np.frombuffer(data, "<f4", prod(shape), offset).reshape(shape)


def _table(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    if len(content) < _FOOTER or struct.unpack("<Q", content[-8:])[0] != _MAGIC:
        raise _DamagedError("the index has no footer")
    footer = content[-_FOOTER:]
    place = 0
    numbers = []
    for _ in range(4):  # where the block of metadata is, and that of blocks
        number, place = varint(footer, place)
        numbers.append(number)
    left = len(content)
    for _, handle in _block(content, *numbers[2:]):
        offset, place = varint(handle, 0)
        size, _ = varint(handle, place)
        left -= size
        if left < 0:  # each may have as many entries as it has bytes
            raise _DamagedError("the blocks of the index overlap")
        yield from _block(content, offset, size)


def _block(content: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    block = content[offset : offset + size]
    if len(block) != size or size < 4:
        raise _DamagedError("a block of the index is cut off")
    if content[offset + size]:
        raise _DamagedError("the index is compressed")
    end = size - 4 - 4 * struct.unpack("<I", block[-4:])[0]
    place, key = 0, b""
    while place < end:
        shared, place = varint(block, place)
        own, place = varint(block, place)
        length, place = varint(block, place)
        if shared + own > _LONGEST_NAME:  # a few bytes may repeat a name of any length
            raise _DamagedError("a name in the index is too long")
        key = key[:shared] + block[place : place + own]
        place += own
        yield key, block[place : place + length]
        place += length
    if place != max(end, 0):
        raise _DamagedError("a block of the index does not end where it should")


def _dimensions(shape: bytes) -> Iterator[int]:
    for number, _, value in read_fields(shape):
        if number == 2 and isinstance(value, bytes):
            yield int(_contents(value).get(1, 0))


def _contents(message: bytes) -> dict[int, Any]:
    return {field.number: field.content for field in read_fields(message)}
