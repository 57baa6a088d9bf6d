"""Joins ONNX graphs of others into the one graph of a bundle, without the package onnx.

An ONNX model is a protocol buffer (`onnx.proto`). Only what is needed is taken apart: the nodes,
the initializers and the names of values; everything else is copied as it is. Names get a prefix,
so that two graphs don't share any.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from genrescope.encoders.protobuf import BYTES, VARINT, Field, read_fields
from genrescope.errors import FileError
from genrescope.onnx_session import SessionError, onnx_session

SEGMENTS = "segments"
# Numbers of fields in ModelProto, GraphProto, NodeProto and TensorProto.
_GRAPH, _OPSET = 7, 8
_NODE, _INITIALIZER, _INPUT, _OUTPUT = 1, 5, 11, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_TYPE, _NODE_ATTRIBUTE = 1, 2, 3, 4, 5
_TENSOR_NAME = 8
_AXES_AS_INPUT = 18  # from this version of the operators on
# A probability is at least so far from 0 and 1 before its logit is taken.
_SMALLEST = 1e-6


class Graph(NamedTuple):
    """A graph whose values have names of their own.

    Attributes
    ----------
    nodes, initializers
        As protocol buffers.
    opsets
        As protocol buffers, to be compared with another graph's.
    source
        Its input.
    outputs
        Size to name of each output `[n, size]`.
    shape
        Shape of the input, without the number of segments.
    version
        Field of the model that names the version of its format.
    """

    nodes: list[bytes]
    initializers: list[bytes]
    opsets: list[bytes]
    source: str
    outputs: dict[int, str]
    shape: list[int]
    version: bytes

    @property
    def operators(self) -> int:
        """The version of ONNX's own operators."""
        found = 0
        for opset in self.opsets:
            fields = {field.number: field.content for field in read_fields(opset)}
            if not fields.get(1):
                found = int(fields.get(2, 0))
        return found


def read_graph(path: Path, prefix: str) -> Graph:
    """Read a graph with one input, and give its values a prefix.

    Raises
    ------
    FileError
        When it can't be read, can't be run, or is not of this form.
    """
    try:
        content = path.read_bytes()
        session = onnx_session(content)
    except (OSError, SessionError) as error:
        raise FileError(path, f"not a graph that can be run: {error}") from None
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise FileError(path, "expected a graph with one input")
    try:
        model = list(read_fields(content))
        (graph,) = (field.content for field in model if field.number == _GRAPH)
        parts = list(read_fields(_bytes(graph)))
        nodes = [_renamed_node(_bytes(f.content), prefix) for f in parts if f.number == _NODE]
        initializers = [
            _renamed(_bytes(f.content), prefix, {_TENSOR_NAME})
            for f in parts
            if f.number == _INITIALIZER
        ]
    except (ValueError, IndexError) as error:
        raise FileError(path, f"not an ONNX graph: {error}") from None
    outputs = {
        output.shape[1]: prefix + output.name
        for output in session.get_outputs()
        if len(output.shape) == 2 and isinstance(output.shape[1], int)
    }
    opsets = sorted(_bytes(field.content) for field in model if field.number == _OPSET)
    version = b"".join(_encoded(field) for field in model if field.number == 1)
    shape = [*inputs[0].shape[1:]]
    return Graph(nodes, initializers, opsets, prefix + inputs[0].name, outputs, shape, version)


def node(
    kind: str, inputs: Sequence[str], outputs: Sequence[str], **numbers: Sequence[int]
) -> bytes:
    """A node whose attributes are lists of whole numbers, or a single one in a list of one."""
    fields = [Field(_NODE_INPUT, BYTES, name.encode()) for name in inputs]
    fields += [Field(_NODE_OUTPUT, BYTES, name.encode()) for name in outputs]
    fields.append(Field(_NODE_TYPE, BYTES, kind.encode()))
    for name, values in numbers.items():
        single = name == "axis"
        attribute = [Field(1, BYTES, name.encode())]
        attribute += [Field(3 if single else 8, VARINT, value) for value in values]
        attribute.append(Field(20, VARINT, 2 if single else 7))
        fields.append(Field(_NODE_ATTRIBUTE, BYTES, _message(attribute)))
    return _message(fields)


