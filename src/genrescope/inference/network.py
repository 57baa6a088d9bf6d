"""The network of a bundle: segments in, logits and embeddings out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import BundleError, UnknownNameError
from genrescope.features import Segment, Window
from genrescope.inference.bundle import Bundle
from genrescope.onnx_session import SessionError, onnx_session
from genrescope.registry import no_such

LOGITS = "logits"
EMBEDDING = "embedding"
Outputs = tuple[list[Segment], list[NDArray[np.float32]]]


class Network:
    """The graph of a bundle on ONNX Runtime.

    The same segments give the same outputs bit for bit, because the segments of one window are
    always one batch, computed on one thread.

    Parameters
    ----------
    bundle
        The graph and its description.

    Attributes
    ----------
    layers
        Layers from which embeddings can be taken, with their sizes.

    Raises
    ------
    BundleError
        When the graph can't be run, or does not fit the bundle's description.
    """

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        self.name, self.frontend = manifest.name, manifest.frontend
        try:
            # One thread: running several files in parallel is faster than threads within one.
            self._session = onnx_session(bundle.model, weights=bundle.weights)
        except SessionError as error:
            raise BundleError(self.name, f"model.onnx {error}") from None
        outputs = {output.name: output.shape for output in self._session.get_outputs()}
        if not {LOGITS, EMBEDDING} <= set(outputs):
            raise BundleError(self.name, "model.onnx has no outputs called logits and embedding")
        logits = manifest.labels.size if manifest.labels else len(manifest.genres)
        if outputs.pop(LOGITS)[1:] != [logits]:
            raise BundleError(self.name, "model.onnx does not give one logit a genre or label")
        if not all(len(shape) == 2 and isinstance(shape[1], int) for shape in outputs.values()):
            raise BundleError(self.name, "model.onnx does not give one embedding a segment")
        expected, inputs = [*self.frontend.shape], self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].shape[1:] != expected:
            raise BundleError(self.name, f"model.onnx does not take segments of {expected}")
        self._input = inputs[0].name
        self.layers: dict[str, int] = {name: shape[1] for name, shape in outputs.items()}

    def run(self, segments: NDArray[np.float32], names: Sequence[str]) -> list[NDArray[Any]]:
        """Outputs of the network for a batch of segments `[n, size, frames]`, by their names."""
        outputs: list[NDArray[Any]] = self._session.run([*names], {self._input: segments})
        return outputs

    def run_windows(self, windows: Iterable[Window], names: Sequence[str]) -> Iterator[Outputs]:
        """Run the network on each window of a track that has segments.

        Parameters
        ----------
        windows
            The windows of a track.
        names
            Names of the outputs.

        Yields
        ------
        segments, outputs
            The segments of a window, and an array `[segments, …]` for each of `names`.
        """
        for window in windows:
            segments = self.frontend.segments_of(window)
            if segments:
                yield segments, self.run(np.stack([item.values for item in segments]), names)

    def mean_outputs(
        self, windows: Iterable[Window], layers: Sequence[str]
    ) -> dict[str, NDArray[np.float32]]:
        """The mean of each layer's output over all segments of a track, float32 `[size]`.

        Raises
        ------
        ValueError
            When there is no such layer.
        """
        self.check_layers(layers)
        totals, count = {layer: np.zeros(self.layers[layer]) for layer in layers}, 0
        for segments, outputs in self.run_windows(windows, [*totals]):
            for total, values in zip(totals.values(), outputs, strict=True):
                total += values.sum(axis=0, dtype=np.float64)
            count += len(segments)
        return {name: (total / max(count, 1)).astype(np.float32) for name, total in totals.items()}

    def check_layers(self, layers: Iterable[str]) -> None:
        """Raise UnknownNameError for a layer that is not one of `layers`."""
        for layer in layers:
            if layer not in self.layers:
                raise UnknownNameError(no_such("no layer", layer, self.layers))
