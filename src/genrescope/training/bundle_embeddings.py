"""Embeddings that a trained model's bundle computes, as features of a recipe.

The network of a bundle becomes an encoder: its logits and its last layer are one vector a segment,
on which a head for other genres is trained. In the end both graphs are joined, as those of a
pretrained encoder and its head are. Neither torch nor weights to download are needed.
"""

from __future__ import annotations

from genrescope.errors import RecipeError
from genrescope.inference import Bundle


def bundle_encoder(bundle: Bundle) -> tuple[bytes, int]:
    """Turn the graph of a bundle into an encoder's.

    Parameters
    ----------
    bundle
        Its graph takes `segments` `[n, size, frames]` and gives `logits` and `embedding`.

    Returns
    -------
    graph
        Gives `vectors` `[n, width, 1]`, logits and embedding one after the other, and `immediate`,
        the same as `[n, width]`.
    width
        Length of a vector.

    Raises
    ------
    RecipeError
        When the package onnx is missing.
    """
    try:
        import onnx
        from onnx import TensorProto, helper, numpy_helper
    except ModuleNotFoundError:
        raise RecipeError("a bundle as encoder needs onnx: pip install 'genrescope[train]'") from None
    import numpy as np

    from genrescope.training.bundles import whole_graph

    model = onnx.load_from_string(whole_graph(bundle))
    graph = model.graph
    given = {output.name: output for output in graph.output}
    sizes = [given[name].type.tensor_type.shape.dim[1].dim_value for name in _LAYERS]
    width = sum(sizes)
    axes = "bundle/axes"
    graph.initializer.append(numpy_helper.from_array(np.array([2], np.int64), axes))
    graph.node.extend(
        [
            helper.make_node("Concat", list(_LAYERS), ["immediate"], axis=1),
            helper.make_node("Unsqueeze", ["immediate", axes], ["vectors"]),
        ]
    )
    del graph.output[:]
    for name, shape in (("vectors", ["n", width, 1]), ("immediate", ["n", width])):
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return bytes(model.SerializeToString()), width


_LAYERS = ("logits", "embedding")
