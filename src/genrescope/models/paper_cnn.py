"""The convolutional networks of two papers: 3 × 3 convolutions and pooling, then dense layers.

They have one structure and differ in sizes and in where they drop out:

- `kth_cnn`, figure 4 of the KTH paper (`kth`), on MFCCs as an image. The paper's: three
  convolutional layers with ReLU, each followed by max pooling and a dropout of 0.25, then a softmax
  over the genres; an image of 20 or 60 coefficients by 129 or 1290 frames. (Its L2 of 1e-4 is a
  setting of training.) Our choice, since its text does not state it: the number of filters, 3 × 3
  windows, 2 × 2 pooling, and one dense layer of 64 before the softmax, which is the embedding.
- `deepsound_cnn`, the MFCC baseline of the Deepsound paper (`deepsound`). The paper's: 13 MFCCs,
  "several convolutional and pooling layers, followed by dense layers". Ours, because it gives no
  numbers: three layers of 32, 64 and 128 filters with 3 × 3 windows and 2 × 2 max pooling (more
  would leave nothing of 13 coefficients), two dense layers of 128 and 64, ReLU, and a dropout of
  0.3 after each dense layer.
- `embedding_cnn`, the 2-D CNN on VGGish embeddings of the Deepsound paper. A segment is a matrix of
  embeddings, one column for each 0.96 s, 128 × 31 for half a minute, and is treated as an image.
  The paper's: VGGish's 128 numbers, a 2-D CNN "shallower than usual". Ours, because it gives no
  numbers: two layers of 32 and 64 filters with 3 × 3 windows, ReLU, 2 × 2 max pooling and a dropout
  of 0.3, and one dense layer of 128, which is the embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from genrescope.models.layers import convolutions, dense, layer_sizes

Shape = tuple[int, int]


class PaperCNN(nn.Module):
    """Convolutions over size and frames, dense layers whose last is the embedding, one on top.

    Parameters
    ----------
    shape
        Size and frames of a segment.
    genres
        Number of genres.
    filters
        Filters of each convolutional layer; each layer's pooling halves size and frames.
    hidden
        Nodes of each dense layer.
    image_dropout, dense_dropout
        After each convolutional and after each dense layer, in training.
    """

    trainer: ClassVar[str] = "torch"

    def __init__(
        self,
        shape: Shape,
        genres: int,
        *,
        filters: Sequence[int],
        hidden: Sequence[int],
        image_dropout: float,
        dense_dropout: float,
    ) -> None:
        super().__init__()
        blocks, outputs = convolutions(shape, layer_sizes("filters", filters), image_dropout)
        self.body = nn.Sequential(blocks, dense(outputs, hidden, dense_dropout))
        self.output = nn.Linear(hidden[-1], genres)
        self.embedding_size = hidden[-1]

    def forward(self, segments: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and embeddings of `[segments, size, frames]`."""
        embedding = self.body(segments.unsqueeze(1))
        return self.output(embedding), embedding


class KthCNN(PaperCNN):
    """`kth_cnn`: `dense_units` nodes in its dense layer, dropout after the convolutions alone.

    Parameters
    ----------
    filters
        Filters of each convolutional layer.
    dense_units
        Nodes of the dense layer.
    dropout
        Fraction that is dropped in training, after each convolutional layer.
    """

    def __init__(
        self,
        shape: Shape,
        genres: int,
        *,
        filters: Sequence[int] = (32, 64, 64),
        dense_units: int = 64,
        dropout: float = 0.25,
    ) -> None:
        super().__init__(
            shape,
            genres,
            filters=filters,
            hidden=layer_sizes("dense_units", [dense_units]),
            image_dropout=dropout,
            dense_dropout=0.0,
        )


class DeepsoundCNN(PaperCNN):
    """`deepsound_cnn`: dense layers of `hidden` nodes, dropout after these alone.

    Parameters
    ----------
    filters
        Filters of each convolutional layer.
    hidden
        Nodes of each dense layer.
    dropout
        Fraction that is dropped in training, after each dense layer.
    """

    def __init__(
        self,
        shape: Shape,
        genres: int,
        *,
        filters: Sequence[int] = (32, 64, 128),
        hidden: Sequence[int] = (128, 64),
        dropout: float = 0.3,
    ) -> None:
        super().__init__(
            shape,
            genres,
            filters=filters,
            hidden=layer_sizes("hidden", hidden),
            image_dropout=0.0,
            dense_dropout=dropout,
        )


class EmbeddingCNN(PaperCNN):
    """`embedding_cnn`: `dense_units` nodes in its dense layer, dropout after all layers.

    Parameters
    ----------
    filters
        Filters of each convolutional layer.
    dense_units
        Nodes of the dense layer.
    dropout
        Fraction that is dropped in training, after every layer.
    """

    def __init__(
        self,
        shape: Shape,
        genres: int,
        *,
        filters: Sequence[int] = (32, 64),
        dense_units: int = 128,
        dropout: float = 0.3,
    ) -> None:
        super().__init__(
            shape,
            genres,
            filters=filters,
            hidden=layer_sizes("dense_units", [dense_units]),
            image_dropout=dropout,
            dense_dropout=dropout,
        )
