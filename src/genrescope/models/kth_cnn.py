"""The convolutional network of the KTH paper (`kth`, figure 4) on MFCCs as an image.

The paper's: three convolutional layers with ReLU, each followed by max pooling and a dropout of
0.25, then a softmax over the genres; an image of 20 or 60 coefficients by 129 or 1290 frames. (Its
L2 of 1e-4 is a setting of training.) Ours, because its text is silent and its figure is not at
hand: the number of filters, 3 × 3 windows, 2 × 2 pooling, and one dense layer of 64 before the
softmax, which is the embedding.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from genrescope.models._layers import convolutions, dense, layer_sizes


class Model(nn.Module):
    """Convolutions over coefficients and frames, a dense layer as embedding, one layer on top.

    Parameters
    ----------
    shape
        Size and frames of a segment.
    genres
        Number of genres.
    filters
        Of each convolutional layer; each layer's pooling halves coefficients and frames.
    dense_units
        Nodes of the dense layer.
    dropout
        After each convolutional layer, in training.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        genres: int,
        *,
        filters: Sequence[int] = (32, 64, 64),
        dense_units: int = 64,
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        blocks, outputs = convolutions(shape, layer_sizes("filters", filters), dropout)
        units = layer_sizes("dense_units", [dense_units])
        self.body = nn.Sequential(blocks, dense(outputs, units, 0.0))
        self.output = nn.Linear(dense_units, genres)
        self.embedding_size = dense_units

    def forward(self, segments: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and embeddings of `[segments, size, frames]`."""
        embedding = self.body(segments.unsqueeze(1))
        return self.output(embedding), embedding
