"""The MFCC baseline of the Deepsound paper (`deepsound`): convolutions, then dense layers.

The paper's: 13 MFCCs, "several convolutional and pooling layers, followed by dense layers". Ours,
because it gives no numbers: three layers of 32, 64 and 128 filters with 3 × 3 windows and 2 × 2 max
pooling (more would leave nothing of 13 coefficients), two dense layers of 128 and 64, ReLU, and a
dropout of 0.3 after each dense layer.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from genrescope.models._layers import convolutions, dense, layer_sizes


class Model(nn.Module):
    """Convolutions over coefficients and frames, dense layers; the last of them is the embedding.

    Parameters
    ----------
    shape
        Size and frames of a segment.
    genres
        Number of genres.
    filters
        Of each convolutional layer; each layer's pooling halves coefficients and frames.
    hidden
        Nodes of each dense layer.
    dropout
        After each dense layer, in training.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        genres: int,
        *,
        filters: Sequence[int] = (32, 64, 128),
        hidden: Sequence[int] = (128, 64),
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        blocks, outputs = convolutions(shape, layer_sizes("filters", filters), 0.0)
        hidden = layer_sizes("hidden", hidden)
        self.body = nn.Sequential(blocks, dense(outputs, hidden, dropout))
        self.output = nn.Linear(hidden[-1], genres)
        self.embedding_size = hidden[-1]

    def forward(self, segments: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and embeddings of `[segments, size, frames]`."""
        embedding = self.body(segments.unsqueeze(1))
        return self.output(embedding), embedding
