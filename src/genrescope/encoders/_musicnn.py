"""The network of MusiCNN in torch; see `genrescope.encoders.musicnn`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_BANDS = 96
_TIMBRAL = ((7, 38), (7, 67))  # frames and bands that a filter covers
_TEMPORAL = (128, 64, 32)  # frames; one band
_TIMBRAL_FILTERS, _TEMPORAL_FILTERS, _MIDDLE_FILTERS, _DENSE = 204, 51, 64, 200
_FRONT = len(_TIMBRAL) * _TIMBRAL_FILTERS + len(_TEMPORAL) * _TEMPORAL_FILTERS
_POOLED = 2 * (_FRONT + 3 * _MIDDLE_FILTERS)
TAGS = 50


class Scaled(nn.Module):
    """A factor and an offset for each channel: batch normalisation after training."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(channels))
        self.offset = nn.Parameter(torch.zeros(channels))

    def forward(self, values: Tensor) -> Tensor:
        """Scale `[n, channels, ...]`."""
        shape = (-1, *[1] * (values.ndim - 2))
        return values * self.factor.view(shape) + self.offset.view(shape)


class Front(nn.Module):
    """Filters over frames and bands, and the maximum over bands.

    As in TensorFlow the output has as many frames as the input; where the filter's length is even
    there is one frame of padding more at the end.
    """

    def __init__(self, filters: int, frames: int, bands: int) -> None:
        super().__init__()
        self.pad = nn.ZeroPad2d((0, 0, (frames - 1) // 2, frames // 2))
        self.conv = nn.Conv2d(1, filters, (frames, bands))
        self.scaled = Scaled(filters)

    def forward(self, pictures: Tensor) -> Tensor:
        """From `[n, 1, frames, bands]` to `[n, filters, frames]`."""
        every: Tensor = self.scaled(functional.relu(self.conv(self.pad(pictures))))
        return every.amax(3)


class Middle(nn.Module):
    """Filters of 7 frames over all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, _MIDDLE_FILTERS, 7, padding=3)
        self.scaled = Scaled(_MIDDLE_FILTERS)

    def forward(self, values: Tensor) -> Tensor:
        """From `[n, channels, frames]` to `[n, filters, frames]`."""
        found: Tensor = self.scaled(functional.relu(self.conv(values)))
        return found


class MusiCNN(nn.Module):
    """The network: timbral and temporal filters, three residual layers, pooling, dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.input = Scaled(1)
        shapes = [(_TIMBRAL_FILTERS, *shape) for shape in _TIMBRAL]
        shapes += [(_TEMPORAL_FILTERS, frames, 1) for frames in _TEMPORAL]
        self.front = nn.ModuleList(Front(*shape) for shape in shapes)
        channels = (_FRONT, _MIDDLE_FILTERS, _MIDDLE_FILTERS)
        self.middle = nn.ModuleList(Middle(before) for before in channels)
        self.pooled = Scaled(_POOLED)
        self.dense = nn.Linear(_POOLED, _DENSE)
        self.scaled = Scaled(_DENSE)
        self.output = nn.Linear(_DENSE, TAGS)

    def forward(self, segments: Tensor) -> dict[str, Tensor]:
        """All layers of mel segments, `[n, 96, frames]` to `[n, size]` each."""
        pictures = self.input(segments.transpose(1, 2).unsqueeze(1))
        found = [torch.cat([part(pictures) for part in self.front], dim=1)]
        for number, part in enumerate(self.middle):
            values = part(found[-1])
            found.append(values + found[-1] if number else values)
        every = torch.cat(found, dim=1)
        # Maximum and mean of a channel are neighbours in the published order.
        pooled = torch.stack([every.amax(2), every.mean(2)], dim=2).flatten(1)
        penultimate = self.scaled(functional.relu(self.dense(self.pooled(pooled))))
        return {"penultimate": penultimate, "taggram": torch.sigmoid(self.output(penultimate))}
