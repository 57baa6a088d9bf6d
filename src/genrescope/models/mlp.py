"""A multilayer perceptron on the flattened segment.

With its defaults it is the baseline of the KTH paper (`kth`): four hidden layers of 256 nodes and a
softmax on the MFCCs of a whole clip. With `hidden: [256]` on VGGish embeddings it is the head of
the Berkeley paper (`berkeley`: one hidden layer of 256, then the output layer), and the dense
network of the Vellore paper (`vellore`).

The papers' numbers: 4 × 256 (`kth`), 256 (`berkeley`). Our choice, since they do not
state it: ReLU between the layers, no dropout unless a recipe asks for it, and all numbers of
`vellore`, whose text says only "fully connected".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

from torch import Tensor, nn

from genrescope.models.layers import dense, dense_depths, layer_sizes


class MLP(nn.Module):
    """Fully connected layers; the last hidden one is the embedding.

    Parameters
    ----------
    shape
        Size and frames of a segment.
    genres
        Number of genres.
    hidden
        Nodes of each hidden layer.
    dropout
        Dropout after each hidden layer, in training.
    """

    trainer: ClassVar[str] = "torch"

    def __init__(
        self,
        shape: tuple[int, int],
        genres: int,
        *,
        hidden: Sequence[int] = (256, 256, 256, 256),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        hidden = layer_sizes("hidden", hidden)
        self.hidden = nn.Sequential(nn.Flatten(), dense(shape[0] * shape[1], hidden, dropout))
        self.output = nn.Linear(hidden[-1], genres)
        self.embedding_size = hidden[-1]

    def forward(self, segments: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and embeddings of `[segments, size, frames]`."""
        embedding = self.hidden(segments)
        return self.output(embedding), embedding

    def outputs(self, segments: Tensor) -> dict[str, Tensor]:
        """Logits, embedding, outputs of the first and the last hidden layer, `[n, nodes]`."""
        inputs, layers = segments.flatten(1), cast(nn.Sequential, self.hidden[1])
        embedding = layers(inputs)
        named = {"logits": self.output(embedding), "embedding": embedding}
        return {**named, **dense_depths(layers, inputs)}
