"""A trained network as the bytes of an ONNX graph, checked against torch before anyone gets it."""

from __future__ import annotations

import io
import warnings

import numpy as np
import torch
from torch import nn

from genrescope.errors import GenrescopeError

TOLERANCE = 1e-4


def export_onnx(network: nn.Module, *, size: int, frames: int) -> bytes:
    """Turn a network into ONNX with the input `segments` and the outputs `logits`, `embedding`.

    Parameters
    ----------
    network
        In evaluation mode.
    size, frames
        Shape of a segment.

    Raises
    ------
    GenrescopeError
        When ONNX Runtime's outputs differ from torch's by more than 1e-4.
    """
    import onnxruntime as ort

    network = network.eval().cpu()
    example = torch.randn(3, size, frames, generator=torch.Generator().manual_seed(0))
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own future
        torch.onnx.export(
            network,
            (example,),
            buffer,  # type: ignore[arg-type]
            input_names=["segments"],
            output_names=["logits", "embedding"],
            dynamic_axes={name: {0: "n"} for name in ("segments", "logits", "embedding")},
            opset_version=17,
            dynamo=False,
        )
    model = buffer.getvalue()
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = network(example)
    given = session.run(["logits", "embedding"], {"segments": example.numpy()})
    for name, ours, theirs in zip(("logits", "embedding"), expected, given, strict=True):
        difference = float(np.abs(ours.numpy() - theirs).max())
        if not difference <= TOLERANCE:
            raise GenrescopeError(f"export: {name} differ from torch by {difference:.2g}")
    return model
