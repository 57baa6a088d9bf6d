"""EfficientAT mn04: a small MobileNetV3 that tags sounds as AudioSet does.

Schmid, Koutini and Widmer, "Efficient large-scale audio tagging via transformer-to-CNN knowledge
distillation" (ICASSP 2023). The modules have the names of the published code, so that its published
checkpoints fit.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from genrescope.encoders import base
from genrescope.encoders.published import MN04
from genrescope.encoders.weights import put, read_state

CLASSES = 527


# Of each block: filter length, channels inside and after it, squeeze and excitation, hard swish
# (or a rectifier), stride. Table 1 of Howard et al., "Searching for MobileNetV3" (ICCV 2019), with
# the strides of the published code.
_BLOCKS = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)


class Encoder(base.Encoder):
    """EfficientAT: 384 numbers for 10 s of audio, or the logits of AudioSet's 527 classes.

    The layers: `embedding`, the mean of the last convolution over bands and frames; `logits` of the
    classes, whose sigmoid is a probability, in the order of AudioSet's `class_labels_indices.csv`.
    """

    name = "efficientat"
    layers: ClassVar = {"embedding": 384, "logits": CLASSES}
    default_layer = "embedding"
    weights: ClassVar = (MN04,)
    feature: ClassVar = {"kind": "efficientat_mel"}
    seconds = 10.0
    step = 5.0
    width: ClassVar[float] = 0.4

    def build(self) -> EfficientAT:
        """The network, with random weights."""
        return EfficientAT(self.width)

    def load(self, network: nn.Module) -> None:
        """Put the published weights into the network."""
        path = self.file(self.weights[0])
        put(network, read_state(path), path)


def _channels(scaled: float) -> int:
    """The nearest multiple of 8, but at most a tenth below the scaled number of channels."""
    nearest = max(8, int(scaled + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * scaled else nearest


def _convolution(
    inside: int,
    outside: int,
    *,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = None,
) -> nn.Sequential:
    padding = (kernel - 1) // 2
    layers: list[nn.Module] = [
        nn.Conv2d(inside, outside, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(outside, eps=0.001, momentum=0.01),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))


class Excitation(nn.Module):
    """Squeeze and excitation: a factor for each channel (Hu et al., CVPR 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = _channels(channels // 4)
        dense = {"fc1": nn.Linear(channels, squeezed), "fc2": nn.Linear(squeezed, channels)}
        # The published code allows several in parallel; the released networks have one.
        self.conc_se_layers = nn.Sequential(nn.ModuleDict(dense))

    def forward(self, maps: Tensor) -> Tensor:
        """Scale `[n, channels, bands, frames]`."""
        narrow, widen = self.conc_se_layers[0].values()  # type: ignore[operator]
        factors = widen(functional.relu(narrow(maps.mean(dim=(2, 3))))).sigmoid()
        scaled: Tensor = maps * factors[:, :, None, None]
        return scaled


class Block(nn.Module):
    """An inverted residual block: expand, filter each channel, project."""

    def __init__(
        self,
        before: int,
        inside: int,
        after: int,
        *,
        kernel: int,
        excited: bool,
        activation: type[nn.Module],
        stride: int,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if inside != before:
            layers.append(_convolution(before, inside, activation=activation))
        layers.append(
            _convolution(
                inside, inside, kernel=kernel, stride=stride, groups=inside, activation=activation
            )
        )
        if excited:
            layers.append(Excitation(inside))
        layers.append(_convolution(inside, after))
        self.block = nn.Sequential(*layers)
        self.shortcut = stride == 1 and before == after

    def forward(self, maps: Tensor) -> Tensor:
        """From `[n, channels, bands, frames]` to the same, perhaps halved."""
        found: Tensor = self.block(maps)
        return found + maps if self.shortcut else found


class EfficientAT(nn.Module):
    """The network, of any width: 0.4 for mn04, 1 for mn10."""

    def __init__(self, width: float) -> None:
        super().__init__()
        before = _channels(16 * width)
        parts: list[nn.Module] = [
            _convolution(1, before, kernel=3, stride=2, activation=nn.Hardswish)
        ]
        for kernel, inside, after, excited, swish, stride in _BLOCKS:
            parts.append(
                Block(
                    before,
                    _channels(inside * width),
                    _channels(after * width),
                    kernel=kernel,
                    excited=excited,
                    activation=nn.Hardswish if swish else nn.ReLU,
                    stride=stride,
                )
            )
            before = _channels(after * width)
        parts.append(_convolution(before, 6 * before, activation=nn.Hardswish))
        self.features = nn.Sequential(*parts)
        dense = _channels(1280 * width)
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6 * before, dense),
            nn.Hardswish(),
            nn.Dropout(0.2),
            nn.Linear(dense, CLASSES),
        )
        # Otherwise the activations of an untrained network would vanish.
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight)

    def forward(self, segments: Tensor) -> dict[str, Tensor]:
        """All layers of log-mel segments, `[n, 128, frames]` to `[n, size]` each."""
        embedding = self.classifier[:2](self.features(segments.unsqueeze(1)))
        return {"embedding": embedding, "logits": self.classifier[2:](embedding)}
