"""VGGish, Google's network for audio, trained on a preliminary version of YouTube-8M.

Hershey et al., "CNN architectures for large-scale audio classification" (ICASSP 2017). The modules
have the names of the common PyTorch port, so that its published checkpoint fits; the last layer has
a ReLU, as in the port and in the first published TensorFlow code.

The variables of TensorFlow's own checkpoint are read too, from an `.npz` file that TensorFlow
writes by

    reader = tf.train.load_checkpoint("vggish_model.ckpt")
    names = reader.get_variable_to_shape_map()
    np.savez("vggish.npz", **{name: reader.get_tensor(name) for name in names})
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from genrescope.audio import Waveform
from genrescope.encoders import base
from genrescope.encoders._winograd import Winograd, max_pooled
from genrescope.encoders.base import Check
from genrescope.encoders.weights import Weights, WeightsError, put, read_arrays, read_state

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
_CHANNELS = (64, 0, 128, 0, 256, 256, 0, 512, 512, 0)  # 0: 2 × 2 max pooling
_QUANTISED = 2.0  # whitened components from -2 to 2 are quantised to 0 … 255

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
        network = VGGish()
        # With channels last in memory convolutions are faster.
        network.features.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network

    def file(self, weights: Weights) -> Path:
        """Where a file of weights is; an `.npz` is not compared with a hash: none is published."""
        if (
            self.weights_path is not None
            and self.weights_path.suffix == ".npz"
            and weights == self.weights[0]
        ):
            return self.weights_path
        return super().file(weights)

    def load(self, network: nn.Module) -> None:
        """Put the published weights into the network, or those of TensorFlow's `.npz`."""
        path = self.file(self.weights[0])
        npz = path.suffix == ".npz"
        state = from_tensorflow(read_arrays(path), path) if npz else read_state(path)
        # The PCA has a file of its own, which is only needed for its layer.
        pca = {name: values for name, values in network.state_dict().items() if "pproc" in name}
        _pca(network).complete = "pproc.pca_means" in state
        put(network, {**pca, **state}, path)

    def prepare(self, network: nn.Module, layer: str) -> None:
        """Read the parameters of the PCA when they are needed."""
        pca = _pca(network)
        if layer == "pca" and not pca.complete:
            path = self.file(self.weights[1])
            put(pca, _pca_state(read_state(path), path), path)
            pca.complete = True

    def to_bfloat16(self, network: nn.Module) -> nn.Module:
        """The network in bfloat16, but for the PCA, whose output has 256 levels."""
        network.get_submodule("features").to(torch.bfloat16)
        network.get_submodule("embeddings").to(torch.bfloat16)
        return network

    def for_export(self, network: nn.Module) -> nn.Module:
        """The network with Winograd's convolutions."""
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


class VGGish(nn.Module):
    """The network, 72 141 184 parameters, and the fixed PCA behind it."""

    def __init__(self) -> None:
        super().__init__()
        convolutions: list[nn.Module] = []
        before = 1
        for channels in _CHANNELS:
            if channels:
                convolutions += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU(inplace=True)]
                before = channels
            else:
                convolutions.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*convolutions)
        self.embeddings = nn.Sequential(
            *(nn.Linear(6 * 4 * 512, 4096), nn.ReLU(inplace=True)),
            *(nn.Linear(4096, 4096), nn.ReLU(inplace=True)),
            *(nn.Linear(4096, 128), nn.ReLU(inplace=True)),
        )
        self.pproc = Quantised()

    def forward(self, segments: Tensor) -> dict[str, Tensor]:
        """All layers of log-mel segments, `[n, 64, 96]` to `[n, size]` each."""
        # As pictures of one channel, time down and bands across. With channels last in memory the
        # convolutions are faster, and the flattening below copies nothing.
        pictures = segments.transpose(1, 2).unsqueeze(1)
        maps = self.features(pictures.contiguous(memory_format=torch.channels_last))
        return self.dense_layers(maps.permute(0, 2, 3, 1).flatten(1))

    def dense_layers(self, values: Tensor) -> dict[str, Tensor]:
        """All layers from the flattened maps, `[n, 12288]`, on."""
        found = {"conv": values}
        for number in (0, 2, 4):
            values = self.embeddings[number + 1](self.embeddings[number](values))
            found[f"fc{number // 2 + 1}"] = values
        return {**found, "pca": self.pproc(values)} if self.pproc.complete else found


class WinogradVGGish(nn.Module):
    """VGGish with Winograd's convolutions and channels last, to be exported."""

    def __init__(self, network: VGGish) -> None:
        super().__init__()
        self.network = network
        # The first two convolutions have too few channels to become faster.
        self.first, rest = network.features[:6], network.features[6:]
        self.rest = nn.ModuleList(
            Winograd(part) for part in rest.children() if isinstance(part, nn.Conv2d)
        )
        self.pooled = (1, 3)  # after these of the rest

    def forward(self, segments: Tensor) -> dict[str, Tensor]:
        """All layers of log-mel segments, `[n, 64, 96]` to `[n, size]` each."""
        maps = self.first(segments.transpose(1, 2).unsqueeze(1)).permute(2, 3, 0, 1)
        for number, part in enumerate(self.rest):
            maps = max_pooled(part(maps)) if number in self.pooled else part(maps)
        return self.network.dense_layers(maps.permute(2, 0, 1, 3).flatten(1))


class Quantised(nn.Module):
    """AudioSet's form of an embedding: whitened by PCA, then quantised to 8 bits; not trained.

    Attributes
    ----------
    complete
        Whether its parameters are loaded.
    """

    complete: bool = True
    pca_eigen_vectors: Tensor
    pca_means: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("pca_eigen_vectors", torch.eye(128))
        self.register_buffer("pca_means", torch.zeros(128, 1))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Whole numbers from 0 to 255, `[n, 128]`."""
        whitened = (embeddings.float() - self.pca_means.T) @ self.pca_eigen_vectors.T
        kept = whitened.clamp(-_QUANTISED, _QUANTISED)
        return torch.round((kept + _QUANTISED) * (255 / (2 * _QUANTISED)))


def from_tensorflow(
    variables: dict[str, NDArray[Any]], path: str | PathLike[str] = "TensorFlow checkpoint"
) -> dict[str, Tensor]:
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
    with torch.device("meta"):
        ports = VGGish().state_dict()
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
            shape = tuple(ports[f"{ours}.{part}"].shape)
            if values.shape != shape:
                reason = f"{name} has the shape {plain[name].shape}, which gives no {shape}"
                raise WeightsError(path, reason)
            state[f"{ours}.{part}"] = torch.from_numpy(np.ascontiguousarray(values))
    return state


def _pca(network: nn.Module) -> Quantised:
    return cast(Quantised, network.get_submodule("pproc"))


def _pca_state(stored: dict[str, Any], path: Path) -> dict[str, Tensor]:
    """The PCA's parameters, stored as arrays or as tensors, the means as a row or as a column."""
    try:
        vectors, means = stored["pca_eigen_vectors"], stored["pca_means"]
    except KeyError as error:
        raise WeightsError(path, f"holds no {error.args[0]}") from None
    return {
        "pca_eigen_vectors": torch.as_tensor(vectors, dtype=torch.float32),
        "pca_means": torch.as_tensor(means, dtype=torch.float32).reshape(-1, 1),
    }
