"""3 × 3 convolutions by Winograd's algorithm, with a quarter of the multiplications.

Minimal filtering F(4 × 4, 3 × 3): Lavin and Gray, "Fast algorithms for convolutional neural
networks" (CVPR 2016), sections 4.1 and 4.3. Input tiles of 6 × 6 that overlap by 2 are transformed,
multiplied element by element with the transformed filters, summed over channels, and transformed
back into 4 × 4 outputs. The result differs by rounding alone: in float32 VGGish's embeddings change
by about a millionth of their size.

It is faster where there are many channels: the sums over channels are large matrix products then,
next to which the transforms cost little.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_TILE, _KEPT = 6, 4

# The paper's Bᵀ, G and Aᵀ, for one axis.
_INTO = [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
_FILTER = [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
]
_BACK = [
    [1, 1, 1, 1, 1, 0],
    [0, 1, -1, 2, -2, 0],
    [0, 1, 1, 4, 4, 0],
    [0, 1, -1, 8, -8, 1],
]


class Winograd(nn.Module):
    """A 3 × 3 convolution with a padding of 1, followed by ReLU.

    Maps are `[rows, columns, n, channels]`, so that what is moved and multiplied is contiguous in
    memory; rows and columns are multiples of 4.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        weight, line = convolution.weight.detach().double().cpu(), torch.tensor(_FILTER).double()
        filters = torch.einsum("ra,sb,ocab->rsco", line, line, weight).flatten(0, 1).float()
        self.filters = nn.Buffer(filters.contiguous())
        self.bias = nn.Buffer(convolution.bias.detach().clone())  # type: ignore[union-attr]
        # For both axes at once: 36 inputs to 36 products, and these to 16 outputs.
        self.into, self.back = (
            nn.Buffer(torch.kron(line, line))
            for line in (torch.tensor(_INTO).float(), torch.tensor(_BACK).float())
        )

    def forward(self, maps: Tensor) -> Tensor:
        """From `[rows, columns, n, channels]` to the same with the convolution's channels."""
        high, wide = int(maps.shape[0]) // _KEPT, int(maps.shape[1]) // _KEPT
        padded = functional.pad(maps, (0, 0, 0, 0, 1, 1, 1, 1))
        # Element r, s of every tile.
        numbers = [
            padded[r : r + _KEPT * high - 3 : _KEPT, s : s + _KEPT * wide - 3 : _KEPT]
            for r in range(_TILE)
            for s in range(_TILE)
        ]
        into, outof = self.filters.shape[1:]
        tiles = (self.into @ torch.stack(numbers).reshape(_TILE**2, -1)).reshape(_TILE**2, -1, into)
        summed = tiles @ self.filters
        found = (self.back @ summed.reshape(_TILE**2, -1)).reshape(
            _KEPT, _KEPT, high, wide, -1, outof
        )
        joined = found.permute(2, 0, 3, 1, 4, 5).reshape(_KEPT * high, _KEPT * wide, -1, outof)
        return functional.relu(joined + self.bias)


def max_pooled(maps: Tensor) -> Tensor:
    """2 × 2 max pooling of `[rows, columns, n, channels]`."""
    rows = torch.maximum(maps[0::2], maps[1::2])
    return torch.maximum(rows[:, 0::2], rows[:, 1::2])
