"""MobileNetV2, trained on ImageNet, applied to spectrograms.

Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks" (CVPR 2018). The network
is TensorFlow's, with the names of torchvision's modules and with batch normalisation folded into
the convolutions before it: when it is fine-tuned, the statistics of ImageNet stay.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from genrescope.encoders import _imagenet
from genrescope.encoders.published import MOBILENET_V2 as NOTOP
from genrescope.encoders.weights import put, read_arrays

# Expansion, output channels, number of blocks, stride of the first: table 2 of the paper.
_BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_LAST = 1280
_EPSILON = 1e-3  # of Keras's batch normalisation


class Encoder(_imagenet.Pictures):
    """MobileNetV2: 1280 numbers for a picture of 10 s of audio.

    Its weights may be Keras's file, which Keras is needed to read, or an `.npz` with torchvision's
    names and batch normalisation folded in. In a given folder Keras's file is looked for, then the
    one `mobilenet_v2*.npz`.
    """

    name = "mobilenet_v2"
    layers: ClassVar = {"none": 224 * 224, "immediate": _LAST}
    weights = (NOTOP,)
    side = 224

    def __init__(self, weights: Path | None = None, **settings: Any) -> None:
        super().__init__(_in_folder(weights), **settings)

    def backbone(self) -> MobileNetV2:
        """The network, with random weights."""
        return MobileNetV2()

    def load(self, network: nn.Module) -> None:
        """Put the published weights into the network, or those of an `.npz`."""
        assert isinstance(network, _imagenet.PictureNetwork)  # noqa: S101
        if self.weights_path is not None and self.weights_path.suffix == ".npz":
            path = self.weights_path
            arrays = read_arrays(path)
            state = {n: torch.from_numpy(v.astype(np.float32)) for n, v in arrays.items()}
            # The classifier is for photographs.
            state = {n: v for n, v in state.items() if not n.startswith("classifier.")}
        else:
            path = self.file(NOTOP)
            model = _imagenet.keras_application("MobileNetV2", self.side)
            _imagenet.load_keras(model, path)
            state = from_keras(model)
        put(network.backbone, state, path)


def _in_folder(given: Path | None) -> Path | None:
    """The one `.npz` in a folder that lacks Keras's file; any other path as it is."""
    if given is None or not given.is_dir() or (given / NOTOP.file).is_file():
        return given
    found = sorted(given.glob("mobilenet_v2*.npz"))
    return found[0] if len(found) == 1 else given


class _Same(nn.Conv2d):
    """A convolution with TensorFlow's padding: with stride 2 only below and to the right."""

    def forward(self, maps: Tensor) -> Tensor:
        if self.kernel_size[0] == 3:
            maps = functional.pad(maps, (0, 1, 0, 1) if self.stride[0] == 2 else (1, 1, 1, 1))
        return super().forward(maps)


def _rectified(
    inside: int, outside: int, kernel: int = 1, *, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    return nn.Sequential(_Same(inside, outside, kernel, stride, groups=groups), nn.ReLU6())


class Block(nn.Module):
    """An inverted residual block: expand, filter each channel, project."""

    def __init__(self, before: int, after: int, *, widening: int, stride: int) -> None:
        super().__init__()
        inside = before * widening
        layers = [_rectified(before, inside)] if widening > 1 else []
        layers.append(_rectified(inside, inside, 3, stride=stride, groups=inside))
        self.conv = nn.Sequential(*layers, nn.Conv2d(inside, after, 1))
        self.shortcut = stride == 1 and before == after

    def forward(self, maps: Tensor) -> Tensor:
        """From `[n, channels, rows, columns]` to the same, perhaps halved."""
        found: Tensor = self.conv(maps)
        return found + maps if self.shortcut else found


class MobileNetV2(nn.Module):
    """The network without its classifier, 2 206 816 parameters."""

    def __init__(self) -> None:
        super().__init__()
        before = 32
        parts: list[nn.Module] = [_rectified(3, before, 3, stride=2)]
        for widening, after, count, first in _BLOCKS:
            for number in range(count):
                stride = 1 if number else first
                parts.append(Block(before, after, widening=widening, stride=stride))
                before = after
        self.features = nn.Sequential(*parts, _rectified(before, _LAST))
        # Without normalisation the activations of torch's own initial weights would vanish.
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight)
                nn.init.zeros_(part.bias)  # type: ignore[arg-type]

    def forward(self, pictures: Tensor) -> Tensor:
        """Means of the last maps, `[n, 3, 224, 224]` to `[n, 1280]`."""
        maps: Tensor = self.features(pictures)
        return maps.mean(dim=(2, 3))


def from_keras(model: Any) -> dict[str, Tensor]:
    """Tensors by torchvision's names from a MobileNetV2 of Keras, normalisation folded in."""
    state = {}
    for ours, (layer, norm) in _keras_names().items():
        kernel = torch.tensor(np.asarray(model.get_layer(layer).get_weights()[0]))
        # Rows, columns, in, out; of filters for each channel: rows, columns, channels, 1.
        alone = layer.endswith("depthwise")
        kernel = kernel.permute(2, 3, 0, 1) if alone else kernel.permute(3, 2, 0, 1)
        values = model.get_layer(norm).get_weights()
        gamma, beta, mean, variance = (torch.tensor(np.asarray(v)) for v in values)
        factor = gamma / torch.sqrt(variance + _EPSILON)
        state[f"{ours}.weight"] = kernel * factor.view(-1, 1, 1, 1)
        state[f"{ours}.bias"] = beta - mean * factor
    return state


def _keras_names() -> dict[str, tuple[str, str]]:
    """Of each convolution by torchvision's name: Keras's, and its normalisation's."""
    names = {"features.0.0": ("Conv1", "bn_Conv1"), "features.18.0": ("Conv_1", "Conv_1_bn")}
    for number in range(17):
        theirs = f"block_{number}" if number else "expanded_conv"
        parts = ["expand", "depthwise", "project"] if number else ["depthwise", "project"]
        for place, part in enumerate(parts):
            layer = f"{theirs}_{part}"
            ours = f"features.{number + 1}.conv.{place}" + (".0" if part != "project" else "")
            names[ours] = (layer, f"{layer}_BN")
    return names
