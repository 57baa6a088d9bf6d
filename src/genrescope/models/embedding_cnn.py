"""The 2-D CNN on VGGish embeddings of the Deepsound paper (`deepsound`).

A segment is a matrix of embeddings, one column for each 0.96 s: 128 × 31 for half a minute. It is
treated as an image.

The paper's: VGGish's 128 numbers, a 2-D CNN "shallower than usual". Ours, because it gives no
numbers: two layers of 32 and 64 filters with 3 × 3 windows, ReLU, 2 × 2 max pooling and a dropout
of 0.3, and one dense layer of 128, which is the embedding.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from genrescope.models._layers import convolutions, dense, layer_sizes


class Model(nn.Module):
    """Two convolutions over a matrix of embeddings, a dense layer, one layer on top.

    Parameters
    ----------
    shape
        Numbers of an embedding, and embeddings of a segment.
    genres
        Number of genres.
    filters
        Of each convolutional layer; each layer's pooling halves both axes.
    dense_units
        Nodes of the dense layer.
    dropout
        After each convolutional layer and the dense one, in training.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        genres: int,
        *,
        filters: Sequence[int] = (32, 64),
        dense_units: int = 128,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        blocks, outputs = convolutions(shape, layer_sizes("filters", filters), dropout)
        units = layer_sizes("dense_units", [dense_units])
        self.body = nn.Sequential(blocks, dense(outputs, units, dropout))
        self.output = nn.Linear(dense_units, genres)
        self.embedding_size = dense_units

    def forward(self, segments: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and embeddings of `[segments, size, frames]`."""
        embedding = self.body(segments.unsqueeze(1))
        return self.output(embedding), embedding
