"""Writes checkpoints as `torch.save` does, without torch, for tests of what reads them."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.hub.graph import layout_of


def write_archive(path: Path, program: bytes, storages: Mapping[str, bytes]) -> Path:
    """A zip archive of a pickle and the raw numbers that it names."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", program)
        for key, content in storages.items():
            archive.writestr(f"archive/data/{key}", content)
        archive.writestr("archive/version", b"3\n")
    return path


def write_checkpoint(path: Path, tensors: Mapping[str, NDArray[np.float32]]) -> Path:
    """A checkpoint of named float32 tensors."""
    program = b"\x80\x02}("
    for key, (name, values) in enumerate(tensors.items()):
        program += _text(name) + tensor_program(str(key), values.shape, values.size)
    storages = {str(k): v.astype("<f4").tobytes() for k, v in enumerate(tensors.values())}
    return write_archive(path, program + b"u.", storages)


def tensor_program(
    key: str,
    shape: tuple[int, ...],
    count: int,
    *,
    offset: int = 0,
    strides: tuple[int, ...] | None = None,
) -> bytes:
    """The opcodes that rebuild one tensor."""
    if strides is None:
        strides = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
    storage = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text(key) + _text("cpu")
    storage += _number(count) + b"tQ"
    ordered = b"ccollections\nOrderedDict\n)R"
    arguments = storage + _number(offset) + _tuple(shape) + _tuple(strides) + b"\x89" + ordered
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def random_tensors(graph: str, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Random weights for a network, under which its outputs stay finite."""
    random = np.random.default_rng(seed)
    tensors = {}
    for entry in layout_of(graph):
        name, shape = entry["name"], entry["shape"]
        values = random.normal(0, (2 / max(1, int(np.prod(shape[1:])))) ** 0.5, shape)
        if name.endswith("running_var"):
            values = np.ones(shape)
        tensors[name] = values.astype(np.float32)
    return tensors


def _text(value: str) -> bytes:
    content = value.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def _number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _tuple(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(_number, values)) + b"t"


def write_tensorflow_1(path: Path, tensors: dict[str, NDArray[Any]]) -> Path:
    """A TensorFlow checkpoint of version 1 with tensors of float32 and int64."""

    def field(number: int, content: bytes | int) -> bytes:
        if isinstance(content, int):
            return _varint(number << 3) + _varint(content)
        return _varint(number << 3 | 2) + _varint(len(content)) + content

    kinds = {"f": 1, "i": 9}
    described, entries = b"", []
    for name, values in sorted(tensors.items()):
        shape = b"".join(field(2, field(1, size)) for size in values.shape)
        about = field(1, name.encode()) + field(2, shape) + field(3, kinds[values.dtype.kind])
        described += field(1, about)
        number = 5 if values.dtype.kind == "f" else 10
        numbers = field(1, kinds[values.dtype.kind]) + field(number, values.tobytes())
        part = field(1, name.encode()) + field(2, b"") + field(3, numbers)
        entries.append((b"\0" + name.encode(), field(2, part)))
    entries.insert(0, (b"", field(1, described)))

    def block(pairs: list[tuple[bytes, bytes]]) -> bytes:
        lines = (
            _varint(0) + _varint(len(key)) + _varint(len(value)) + key + value
            for key, value in pairs
        )
        # One restart at 0; the block is not compressed; its checksum is not looked at.
        return b"".join(lines) + struct.pack("<II", 0, 1) + bytes(5)

    data, place, index = b"", 0, []
    with path.open("wb") as file:
        for key, value in entries:
            data = block([(key, value)])
            index.append((key, _varint(place) + _varint(len(data) - 5)))
            place += file.write(data)
        directory = block(index)
        file.write(directory)
        footer = _varint(0) + _varint(0) + _varint(place) + _varint(len(directory) - 5)
        file.write(footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57))
    return path


def _varint(number: int) -> bytes:
    found = b""
    while number > 127:
        found += bytes([number & 127 | 128])
        number >>= 7
    return found + bytes([number])
