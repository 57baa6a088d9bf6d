"""A network as an ONNX graph, checked against torch before anyone gets it.

On processors ONNX Runtime computes graphs faster than torch does the networks; and what is a graph
runs where there is no torch.
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
    quick: nn.Module | None = None,
) -> bytes:
    """A network as ONNX: `segments` `[n, *shape]` to outputs `[n, …]`.

    Parameters
    ----------
    network
        It gives a tuple of tensors, or a single one. Is brought to the processor.
    shape
        Of a segment.
    outputs
        Their names.
    quick
        The same network in another form, which is exported in its place.

    Raises
    ------
    GenrescopeError
        When the graph's outputs differ from the network's by more than 1e-4 of their size, or
        there is not one of them a segment, for any number of segments.
    """
    network = network.eval().cpu()
    random = torch.Generator().manual_seed(0)
    segments = torch.randn(3, *shape, generator=random)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own future
        torch.onnx.export(
            (quick or network).eval().cpu(),
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
    # Other numbers of segments than it was traced with, which a graph may have kept as constants.
    for count in (1, 2):
        _check(network, running, torch.randn(count, *shape, generator=random), outputs)
    return graph


def layer_to_onnx(
    network: nn.Module, quick: nn.Module, layer: str, shape: tuple[int, int]
) -> bytes:
    """One layer of a network that gives a dictionary of them, as `to_onnx`."""
    return to_onnx(_Layer(network, layer), shape, (layer,), quick=_Layer(quick, layer))


def _check(
    network: nn.Module, graph: InferenceSession, segments: Tensor, outputs: tuple[str, ...]
) -> None:
    """Let both hear the same segments and compare what they give."""
    count = len(segments)
    with torch.inference_mode():
        found = network(segments)
    wanted = found if isinstance(found, tuple) else (found,)
    try:
        given = graph.run(list(outputs), {"segments": segments.numpy()})
    except Exception as error:  # ONNX Runtime's errors share no base class of their own
        line = str(error).splitlines()[0]
        raise GenrescopeError(f"export: the graph fails at {count} segments: {line}") from None
    for name, ours, theirs in zip(outputs, wanted, given, strict=True):
        if ours.shape[:1] != (count,) or ours.shape != theirs.shape:
            raise GenrescopeError(
                f"export: of {count} segments {name} are {tuple(ours.shape)} in torch "
                f"and {theirs.shape} in the graph"
            )
        _compare(name, ours.numpy(), theirs)


def _compare(name: str, wanted: np.ndarray, found: np.ndarray) -> None:
    largest = float(np.abs(wanted).max())
    allowed = TOLERANCE * max(1.0, largest)
    # What is rounded to whole numbers may fall to the next one; zeros and ones alone are whole by
    # chance, where all is cut off or saturated.
    if largest > 1 and (wanted == np.round(wanted)).all():
        allowed = max(allowed, 1.0)
    difference = float(np.abs(wanted - found).max())
    if not difference <= allowed:
        raise GenrescopeError(f"export: {name} differ from torch by {difference:.2g}")


class _Layer(nn.Module):
    """One layer of what a network gives."""

    def __init__(self, network: nn.Module, layer: str) -> None:
        super().__init__()
        self.network, self.layer = network, layer

    def forward(self, segments: Tensor) -> Tensor:
        found: Tensor = self.network(segments)[self.layer]
        return found
