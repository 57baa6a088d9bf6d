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
        When ONNX Runtime's outputs differ from torch's by more than 1e-4 of their size.
    """
    return to_onnx(network, (size, frames), ("logits", "embedding"))


def to_onnx(network: nn.Module, shape: tuple[int, int], outputs: tuple[str, ...]) -> bytes:
    """As `export_onnx`, for a network with any outputs; a single one is no tuple."""
    import onnxruntime as ort

    network = network.eval().cpu()
    example = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own future
        torch.onnx.export(
            network,
            (example,),
            buffer,  # type: ignore[arg-type]
            input_names=["segments"],
            output_names=list(outputs),
            dynamic_axes={name: {0: "n"} for name in ("segments", *outputs)},
            opset_version=17,
            dynamo=False,
        )
    model = buffer.getvalue()
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = network(example)
    expected = expected if isinstance(expected, tuple) else (expected,)
    given = session.run(list(outputs), {"segments": example.numpy()})
    for name, ours, theirs in zip(outputs, expected, given, strict=True):
        difference = float(np.abs(ours.numpy() - theirs).max())
        if not difference <= TOLERANCE * max(1.0, float(ours.abs().max())):
            raise GenrescopeError(f"export: {name} differ from torch by {difference:.2g}")
    return model
