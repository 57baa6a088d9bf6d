"""A network as an ONNX graph, which is checked against torch.

ONNX Runtime computes the graph faster on processors than torch computes the network, and it runs
where torch is not installed.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
import torch
from onnxruntime import InferenceSession
from torch import Tensor, nn

from genrescope.errors import GenrescopeError
from genrescope.onnx_session import onnx_session

VERSION = 1
"""To be raised whenever graphs change that were exported from the same weights."""

TOLERANCE = 1e-4


def to_onnx(
    network: nn.Module,
    shape: tuple[int, int],
    outputs: tuple[str, ...],
    *,
    exported: nn.Module | None = None,
) -> bytes:
    """A network as ONNX: `segments` `[n, *shape]` to outputs `[n, …]`.

    Parameters
    ----------
    network
        It returns a tensor or a tuple of tensors. It is moved to the CPU.
    shape
        Shape of a segment.
    outputs
        Their names.
    exported
        The same network in another form, which is exported instead.

    Raises
    ------
    GenrescopeError
        When the graph's outputs differ from the network's by more than 1e-4 of the largest, or
        there is not one output for each segment, whatever the number of segments.
    """
    network = network.eval().cpu()
    random = torch.Generator().manual_seed(0)
    segments = torch.randn(3, *shape, generator=random)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The TorchScript exporter is deprecated. Measured against the present one (dynamo=True,
        # torch 2.13, onnxscript 0.7.2) on the default network, MusiCNN, EfficientAT and VGGish,
        # that takes 5 to 40 times as long (3.8 instead of 0.1 s, 2.2 instead of 0.4, 7.2 instead of
        # 0.4, 18.5 instead of 3.5), needs another package, and gives graphs of the same outputs,
        # size (within 4 %, EfficientAT 15 %) and speed (within 12 %). Embeddings and graphs that
        # were kept on disk would have to be computed again, too.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            (exported or network).eval().cpu(),
            (segments,),
            buffer,  # type: ignore[arg-type]
            input_names=["segments"],
            output_names=list(outputs),
            dynamic_axes={name: {0: "n"} for name in ("segments", *outputs)},
            opset_version=17,
            dynamo=False,
        )
    graph = buffer.getvalue()
    running = onnx_session(graph, threads=0)
    # Other numbers of segments than it was traced with: the graph may hold that as a constant.
    for count in (1, 2):
        _check(network, running, torch.randn(count, *shape, generator=random), outputs)
    return graph


def layer_to_onnx(
    network: nn.Module, exported: nn.Module, layer: str, shape: tuple[int, int]
) -> bytes:
    """One layer of a network that returns a dictionary of layers, as `to_onnx`."""
    return to_onnx(_Layer(network, layer), shape, (layer,), exported=_Layer(exported, layer))


def _check(
    network: nn.Module, graph: InferenceSession, segments: Tensor, outputs: tuple[str, ...]
) -> None:
    """Compare the outputs of both for the same segments."""
    count = len(segments)
    with torch.inference_mode():
        found = network(segments)
    expected = found if isinstance(found, tuple) else (found,)
    try:
        given = graph.run(list(outputs), {"segments": segments.numpy()})
    except Exception as error:  # ONNX Runtime's errors share no base class of their own
        line = str(error).splitlines()[0]
        raise GenrescopeError(f"export: the graph fails at {count} segments: {line}") from None
    for name, ours, theirs in zip(outputs, expected, given, strict=True):
        if ours.shape[:1] != (count,) or ours.shape != theirs.shape:
            raise GenrescopeError(
                f"export: of {count} segments {name} are {tuple(ours.shape)} in torch "
                f"and {theirs.shape} in the graph"
            )
        _compare(name, ours.numpy(), theirs)


def _compare(name: str, expected: np.ndarray, found: np.ndarray) -> None:
    largest = float(np.abs(expected).max())
    allowed = TOLERANCE * max(1.0, largest)
    # Outputs that are rounded to whole numbers may differ by one. Zeros and ones alone are whole
    # numbers by chance, where everything is clipped or saturated.
    if largest > 1 and (expected == np.round(expected)).all():
        allowed = max(allowed, 1.0)
    difference = float(np.abs(expected - found).max())
    if not difference <= allowed:
        raise GenrescopeError(f"export: {name} differ from torch by {difference:.2g}")


class _Layer(nn.Module):
    """One layer of a network that returns a dictionary of layers."""

    def __init__(self, network: nn.Module, layer: str) -> None:
        super().__init__()
        self.network, self.layer = network, layer

    def forward(self, segments: Tensor) -> Tensor:
        found: Tensor = self.network(segments)[self.layer]
        return found
