"""Genrescope hears what genre a piece of music is.

>>> from genrescope import Classifier
>>> Classifier.load("default").predict("song.mp3").genre  # doctest: +SKIP
'jazz'
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from genrescope.errors import AudioError, GenrescopeError

# From 1.29 on ONNX Runtime keeps an identifier of the machine in the user's cache folder and
# reports to its makers. It looks at this variable once, when it is imported; a user's own choice
# stands.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from genrescope.audio import Waveform
    from genrescope.inference import Bundle, Classifier, Prediction

__version__ = "0.1.0"
__all__ = ["AudioError", "Bundle", "Classifier", "GenrescopeError", "Prediction", "Waveform"]

_HOME = {
    "Bundle": "genrescope.inference",
    "Classifier": "genrescope.inference",
    "Prediction": "genrescope.inference",
    "Waveform": "genrescope.audio",
}


def __getattr__(name: str) -> Any:
    """Import the heavier names only when they are asked for."""
    if name not in _HOME:
        raise AttributeError(f"module 'genrescope' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
