"""VGGish, Google's network for audio, trained on a preliminary version of YouTube-8M.

Hershey et al., "CNN architectures for large-scale audio classification" (ICASSP 2017). The modules
have the names of the common PyTorch port, so that its published checkpoint fits; the last layer has
a ReLU, as in the port and in the first published TensorFlow code.

Google's own checkpoint, `vggish_model.ckpt`, is read too, without TensorFlow, and so are its
variables from an `.npz` file that TensorFlow writes by

    reader = tf.train.load_checkpoint("vggish_model.ckpt")
    names = reader.get_variable_to_shape_map()
    np.savez("vggish.npz", **{name: reader.get_tensor(name) for name in names})
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from genrescope.audio import Waveform
from genrescope.encoders import base
from genrescope.encoders.base import Check
from genrescope.encoders.shipped import fill, graph_of, layout_of
from genrescope.encoders.tensorflow_checkpoint import read_slices
from genrescope.encoders.torch_checkpoint import read_checkpoint
from genrescope.encoders.weights import Weights, WeightsError, put, read_arrays, read_state

if TYPE_CHECKING:
    from torch import nn

    from genrescope.encoders._vggish import Quantised, VGGish

_RELEASE = "https://github.com/harritaylor/torchvggish/releases/download/v0.1"
NETWORK = Weights(
    file="vggish-10086976.pth",
    url=f"{_RELEASE}/vggish-10086976.pth",
    sha256="10086976",
    size=288_567_937,
    licence="Apache-2.0",
    about="VGGish, ported from Google's TensorFlow checkpoint",
)
PCA = Weights(
    file="vggish_pca_params-970ea276.pth",
    url=f"{_RELEASE}/vggish_pca_params-970ea276.pth",
    sha256="970ea276",
    size=181_358,
    licence="Apache-2.0",
    about="PCA of AudioSet's published embeddings, for the layer pca alone",
)

PARAMETERS = 72_141_184
"""Parameters of the network, without the PCA."""

_SMOKE_TEST = (
    ("fc3", "mean", 0.131),
    ("fc3", "std", 0.238),
    ("pca", "mean", 123.0),
    ("pca", "std", 75.0),
)
_CHECKPOINTS = (".npz", ".ckpt")  # those of TensorFlow

TENSORFLOW = {
    "features.0": "conv1",
    "features.3": "conv2",
    "features.6": "conv3/conv3_1",
    "features.8": "conv3/conv3_2",
    "features.11": "conv4/conv4_1",
    "features.13": "conv4/conv4_2",
    "embeddings.0": "fc1/fc1_1",
    "embeddings.2": "fc1/fc1_2",
    "embeddings.4": "fc2",
}
"""The port's names of the layers, and TensorFlow's after `vggish/`."""


class Encoder(base.Encoder):
    """VGGish: 128 numbers for 0.96 s of audio.

    The layers: `conv`, the output of the convolutions, flattened in the order frames, bands,
    channels; `fc1`, `fc2`, `fc3` after each dense layer and its ReLU, of which `fc3` is the usual
    embedding; `pca`, `fc3` whitened by PCA and quantised to 0 … 255 as AudioSet publishes it.
    """

    name = "vggish"
    layers: ClassVar = {"conv": 12288, "fc1": 4096, "fc2": 4096, "fc3": 128, "pca": 128}
    default_layer = "fc3"
    weights = (NETWORK, PCA)
    feature: ClassVar = {"kind": "vggish_mel"}
    seconds = 0.96
    step = 0.96

    def build(self) -> VGGish:
        """The network, with random weights."""
        import torch

        from genrescope.encoders._vggish import VGGish

        network = VGGish()
        # With channels last in memory convolutions are faster.
        network.features.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network

    def file(self, weights: Weights) -> Path:
        """Where a file of weights is; of TensorFlow's checkpoint no hash is published."""
        given = self.weights_path
        if given is not None and given.suffix in _CHECKPOINTS and weights == self.weights[0]:
            return given
        return super().file(weights)

    def load(self, network: nn.Module) -> None:
        """Put the published weights into the network, or those of TensorFlow's checkpoint."""
        import torch

        path = self.file(self.weights[0])
        if path.suffix in _CHECKPOINTS:
            arrays = from_tensorflow(_variables(path), path)
            state = {name: torch.from_numpy(values) for name, values in arrays.items()}
        else:
            state = read_state(path)
        # The PCA has a file of its own, which is only needed for its layer.
        pca = {name: values for name, values in network.state_dict().items() if "pproc" in name}
        _pca(network).complete = "pproc.pca_means" in state
        put(network, {**pca, **state}, path)

    def prepare(self, network: nn.Module, layer: str) -> None:
        """Read the parameters of the PCA when they are needed."""
        import torch

        pca = _pca(network)
        if layer == "pca" and not pca.complete:
            path = self.file(self.weights[1])
            arrays = _pca_state(read_state(path), path)
            put(pca, {name: torch.from_numpy(values) for name, values in arrays.items()}, path)
            pca.complete = True

    def packaged_graph(self, layer: str) -> tuple[bytes, bytes]:
        """The graph of all layers that comes with the package, and its weights."""
        path = self.file(self.weights[0])
        if path.suffix in _CHECKPOINTS:
            arrays: dict[str, NDArray[Any]] = {**from_tensorflow(_variables(path), path)}
        else:
            arrays = read_checkpoint(path)
        # The PCA has a file of its own, which is only needed for its layer.
        if "pproc.pca_means" not in arrays:
            pca: dict[str, NDArray[Any]]
            pca = {"pca_eigen_vectors": np.eye(128), "pca_means": np.zeros(128)}
            if layer == "pca":
                pca_path = self.file(self.weights[1])
                pca = _pca_state(read_checkpoint(pca_path), pca_path)
            arrays |= {f"pproc.{name}": values for name, values in _pca_state(pca, path).items()}
        return graph_of("vggish"), fill(layout_of("vggish"), arrays, path)

    def to_bfloat16(self, network: nn.Module) -> nn.Module:
        """The network in bfloat16, but for the PCA, whose output has 256 levels."""
        import torch

        network.get_submodule("features").to(torch.bfloat16)
        network.get_submodule("embeddings").to(torch.bfloat16)
        return network

    def for_export(self, network: nn.Module) -> nn.Module:
        """The network with Winograd's convolutions."""
        from genrescope.encoders._vggish import VGGish, WinogradVGGish

        return WinogradVGGish(cast(VGGish, network))

    def checks(self) -> list[Check]:
        """Google's published smoke test: a sine of 1 kHz, 3 s at 44.1 kHz."""
        time = np.arange(3 * 44100) / 44100
        sine = Waveform(np.sin(2 * np.pi * 1000 * time).astype(np.float32), 44100)
        found = {layer: self.embed(sine, layer=layer).values for layer in ("fc3", "pca")}
        return [
            Check(f"{layer}, {how}", published, float(getattr(found[layer], how)()), 0.1)
            for layer, how, published in _SMOKE_TEST
        ]


