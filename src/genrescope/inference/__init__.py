"""A bundle and audio in, predictions out; on NumPy and ONNX Runtime alone."""

from genrescope.inference.bundle import Bundle, Manifest, shipped_bundles
from genrescope.inference.classifier import Classifier
from genrescope.inference.embedding import bundle_layer
from genrescope.inference.prediction import Prediction, SegmentPrediction

__all__ = [
    "Bundle",
    "Classifier",
    "Manifest",
    "Prediction",
    "SegmentPrediction",
    "bundle_layer",
    "shipped_bundles",
]