def logit_nodes(source: str, target: str, prefix: str) -> tuple[list[bytes], list[bytes]]:
    """Nodes from probabilities to logits, and the numbers that they need."""
    names = [f"{prefix}{each}" for each in ("low", "high", "one", "kept", "p", "log", "q", "rest")]
    low, high, one, kept, p, log, q, rest = names
    nodes = [
        node("Max", [source, low], [kept]),
        node("Min", [kept, high], [p]),
        node("Log", [p], [log]),
        node("Sub", [one, p], [q]),
        node("Log", [q], [rest]),
        node("Sub", [log, rest], [target]),
    ]
    numbers = {low: _SMALLEST, high: 1 - _SMALLEST, one: 1.0}
    return nodes, [numbers_of(name, [value]) for name, value in numbers.items()]


def largest_node(graph: Graph, source: str, target: str) -> tuple[bytes, list[bytes]]:
    """A node for the largest number of each row, `[n, size]` to `[n, 1]`, and what it needs."""
    if graph.operators < _AXES_AS_INPUT:
        return node("ReduceMax", [source], [target], axes=[1]), []
    axes = f"{target} axes"
    return node("ReduceMax", [source, axes], [target]), [numbers_of(axes, [1])]


def numbers_of(name: str, values: Sequence[float] | Sequence[int]) -> bytes:
    """An initializer: a vector of float32, or of int64 where the values are whole numbers."""
    whole = all(isinstance(value, int) for value in values)
    raw = struct.pack(f"<{len(values)}{'q' if whole else 'f'}", *values)
    kinds = Field(2, VARINT, 7 if whole else 1)
    named = Field(_TENSOR_NAME, BYTES, name.encode())
    return _message([Field(1, VARINT, len(values)), kinds, named, Field(9, BYTES, raw)])


def model_of(
    graph: Graph,
    nodes: Sequence[bytes],
    initializers: Sequence[bytes],
    outputs: dict[str, int],
    shape: Sequence[int],
) -> bytes:
    """A model of nodes and numbers, from `segments` `[n, *shape]` to outputs `[n, size]`.

    Versions of operators are those of `graph`.
    """
    body = [Field(_NODE, BYTES, each) for each in nodes]
    body.append(Field(2, BYTES, b"joined"))
    body += [Field(_INITIALIZER, BYTES, each) for each in initializers]
    body.append(Field(_INPUT, BYTES, _value(SEGMENTS, shape)))
    body += [Field(_OUTPUT, BYTES, _value(name, [size])) for name, size in outputs.items()]
    fields = [Field(_OPSET, BYTES, each) for each in graph.opsets]
    return graph.version + _message([*fields, Field(_GRAPH, BYTES, _message(body))])


def _value(name: str, shape: Sequence[int]) -> bytes:
    dimensions = [Field(1, BYTES, _message([Field(2, BYTES, b"n")]))]
    dimensions += [Field(1, BYTES, _message([Field(1, VARINT, size)])) for size in shape]
    tensor = _message([Field(1, VARINT, 1), Field(2, BYTES, _message(dimensions))])
    kind = _message([Field(1, BYTES, tensor)])
    return _message([Field(1, BYTES, name.encode()), Field(2, BYTES, kind)])


def _renamed_node(content: bytes, prefix: str) -> bytes:
    for field in read_fields(content):
        if field.number == _NODE_ATTRIBUTE and any(
            inner.number in (6, 11) for inner in read_fields(_bytes(field.content))
        ):
            raise ValueError("it has graphs within nodes, which can't be joined")
    return _renamed(content, prefix, {_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME})


def _renamed(content: bytes, prefix: str, numbers: set[int]) -> bytes:
    """A message whose texts of these fields have a prefix; an empty one stays, and means none."""
    return _message(
        [
            field._replace(content=prefix.encode() + _bytes(field.content))
            if field.number in numbers and field.content
            else field
            for field in read_fields(content)
        ]
    )


def _bytes(content: bytes | int) -> bytes:
    if isinstance(content, int):
        raise ValueError("a number where a message should be")
    return content


def _message(fields: Sequence[Field]) -> bytes:
    return b"".join(_encoded(field) for field in fields)


def _encoded(field: Field) -> bytes:
    tag = _number(field.number << 3 | field.kind)
    if isinstance(field.content, int):
        return tag + _number(field.content)
    length = _number(len(field.content)) if field.kind == BYTES else b""
    return tag + length + field.content


def _number(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
