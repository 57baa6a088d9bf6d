"""Export the graphs of known networks without their weights, for `genrescope.encoders.shipped`.

    python tools/export_graphs.py

Needs torch and onnx. The weights of a graph become external data in `model.onnx.data`, whose layout
goes to a JSON file next to the graph: name, shape and offset of each tensor. Batch normalisation is
not folded, so that every tensor has its name in the published checkpoint.
"""

from __future__ import annotations

import io
import json
import sys
import warnings
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from genrescope.encoders._musicnn import MusiCNN
from genrescope.encoders._vggish import VGGish
from genrescope.encoders.efficientat import EfficientAT
from genrescope.onnx_session import WEIGHTS_FILE

GRAPHS = Path(__file__).parents[1] / "src" / "genrescope" / "encoders" / "graphs"
FRAMES = 1000


class Named(nn.Module):
    """Some layers of a network, such as the logits and the embedding that a bundle has."""

    def __init__(self, network: nn.Module, layers: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.layers = network, layers

    def forward(self, segments: Tensor) -> tuple[Tensor, ...]:
        """The layers of segments `[n, bands, frames]`."""
        found = self.network(segments)
        return tuple(found[layer] for layer in self.layers)


def export(network: nn.Module, shape: tuple[int, int], layers: tuple[str, ...]) -> onnx.ModelProto:
    """The graph of a network whose every tensor is an initializer with its own name."""
    # The exporter merges equal tensors: none may be equal to another.
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    buffer = io.BytesIO()
    names = ("segments", *layers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Named(network, layers).eval(),
            (torch.randn(2, *shape),),
            buffer,
            input_names=["segments"],
            output_names=list(layers),
            dynamic_axes={name: {0: "n"} for name in names},
            opset_version=17,
            dynamo=False,
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE,
        )
    return onnx.load_from_string(buffer.getvalue())


def strip(model: onnx.ModelProto) -> list[dict[str, object]]:
    """Make all initializers external data; returns their layout in `model.onnx.data`."""
    layout, offset = [], 0
    for number, tensor in enumerate(model.graph.initializer):
        shape, length = list(tensor.dims), 4 * int(torch.Size(tensor.dims).numel())
        if tensor.data_type != onnx.TensorProto.FLOAT:
            sys.exit(f"{tensor.name}: not float32")
        name = tensor.name.removeprefix("network.")
        layout.append({"name": name, "shape": shape, "offset": offset})
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", WEIGHTS_FILE), ("offset", offset), ("length", length)):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, str(value)
        # Short names: the long ones are in the layout.
        rename(model.graph, tensor.name, f"w{number}")
        offset += length
    return layout


def rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Rename a tensor of a graph."""
    for tensor in graph.initializer:
        tensor.name = new if tensor.name == old else tensor.name
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == old:
                node.input[place] = new


def main() -> None:
    """Write the graphs."""
    torch.manual_seed(0)
    GRAPHS.mkdir(exist_ok=True)
    tagger = ((128, FRAMES), ("logits", "embedding"))
    networks: dict[str, tuple[nn.Module, tuple[int, int], tuple[str, ...]]] = {
        "efficientat_mn04": (EfficientAT(0.4), *tagger),
        "efficientat_mn10": (EfficientAT(1.0), *tagger),
        "musicnn": (MusiCNN(), (96, 187), ("penultimate", "taggram")),
        "vggish": (VGGish(), (64, 96), ("conv", "fc1", "fc2", "fc3", "pca")),
    }
    for name, (network, shape, layers) in networks.items():
        model = export(network.eval(), shape, layers)
        layout = strip(model)
        names = {entry["name"] for entry in layout}
        missing = {n for n, t in network.state_dict().items() if t.is_floating_point()} - names
        if missing:
            sys.exit(f"{name}: not in the graph: {sorted(missing)}")
        for node in model.graph.node:
            node.ClearField("doc_string")
            node.ClearField("name")
        del model.graph.value_info[:]
        content = model.SerializeToString(deterministic=True)
        (GRAPHS / f"{name}.onnx").write_bytes(content)
        lines = ",\n".join(" " + json.dumps(entry) for entry in layout)
        (GRAPHS / f"{name}.json").write_text(f"[\n{lines}\n]\n", "utf-8")
        print(f"{name}: {len(content)} bytes, {len(layout)} tensors")


if __name__ == "__main__":
    main()
