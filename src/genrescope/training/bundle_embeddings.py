"""Embeddings that a trained model's bundle computes, as features of a recipe.

The network of a bundle becomes an encoder: its logits and its last layer are one vector a segment,
on which a head for other genres is trained. In the end both graphs are joined, as those of a
pretrained encoder and its head are. Neither torch nor weights to download are needed.
"""

from __future__ import annotations

import numpy as np

from genrescope.errors import RecipeError
from genrescope.inference import Bundle
from genrescope.training.embeddings import Embedder
from genrescope.training.graphs import whole_graph

# Keeps the names of the bundle's nodes apart from those of a head.
_PREFIX = "encoder/"


def bundle_embedder(bundle: Bundle) -> Embedder:
    """Turn a bundle's network into an encoder.

    Parameters
    ----------
    bundle
        Its graph takes `segments` `[n, size, frames]` and gives `logits` and `embedding`.

    Returns
    -------
    Embedder
        Its vectors are the logits and the embedding, one after the other. Its graph also gives the
        embedding by itself, which is that of the model that a head is joined to: a library that was
        scanned with either model compares tracks in the same way.

    Raises
    ------
    RecipeError
        When the package onnx is missing.
    """
    try:
        import onnx
        from onnx import TensorProto, compose, helper, numpy_helper
    except ModuleNotFoundError:
        needs = "pip install 'genrescope[train]'"
        raise RecipeError(f"a bundle as encoder needs onnx: {needs}") from None
    model = compose.add_prefix(onnx.load_from_string(whole_graph(bundle)), _PREFIX)
    graph = model.graph
    sizes = {o.name: o.type.tensor_type.shape.dim[1].dim_value for o in graph.output}
    layers = [f"{_PREFIX}{name}" for name in ("logits", "embedding")]
    width = sum(sizes[name] for name in layers)
    weights = {tensor.name for tensor in graph.initializer}
    (segments,) = [given for given in graph.input if given.name not in weights]
    names = {segments.name: "segments", layers[1]: "embedding"}
    segments.name = "segments"
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    axes = f"{_PREFIX}axes"
    graph.initializer.append(numpy_helper.from_array(np.array([2], np.int64), axes))
    graph.node.extend(
        [
            helper.make_node("Concat", [layers[0], "embedding"], ["immediate"], axis=1),
            helper.make_node("Unsqueeze", ["immediate", axes], ["vectors"]),
        ]
    )
    shapes = {"vectors": [width, 1], "embedding": [sizes[layers[1]]], "immediate": [width]}
    del graph.output[:]
    for name, shape in shapes.items():
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape]))
    return Embedder(bundle.manifest.frontend, bytes(model.SerializeToString()), (width, 1))
