"""Reads the tensors of a checkpoint that `torch.save` wrote, with NumPy alone and without pickle.

A checkpoint is a zip archive: `data.pkl`, a pickle that describes the tensors, and one file of raw
numbers for each storage. Before torch 1.6 it was one stream: a magic number, a version and a
description of the machine, as pickles of their own; the pickle that describes the tensors; a pickle
of the storages' keys; and of each storage the count of its numbers and the numbers.

The pickle is not loaded. Its opcodes are interpreted by a small machine that has no way to import
or call anything: it knows dictionaries, tuples, numbers and strings, and a few names
(`OrderedDict`, `_rebuild_tensor_v2`, the storage types, and those by which NumPy's arrays are
pickled), which it treats as symbols. Everything else is refused.

Compressed archives are refused too, because `torch.save` writes none and a small one could claim to
hold any number of bytes.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import FileError

Array = NDArray[Any]

_LARGEST_PICKLE = 2**24
# Tensors overlap where some are views of others; a program could ask for any number of copies.
_MOST_COPIES = 16
_TYPES: Final[dict[str, np.dtype[Any]]] = {
    "torch FloatStorage": np.dtype("<f4"),
    "torch DoubleStorage": np.dtype("<f8"),
    "torch HalfStorage": np.dtype("<f2"),
    "torch LongStorage": np.dtype("<i8"),
    "torch IntStorage": np.dtype("<i4"),
    "torch ByteStorage": np.dtype("u1"),
}
_REBUILD = "torch._utils _rebuild_tensor_v2"
_ORDERED = "collections OrderedDict"
_RECONSTRUCT = (
    "numpy.core.multiarray _reconstruct",
    "numpy._core.multiarray _reconstruct",
)
_ARRAY, _DTYPE, _ENCODE = "numpy ndarray", "numpy dtype", "_codecs encode"
_NUMPY: Final = (*_RECONSTRUCT, _ARRAY, _DTYPE, _ENCODE)
_ARRAY_TYPES: Final = ("f4", "f8", "i4", "i8")
_MAGIC: Final = 0x1950A86A20F9469CFC6C
_COUNT: Final = 8  # bytes before the numbers of a storage in a stream


class CheckpointError(FileError):
    """A file is not a checkpoint that holds tensors and nothing else."""


class _RefusedError(Exception):
    """Something in the pickle that a dictionary of tensors does not need."""


@dataclass(frozen=True)
class _Symbol:
    """A global name, never looked up."""

    name: str


@dataclass
class _Numpy:
    """A pickled array or data type of NumPy, whose state comes after it."""

    value: Any = None


def read_checkpoint(path: Path) -> dict[str, Array]:
    """Read a dictionary of tensors, such as a network's `state_dict`.

    Parameters
    ----------
    path
        A file that `torch.save` wrote, in either format.

    Returns
    -------
    dict
        Name to array, in the order of the file.

    Raises
    ------
    CheckpointError
        When the file is damaged, or holds anything but named tensors.
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise CheckpointError(path, "can't be read: not a regular file")
    try:
        with path.open("rb") as file:
            found = _read_archive(file) if zipfile.is_zipfile(file) else _read_stream(file)
    except _RefusedError as error:
        raise CheckpointError(path, f"not a checkpoint of tensors alone: {error}") from None
    except OSError as error:
        raise CheckpointError(path, f"can't be read: {error.strerror or error}") from None
    # The rest is what a damaged archive or a malformed program makes the reader raise.
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(path, f"not a checkpoint: {reason}") from None
    if isinstance(found, dict):
        arrays = {k: v.value if isinstance(v, _Numpy) else v for k, v in found.items()}
        found = arrays
    named = isinstance(found, dict) and found
    if not named or not all(
        isinstance(name, str) and isinstance(value, np.ndarray) for name, value in found.items()
    ):
        raise CheckpointError(path, "not a checkpoint of tensors alone: expected named tensors")
    return dict(found)


def _read_archive(file: IO[bytes]) -> Any:
    with zipfile.ZipFile(file) as archive:
        members = _members(archive)
        program = archive.read(members["data.pkl"])
        return _Machine(lambda key, _: archive.read(members[f"data/{key}"])).run(program)


