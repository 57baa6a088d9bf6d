"""The weights of a known network's graph, from its published checkpoint."""

from __future__ import annotations

from pathlib import Path

from genrescope.encoders.shipped import fill, graph_of, layout_of
from genrescope.encoders.torch_checkpoint import read_checkpoint

__all__ = ["graph_of", "layout_of", "weights_of"]


def weights_of(name: str, checkpoint: Path) -> bytes:
    """The external data of a graph, from the published checkpoint of its network.

    Raises
    ------
    CheckpointError
        When the file is damaged or holds anything but tensors.
    FileError
        When its tensors are not those of the network.
    """
    return fill(layout_of(name), read_checkpoint(checkpoint), checkpoint)
