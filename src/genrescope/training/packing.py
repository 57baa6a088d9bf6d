"""A graph as a bundle: weights that are too large for it lie beside it."""

from __future__ import annotations

import hashlib
from typing import Any

from genrescope.errors import BundleError
from genrescope.inference import Bundle, Manifest
from genrescope.onnx_session import WEIGHTS_FILE

# Protocol buffers end at 2 GB, and reading one holds what is in it twice.
LARGE = 100 * 2**20
# Smaller tensors stay in the graph: shapes and the like are read before weights are there.
_SMALL = 1024
# ONNX advises a page's alignment, so that files can be mapped into memory.
_PAGE = 4096


def pack(model: bytes, *, large: int = LARGE, **manifest: Any) -> Bundle:
    """Make a bundle of a graph.

    Parameters
    ----------
    model
        An ONNX graph that holds its weights itself.
    large
        Bytes; a larger graph's weights go into `model.onnx.data`.
    manifest
        Fields of the manifest but for the SHA-256s.
    """
    graph, weights = split_weights(model) if len(model) > large else (model, None)
    digests = {"sha256": hashlib.sha256(graph).hexdigest(), "weights_sha256": None}
    if weights is not None:
        digests["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    return Bundle(Manifest(**{**manifest, **digests}), graph, weights)


def whole_graph(bundle: Bundle) -> bytes:
    """The graph of a bundle with all its weights in it; the reverse of `split_weights`.

    Raises
    ------
    BundleError
        When the graph names weights that are not the bundle's.
    """
    if bundle.weights is None:
        return bundle.model
    import onnx

    graph = onnx.load_from_string(bundle.model)
    for tensor in graph.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        place = {entry.key: entry.value for entry in tensor.external_data}
        if place.get("location") != WEIGHTS_FILE:
            raise BundleError(bundle.manifest.name, "model.onnx names weights in another file")
        start = int(place["offset"])
        tensor.raw_data = bundle.weights[start : start + int(place["length"])]
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
    return bytes(graph.SerializeToString())


def split_weights(model: bytes) -> tuple[bytes, bytes]:
    """A graph without its weights, and the weights as ONNX external data.

    Every tensor of at least 1 kB begins at a multiple of 4096 bytes; the graph names
    `model.onnx.data` with its offset and length.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_from_string(model)
    weights = bytearray()
    for tensor in graph.graph.initializer:
        # What is written as numbers, not as bytes, becomes bytes first.
        if not tensor.raw_data and tensor.data_type != onnx.TensorProto.STRING:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), name))
        if len(tensor.raw_data) < _SMALL:
            continue
        weights += bytes(-len(weights) % _PAGE)
        place = {"location": WEIGHTS_FILE, "offset": len(weights), "length": len(tensor.raw_data)}
        weights += tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
    return bytes(graph.SerializeToString()), bytes(weights)
