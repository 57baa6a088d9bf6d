"""Graphs of networks that come with the package without weights, filled with published ones.

A graph names its weights as external data in `model.onnx.data`; a JSON file next to it lists them
in their order, with their names in the published checkpoint. `tools/export_graphs.py` makes both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import FileError

_FOLDER = Path(__file__).with_name("graphs")


def graph_of(name: str) -> bytes:
    """The ONNX graph of a network, without its weights."""
    return (_FOLDER / f"{name}.onnx").read_bytes()


def layout_of(name: str) -> list[dict[str, Any]]:
    """Name, shape and offset of each tensor of a graph, in order of the offsets."""
    layout: list[dict[str, Any]] = json.loads((_FOLDER / f"{name}.json").read_text("utf-8"))
    return layout


def fill(layout: list[dict[str, Any]], tensors: Mapping[str, NDArray[Any]], source: Path) -> bytes:
    """The float32 numbers of tensors, one after another as the layout has them.

    Raises
    ------
    FileError
        When a tensor is missing, is of another shape, or is not finite.
    """
    parts: list[bytes] = []
    for entry in layout:
        name, shape = entry["name"], tuple(entry["shape"])
        values = tensors.get(name)
        if values is None or values.shape != shape:
            found = "is missing" if values is None else f"has the shape {values.shape}"
            raise FileError(source, f"does not fit: {name} {found}, expected {shape}")
        if not np.isfinite(values).all():
            raise FileError(source, f"does not fit: {name} has numbers that are not finite")
        parts.append(np.ascontiguousarray(values, "<f4").tobytes())
    return b"".join(parts)
