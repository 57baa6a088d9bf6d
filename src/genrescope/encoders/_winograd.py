"""Convolutions of 3 × 3 with a quarter of the multiplications.

Winograd's minimal filtering F(4 × 4, 3 × 3): Lavin and Gray, "Fast algorithms for convolutional
neural networks" (CVPR 2016), sections 4.1 and 4.3. Tiles of 6 × 6 that overlap by 2 are
transformed, multiplied number by number with the transformed filters, summed over channels, and
transformed back into 4 × 4 of the outcome. Only the last digits differ: in float32 VGGish's
embeddings move by about a millionth of their size.

It pays where there are many channels, for then the sums are large products of matrices and the
transforms beside them are small.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_TILE, _KEPT = 6, 4

# Of a line: Bᵀ, G and Aᵀ of the paper.
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
    """What a convolution of 3 × 3 gives that pads with one zero, its rectifier included.

    Maps are `[rows, columns, n, channels]`, so that all that is moved and multiplied lies together
    in memory; rows and columns are multiples of 4.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        weight, line = convolution.weight.detach().double().cpu(), torch.tensor(_FILTER).double()
        filters = torch.einsum("ra,sb,ocab->rsco", line, line, weight).flatten(0, 1).float()
        self.filters = nn.Buffer(filters.contiguous())
        self.bias = nn.Buffer(convolution.bias.detach().clone())  # type: ignore[union-attr]
        # Both axes at once: of 36 numbers 36 others, and of those 16.
        self.into, self.back = (
            nn.Buffer(torch.kron(line, line))
            for line in (torch.tensor(_INTO).float(), torch.tensor(_BACK).float())
        )

    def forward(self, maps: Tensor) -> Tensor:
        """From `[rows, columns, n, channels]` to the same, with other channels."""
        high, wide = int(maps.shape[0]) // _KEPT, int(maps.shape[1]) // _KEPT
        padded = functional.pad(maps, (0, 0, 0, 0, 1, 1, 1, 1))
        # Number r, s of every tile.
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


def halved(maps: Tensor) -> Tensor:
    """The greatest of each 2 × 2, `[rows, columns, n, channels]` to half the rows and columns."""
    rows = torch.maximum(maps[0::2], maps[1::2])
    return torch.maximum(rows[:, 0::2], rows[:, 1::2])
