"""ONNX graphs of bundles: two joined into one, and weights in or outside of the graph."""

from __future__ import annotations

from genrescope.errors import BundleError
from genrescope.inference import Bundle
from genrescope.onnx_session import WEIGHTS_FILE

# Smaller tensors stay in the graph: shapes and the like are needed before the weights are read.
_SMALL = 1024
# ONNX recommends the alignment of a page, so that files can be mapped into memory.
_PAGE = 4096
# The order of a bundle's outputs, and what keeps the names of a head's nodes apart.
_OUTPUTS = ("logits", "embedding", "none", "immediate", "deep", "shallow")
_HEAD = "head/"


def whole_graph(bundle: Bundle) -> bytes:
    """Return the graph of a bundle with all its weights in it; the inverse of `split_weights`.

    Raises
    ------
    BundleError
        When the graph names weights in a file that is not the bundle's.
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
    """Return a graph without its weights, and the weights as ONNX external data.

    Every tensor of at least 1 kB begins at a multiple of 4096 bytes; the graph names
    `model.onnx.data` with its offset and length.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_from_string(model)
    weights = bytearray()
    for tensor in graph.graph.initializer:
        # What is stored as numbers, not as bytes, becomes bytes first.
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


def join_graphs(encoder: bytes, head: bytes) -> bytes:
    """Join an encoder's graph and a head's into one.

    The encoder's output `vectors` becomes the head's input `segments`. The joined graph takes the
    encoder's `segments`, and gives all other outputs of both; an encoder that gives an `embedding`
    keeps it, and the head's is left out.
    """
    import onnx
    from onnx import compose

    first, second = onnx.load_from_string(encoder), onnx.load_from_string(head)
    if any(output.name == "embedding" for output in first.graph.output):
        others = [output for output in second.graph.output if output.name != "embedding"]
        del second.graph.output[:]
        second.graph.output.extend(others)
    second = compose.add_prefix(second, _HEAD)
    for model in (first, second):
        model.ir_version = max(first.ir_version, second.ir_version)
    _use_one_opset(first, second)
    merged = compose.merge_models(first, second, io_map=[("vectors", f"{_HEAD}segments")])
    given = list(merged.graph.output)
    names = {output.name: output.name.removeprefix(_HEAD) for output in given}
    for output in given:
        output.name = names[output.name]
    for node in merged.graph.node:
        node.output[:] = [names.get(name, name) for name in node.output]
        node.input[:] = [names.get(name, name) for name in node.input]
    # The merged graph lists the opsets of both; tools that convert a bundle expect each once.
    opsets = {entry.domain: entry for entry in list(merged.opset_import)}
    del merged.opset_import[:], merged.graph.output[:]
    merged.opset_import.extend(opsets.values())
    merged.graph.output.extend(sorted(given, key=lambda output: _OUTPUTS.index(output.name)))
    return bytes(merged.SerializeToString())


def _use_one_opset(first: object, second: object) -> None:
    """Let both graphs state the newer of their two versions of ONNX's own operators.

    The operators in use are the same in both versions.
    """
    versions = [
        entry
        for model in (first, second)
        for entry in model.opset_import  # type: ignore[attr-defined]
        if entry.domain in ("", "ai.onnx")
    ]
    newest = max(entry.version for entry in versions)
    for entry in versions:
        entry.version = newest
