"""Protocol buffers, field by field, without their package and without a description of a message.

The encoding: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class ProtobufError(ValueError):
    """The bytes are not a protocol buffer, or are cut off."""


class Field(NamedTuple):
    """A field: number, kind of encoding, and content."""

    number: int
    kind: int
    content: bytes | int


def read_fields(message: bytes) -> Iterator[Field]:
    """The fields of a message in their order.

    Raises
    ------
    ProtobufError
        When it is none, or is cut off.
    IndexError
        When it ends within a number.
    """
    place = 0
    while place < len(message):
        tag, place = varint(message, place)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value, place = varint(message, place)
            yield Field(number, kind, value)
            continue
        if kind == BYTES:
            length, place = varint(message, place)
        elif kind in (FIXED64, FIXED32):
            length = 8 if kind == FIXED64 else 4
        else:
            raise ProtobufError("not a protocol buffer")
        if place + length > len(message):
            raise ProtobufError("it is cut off")
        yield Field(number, kind, message[place : place + length])
        place += length


def varint(content: bytes, place: int) -> tuple[int, int]:
    """A number of 7 bits a byte, lowest first, and where the next one begins.

    Raises
    ------
    ProtobufError
        When it has more than ten bytes.
    IndexError
        When the content ends within it.
    """
    number = shift = 0
    while shift < 70:
        byte = content[place]
        place += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, place
        shift += 7
    raise ProtobufError("a number is too long")