def _read_stream(file: IO[bytes]) -> Any:
    """The format before torch 1.6."""
    size = file.seek(0, 2)
    file.seek(0)
    if not file.read(2).startswith(b"\x80"):
        raise _RefusedError("neither a zip archive nor a pickle")
    file.seek(0)
    if _Machine(_no_storage).run(file) != _MAGIC:
        raise _RefusedError("no magic number of torch")
    _Machine(_no_storage).run(file)  # the version
    system = _Machine(_no_storage).run(file)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise _RefusedError("not little-endian")
    start = file.tell()
    # The storages come after the tensors that are made of them: at first only their lengths count.
    lengths: dict[str, int] = {}

    def note(key: str, length: int) -> None:
        lengths[key] = length

    noted = _Machine(note).run(file)
    end = file.tell()
    keys = _Machine(_no_storage).run(file)
    # Only text is compared: tuples of tuples can take for ever.
    texts = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not texts or sorted(keys) != sorted(lengths):
        raise _RefusedError("its list of storages does not fit")
    if not keys:
        return noted
    places, place = {}, file.tell()
    for key in keys:
        places[key] = place + _COUNT
        place += _COUNT + lengths[key]
    if place > size:
        raise _RefusedError("it ends within a storage")

    def read(key: str, length: int) -> bytes:
        file.seek(places[key])
        return file.read(length)

    file.seek(start)
    return _Machine(read).run(file.read(end - start))


def _no_storage(*_: Any) -> None:
    raise _RefusedError("a storage where none can be")


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The archive's files by their names below its only folder."""
    members = {}
    for info in archive.infolist():
        if info.compress_type != zipfile.ZIP_STORED:
            raise _RefusedError("the archive is compressed")
        members[info.filename.partition("/")[2]] = info
    if "data.pkl" not in members:
        raise _RefusedError("no data.pkl in the archive")
    if members["data.pkl"].file_size > _LARGEST_PICKLE:
        raise _RefusedError("data.pkl is too large")
    order = members.get("byteorder")
    if order is not None and archive.read(order).strip() != b"little":
        raise _RefusedError("not little-endian")
    return members


