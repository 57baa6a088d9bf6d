"""Embeddings as features of a recipe: computed by the graph that the bundle will contain.

The encoder is exported to ONNX once. That graph computes the embeddings of all segments of all
tracks, which are cached on disk; a head is trained on them; in the end both graphs are joined. So
the bundle's front end is the encoder's, and `inference` needs neither torch nor the encoder's code.

The graph also gives the layers that the leiden paper compares, under its names: `none`, the picture
itself (of encoders of pictures), and `immediate`, the embedding that the head is trained on. The
head's own are `deep` and `shallow`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from os import fspath

import numpy as np
from numpy.typing import NDArray

from genrescope.datasets import Track
from genrescope.encoders import engine
from genrescope.encoders.engine import EmbeddingModel, Segments
from genrescope.encoders.store import EmbeddingStore
from genrescope.errors import FileError
from genrescope.features import Frontend
from genrescope.features.cache import FeatureCache
from genrescope.features.segments import SEGMENT_RULE
from genrescope.features.windows import Window
from genrescope.onnx_session import onnx_session

FloatArray = NDArray[np.float32]


class Embedder:
    """Turns the segments of a front end into embeddings that a head is trained on.

    Parameters
    ----------
    frontend
        The recipe's front end, with the encoder's own feature.
    graph
        The encoder as ONNX: `segments` `[n, size, frames]` to `vectors` `[n, *shape]`, and to the
        layers `immediate` and, of encoders of pictures, `none`, `[n, size]` each.
    shape
        Shape of a segment as the head sees it: size of an embedding, and embeddings per segment.
    """

    def __init__(self, frontend: Frontend, graph: bytes, shape: tuple[int, int]) -> None:
        self.frontend, self.graph, self.shape = frontend, graph, shape
        self._session = onnx_session(graph)

    def embed(
        self,
        tracks: Sequence[Track],
        windows: Sequence[list[Window]],
        report: Callable[[int], None],
    ) -> Iterator[FloatArray]:
        """Compute the embeddings of each track's segments, float32 `[segments, *shape]`."""
        graph = hashlib.sha256(self.graph).hexdigest()
        key = f"{SEGMENT_RULE} {self.frontend.model_dump_json()} {graph}"
        own = {fspath(track.path): each for track, each in zip(tracks, windows, strict=True)}
        model = EmbeddingModel[str](
            read=lambda path: self._segments(own[path]),
            load=lambda: self._run,
            key=key,
            store=EmbeddingStore(FeatureCache(), key, timed=False),
        )
        # A recipe's segment of half a minute holds dozens of the encoder's: of MusiCNN, gigabytes
        # of activations.
        found = engine.embed(model, (fspath(track.path) for track in tracks), batch_size=1)
        for done, embedding in enumerate(found, 1):
            if isinstance(embedding, FileError):
                raise embedding
            yield embedding.values.reshape(-1, *self.shape)
            report(done)

    def _segments(self, windows: list[Window]) -> Iterator[Segments]:
        for window in windows:
            segments = self.frontend.segments_of(window)
            if segments:
                times = np.array([[segment.start, segment.end] for segment in segments])
                yield Segments(np.stack([segment.values for segment in segments]), *times.T)

    def _run(self, segments: FloatArray) -> FloatArray:
        found: FloatArray = self._session.run(["vectors"], {"segments": segments})[0]
        return found
