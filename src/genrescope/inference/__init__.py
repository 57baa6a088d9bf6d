"""Classification with a bundle, on NumPy and ONNX Runtime alone."""

from os import PathLike
from typing import TYPE_CHECKING, Any

from genrescope.inference.bundle import Bundle, Manifest, shipped_bundles
from genrescope.inference.classifier import Classifier
from genrescope.inference.display import to_frame
from genrescope.inference.labels import SoundLabels
from genrescope.inference.prediction import Prediction, SegmentPrediction
from genrescope.inference.sections import Section

if TYPE_CHECKING:
    from genrescope.inference.embedding import bundle_layer

__all__ = [
    "Bundle",
    "Classifier",
    "Manifest",
    "Prediction",
    "Section",
    "SegmentPrediction",
    "SoundLabels",
    "bundle_layer",
    "load",
    "shipped_bundles",
    "to_frame",
]


def load(source: str | PathLike[str] = "default") -> Classifier:
    """Load a classifier, as `Classifier.load` does.

    Parameters
    ----------
    source
        The name of a shipped model, or the path of a run folder, a bundle, or a `.zip`.

    Raises
    ------
    BundleError
        When there is no such bundle, or it is damaged.

    Examples
    --------
    >>> import genrescope
    >>> genrescope.load().predict("walking-bass.flac").warnings
    []
    """
    return Classifier.load(source)


def __getattr__(name: str) -> Any:
    """Import `bundle_layer` when it is asked for: nothing else here needs the encoders."""
    if name != "bundle_layer":
        raise AttributeError(f"module 'genrescope.inference' has no attribute {name!r}")
    from genrescope.inference.embedding import bundle_layer

    return bundle_layer


def __dir__() -> list[str]:
    """List the names that are imported on demand, too, for tab completion."""
    return sorted({*globals(), *__all__})
