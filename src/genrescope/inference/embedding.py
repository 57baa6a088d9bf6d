"""A layer of a bundle as a model for the embedding engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from os import PathLike

import numpy as np

from genrescope.encoders.engine import EmbeddingModel, Segments
from genrescope.errors import BundleError
from genrescope.features import Source
from genrescope.features.spectrogram import FloatArray
from genrescope.inference.bundle import Bundle
from genrescope.inference.classifier import Classifier
from genrescope.registry import no_such


def bundle_layer(
    source: str | PathLike[str] = "default", layer: str | None = None
) -> EmbeddingModel[Source]:
    """A layer of a bundle, for `genrescope.encoders.engine.embed` and `embed_files`.

    Segments are those that the bundle classifies: mostly silent ones are left out, and a track
    shorter than a second is refused.

    Parameters
    ----------
    source
        As for `Bundle.load`.
    layer
        One of `Classifier.layers`; "embedding" by default.

    Raises
    ------
    BundleError
        When there is no such bundle or layer.
    """
    bundle = Bundle.load(source)
    classifier, name = Classifier(bundle), layer or "embedding"
    if name not in classifier.layers:
        raise BundleError(source, no_such("no layer", name, classifier.layers))
    frontend = bundle.manifest.frontend

    def read(track: Source) -> Iterator[Segments]:
        for window in frontend.windows(track):
            segments = frontend.segments_of(window)
            if segments:
                yield Segments(
                    np.stack([segment.values for segment in segments]),
                    np.array([segment.start for segment in segments]),
                    np.array([segment.end for segment in segments]),
                )

    def run(segments: FloatArray) -> FloatArray:
        return np.asarray(classifier.network.run(segments, [name])[0], np.float32)

    content = hashlib.sha256(bundle.model + (bundle.weights or b"")).hexdigest()
    return EmbeddingModel(
        read=read,
        load=lambda: run,
        key=json.dumps(
            {"bundle": content, "layer": name, "frontend": frontend.model_dump(mode="json")}
        ),
    )