def from_tensorflow(
    variables: dict[str, NDArray[Any]], path: str | PathLike[str] = "TensorFlow checkpoint"
) -> dict[str, NDArray[np.float32]]:
    """The port's tensors from the variables of TensorFlow's checkpoint.

    Parameters
    ----------
    variables
        By name, `vggish/conv1/weights` and so on, with or without `:0` behind it. Convolutions are
        `[height, width, in, out]`, dense layers `[in, out]`. Others are ignored.
    path
        Where they come from, for errors.

    Raises
    ------
    WeightsError
        When one is missing or has another shape.
    """
    plain = {name.removesuffix(":0"): values for name, values in variables.items()}
    shapes = {entry["name"]: tuple(entry["shape"]) for entry in layout_of("vggish")}
    state = {}
    for ours, theirs in TENSORFLOW.items():
        for part, their_part in (("weight", "weights"), ("bias", "biases")):
            name = f"vggish/{theirs}/{their_part}"
            if name not in plain:
                raise WeightsError(path, f"holds no {name}")
            values = np.asarray(plain[name], np.float32)
            if values.ndim == 4:
                values = values.transpose(3, 2, 0, 1)
            elif values.ndim == 2:
                values = values.T
            shape = shapes[f"{ours}.{part}"]
            if values.shape != shape:
                reason = f"{name} has the shape {plain[name].shape}, which gives no {shape}"
                raise WeightsError(path, reason)
            state[f"{ours}.{part}"] = np.ascontiguousarray(values)
    return state


def _pca(network: nn.Module) -> Quantised:
    return cast("Quantised", network.get_submodule("pproc"))


def _variables(path: Path) -> dict[str, NDArray[Any]]:
    """The variables of TensorFlow's checkpoint, or of an `.npz` of them."""
    if path.suffix == ".npz":
        return read_arrays(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(path, f"can't be read: {error.strerror or error}") from None
    return dict(read_slices(content, path))


def _pca_state(stored: dict[str, Any], path: Path) -> dict[str, NDArray[np.float32]]:
    """The PCA's parameters, stored as arrays or as tensors, the means as a row or as a column."""
    try:
        vectors, means = stored["pca_eigen_vectors"], stored["pca_means"]
    except KeyError as error:
        raise WeightsError(path, f"holds no {error.args[0]}") from None
    return {
        "pca_eigen_vectors": np.asarray(vectors, np.float32),
        "pca_means": np.asarray(means, np.float32).reshape(-1, 1),
    }
