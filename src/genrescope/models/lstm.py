"""The LSTM of the KTH paper (`kth`, figure 5): two recurrent layers over the frames of the MFCCs.

The paper's numbers: cells of 128 and 32, one fully connected layer with softmax on top; 20 or 60
inputs a frame, 129 or 1290 frames. Our choice, since it does not state it: the top layer sees the
output of the *last* frame, no dropout unless a recipe asks for it, and the initial weights
(orthogonal recurrent weights, and a bias of 1 for the forget gate: Jozefowicz et al., ICML 2015,
found that without it long sequences are hardly learned).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from genrescope.models.layers import layer_sizes


class LSTM(nn.Module):
    """LSTM layers over frames; the last output of the last layer is the embedding.

    Parameters
    ----------
    shape
        Size and frames of a segment.
    genres
        Number of genres.
    units
        Cells of each layer.
    dropout
        After each layer, in training.
    """

    trainer: ClassVar[str] = "torch"

    def __init__(
        self,
        shape: tuple[int, int],
        genres: int,
        *,
        units: Sequence[int] = (128, 32),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        units = layer_sizes("units", units)
        self.layers = nn.ModuleList(
            nn.LSTM(inside, cells, batch_first=True)
            for inside, cells in zip([shape[0], *units[:-1]], units, strict=True)
        )
        for layer in self.layers:
            _initialise(layer)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(units[-1], genres)
        self.embedding_size = units[-1]

    def forward(self, segments: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and embeddings of `[segments, size, frames]`."""
        sequence = segments.transpose(1, 2)
        for layer in self.layers:
            sequence = self.dropout(layer(sequence)[0])
        embedding = sequence[:, -1]
        return self.output(embedding), embedding


def _initialise(layer: nn.Module) -> None:
    """Set the initial weights of a layer; torch's order of gates is i, f, g, o."""
    for name, weights in layer.named_parameters():
        with torch.no_grad():
            if name.startswith("weight_ih"):
                nn.init.xavier_uniform_(weights)
            elif name.startswith("weight_hh"):
                nn.init.orthogonal_(weights)
            else:
                weights.zero_()
                if name.startswith("bias_ih"):
                    cells = weights.shape[0] // 4
                    weights[cells : 2 * cells] = 1