class _Machine:
    """Interprets the few pickle opcodes that a dictionary of tensors needs."""

    def __init__(self, read: Callable[[str, int], bytes | None]) -> None:
        self.read = read
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[tuple[str, str], Array | None] = {}
        self.tensors: dict[tuple[Any, ...], Array] = {}
        self.encoded: dict[str, bytes] = {}

    def run(self, program: bytes | IO[bytes]) -> Any:
        """The object that the program leaves on the stack."""
        for opcode, given, _ in pickletools.genops(program):
            name, argument = opcode.name, given if given is not None else ""
            if name == "STOP":
                return self.stack.pop()
            if name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name in _LITERALS:
                self.stack.append(argument)
            elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
                self.memo[int(argument)] = self.stack[-1]
            elif name == "MEMOIZE":
                self.memo[len(self.memo)] = self.stack[-1]
            elif name in ("BINGET", "LONG_BINGET", "GET"):
                self.stack.append(self.memo[int(argument)])
            elif name not in ("PROTO", "FRAME"):
                self._step(name, argument)
        raise _RefusedError("the pickle has no end")

    def _step(self, name: str, argument: Any) -> None:
        match name:
            case "MARK":
                self.marks.append(len(self.stack))
            case "EMPTY_DICT":
                self.stack.append({})
            case "EMPTY_LIST":
                self.stack.append([])
            case "APPEND" | "APPENDS":
                items = self._pop(1) if name == "APPEND" else self._since_mark()
                if not isinstance(self.stack[-1], list):
                    raise _RefusedError("it adds to an object that is not a list")
                self.stack[-1].extend(items)
            case "EMPTY_TUPLE":
                self.stack.append(())
            case "TUPLE":
                self.stack.append(tuple(self._since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self.stack.append(tuple(self._pop(int(name[-1]))))
            case "SETITEM" | "SETITEMS":
                pairs = self._pop(2) if name == "SETITEM" else self._since_mark()
                self._set(pairs)
            case "GLOBAL":
                self.stack.append(self._symbol(str(argument)))
            case "STACK_GLOBAL":
                module, attribute = self._pop(2)
                if not isinstance(module, str) or not isinstance(attribute, str):
                    raise _RefusedError("it names something that is not text")
                self.stack.append(self._symbol(f"{module} {attribute}"))
            case "BINPERSID":
                (address,) = self._pop(1)
                self.stack.append(self._storage(address))
            case "REDUCE":
                called, arguments = self._pop(2)
                self.stack.append(self._reduce(called, arguments))
            case "BUILD":
                # Attributes of a state_dict, such as its `_metadata`, are not needed here.
                target, state = self._pop(2)
                if isinstance(target, _Numpy):
                    target.value = _numpy_state(target.value, state)
                elif not isinstance(target, dict):
                    raise _RefusedError("it sets attributes of an object")
                self.stack.append(target)
            case _:
                raise _RefusedError(f"it uses the opcode {name}")

    def _pop(self, count: int) -> list[Any]:
        floor = self.marks[-1] if self.marks else 0
        if len(self.stack) - count < floor:
            raise _RefusedError("its stack runs empty")
        found = self.stack[-count:]
        del self.stack[-count:]
        return found

    def _since_mark(self) -> list[Any]:
        mark = self.marks.pop()
        found = self.stack[mark:]
        del self.stack[mark:]
        return found

    def _set(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(pairs) % 2:
            raise _RefusedError("it sets items of an object that is not a dictionary")
        # The hash of a tuple of tuples, each twice the one before, takes for ever.
        if not all(isinstance(key, str | int) for key in pairs[::2]):
            raise _RefusedError("a key is neither text nor a number")
        target.update(zip(pairs[::2], pairs[1::2], strict=True))

    @staticmethod
    def _symbol(name: str) -> _Symbol:
        if name not in (_REBUILD, _ORDERED, *_NUMPY, *_TYPES):
            raise _RefusedError(f"it names {name.replace(' ', '.')}")
        return _Symbol(name)

    def _reduce(self, called: Any, arguments: Any) -> Any:
        if called == _Symbol(_ORDERED) and arguments == ():
            return {}
        if called == _Symbol(_REBUILD) and isinstance(arguments, tuple) and len(arguments) >= 4:
            return self._tensor(*arguments[:4])
        match called, arguments:
            case _Symbol(name=name), (_Symbol(name=array), (0,), b"b") if (
                name in _RECONSTRUCT and array == _ARRAY
            ):
                return _Numpy()
            case _Symbol(name=name), (str(kind), *_) if name == _DTYPE and kind in _ARRAY_TYPES:
                return _Numpy(np.dtype(kind))
            case _Symbol(name=name), (str(text), "latin1") if name == _ENCODE:
                if text not in self.encoded:
                    self.encoded[text] = text.encode("latin1")
                return self.encoded[text]
        raise _RefusedError("it calls something else than a tensor's constructor")

    def _tensor(self, storage: Any, offset: Any, shape: Any, strides: Any) -> Array:
        """A tensor as a copy of its part of the storage; one array where weights are tied."""
        view = _view(storage, offset, shape, strides)
        place = (id(storage), offset, tuple(shape), tuple(strides))
        if view.size and place not in self.tensors:
            read = sum(values.nbytes for values in self.storages.values() if values is not None)
            copied = sum(values.nbytes for values in self.tensors.values())
            if copied + view.nbytes > _MOST_COPIES * read:
                raise _RefusedError("its tensors repeat its storages too often")
            self.tensors[place] = np.array(view)
        return self.tensors.get(place, view)

    def _storage(self, address: Any) -> Array | None:
        """The numbers of a storage: `("storage", type, key, device, count)`; None where unread."""
        match address:
            case ("storage", _Symbol(name=kind), str(key), str(), int(count), *rest) if (
                kind in _TYPES and count >= 0 and rest in ([], [None])
            ):
                pass
            case _:
                raise _RefusedError("it names something that is not a storage")
        if (kind, key) not in self.storages:
            content = self.read(key, count * _TYPES[kind].itemsize)
            if content is None:
                self.storages[kind, key] = None
                return None
            if len(content) != count * _TYPES[kind].itemsize:
                raise _RefusedError(f"storage {key} has not the length that it claims")
            self.storages[kind, key] = np.frombuffer(content, _TYPES[kind])
        return self.storages[kind, key]


_CONSTANTS: Final = {"NEWFALSE": False, "NEWTRUE": True, "NONE": None}
_LITERALS: Final = (
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE"),
)


def _numpy_state(before: Any, state: Any) -> Any:
    """Sets the state of a pickled array or data type of NumPy."""
    match before, state:
        case np.dtype(), (int(), "<", *_):
            return before.newbyteorder("<")
        case None, (1, tuple(shape), _Numpy(value=np.dtype() as kind), False, bytes(content)):
            return np.frombuffer(content, kind).reshape(shape)
    raise _RefusedError("an array is not of numbers in order")


def _view(storage: Any, offset: Any, shape: Any, strides: Any) -> Array:
    """A tensor as a view of its part of the storage."""
    if storage is None:  # only its length is of interest
        return np.zeros(0, np.float32)
    numbers = (offset, *shape, *strides)
    whole = all(type(number) is int and number >= 0 for number in numbers)
    if not isinstance(storage, np.ndarray) or not whole or len(shape) != len(strides):
        raise _RefusedError("a tensor has no valid shape")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True) if n)
    count = int(np.prod(shape, dtype=object))  # of Python's integers, which do not overflow
    # Strides of 0 could ask for more numbers than there are.
    if count and (last >= len(storage) or count > len(storage)):
        raise _RefusedError("a tensor reaches outside its storage")
    if not count:
        return np.zeros(shape, storage.dtype)
    size = storage.itemsize
    return np.lib.stride_tricks.as_strided(
        storage[offset:], shape, [step * size for step in strides], writeable=False
    )
